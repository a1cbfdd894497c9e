"""What a correction is about: taught samples that somebody still has, and what it does to them."""

from __future__ import annotations

from dataclasses import dataclass

from edge_cl.types import Array, Batch

__all__ = ["NOTHING", "Correction", "Found", "Recall"]


@dataclass(frozen=True)
class Correction:
    """What a correction does.

    Parameters
    ----------
    samples
        Samples that it concerns.
    exact
        Whether the learner is then, to rounding, the one that was taught so from the start.
    """

    samples: int
    exact: bool


@dataclass(frozen=True)
class Recall:
    """Taught samples that somebody still has, who gives them back to have them corrected.

    Parameters
    ----------
    ids
        N sample ids.
    labels, contexts
        N, as the learner has them now.
    latents
        (N, D), as they were taught; None where they are no longer known.
    """

    ids: tuple[int, ...]
    labels: tuple[str, ...]
    contexts: tuple[str | None, ...]
    latents: Array | None = None

    def row(self, sample_id: int) -> int | None:
        """Where a sample stands, or None."""
        return self.ids.index(sample_id) if sample_id in self.ids else None


NOTHING = Recall((), (), ())


@dataclass(frozen=True)
class Found:
    """Samples to be corrected, and whether every latent is the one that was taught."""

    batch: Batch
    original: bool
    whole: bool = True
    """Whether every latent is known at all."""
