"""From whatever a device sends to RGB pixels of the right size.

The policies, each with its test: EXIF orientation is applied; transparency is
laid over white; an animation counts as its first frame; 16-bit values are
scaled, not clipped; the declared number of pixels is checked before anything is
decoded; large JPEGs are decoded at reduced size.
"""

from __future__ import annotations

import io
import threading
import warnings
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from edge_cl.errors import EdgeCLError, InvalidImage, TooLarge
from edge_cl.types import Array, UInt8

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""The only formats that are tried: every decoder is a surface to attack."""

BACKGROUND = (255, 255, 255)
"""What shows through where an image is transparent."""

Source: TypeAlias = "bytes | Image.Image | UInt8"
"""An image: encoded, decoded by Pillow, or a uint8 array."""

_TIFF_TILE_WIDTH, _TIFF_TILE_HEIGHT = 322, 323
_ORIENTATION = 0x0112
_MAX_ASPECT = 1000

# catch_warnings changes the whole process: one thread at a time, and only while headers are read.
_header_lock = threading.Lock()
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True)
class ImageLimits:
    """What is refused before it is decoded.

    Parameters
    ----------
    max_bytes
        Length of the encoded image.
    max_pixels
        Width times height as the file declares them.
    """

    max_bytes: int = 32 * 1024 * 1024
    max_pixels: int = 40_000_000


def decode_image(
    data: bytes, limits: ImageLimits | None = None, enough_px: int | None = None
) -> Image.Image:
    """An encoded image as upright RGB.

    Parameters
    ----------
    data
        A JPEG, PNG, WebP, GIF, BMP or TIFF file.
    limits
        What is refused; `ImageLimits()` when None.
    enough_px
        The result may be smaller than the file's image as long as its shorter side
        has this many pixels. That makes large photographs several times cheaper.

    Raises
    ------
    InvalidImage
        When the bytes are no image, or a damaged one.
    TooLarge
        When a limit is passed.
    """
    limits = limits or ImageLimits()
    if len(data) > limits.max_bytes:
        raise TooLarge(
            f"the image has {len(data):,} bytes, at most {limits.max_bytes:,} are accepted"
        )
    try:
        image, orientation = _open(data, limits, enough_px)
        with image:
            image.load()
            _check_size(image.size, limits)
            small = _reduce(image, enough_px)
            return _to_rgb(_upright(small, orientation))
    except EdgeCLError:
        raise
    except Exception as failure:  # decoders raise nearly anything on damaged input
        raise InvalidImage(f"the image cannot be decoded: {failure}") from failure


def _open(data: bytes, limits: ImageLimits, enough_px: int | None) -> tuple[Image.Image, int]:
    with _header_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError as bomb:
            raise TooLarge(f"the image declares too many pixels: {bomb}") from bomb
        except UnidentifiedImageError:
            raise InvalidImage(
                f"{len(data):,} bytes that are no image of a known format ({', '.join(FORMATS)})"
            ) from None
        _check_size(image.size, limits)
        _check_tiles(image, limits)
        if enough_px is not None and image.format in ("JPEG", "MPO"):
            image.draft(None, _draft_size(image.size, enough_px))
        return image, _orientation(image)


def _check_size(size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise TooLarge(
            f"the image has {width} x {height} = {width * height:,} pixels, at most "
            f"{limits.max_pixels:,} are accepted"
        )
    if width < 1 or height < 1:
        raise InvalidImage(f"the image is {width} x {height} pixels: there is nothing in it")
    if max(size) > _MAX_ASPECT * min(size):
        raise InvalidImage(f"the image is {width} x {height} pixels: a line, not an image")


def _check_tiles(image: Image.Image, limits: ImageLimits) -> None:
    # A small TIFF may declare tiles of any size, and the decoder allocates whole tiles.
    tags = getattr(image, "tag_v2", None)
    if tags is not None:
        _check_tile(int(tags.get(_TIFF_TILE_WIDTH, 1)), int(tags.get(_TIFF_TILE_HEIGHT, 1)), limits)


def _check_tile(width: int, height: int, limits: ImageLimits) -> None:
    if width * height > limits.max_pixels:
        raise TooLarge(f"a tile of the TIFF has {width} x {height} pixels")


def _draft_size(size: tuple[int, int], enough_px: int) -> tuple[int, int]:
    shorter = min(size)
    return tuple(max(1, -(-side * enough_px // shorter)) for side in size)  # type: ignore[return-value]


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block is no reason to refuse good pixels
        return 1


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _reduce(image: Image.Image, enough_px: int | None) -> Image.Image:
    # Palette and 16-bit pixels cannot be averaged before they are converted.
    if enough_px is None or image.mode not in ("L", "RGB", "RGBA", "LA", "CMYK", "YCbCr"):
        return image
    factor = min(image.size) // enough_px
    if factor < 2 or image.mode in ("RGBA", "LA") or "transparency" in image.info:
        return image
    return image.reduce(factor)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_8_bit(np.asarray(image), image.mode)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        page = Image.new("RGB", image.size, BACKGROUND)
        page.paste(layer, mask=layer.getchannel("A"))
        return page
    return image.convert("RGB")


def _to_8_bit(values: Array, mode: str) -> UInt8:
    # Pillow's own conversion clips at 255, which turns a 16-bit photograph white.
    levels = values.astype(np.float64)
    if not np.isfinite(levels).all():
        raise InvalidImage("the image has pixels that are not finite numbers")
    if mode == "F":
        top = 1.0 if levels.max() <= 1.0 else 255.0 if levels.max() <= 255.0 else levels.max()
    else:
        top = 65535.0 if levels.max() <= 65535 else float(2**31 - 1)
    return np.clip(np.rint(levels * (255.0 / top)), 0, 255).astype(np.uint8)


def rgb_image(
    image: Source, limits: ImageLimits | None = None, enough_px: int | None = None
) -> Image.Image:
    """Any kind of image as upright RGB; parameters as in `decode_image`."""
    limits = limits or ImageLimits()
    if isinstance(image, (bytes, bytearray, memoryview)):
        return decode_image(bytes(image), limits, enough_px)
    if isinstance(image, np.ndarray):
        image = _from_array(image)
    if not isinstance(image, Image.Image):
        raise InvalidImage(
            f"an image is bytes, a PIL image or a uint8 array, not {type(image).__name__}"
        )
    _check_size(image.size, limits)
    return _to_rgb(ImageOps.exif_transpose(image))


def _from_array(pixels: Array) -> Image.Image:
    flat = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if pixels.dtype != np.uint8 or not flat or pixels.size == 0:
        raise InvalidImage(
            "an array is an image when it is uint8 (H, W), (H, W, 3) or (H, W, 4), not "
            f"{pixels.dtype} {pixels.shape}"
        )
    return Image.fromarray(np.ascontiguousarray(pixels))


def fit(image: Image.Image, height: int, width: int, how: str) -> UInt8:
    """RGB pixels (height, width, 3) of an RGB image, resized bilinearly with antialiasing.

    Parameters
    ----------
    image
        Any size.
    height, width
        Of the result.
    how
        ``squash`` keeps the whole image and gives up its aspect ratio; ``crop`` keeps
        the aspect ratio and gives up what lies outside the central part.
    """
    box = None
    if how == "crop":
        scale = min(image.width / width, image.height / height)
        left = (image.width - scale * width) / 2
        top = (image.height - scale * height) / 2
        box = (left, top, left + scale * width, top + scale * height)
    if image.size == (width, height):
        return np.asarray(image, np.uint8)
    resized = image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized, np.uint8)
