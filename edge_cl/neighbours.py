"""Which remembered samples are like a new one: to explain a prediction, to find a copy."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from edge_cl.equations import l2
from edge_cl.memory import ReplayMemory
from edge_cl.strategy import Strategy
from edge_cl.types import Array, Float32, Int64

__all__ = ["Neighbour", "most_alike", "nearest"]

CHUNK_ROWS = 256
CLASS_ROWS = 512
"""Exemplars of one class that a sample is compared with, the newest: so it takes bounded time."""
FEW_ROWS = 2 * CLASS_ROWS
"""A memory of no more is compared with whole."""


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
    memory = _largest(strategy)
    if memory is None or count < 1:
        return ids, classes, cosines
    asked = l2(strategy.normalise(latents))
    for rows in memory.chunks(CHUNK_ROWS):
        likeness = asked @ l2(strategy.normalise(rows.latents)).T
        cosines = np.concatenate([cosines, likeness], axis=1)
        ids = np.concatenate([ids, np.broadcast_to(rows.ids, likeness.shape)], axis=1)
        classes = np.concatenate([classes, np.broadcast_to(rows.classes, likeness.shape)], axis=1)
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
        ids = np.take_along_axis(ids, best, axis=1)
        classes = np.take_along_axis(classes, best, axis=1)
        cosines = np.take_along_axis(cosines, best, axis=1)
    return ids, classes, cosines


def most_alike(
    strategy: Strategy, latents: Float32, wanted: Sequence[Collection[int]]
) -> tuple[Int64, Int64, Float32]:
    """Ids, classes and cosines (N,) of the exemplars that raw latents (N, D) look most like.

    Each is compared with the newest exemplars of its own `wanted` classes, or with all if
    there are few: as it is, and if it is of an extractor also as the codec would keep it,
    which is 1 for a copy whatever the codec loses. (Latents of others may be so close together
    that a codec keeps them as one.) They are not normalised as the strategy does. Where there
    is none, id and class are -1.
    """
    ids, classes = np.full(len(latents), -1), np.full(len(latents), -1)
    cosines = np.full(len(latents), -1, dtype=np.float32)
    memory = _largest(strategy)
    if memory is None or not memory.codec.fitted:
        return ids, classes, cosines
    if len(memory) <= FEW_ROWS:
        wanted = [np.flatnonzero(memory.counts).tolist()] * len(latents)
    codec, asked = memory.codec, l2(latents)
    kept = l2(codec.decode(codec.encode(latents))) if codec.spec.quantised else asked
    for cls in sorted({cls for some in wanted for cls in some}):
        rows = np.flatnonzero([cls in some for some in wanted])
        exemplars = memory.rows(_newest(memory, cls))
        if not len(exemplars):
            continue
        known = l2(exemplars.latents).T
        likeness = np.maximum(asked[rows] @ known, kept[rows] @ known)
        best = likeness.argmax(axis=1)
        cosine = likeness[np.arange(len(rows)), best]
        nearer = cosine > cosines[rows]
        found = rows[nearer]
        ids[found], classes[found] = exemplars.ids[best[nearer]], cls
        cosines[found] = cosine[nearer]
    return ids, classes, cosines


def _largest(strategy: Strategy) -> ReplayMemory | None:
    """The memory with the most samples, if any has some."""
    memories = [memory for memory in strategy.memories.values() if len(memory)]
    return max(memories, key=len) if memories else None


def _newest(memory: ReplayMemory, cls: int) -> Array:
    slots = memory.slots_of_class(cls)
    if len(slots) <= CLASS_ROWS:
        return slots
    _, _, ids = memory.labels(slots)
    return slots[np.argpartition(ids, -CLASS_ROWS)[-CLASS_ROWS:]]
