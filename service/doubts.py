"""What is said of samples that are learned all the same: doubtful images, near-duplicates."""

from __future__ import annotations

import io
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edge_cl.extractor.quality import flaws
from edge_cl.types import Array, Float32, LatentSpec, UInt8
from service.bodies import Item

if TYPE_CHECKING:
    from service.operations import Sample
    from service.served import ServedLearner

__all__ = ["Recent", "Warned", "quality_warnings", "remembered_warnings"]

RECENT_SAMPLES = 256
SAME_IMAGE = 0.97
"""Cosine of two latents of the service's extractor above which images are taken for one."""
SAME_LATENT = 0.9999
"""The same for latents of which nothing is known."""
ADVICE = {
    "small": "the image is less than half as large as the extractor's input",
    "dark": "the image is very dark",
    "bright": "the image is very bright",
    "flat": "the image has next to no contrast",
    "blurred": "the image is blurred",
}


@dataclass(frozen=True)
class Warned:
    """One doubt about one sample.

    Parameters
    ----------
    sample
        Its place in the request, from 0.
    kind
        ``near-duplicate``, ``label-conflict``, or a flaw of the image.
    detail
        What was found.
    """

    sample: int
    kind: str
    detail: str


class Recent:
    """The latents that a learner was taught last, to find the same one again.

    In memory alone: after a restart it is empty, and nothing depends on it.
    """

    def __init__(self) -> None:
        self._directions: Float32 = np.zeros((0, 0), dtype=np.float32)
        self._labels: list[str] = []
        self._added = 0
        self._lock = threading.Lock()

    def warnings(self, latents: Array, labels: Sequence[str], spec: LatentSpec) -> list[Warned]:
        """Samples that are like one of the last, or like one before them; then keep them."""
        rows = _directions(latents, spec)
        least = _least(spec)
        with self._lock:
            if not self._labels:
                self._directions = np.zeros((RECENT_SAMPLES, spec.dim), dtype=np.float32)
            pairs = enumerate(zip(rows, labels, strict=True))
            found = [self._added_warning(row, *pair, least) for row, pair in pairs]
        return [warned for warned in found if warned is not None]

    def _added_warning(
        self, row: int, direction: Float32, label: str, least: float
    ) -> Warned | None:
        likeness = self._directions[: len(self._labels)] @ direction
        best = int(likeness.argmax()) if len(likeness) else 0
        known = self._labels[best] if len(likeness) and likeness[best] >= least else None
        place = self._added % RECENT_SAMPLES
        self._directions[place] = direction
        self._labels[place : place + 1] = [label]
        self._added += 1
        if known is None:
            return None
        if known == label:
            return Warned(row, "near-duplicate", "it is nearly the same as one of the last samples")
        detail = f"it is nearly the same as a sample that was taught as {known!r}"
        return Warned(row, "label-conflict", detail)


def remembered_warnings(
    served: ServedLearner, latents: Array, samples: Sequence[Sample], told: Collection[int]
) -> Iterator[Warned]:
    """Samples that are like an exemplar; rows that were `told` of already are left out.

    Of a large memory, the exemplars of their class and of the one that they were taken for.
    """
    rows = [row for row in range(len(samples)) if row not in told]
    if not rows:
        return
    labels = [{samples[row].label, samples[row].predicted or samples[row].label} for row in rows]
    least = _least(served.spec)
    for row, found in zip(
        rows, served.worker.lookup.most_alike(latents[rows], labels), strict=True
    ):
        if found is not None and found.similarity >= least:
            like = f"it is nearly the same as the remembered sample {found.sample_id}"
            if found.label == samples[row].label:
                yield Warned(row, "near-duplicate", like)
            else:
                detail = f"{like}, which was taught as {found.label!r}"
                yield Warned(row, "label-conflict", detail)


def _least(spec: LatentSpec) -> float:
    return SAME_IMAGE if spec.quantised else SAME_LATENT


def quality_warnings(items: Sequence[Item], pixels: Mapping[int, UInt8]) -> list[Warned]:
    """Flaws of the images of a request; `pixels` are those that the extractor saw, by row."""
    return [
        Warned(row, name, ADVICE[name])
        for row, seen in pixels.items()
        for name in flaws(seen, _shorter_side(items[row]))
    ]


def _shorter_side(item: Item) -> int | None:
    if not isinstance(item.image, bytes):
        return None
    with Image.open(io.BytesIO(item.image)) as image:
        return min(image.size)


def _directions(latents: Array, spec: LatentSpec) -> Float32:
    values = spec.to_float(latents) if latents.dtype == np.uint8 else latents.astype(np.float32)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    directions: Float32 = values / np.maximum(lengths, np.float32(1e-12))
    return directions
