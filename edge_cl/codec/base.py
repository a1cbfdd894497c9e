"""What a latent codec is: fixed bytes per latent, and a stated error."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from edge_cl.errors import CheckpointError
from edge_cl.types import Array, Float32, LatentSpec, UInt8


class Codec(ABC):
    """Turns latents into rows of bytes of one fixed width, and back.

    Parameters
    ----------
    spec
        Width of the latents, and their quantisation if they have one.

    Attributes
    ----------
    dim
        Values in one latent.
    row_bytes
        Bytes of one encoded latent.
    """

    name: ClassVar[str]
    row_bytes: int

    def __init__(self, spec: LatentSpec) -> None:
        self.spec = spec
        self.dim = spec.dim

    @property
    def fitted(self) -> bool:
        """False while the codec still needs to see latents to know their range."""
        return True

    def covers(self, latents: Float32) -> bool:
        """Whether every value of `latents`, (N, D), lies within the codec's range."""
        return True

    def wants_training(self, n_latents: int) -> bool:
        """Whether the codec would learn from `n_latents` more than it has; see `widened`."""
        return False

    def widened(self, latents: Float32) -> Codec:
        """A codec whose range covers `latents` beside the old range, with a margin.

        A codec of fixed range returns itself; what lies outside then saturates.
        """
        return self

    @abstractmethod
    def encode(self, latents: Float32) -> UInt8:
        """Rows of bytes, (N, row_bytes), of `latents`, (N, D); values out of range saturate."""

    @abstractmethod
    def decode(self, codes: UInt8) -> Float32:
        """Latents, (N, D) float32, of rows of bytes, (N, row_bytes)."""

    @abstractmethod
    def error_bound(self) -> float:
        """Largest ``|x - decode(encode(x))|`` of any value x within range, in latent units."""

    def arrays(self) -> dict[str, Array]:
        """What was learned from latents (ranges, codebooks); their bytes are on the ledger."""
        return {}

    def restore(self, arrays: dict[str, Array]) -> None:
        """Continue with the `arrays` of another codec of the same name and spec.

        Raises
        ------
        CheckpointError
            They are not this codec's arrays.
        """
        if arrays:
            raise CheckpointError(f"codec {self.name} has no arrays, got {sorted(arrays)}")

    def ledger_bytes(self) -> int:
        """Bytes of `arrays`."""
        return sum(int(array.nbytes) for array in self.arrays().values())


def widest(latents: Float32) -> float:
    """Largest magnitude in `latents`; 0 of an empty batch."""
    return float(np.max(np.abs(latents), initial=0.0))
