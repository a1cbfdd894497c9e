"""The nouns that every part of edge_cl shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Float32: TypeAlias = npt.NDArray[np.float32]
Float64: TypeAlias = npt.NDArray[np.float64]
Int8: TypeAlias = npt.NDArray[np.int8]
UInt8: TypeAlias = npt.NDArray[np.uint8]
Int64: TypeAlias = npt.NDArray[np.int64]
Bool: TypeAlias = npt.NDArray[np.bool_]
Array: TypeAlias = npt.NDArray[Any]

NO_CONTEXT = -1
"""Context id of a sample that came without one."""

NO_ID = -1
"""Sample id of a sample that nobody numbered."""


@dataclass(frozen=True)
class LatentSpec:
    """What a latent vector is: its width, and its quantisation if it has one.

    A latent value is ``(code - zero_point) * scale`` when the extractor emits
    uint8 codes; `scale` is None for latents that are plain float32.

    Parameters
    ----------
    dim
        Values in one latent.
    scale
        Step between two codes, in latent units, or None.
    zero_point
        The code of the latent value 0.
    tail
        The extractor's layers above the latent, as an ONNX model, for strategies that
        train them further; None where the latent is the extractor's last layer. It is no
        part of what the latents are.
    """

    dim: int
    scale: float | None = None
    zero_point: int = 0
    tail: bytes | None = field(default=None, compare=False, repr=False)

    @property
    def quantised(self) -> bool:
        """Whether the extractor emits uint8 codes."""
        return self.scale is not None

    def to_float(self, codes: UInt8) -> Float32:
        """Latents of uint8 `codes`; shapes are equal."""
        if self.scale is None:
            raise ValueError("these latents have no codes: the spec has no scale")
        latents = codes.astype(np.float32)
        latents -= np.float32(self.zero_point)
        latents *= np.float32(self.scale)
        return latents

    def to_codes(self, latents: Float32) -> UInt8:
        """Nearest uint8 codes of `latents`; inverse of `to_float` on its range."""
        if self.scale is None:
            raise ValueError("these latents have no codes: the spec has no scale")
        codes = np.rint(latents / np.float32(self.scale)) + np.float32(self.zero_point)
        clipped: Float32 = np.clip(codes, 0, 255)
        return clipped.astype(np.uint8)


@dataclass(frozen=True)
class Batch:
    """Labelled latents, in the order in which they came.

    Parameters
    ----------
    latents
        (B, D) float32, finite.
    classes
        (B,) int64, each below the number of classes seen.
    contexts
        (B,) int64 context ids, `NO_CONTEXT` where none was given.
    ids
        (B,) int64 sample ids, `NO_ID` where nobody numbered them.
    """

    latents: Float32
    classes: Int64
    contexts: Int64
    ids: Int64

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, rows: slice | Int64 | Bool) -> Batch:
        """The batch of these rows."""
        return Batch(self.latents[rows], self.classes[rows], self.contexts[rows], self.ids[rows])

    @staticmethod
    def of(latents: Float32, classes: Int64, context: int = NO_CONTEXT) -> Batch:
        """A batch of one context whose samples have no ids."""
        n = len(classes)
        return Batch(
            latents,
            classes,
            np.full(n, context, dtype=np.int64),
            np.full(n, NO_ID, dtype=np.int64),
        )

    @staticmethod
    def empty(dim: int) -> Batch:
        """A batch of no rows."""
        return Batch.of(np.zeros((0, dim), dtype=np.float32), np.zeros(0, dtype=np.int64))

    @staticmethod
    def concat(batches: list[Batch]) -> Batch:
        """All rows of `batches`, in order."""
        return Batch(
            np.concatenate([b.latents for b in batches]),
            np.concatenate([b.classes for b in batches]),
            np.concatenate([b.contexts for b in batches]),
            np.concatenate([b.ids for b in batches]),
        )


@dataclass(frozen=True)
class Prediction:
    """What a learner says about one sample.

    Parameters
    ----------
    label
        The most probable label; the empty string when no class is known yet.
    score
        Its probability, in [0, 1].
    unknown
        Whether the sample looks like none of the learned classes.
    top
        The `top_k` most probable (label, probability) pairs, best first.
    version
        Version of the learner that answered.
    typicality
        Share of samples of the learned classes that look less like these than this sample;
        `unknown` is a typicality at or below the false-reject rate.
    """

    label: str
    score: float
    unknown: bool = False
    top: tuple[tuple[str, float], ...] = field(default=())
    version: int = 0
    typicality: float = 1.0
