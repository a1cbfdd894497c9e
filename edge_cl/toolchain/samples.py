"""Images for calibration and parity, from a folder or a data pack."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from edge_cl.errors import ExtractorError, InvalidInput
from edge_cl.extractor.images import decode_image, fit
from edge_cl.toolchain.packs import read_pack
from edge_cl.types import Int64, UInt8

T = TypeVar("T")

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Samples:
    """Prepared images, and their classes where the source tells them.

    Parameters
    ----------
    images
        (N, H, W, 3) uint8 RGB.
    labels
        (N,) class numbers, or None.
    """

    images: UInt8
    labels: Int64 | None


def _from_folder(folder: Path) -> tuple[list[Path], list[str]]:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    return files, [p.parent.name for p in files]


def read_samples(
    source: Path, size: tuple[int, int], how: str, count: int = 2000, seed: int = 0
) -> Samples:
    """At most `count` images, drawn at random.

    Parameters
    ----------
    source
        A folder of images (class folders give labels), or a ``.tar.zst`` pack.
    size
        Height and width.
    how
        Aspect ratio policy, see `edge_cl.extractor.images.fit`.
    count
        Images wanted.
    seed
        Of the draw.
    """
    if source.is_dir():
        files, names = _from_folder(source)
        read = [(path.read_bytes(), name) for path, name in _draw(files, names, count, seed)]
    else:
        items = [(content, row.get("label", "")) for row, content in read_pack(source)]
        contents, names = [c for c, _ in items], [n for _, n in items]
        read = _draw(contents, names, count, seed)
    prepared = [(_prepared(content, size, how), name) for content, name in read]
    images = [image for image, _ in prepared if image is not None]
    labels = [name for image, name in prepared if image is not None]
    if len(images) < 16:
        raise ExtractorError(f"{source}: {len(images)} usable images, at least 16 are needed")
    classes = sorted(set(labels))
    known = np.array([classes.index(name) for name in labels], np.int64)
    return Samples(np.stack(images), known if len(classes) > 1 else None)


def _prepared(content: bytes, size: tuple[int, int], how: str) -> UInt8 | None:
    # A folder of photographs may hold a broken one; that is no reason to stop.
    try:
        return fit(decode_image(content), *size, how)
    except InvalidInput:
        return None


def _draw(things: list[T], names: list[str], count: int, seed: int) -> list[tuple[T, str]]:
    order = np.random.default_rng(seed).permutation(len(things))[:count]
    return [(things[k], names[k]) for k in order]
