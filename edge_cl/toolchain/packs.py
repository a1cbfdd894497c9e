"""Reading data packs: a tar of images under Zstandard whose first member is ``index.csv``."""

from __future__ import annotations

import csv
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import zstandard
from PIL import Image

from edge_cl.types import Int64, UInt8


def read_pack(path: str | Path) -> Iterator[tuple[dict[str, str], bytes]]:
    """Index row and bytes of every item of a pack, in one streaming pass.

    Parameters
    ----------
    path
        A ``.tar.zst`` file whose first member is ``index.csv`` with a column ``path``.
    """
    with (
        open(path, "rb") as packed,
        tarfile.open(
            fileobj=zstandard.ZstdDecompressor().stream_reader(packed), mode="r|"
        ) as archive,
    ):
        rows: dict[str, dict[str, str]] | None = None
        for member in archive:
            member_file = archive.extractfile(member)
            if member_file is None:
                continue
            content = member_file.read()
            if rows is None:
                table = csv.DictReader(content.decode().splitlines())
                rows = {row["path"]: row for row in table}
            else:
                yield rows[member.name], content


def read_images(path: str | Path, split: str, side: int) -> tuple[UInt8, Int64]:
    """All images of one split as RGB of `side` x `side`, and their labels.

    Parameters
    ----------
    path
        The pack.
    split
        A value of the index column ``split``.
    side
        Images of another size are resized bilinearly, without keeping the aspect ratio.
    """
    images: list[npt.NDArray[np.uint8]] = []
    labels: list[int] = []
    for row, content in read_pack(path):
        if row["split"] != split:
            continue
        image = Image.open(io.BytesIO(content)).convert("RGB")
        if image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.BILINEAR)
        images.append(np.asarray(image, np.uint8))
        labels.append(int(row["label"]))
    return np.stack(images), np.asarray(labels, np.int64)


def cached_images(path: str | Path, split: str, side: int, folder: Path) -> tuple[UInt8, Int64]:
    """What `read_images` returns, decoded once and memory-mapped from `folder` after that."""
    stem = f"{Path(path).name.split('.')[0]}-{split}-{side}"
    image_file, label_file = folder / f"{stem}.npy", folder / f"{stem}-labels.npy"
    if not label_file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        images, labels = read_images(path, split, side)
        np.save(image_file, images)
        np.save(label_file, labels)
    return np.load(image_file, mmap_mode="r"), np.load(label_file)
