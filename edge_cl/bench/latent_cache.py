"""Latents on disk, so that every image goes through an extractor once.

One file holds the codes of a whole pack under one extractor and one condition; it is
named after the digests of both, and filled with what was asked for so far.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from edge_cl.bench.conditions import CONDITIONS
from edge_cl.commands.output import progress_bar
from edge_cl.errors import EdgeCLError
from edge_cl.extractor import Extractor
from edge_cl.toolchain.packs import read_pack
from edge_cl.types import Array, Bool, Int64, UInt8

BATCH_IMAGES = 16
SAVED_IMAGES = 4096
"""So many images are lost at most when the extraction is broken off."""

Wanted = Callable[[Array, Int64], Int64]
"""From splits and classes of a pack's items to the numbers of those that are wanted."""


@dataclass(frozen=True)
class Latents:
    """Codes of some items of a pack.

    Parameters
    ----------
    codes
        (N, D).
    classes, splits
        Of each.
    labels
        Names of the pack's classes.
    """

    codes: UInt8
    classes: Int64
    splits: Array
    labels: tuple[str, ...]


def cache_folder() -> Path:
    """``EDGE_CL_CACHE``, else ``~/.cache/edge-cl``."""
    named = os.environ.get("EDGE_CL_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "edge-cl"


def latents_of(pack: Path, extractor: Extractor, condition: str, wanted: Wanted) -> Latents:
    """Codes of the wanted items of a pack; those that are not in the cache are extracted.

    Raises
    ------
    EdgeCLError
        If there is no such condition.
    """
    if condition not in CONDITIONS:
        raise EdgeCLError(f"no condition {condition!r}; there are: {', '.join(CONDITIONS)}")
    digest = hashlib.sha256(pack.read_bytes()).hexdigest()
    splits, classes, labels = _index(pack, digest)
    rows = wanted(splits, classes)
    path = cache_path(pack, digest, extractor, condition)
    codes, done = load_codes(path, len(classes), extractor.manifest.dim)
    if not done[rows].all():
        _fill(pack, extractor, condition, np.setdiff1d(rows, np.flatnonzero(done)), path)
        codes, done = load_codes(path, len(classes), extractor.manifest.dim)
    return Latents(codes[rows], classes[rows], splits[rows], labels)


def cache_path(pack: Path, pack_sha256: str, extractor: Extractor, condition: str) -> Path:
    """Where codes are kept."""
    stem = pack.name.removesuffix(".tar.zst")
    keys = f"{pack_sha256[:12]}-{extractor.manifest.sha256[:12]}"
    return cache_folder() / f"{stem}-{condition}-{keys}.npz"


def load_codes(path: Path, items: int, dim: int) -> tuple[UInt8, Bool]:
    """Codes of all items, and which of them are there."""
    if not path.is_file():
        return np.zeros((items, dim), np.uint8), np.zeros(items, np.bool_)
    with np.load(path) as kept:
        found, done = kept["codes"], kept["done"]
    if len(found) == items:
        return found, done
    codes = np.zeros((items, dim), np.uint8)
    codes[done] = found
    return codes, done


def save_arrays(path: Path, arrays: dict[str, Array]) -> None:
    """Write arrays atomically, so that a reader at the same time sees a whole file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    Path(file.name).replace(path)


def _index(pack: Path, digest: str) -> tuple[Array, Int64, tuple[str, ...]]:
    path = cache_folder() / f"{pack.name.removesuffix('.tar.zst')}-index-{digest[:12]}.npz"
    if not path.is_file():
        items = [row for row, _ in read_pack(pack)]
        names = {int(row["label"]): row.get("class") or row["label"] for row in items}
        save_arrays(
            path,
            {
                "splits": np.array([row["split"] for row in items]),
                "classes": np.array([int(row["label"]) for row in items], np.int64),
                "labels": np.array([names[label] for label in sorted(names)]),
            },
        )
    with np.load(path) as kept:
        return kept["splits"], kept["classes"], tuple(str(label) for label in kept["labels"])


def _fill(pack: Path, extractor: Extractor, condition: str, rows: Int64, path: Path) -> None:
    wanted = set(rows.tolist())
    images = (
        (number, content) for number, (_, content) in enumerate(read_pack(pack)) if number in wanted
    )
    found: dict[int, UInt8] = {}
    with progress_bar(f"{pack.name}, {condition}: extracting", len(rows)) as advance:
        for numbers, batch in _batches(images, extractor, condition):
            found.update(zip(numbers, extractor.extract(batch), strict=True))
            advance(len(numbers))
            if len(found) >= SAVED_IMAGES:
                _merge(path, found, pack, extractor)
                found.clear()
    _merge(path, found, pack, extractor)


def _batches(
    images: Iterator[tuple[int, bytes]], extractor: Extractor, condition: str
) -> Iterator[tuple[list[int], UInt8]]:
    change = CONDITIONS[condition]
    numbers: list[int] = []
    batch: list[UInt8] = []
    for number, content in images:
        numbers.append(number)
        source: bytes | Image.Image = content
        if condition != "plain":
            source = change(Image.open(io.BytesIO(content)).convert("RGB"))
        batch.append(extractor.prepare(source))
        if len(batch) == BATCH_IMAGES:
            yield numbers, np.stack(batch)
            numbers, batch = [], []
    if batch:
        yield numbers, np.stack(batch)


def _merge(path: Path, found: dict[int, UInt8], pack: Path, extractor: Extractor) -> None:
    """Add what was extracted to what is in the file now: another run may have added too."""
    digest = hashlib.sha256(pack.read_bytes()).hexdigest()
    splits, _, _ = _index(pack, digest)
    codes, done = load_codes(path, len(splits), extractor.manifest.dim)
    numbers: Sequence[int] = list(found)
    codes[numbers] = np.stack(list(found.values()))
    done[numbers] = True
    # Only what is there: at a replay layer the codes of a whole pack are a gigabyte.
    save_arrays(path, {"codes": codes[done], "done": done})
