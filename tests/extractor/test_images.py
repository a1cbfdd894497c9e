import io
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_cl.errors import EdgeCLError, InvalidImage, TooLarge
from edge_cl.extractor import ImageLimits, decode_image
from edge_cl.extractor.images import fit, rgb_image

RGB = np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_keep_every_pixel(kind):
    decoded = decode_image(encoded(Image.fromarray(RGB), kind))
    assert np.array_equal(np.asarray(decoded), RGB)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_lossy_formats_keep_the_size(kind):
    decoded = decode_image(encoded(Image.fromarray(RGB), kind))
    assert decoded.mode == "RGB"
    assert decoded.size == (16, 24)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_every_mode_becomes_rgb(mode):
    image = Image.fromarray(RGB).convert("RGBA" if mode == "PA" else "RGB").convert(mode)
    converted = rgb_image(image)
    assert converted.mode == "RGB"
    assert np.asarray(converted).shape == RGB.shape


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_is_scaled_not_clipped(kind):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    grey = np.asarray(decode_image(encoded(Image.fromarray(ramp), kind)))[..., 0]
    assert np.array_equal(grey, np.rint(ramp / 257).astype(np.uint8))


def test_float_and_32_bit_are_scaled():
    unit = Image.fromarray(np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4))
    assert np.asarray(rgb_image(unit)).max() == 255
    wide = Image.fromarray(np.array([[0, 2**31 - 1]], np.int32))
    assert np.asarray(rgb_image(wide))[0, :, 0].tolist() == [0, 255]
    with pytest.raises(InvalidImage, match="finite"):
        rgb_image(Image.fromarray(np.full((2, 2), np.nan, np.float32)))


def test_transparency_lies_on_white():
    layer = np.dstack([RGB, np.zeros(RGB.shape[:2], np.uint8)])
    layer[:12, :, 3] = 255
    decoded = np.asarray(decode_image(encoded(Image.fromarray(layer), "PNG")))
    assert np.array_equal(decoded[:12], RGB[:12])
    assert (decoded[12:] == 255).all()


def test_transparent_palette_lies_on_white():
    image = Image.new("P", (8, 8), 0)
    image.putpalette([0, 0, 0, 200, 10, 10] + [0] * 762)
    image.putpixel((0, 0), 1)
    decoded = decode_image(encoded(image, "PNG", transparency=0))
    assert decoded.getpixel((1, 1)) == (255, 255, 255)
    assert decoded.getpixel((0, 0)) == (200, 10, 10)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = np.zeros((8, 16, 3), np.uint8)
    upright[:4, :8] = (250, 0, 0)
    turned = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1], 8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]  # fmt: skip
    stored = Image.fromarray(np.ascontiguousarray(turned))
    decoded = decode_image(encoded(stored, "PNG", exif=exif))
    assert np.array_equal(np.asarray(decoded), upright)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animation_counts_as_its_first_frame(kind):
    first, second = Image.new("RGB", (8, 8), (0, 0, 255)), Image.new("RGB", (8, 8), (255, 0, 0))
    options = {"lossless": True} if kind == "WEBP" else {}
    moving = encoded(first, kind, save_all=True, append_images=[second], **options)
    assert decode_image(moving).getpixel((3, 3)) == (0, 0, 255)


def test_cmyk_jpeg_has_the_right_colours():
    red = Image.new("RGB", (32, 32), (255, 0, 0)).convert("CMYK")
    r, g, b = decode_image(encoded(red, "JPEG", quality=95)).getpixel((16, 16))
    assert r > 200
    assert max(g, b) < 60


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\x00\x00\x00\x00IDAT" + struct.pack(">I", 0x35AF061E)


@pytest.mark.parametrize(
    ("width", "height"), [(10_000, 10_000), (100_000, 100_000), (8_000, 5_001)]
)
def test_declared_pixels_are_checked_before_decoding(width, height):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TooLarge, match="pixels"):
            decode_image(png_header(width, height))


def test_limits_can_be_lowered():
    data = encoded(Image.fromarray(RGB), "PNG")
    with pytest.raises(TooLarge):
        decode_image(data, ImageLimits(max_pixels=16 * 24 - 1))
    with pytest.raises(TooLarge):
        decode_image(data, ImageLimits(max_bytes=len(data) - 1))
    assert decode_image(data, ImageLimits(max_bytes=len(data), max_pixels=16 * 24)).size == (16, 24)


def test_tiff_with_huge_tiles_is_refused():
    entries = [
        (256, 4, 8), (257, 4, 8), (258, 3, 8), (259, 3, 1), (262, 3, 1), (277, 3, 1),
        (322, 4, 60_000), (323, 4, 60_000), (324, 4, 0), (325, 4, 64),
    ]  # fmt: skip
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    data = b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", len(entries)) + table + bytes(80)
    with pytest.raises(EdgeCLError):
        decode_image(data)


def test_a_line_is_no_image():
    with pytest.raises(InvalidImage, match="line"):
        decode_image(encoded(Image.new("RGB", (2001, 2)), "PNG"))


@pytest.mark.parametrize("data", [b"", b"\x00", b"not an image", b"%PDF-1.7 ...", b"<svg/>"])
def test_bytes_that_are_no_image(data):
    with pytest.raises(InvalidImage, match="no image of a known format"):
        decode_image(data)


def test_formats_that_are_not_wanted_are_not_tried():
    with pytest.raises(InvalidImage):
        decode_image(encoded(Image.fromarray(RGB), "PPM"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_truncated_files_are_refused(kind, part):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    with pytest.raises(InvalidImage):
        decode_image(data[: int(part * len(data))])


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]),
    places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damage_never_raises_anything_but_our_own_errors(kind, places):
    data = bytearray(encoded(Image.fromarray(RGB), kind))
    for place, value in places:
        data[int(place * len(data))] = value
    try:
        decoded = decode_image(bytes(data), ImageLimits(max_pixels=100_000))
    except EdgeCLError:
        return
    assert decoded.mode == "RGB"


def test_large_jpegs_are_decoded_small_but_alike():
    row, column = np.mgrid[0:1200, 0:1600]
    photo = np.stack([row % 256, column % 256, (row + column) // 11 % 256], -1).astype(np.uint8)
    image = Image.fromarray(photo).resize((400, 300)).resize((1600, 1200))
    data = encoded(image, "JPEG", quality=95)
    small = decode_image(data, enough_px=128)
    assert 128 <= min(small.size) < 1200
    difference = fit(small, 64, 64, "squash").astype(int) - fit(
        decode_image(data), 64, 64, "squash"
    )
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (500, 7), (7, 500), (64, 64), (65, 64)])
@pytest.mark.parametrize("how", ["squash", "crop"])
def test_any_size_fits(size, how):
    fitted = fit(Image.new("RGB", size, (9, 8, 7)), 64, 48, how)
    assert fitted.shape == (64, 48, 3)
    assert (fitted == (9, 8, 7)).all()


def test_crop_keeps_the_centre_and_squash_everything():
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    assert (fit(Image.fromarray(wide), 10, 10, "crop") == 255).all()
    assert (fit(Image.fromarray(wide), 10, 10, "squash")[:, [0, -1]] == 0).all()


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8),
        np.zeros((0, 4, 3), np.uint8), "cup.jpg", None, 3,
    ],
)  # fmt: skip
def test_what_is_no_image_is_refused(bad):
    with pytest.raises(InvalidImage):
        rgb_image(bad)


def test_arrays_of_every_kind():
    for array in (RGB, RGB[..., 0], np.dstack([RGB, RGB[..., :1]]), RGB[::2, ::-1]):
        assert rgb_image(array).mode == "RGB"


def test_many_threads_decode_at_once():
    data = encoded(Image.fromarray(RGB), "PNG")
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(np.asarray(decode_image(data)).sum()))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [RGB.sum()] * 16
