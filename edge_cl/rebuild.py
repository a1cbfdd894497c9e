"""Another strategy for a learner that has learned: from its state, or from its exemplars."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from edge_cl.codec import make_codec
from edge_cl.errors import CheckpointError, Conflict
from edge_cl.memory import ReplayMemory
from edge_cl.memory.convert import convert
from edge_cl.options import Options
from edge_cl.strategy import Strategy
from edge_cl.types import Array, Batch, Int64

HARMLESS = frozenset({
    "batch_size", "codec", "epochs", "experience_samples", "learning_rate", "memory_samples",
    "replay_batch", "retrieval", "selection", "tail_learning_rate", "weight_decay",
})  # fmt: skip
"""Options that do not change what the arrays of a strategy mean."""

CHUNK_ROWS = 64


class Exemplars:
    """All that the memories of a strategy kept, in an order to be learned in.

    A stream of one class after the other would be the hardest to learn from, so they
    are shuffled, as `seed` says. For a strategy that consolidates between contexts,
    these come one after the other.
    """

    def __init__(
        self, memories: Mapping[str, ReplayMemory], seed: int, *, by_context: bool = False
    ) -> None:
        self._memories = list(memories.values())
        sizes = [len(memory) for memory in self._memories]
        parts = [
            memory.labels(np.arange(size))
            for memory, size in zip(self._memories, sizes, strict=True)
        ]
        where = np.repeat(np.arange(len(sizes)), sizes)
        slots = np.concatenate([np.zeros(0, dtype=np.int64), *map(np.arange, sizes)])
        empty = np.zeros((3, 0), dtype=np.int64)
        classes, contexts, ids = np.concatenate([empty, *parts], axis=1)
        order = np.random.Generator(np.random.PCG64(seed)).permutation(len(slots))
        if by_context:
            order = order[np.argsort(contexts[order], kind="stable")]
        order = order[_first_of_each(ids[order])]
        self._where, self._slots = where[order], slots[order]
        self.classes, self.contexts, self.ids = classes[order], contexts[order], ids[order]

    def __len__(self) -> int:
        return len(self._slots)

    def batches(self) -> Iterator[Batch]:
        """All of them, a few decoded at a time."""
        for start in range(0, len(self), CHUNK_ROWS):
            part = slice(start, start + CHUNK_ROWS)
            where, slots = self._where[part], self._slots[part]
            latents = np.zeros((len(slots), self._memories[0].codec.dim), dtype=np.float32)
            for number in np.unique(where):
                rows = where == number
                latents[rows] = self._memories[number].rows(slots[rows]).latents
            yield Batch(latents, self.classes[part], self.contexts[part], self.ids[part])


def _first_of_each(ids: Int64) -> Array:
    """Positions of all samples, each numbered one only where it comes first."""
    first = np.zeros(len(ids), dtype=np.bool_)
    first[np.unique(ids, return_index=True)[1]] = True
    return np.flatnonzero(first | (ids < 0))


def prepare(
    old: Strategy,
    kind: type[Strategy],
    options: Options,
    allowed_bytes: int,
    labels: Sequence[str],
) -> tuple[Strategy, Exemplars]:
    """An empty strategy of `kind`, and the exemplars that it can learn.

    Parameters
    ----------
    old
        The strategy whose place it is to take.
    kind, options
        The new one.
    allowed_bytes
        What it may take.
    labels
        Of all classes that were learned; empty for a class that has been forgotten.

    Raises
    ------
    Conflict
        A class has no exemplar, so that it would be lost.
    BudgetExceeded, ContextRequired, InvalidInput
        The new strategy cannot learn them.
    """
    new = kind(old.spec, options, seed=old.seed, allowed_bytes=allowed_bytes)
    by_context = kind.needs.boundaries or kind.needs.context_to_predict
    kept = Exemplars(old.memories, old.seed, by_context=by_context)
    if not carries_over(old, kind, options):
        _refuse_loss(old, kept, labels)
        new.check_contexts(kept.contexts)
    new.admit(old.classes, old.contexts, len(kept), allowed_bytes)
    return new, kept


def succeed(
    old: Strategy, kind: type[Strategy], options: Options, allowed_bytes: int, labels: Sequence[str]
) -> Strategy:
    """A strategy of `kind` that knows what `old` kept; same parameters as `prepare`.

    Where only options differ that leave the arrays' meaning as it is, they are taken
    over, and the memory is encoded anew. Else the exemplars are learned like a stream.
    """
    if carries_over(old, kind, options):
        try:
            return _taken_over(old, kind, options, allowed_bytes)
        except CheckpointError:
            # An option has changed the shape of an array after all.
            _refuse_loss(old, Exemplars(old.memories, old.seed), labels)
    new, kept = prepare(old, kind, options, allowed_bytes, labels)
    new.grow(old.classes, old.contexts, allowed_bytes)
    for batch in kept.batches():
        new.observe(batch)
    new.end_experience()
    return new


def carries_over(old: Strategy, kind: type[Strategy], options: Options) -> bool:
    """Whether the arrays of `old` mean the same under these options."""
    if type(old) is not kind:
        return False
    before, after = old.options.model_dump(), options.model_dump()
    return all(before[name] == after[name] for name in before.keys() - HARMLESS)


def _refuse_loss(old: Strategy, kept: Exemplars, labels: Sequence[str]) -> None:
    known = set(kept.classes.tolist())
    lost = [label for c, label in enumerate(labels) if label and c not in known]
    if not lost:
        return
    names = ", ".join(repr(label) for label in lost[:5])
    raise Conflict(
        f"strategy {old.name!r} keeps no exemplar of {len(lost)} of {len(labels)} classes "
        f"({names}{', …' if len(lost) > 5 else ''}), and another strategy can only be built "
        "from exemplars: "
        + (
            "teach a sample of each, then change it"
            if old.memories
            else "create a learner with the other strategy and teach it"
        )
    )


def _taken_over(
    old: Strategy, kind: type[Strategy], options: Options, allowed_bytes: int
) -> Strategy:
    new = kind(old.spec, options, seed=old.seed, allowed_bytes=allowed_bytes)
    arrays = {name: array for name, array in old.arrays().items() if "/" not in name}
    rng = np.random.Generator(np.random.PCG64(old.seed))
    for name, plan in new.memory_plans().items():
        source = copy.deepcopy(old.memories[name])
        codec = make_codec(plan.codec, new.spec)
        columns = old.columns(name, old.classes)
        beside = sum(slot.stored_bytes for slot in columns.values())
        bytes_now = source.bytes_for(
            source.codec.row_bytes + beside, source.capacity, source.selection
        )
        fits = source.capacity_for(bytes_now, codec.row_bytes + beside, plan.selection)
        if fits < source.capacity:
            # Before it is encoded in more bytes: two copies are enough.
            source.resize(max(fits, 1), rng)
        memory = ReplayMemory(codec, source.capacity, plan.selection, plan.retrieval, columns)
        convert(source, memory, rng)
        arrays |= {f"{name}/{part}": array for part, array in memory.arrays().items()}
    new.restore(arrays, old.classes, old.contexts, allowed_bytes)
    new.grow(old.classes, old.contexts, allowed_bytes)
    return new
