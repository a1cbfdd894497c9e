"""The replay memory: encoded latents in a fixed number of bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from edge_cl.codec import Codec
from edge_cl.errors import CheckpointError
from edge_cl.memory import latents
from edge_cl.memory.retrieval import Pool, make_retrieval
from edge_cl.memory.rows import Rows, check_labels
from edge_cl.memory.selection import DROP, make_selection, selection_bytes
from edge_cl.memory.selection.base import COUNTERS
from edge_cl.state import Slot
from edge_cl.types import Array, Batch, Float32, Int64

_COUNTER_BYTES = 8 * (2 + COUNTERS)
_CODEC_PREFIX = "codec."
_POLICY_PREFIX = "selection."


class ReplayMemory:
    """Up to `capacity` encoded latents with their class, context and id.

    The arrays are allocated at capacity, so the ledger is constant until
    `resize`. Adding, replacing and drawing a row cost the same however many
    rows there are and however long the stream was. Adding samples one by one or
    in batches leads to the same memory, bit for bit (given the codec's range).

    Parameters
    ----------
    codec
        How a latent is kept. A codec without a range is fitted on the first
        `add`; when later latents leave its range, all rows are re-encoded
        with a wider one (`edge_cl.codec.span` bounds how often and the error).
    capacity
        Rows there is room for.
    selection
        What stays: one of `selections()`.
    retrieval
        What comes back: one of `retrievals()`.
    columns
        What else is kept of each row, by name: shape and type of one row's value.
        Their bytes count as part of the row's in `bytes_for`.
    """

    def __init__(
        self,
        codec: Codec,
        capacity: int,
        selection: str = "reservoir",
        retrieval: str = "uniform",
        columns: Mapping[str, Slot] | None = None,
    ) -> None:
        self.codec = codec
        self.selection = selection
        self.retrieval = retrieval
        make_retrieval(retrieval)
        self._policy = make_selection(selection, capacity)
        self._rows = Rows(capacity, codec.row_bytes, columns)

    @staticmethod
    def bytes_for(codec_row_bytes: int, capacity: int, selection: str) -> int:
        """Bytes of a memory of `capacity` rows, without the codec's own arrays."""
        rows_bytes = Rows.bytes_for(capacity, codec_row_bytes)
        return rows_bytes + _COUNTER_BYTES + selection_bytes(selection, capacity)

    @staticmethod
    def capacity_for(allowed_bytes: int, codec_row_bytes: int, selection: str) -> int:
        """Most rows whose memory takes at most `allowed_bytes`; 0 if not even one fits."""
        low, high = 0, max(0, allowed_bytes) // (codec_row_bytes + 1) + 1
        while high - low > 1:
            middle = (low + high) // 2
            if ReplayMemory.bytes_for(codec_row_bytes, middle, selection) <= allowed_bytes:
                low = middle
            else:
                high = middle
        return low

    @property
    def capacity(self) -> int:
        """Rows there is room for."""
        return self._rows.capacity

    @property
    def counts(self) -> Int64:
        """(C,) rows of each class, up to the highest class that has any."""
        classes = self._rows.index.classes()
        counts = np.zeros(int(classes[-1]) + 1 if len(classes) else 0, dtype=np.int64)
        counts[classes] = self._rows.index.sizes()
        return counts

    def __len__(self) -> int:
        return self._rows.size

    def add(
        self,
        batch: Batch,
        rng: np.random.Generator,
        weights: Float32 | None = None,
        columns: Mapping[str, Array] | None = None,
    ) -> None:
        """Offer each sample of `batch` once, in order, to the selection policy.

        Parameters
        ----------
        batch
            Samples.
        rng
            Source of randomness.
        weights
            (B,) how much to keep each, for the policy `weighted`: a loss or
            another measure of uncertainty; positive.
        columns
            (B, …) values of each sample, by name; columns that are not given are 0.

        Raises
        ------
        InvalidInput
            A class or context id is beyond what a row can hold.
        BudgetExceeded
            The policy evicts nothing, and the samples do not fit; none is added.
        """
        if self.capacity == 0 or len(batch) == 0:
            return
        check_labels(batch)
        self._policy.admit(self._rows, len(batch))
        self._policy.prepare(self._rows, self._latents)
        wanted = [None] * len(batch) if weights is None else weights.tolist()
        slots = np.empty(len(batch), dtype=np.int64)
        offers = (batch.classes.tolist(), batch.contexts.tolist(), batch.ids.tolist(), wanted)
        for i, (cls, context, sample_id, weight) in enumerate(zip(*offers, strict=True)):
            slots[i] = slot = self._policy.choose(self._rows, cls, rng, weight)
            if slot != DROP:
                self._rows.write(slot, cls, context, sample_id)
        kept = slots != DROP
        given = {name: values[kept] for name, values in (columns or {}).items()}
        self._fill(slots[kept], batch.latents[kept], given)

    def put(self, slot: int, sample: Batch, columns: Mapping[str, Array] | None = None) -> None:
        """Put a batch of one into `slot`, past the selection policy.

        Parameters
        ----------
        slot
            The next free one, ``len(self)``, or one in use, whose row it replaces.
        sample
            A batch of one.
        columns
            As in `add`.
        """
        check_labels(sample)
        labels = (int(a[0]) for a in (sample.classes, sample.contexts, sample.ids))
        self._rows.write(slot, *labels)
        self._fill(np.array([slot]), sample.latents, columns or {})

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        *,
        retrieval: str | None = None,
        classes: Iterable[int] | None = None,
        exclude_context: int | None = None,
        hardness: Callable[[Batch], Float32] | None = None,
    ) -> Batch:
        """The rows that `draw` chose; same parameters."""
        return self.rows(
            self.draw(
                n,
                rng,
                retrieval=retrieval,
                classes=classes,
                exclude_context=exclude_context,
                hardness=hardness,
            )
        )

    def draw(
        self,
        n: int,
        rng: np.random.Generator,
        *,
        retrieval: str | None = None,
        classes: Iterable[int] | None = None,
        exclude_context: int | None = None,
        hardness: Callable[[Batch], Float32] | None = None,
    ) -> Array:
        """Slots of `n` rows without replacement; fewer when there are fewer.

        Parameters
        ----------
        n
            Rows to draw.
        rng
            Source of randomness.
        retrieval
            Another policy than the memory's.
        classes
            Draw from these classes only.
        exclude_context
            Draw from other contexts only. This compares the context of every
            row (2 bytes each); without it the cost does not depend on the rows.
        hardness
            Scores of a batch's rows, (n,), larger is harder: for `hardest_first`.
        """
        pool = self._pool(classes, exclude_context)
        if len(pool) == 0 or n <= 0:
            return np.zeros(0, dtype=np.int64)
        policy = make_retrieval(retrieval or self.retrieval)
        if hardness is None:
            return policy(pool, n, rng)
        score = hardness
        return policy(pool, n, rng, lambda slots: score(self.rows(slots)))

    def candidates(
        self, n: int, rng: np.random.Generator, *, exclude_context: int | None = None
    ) -> Batch:
        """Draw `n` rows uniformly, whatever the memory's retrieval: for the caller to rank."""
        return self.sample(n, rng, retrieval="uniform", exclude_context=exclude_context)

    def rows(self, slots: Array) -> Batch:
        """The rows in `slots`, decoded to float32."""
        return Batch(self._latents(slots), *self.labels(slots))

    def labels(self, slots: Array) -> Int64:
        """(3, n) class, context and id of the rows in `slots`."""
        rows = self._rows
        return np.stack(
            [a[slots].astype(np.int64) for a in (rows.classes, rows.contexts, rows.ids)]
        )

    def column(self, name: str) -> Array:
        """A view of the column `name`, (len(self), …); writing to it is allowed."""
        return self._rows.columns[name][: len(self)]

    def slots_of_class(self, cls: int) -> Array:
        """Slots of class `cls`, in no particular order."""
        return self._rows.index.slots_of(cls).astype(np.int64)

    def slots_of_context(self, context: int) -> Array:
        """Slots of context `context`, ascending."""
        return np.flatnonzero(self._rows.contexts[: len(self)] == context)

    def of_class(self, cls: int) -> Batch:
        """All rows of class `cls`."""
        return self.rows(self._rows.index.slots_of(cls))

    def of_context(self, context: int) -> Batch:
        """All rows of context `context`."""
        return self.rows(self.slots_of_context(context))

    def all(self) -> Batch:
        """All rows."""
        return self.rows(np.arange(len(self)))

    def chunks(self, n: int) -> Iterator[Batch]:
        """All rows, `n` at a time."""
        for start in range(0, len(self), n):
            yield self.rows(np.arange(start, min(start + n, len(self))))

    def contains(self, sample_id: int) -> bool:
        """Whether a row has this sample id."""
        return bool(np.any(self._rows.ids[: len(self)] == sample_id))

    def begin_experience(self, index: int) -> None:
        """Tell the selection policy that an experience begins."""
        self._policy.begin_experience(self._rows, index)

    def end_experience(self) -> None:
        """Tell the selection policy that the experience is over."""
        self._policy.end_experience(self._rows)

    def resize(
        self,
        capacity: int,
        rng: np.random.Generator,
        columns: Mapping[str, Slot] | None = None,
    ) -> None:
        """Change the capacity; what no longer fits is evicted by the selection policy.

        `columns`, if given, are the same columns with values that may have grown.
        """
        keep = np.ones(len(self), dtype=np.bool_)
        if capacity < len(self):
            keep = self._policy.survivors(self._rows, capacity, rng)
        self._keep(keep, capacity, columns)

    def clear(self) -> None:
        """Forget every row; the capacity stays."""
        self._keep(np.zeros(len(self), dtype=np.bool_), self.capacity)

    def remove(self, ids: Iterable[int]) -> int:
        """Forget the rows with these sample ids; how many there were."""
        doomed = np.isin(self._rows.ids[: len(self)], np.fromiter(ids, dtype=np.int64))
        return self.discard(np.flatnonzero(doomed))

    def remove_class(self, cls: int) -> int:
        """Forget all rows of class `cls`; how many there were."""
        return self.discard(self.slots_of_class(cls))

    def discard(self, slots: Array) -> int:
        """Forget the rows in `slots`; how many there were."""
        if len(slots):
            keep = np.ones(len(self), dtype=np.bool_)
            keep[slots] = False
            self._keep(keep, self.capacity)
        return len(slots)

    def relabel(self, sample_id: int, cls: int) -> bool:
        """Give the rows with this sample id another class; whether there were any."""
        rows = self._rows
        slots = np.flatnonzero(rows.ids[: len(self)] == sample_id)
        for slot in slots.tolist():
            rows.write(slot, cls, int(rows.contexts[slot]), sample_id)
        return len(slots) > 0

    def merge_class(self, a: int, b: int) -> None:
        """Rows of class `a` become rows of class `b`."""
        rows = self._rows
        classes = rows.classes[: len(self)]
        classes[classes == a] = b
        rows.index.build(len(self))

    def arrays(self) -> dict[str, Array]:
        """The whole state by name: the memory's own arrays, not copies (``counters`` is one).

        The codec's arrays are among them, as ``codec.<name>``.
        """
        counters = [len(self), self._rows.index.n_classes, *self._policy.counters]
        codec = {_CODEC_PREFIX + name: array for name, array in self.codec.arrays().items()}
        return {
            **self._rows.arrays(),
            **{_POLICY_PREFIX + name: array for name, array in self._policy.arrays().items()},
            "counters": np.array(counters, dtype=np.int64),
            **codec,
        }

    def restore(self, arrays: dict[str, Array]) -> None:
        """Continue bit-identically from the `arrays` of a memory with the same options.

        Raises
        ------
        CheckpointError
            Arrays are missing, or their shapes or types do not fit.
        """
        capacity = len(arrays.get("classes", ()))
        rows = Rows(capacity, self.codec.row_bytes, self._rows.column_slots)
        policy = make_selection(self.selection, capacity)
        expected = {
            **rows.arrays(),
            **{_POLICY_PREFIX + name: array for name, array in policy.arrays().items()},
            "counters": np.zeros(2 + COUNTERS, dtype=np.int64),
        }
        for name, array in expected.items():
            given = arrays.get(name)
            if given is None or given.shape != array.shape or given.dtype != array.dtype:
                raise CheckpointError(
                    f"memory: {name} is missing or not {array.dtype}{array.shape}"
                )
            array[...] = given
        rows.size, rows.index.n_classes, *policy.counters = arrays["counters"].tolist()
        if not 0 <= rows.index.n_classes <= rows.size <= capacity:
            raise CheckpointError(f"memory: {rows.size} rows do not fit in {capacity}")
        self.codec.restore(
            {
                name.removeprefix(_CODEC_PREFIX): array
                for name, array in arrays.items()
                if name.startswith(_CODEC_PREFIX)
            }
        )
        self._rows, self._policy = rows, policy

    def ledger_bytes(self) -> dict[str, int]:
        """Bytes by name, exactly those of `arrays`: constant at a capacity."""
        return {name: int(array.nbytes) for name, array in self.arrays().items()}

    def _pool(self, classes: Iterable[int] | None, exclude_context: int | None) -> Pool:
        index = self._rows.index
        pool = Pool(index.members[: len(self)], index.stretches())
        if classes is not None:
            ranks = [index.rank(int(cls)) for cls in dict.fromkeys(classes)]
            pool = pool.of_ranks(np.array([r for r, known in ranks if known], dtype=np.int64))
        if exclude_context is not None:
            pool = pool.where(self._rows.contexts[pool.members] != exclude_context)
        return pool

    def _latents(self, slots: Array) -> Float32:
        return latents.decode(self._rows, self.codec, slots)

    def _fill(self, slots: Int64, samples: Float32, columns: Mapping[str, Array]) -> None:
        self.codec = latents.encode(self._rows, self.codec, slots, samples)
        for name, column in self._rows.columns.items():
            column[slots] = columns.get(name, np.zeros((), dtype=column.dtype))

    def _keep(self, keep: Array, capacity: int, columns: Mapping[str, Slot] | None = None) -> None:
        slots = self._policy.arrange(self._rows, keep, capacity)
        self._rows = self._rows.arranged(slots, capacity, columns)
