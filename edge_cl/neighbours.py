"""Which remembered samples are nearest to a new one: a prediction explained by examples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_cl.equations import l2
from edge_cl.strategy import Strategy
from edge_cl.types import Float32, Int64

__all__ = ["Neighbour", "nearest"]

CHUNK_ROWS = 256


@dataclass(frozen=True)
class Neighbour:
    """A remembered sample.

    Parameters
    ----------
    sample_id
        The id that it was taught with, or -1.
    label
        Its label.
    similarity
        Cosine of its normalised latent with that of the new sample, as far as the codec
        kept it.
    """

    sample_id: int
    label: str
    similarity: float


def nearest(strategy: Strategy, latents: Float32, count: int) -> tuple[Int64, Int64, Float32]:
    """Ids, classes and cosines (N, K) of the remembered samples nearest to raw latents (N, D).

    Of the strategy's memories the one with the most samples is searched, a part at a time;
    K is `count`, or less if it has less. Best first; of equals the one that is stored first.
    """
    empty = len(latents), 0
    ids, classes = np.zeros(empty, dtype=np.int64), np.zeros(empty, dtype=np.int64)
    cosines = np.zeros(empty, dtype=np.float32)
    memories = [memory for memory in strategy.memories.values() if len(memory)]
    if not memories or count < 1:
        return ids, classes, cosines
    asked = l2(strategy.normalise(latents))
    for rows in max(memories, key=len).chunks(CHUNK_ROWS):
        likeness = asked @ l2(strategy.normalise(rows.latents)).T
        cosines = np.concatenate([cosines, likeness], axis=1)
        ids = np.concatenate([ids, np.broadcast_to(rows.ids, likeness.shape)], axis=1)
        classes = np.concatenate([classes, np.broadcast_to(rows.classes, likeness.shape)], axis=1)
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
        ids = np.take_along_axis(ids, best, axis=1)
        classes = np.take_along_axis(classes, best, axis=1)
        cosines = np.take_along_axis(cosines, best, axis=1)
    return ids, classes, cosines
