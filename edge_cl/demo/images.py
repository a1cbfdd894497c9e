"""Labelled images for the demo and the benchmarks, encoded as a device would send them."""

from __future__ import annotations

import io
import os
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from edge_cl.errors import EdgeCLError, MissingExtra
from edge_cl.toolchain.packs import read_pack

ByLabel: TypeAlias = dict[str, list[bytes]]

PACK = "cifar10.tar.zst"


@dataclass(frozen=True)
class LabelledImages:
    """Encoded images of some classes, split into those to teach and those to test with.

    Parameters
    ----------
    source
        Where they come from, for people to read.
    train, test
        Images by label; both have the same labels.
    """

    source: str
    train: ByLabel
    test: ByLabel

    @property
    def labels(self) -> list[str]:
        """All labels, sorted."""
        return sorted(self.train)

    def part(self, train_per_class: int, test_per_class: int, seed: int = 0) -> LabelledImages:
        """So many images of every class, drawn without replacement."""
        chance = random.Random(seed)
        return LabelledImages(
            self.source,
            {label: _drawn(self.train[label], train_per_class, chance) for label in self.labels},
            {label: _drawn(self.test[label], test_per_class, chance) for label in self.labels},
        )


def shared_folder() -> Path | None:
    """The folder of data packs and models beside the checkout, if there is one.

    ``EDGE_CL_SHARED`` names another.
    """
    named = os.environ.get("EDGE_CL_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[3] / "shared"
    return folder if folder.is_dir() else None


def find_images(pack: Path | None = None) -> LabelledImages:
    """Images of `pack`, else of the CIFAR-10 pack if it is there, else handwritten digits."""
    folder = shared_folder()
    if pack is None and folder is not None and (folder / "data" / PACK).is_file():
        pack = folder / "data" / PACK
    return digits() if pack is None else from_pack(pack)


def from_pack(pack: Path) -> LabelledImages:
    """All images of a pack that has the splits ``train`` and ``test`` (or ``val``)."""
    train: ByLabel = defaultdict(list)
    test: ByLabel = defaultdict(list)
    for row, image in read_pack(pack):
        (train if row["split"] == "train" else test)[row["class"]].append(image)
    if not train or set(train) != set(test):
        raise EdgeCLError(f"{pack} has no splits 'train' and 'test' with the same classes")
    return LabelledImages(pack.name, dict(train), dict(test))


def digits() -> LabelledImages:
    """The 1,797 handwritten digits that come with scikit-learn, as PNG of 64 x 64."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtra("the digits of scikit-learn", "bench") from error
    loaded = load_digits()
    by_label: ByLabel = defaultdict(list)
    for pixels, digit in zip(loaded.images, loaded.target, strict=True):
        by_label[f"digit {digit}"].append(_png(pixels))
    return LabelledImages(
        "scikit-learn digits",
        {label: images[40:] for label, images in by_label.items()},
        {label: images[:40] for label, images in by_label.items()},
    )


def _png(pixels: object) -> bytes:
    import numpy as np
    from PIL import Image

    grey = np.clip(np.asarray(pixels) * 16, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).resize((64, 64), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def _drawn(images: list[bytes], count: int, chance: random.Random) -> list[bytes]:
    return chance.sample(images, min(count, len(images)))
