import io
import tarfile

import numpy as np
import pytest
import zstandard
from PIL import Image

from edge_cl.errors import ExtractorError
from edge_cl.toolchain.packs import cached_images, read_images, read_pack
from edge_cl.toolchain.samples import read_samples


def png(colour: tuple[int, int, int], side: int = 6) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(target, "PNG")
    return target.getvalue()


@pytest.fixture
def pack(tmp_path):
    """Forty images of two classes in a pack."""
    members = {f"train/{k}.png": png((k, 255 * (k % 2), 9)) for k in range(40)}
    rows = ["path,split,label,class"]
    rows += [f"{path},train,{k % 2},c{k % 2}" for k, path in enumerate(members)]
    path = tmp_path / "small.tar.zst"
    packed = zstandard.ZstdCompressor().stream_writer(path.open("wb"))
    with packed, tarfile.open(fileobj=packed, mode="w|") as archive:
        for name, content in {"index.csv": "\n".join(rows).encode(), **members}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def test_items_come_with_their_rows(pack):
    items = list(read_pack(pack))
    assert len(items) == 40
    row, content = items[3]
    assert (row["label"], row["class"]) == ("1", "c1")
    assert Image.open(io.BytesIO(content)).getpixel((0, 0)) == (3, 255, 9)


def test_images_are_resized_and_labelled(pack):
    images, labels = read_images(pack, "train", 4)
    assert images.shape == (40, 4, 4, 3)
    assert labels.tolist() == [0, 1] * 20


def test_images_are_decoded_once(pack, tmp_path):
    first, _ = cached_images(pack, "train", 4, tmp_path / "work")
    pack.unlink()
    again, labels = cached_images(pack, "train", 4, tmp_path / "work")
    assert np.array_equal(first, again)
    assert len(labels) == 40


def test_samples_of_a_pack(pack):
    samples = read_samples(pack, (5, 5), "squash", count=30)
    assert samples.images.shape == (30, 5, 5, 3)
    assert np.array_equal(samples.images[:, 0, 0, 1] // 255, samples.labels)


def test_samples_of_a_folder_skip_broken_files(tmp_path):
    for k in range(20):
        folder = tmp_path / f"class{k % 2}"
        folder.mkdir(exist_ok=True)
        (folder / f"{k}.png").write_bytes(png((k, 0, 0)))
    (tmp_path / "class0" / "broken.png").write_bytes(b"no image")
    samples = read_samples(tmp_path, (4, 4), "crop")
    assert len(samples.images) == 20
    assert sorted(set(samples.labels.tolist())) == [0, 1]


def test_too_few_samples(tmp_path):
    (tmp_path / "one.png").write_bytes(png((1, 2, 3)))
    with pytest.raises(ExtractorError, match="at least 16"):
        read_samples(tmp_path, (4, 4), "squash")
