"""Nearest class mean."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from edge_cl.options import Options
from edge_cl.state import Role, Slot
from edge_cl.strategy import Strategy
from edge_cl.types import Array, Batch, Float32, Float64


class NCM(Strategy):
    """Keeps the mean latent of every class, and answers the nearest one.

    Exact: the means depend on the samples, not on their order (Mensink et al. 2013,
    eq. 1; as a continual learner: Rebuffi et al. 2017, section 2.1).
    """

    name: ClassVar[str] = "ncm"
    paper: ClassVar[str] = "Mensink et al. 2013, doi:10.1109/TPAMI.2013.83, eq. 1"
    options_type: ClassVar[type[Options]] = Options
    subtracts: ClassVar[bool] = True
    forgetting: ClassVar[Literal["exact", "approximate"]] = "exact"
    class_stands_alone: ClassVar[bool] = True

    total: Float64
    count: Array
    mean: Float32

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """Sum and number of each class's latents; their means are derived."""
        return {
            "total": Slot((classes, self.spec.dim), np.float64),
            "count": Slot((classes,), np.int64),
            "mean": Slot((classes, self.spec.dim), role=Role.DERIVED),
        }

    def step(self, batch: Batch) -> float:
        """Nothing is iterated: `remember` adds each sample once."""
        return 0.0

    def remember(self, batch: Batch) -> None:
        """Add every latent to its class."""
        self._count(batch, 1)

    absorb = remember

    def unlearn(self, batch: Batch) -> None:
        """Subtract every latent from its class."""
        self._count(batch, -1)

    def _count(self, batch: Batch, sign: int) -> None:
        latents = self.normalise(batch.latents).astype(np.float64)
        np.add.at(self.total, batch.classes, sign * latents)
        np.add.at(self.count, batch.classes, sign)

    def merge_class(self, cls: int, into: int) -> bool:
        """Add sums and numbers."""
        self.total[into] += self.total[cls]
        self.count[into] += self.count[cls]
        return True

    def settle(self) -> None:
        """Divide sums by numbers."""
        self.mean = (self.total / np.maximum(self.count, 1)[:, None]).astype(np.float32)

    def scores(self, latents: Float32, context: int | None = None) -> Float32:
        """Minus half the squared distance to each mean, up to a constant of the latent."""
        half_square = np.float32(0.5) * (self.mean * self.mean).sum(axis=1)
        scores: Float32 = latents @ self.mean.T - half_square
        return scores
