"""Labelled latents and pixels, read from data packs.

A `Dataset` is two pools of vectors, one to learn from and one to test with. Images
become latents through an extractor, once: `edge_cl.bench.latent_cache` keeps them.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_cl.bench.latent_cache import latents_of
from edge_cl.demo.images import shared_folder
from edge_cl.errors import EdgeCLError
from edge_cl.extractor import Extractor, load_extractor
from edge_cl.extractor.extractor import AT, BUILTIN, split_source
from edge_cl.toolchain.packs import read_pack
from edge_cl.types import Array, Float32, Int64, LatentSpec

DEFAULT_MODEL = "mobilenet_v1_0.5_160_int8"
TEST_SPLITS = ("test", "val", "small2")


@dataclass(frozen=True)
class Dataset:
    """Labelled vectors, split into those to learn and those to test with.

    Parameters
    ----------
    name
        For people to read.
    spec
        What the vectors are; with a scale, pools may be uint8 codes.
    labels
        Names of the classes, by class number.
    train, test
        (N, D) float32, or uint8 codes of `spec`.
    train_classes, test_classes
        (N,) class numbers.
    """

    name: str
    spec: LatentSpec
    labels: tuple[str, ...]
    train: Array
    train_classes: Int64
    test: Array
    test_classes: Int64

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.labels)

    def part(self, train: int | None, test: int | None, seed: int = 0) -> Dataset:
        """So many samples of each pool, as equal over classes as can be; all for None."""
        rng = np.random.default_rng(seed)
        kept = balanced_rows(self.train_classes, train, rng)
        tested = balanced_rows(self.test_classes, test, rng)
        return replace(
            self,
            train=self.train[kept],
            train_classes=self.train_classes[kept],
            test=self.test[tested],
            test_classes=self.test_classes[tested],
        )

    def train_latents(self) -> Float32:
        """All training vectors as float32."""
        return floats(self.train, self.spec)

    def test_latents(self) -> Float32:
        """All test vectors as float32."""
        return floats(self.test, self.spec)


def floats(rows: Array, spec: LatentSpec) -> Float32:
    """Rows as float32, decoded if they are codes."""
    return spec.to_float(rows) if rows.dtype == np.uint8 else rows.astype(np.float32)


def balanced_rows(classes: Int64, count: int | None, rng: np.random.Generator) -> Int64:
    """Sorted row numbers of `count` samples, each class's share equal to within one."""
    if count is None or count >= len(classes):
        return np.arange(len(classes))
    shuffled = rng.permutation(len(classes))
    by_class = [shuffled[classes[shuffled] == c] for c in np.unique(classes)]
    ranks = np.concatenate([np.arange(len(rows)) for rows in by_class])
    order = np.argsort(ranks, kind="stable")
    chosen: Int64 = np.sort(np.concatenate(by_class)[order[:count]])
    return chosen


def packs_folder(folder: Path | None = None) -> Path:
    """Where data packs lie: `folder`, else ``data`` in the shared folder.

    Raises
    ------
    EdgeCLError
        If there is no such folder, with the ways to name one.
    """
    if folder is None:
        shared = shared_folder()
        named = os.environ.get("EDGE_CL_SHARED")
        folder = (shared or Path(named or "../shared")) / "data"
    if not folder.is_dir():
        raise EdgeCLError(
            f"there is no folder of data packs at {folder}: set EDGE_CL_SHARED to a folder with "
            "data/*.tar.zst and models/*.onnx, or put it beside the checkout as 'shared'"
        )
    return folder


def find_pack(name: str, folder: Path | None = None) -> Path:
    """The file of the pack called `name`.

    Raises
    ------
    EdgeCLError
        If it is not there, with the packs that are.
    """
    found = packs_folder(folder) / f"{name}.tar.zst"
    if not found.is_file():
        there = sorted(p.name.removesuffix(".tar.zst") for p in found.parent.glob("*.tar.zst"))
        raise EdgeCLError(f"no pack {name!r} in {found.parent}; there are: {', '.join(there)}")
    return found


def find_extractor(name: str) -> Extractor:
    """The extractor ``default``, a model file, or a model of the shared folder by its stem.

    With ``@LAYER`` behind it, it is cut there.
    """
    whole, layer = split_source(name)
    if whole != BUILTIN and not Path(whole).is_file():
        whole = packs_folder().parent / "models" / f"{whole}.onnx"
    return load_extractor(whole if layer is None else f"{whole}{AT}{layer}")


def mnist(folder: Path | None = None) -> Dataset:
    """Handwritten digits; `Dataset.train_latents` gives pixels in [0, 1].

    The pools hold the pixels as bytes under a spec of scale 1/255, so that a replay
    memory of uint8 keeps them without loss.
    """
    pools: dict[tuple[str, str], Array] = {}
    for row, content in read_pack(find_pack("mnist", folder)):
        array = read_idx(content)
        pools[row["split"], "images" if array.ndim == 3 else "classes"] = array
    train, test = (pools[split, "images"] for split in ("train", "test"))
    return Dataset(
        "mnist",
        LatentSpec(784, scale=1 / 255, zero_point=0),
        tuple(str(digit) for digit in range(10)),
        train.reshape(len(train), 784),
        pools["train", "classes"].astype(np.int64),
        test.reshape(len(test), 784),
        pools["test", "classes"].astype(np.int64),
    )


def read_idx(content: bytes) -> Array:
    """The uint8 array of an IDX file.

    Its header is two zero bytes, the type (8 for uint8), the number of axes, and each
    axis's length as a big-endian 32-bit number.
    """
    zeros, kind, axes = struct.unpack_from(">HBB", content)
    if zeros != 0 or kind != 8:
        raise EdgeCLError(f"no IDX file of uint8: it begins with {content[:4].hex()}")
    shape = struct.unpack_from(f">{axes}I", content, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def latents(
    pack: str = "cifar10",
    extractor: str | Extractor = DEFAULT_MODEL,
    *,
    train: int | None = None,
    test: int | None = None,
    seed: int = 0,
    condition: str = "plain",
    share: tuple[int, int] = (0, 1),
    folder: Path | None = None,
) -> Dataset:
    """Latents of an image pack, from the cache where they are in it.

    Parameters
    ----------
    pack
        ``cifar10``, ``cifar100``, ``tinyimagenet`` or ``omniglot_small``.
    extractor
        As `find_extractor`, or an extractor.
    train, test, seed
        As `Dataset.part`; only what is asked for is extracted.
    condition
        Of the camera: one of `edge_cl.bench.conditions.CONDITIONS`.
    share
        (k, n) takes only the k-th of n equal parts of the training samples.
    folder
        Of the packs.
    """
    loaded = find_extractor(extractor) if isinstance(extractor, str) else extractor
    rng = np.random.default_rng(seed)

    def wanted(splits: Array, classes: Int64) -> Int64:
        is_test = np.isin(splits, TEST_SPLITS)
        chosen = []
        for rows, count in ((np.flatnonzero(~is_test), train), (np.flatnonzero(is_test), test)):
            chosen.append(rows[balanced_rows(classes[rows], count, rng)])
        chosen[0] = chosen[0][share[0] :: share[1]]
        return np.concatenate(chosen)

    found = latents_of(find_pack(pack, folder), loaded, condition, wanted)
    is_test = np.isin(found.splits, TEST_SPLITS)
    return Dataset(
        pack if condition == "plain" else f"{pack} {condition}",
        loaded.spec,
        found.labels,
        found.codes[~is_test],
        found.classes[~is_test],
        found.codes[is_test],
        found.classes[is_test],
    )
