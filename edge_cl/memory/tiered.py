"""A replay memory of two tiers: a few rows as they are, the rest in compressed chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from edge_cl.codec import Codec
from edge_cl.codec.chunks import ROWS
from edge_cl.errors import BudgetExceeded, CheckpointError
from edge_cl.memory.cold import Chunk, Labels, compressed, decompressed
from edge_cl.memory.replay import ReplayMemory
from edge_cl.memory.rows import check_labels
from edge_cl.types import Array, Batch, Int64, UInt8

CHUNKS_PER_DRAW = 8
"""Chunks that one batch of exemplars comes from."""

SPREAD = 4
"""Chunks that the rows of a full hot tier go to."""


class TieredMemory:
    """As many encoded latents as fit into a number of bytes, a third more than uncompressed.

    New samples go to the hot tier. When it is full its rows move to the cold tier
    together: as a new chunk while there is room, and then into `SPREAD` random
    chunks, in place of rows of these. This is reservoir sampling (Vitter
    1985, algorithm R), done lazily: a sample is taken with probability rows / samples
    seen, and what it replaces is uniform. A new chunk exchanges half of its rows
    with an older one, so that neighbours in the stream spread over chunks.

    A draw opens `CHUNKS_PER_DRAW` random chunks: the rows of one batch are less
    independent than from a `ReplayMemory`, and it costs milliseconds. What
    fits depends on how well the latents compress, so the capacity is in bytes.

    Parameters
    ----------
    codec
        How a latent is kept before compression; it must need no training.
    allowed_bytes
        What `ledger_bytes` may sum to.
    hot_rows
        Rows of the hot tier; else an eighth of the bytes, 8 to 128 rows.

    Raises
    ------
    BudgetExceeded
        The hot tier alone does not fit.
    """

    def __init__(self, codec: Codec, allowed_bytes: int, hot_rows: int | None = None) -> None:
        if not codec.fitted:
            raise ValueError(f"codec {codec.name} must be fitted before rows are compressed")
        self.codec = codec
        self.allowed_bytes = allowed_bytes
        if hot_rows is None:
            hot_rows = min(ROWS // 2, max(8, allowed_bytes // (8 * codec.row_bytes)))
        self._hot = ReplayMemory(codec, hot_rows, "all")
        self._cold: list[Chunk] = []
        self._seen = 0
        self._full = False
        if self.total_bytes > allowed_bytes:
            raise BudgetExceeded(
                self.total_bytes, allowed_bytes, "use fewer hot rows or a smaller codec"
            )

    @property
    def total_bytes(self) -> int:
        """Bytes of all that is kept."""
        return sum(self.ledger_bytes().values())

    @property
    def counts(self) -> Int64:
        """(C,) rows of each class, up to the highest class that has any."""
        parts = [self._hot.all().classes, *(c.labels.classes for c in self._cold)]
        return np.bincount(np.concatenate(parts).astype(np.int64))

    def __len__(self) -> int:
        return len(self._hot) + sum(len(chunk) for chunk in self._cold)

    def add(self, batch: Batch, rng: np.random.Generator) -> None:
        """Offer each sample of `batch` once, in order, to the reservoir."""
        if len(batch) == 0:
            return
        check_labels(batch)
        for i in range(len(batch)):
            self._seen += 1
            if self._full and rng.random() * self._seen >= len(self):
                continue
            self._hot.add(batch[i : i + 1], rng)
            if len(self._hot) == self._hot.capacity:
                self._cool(rng)

    def sample(self, n: int, rng: np.random.Generator) -> Batch:
        """Draw `n` distinct rows, each tier's share as large as the tier; fewer if there are fewer.

        No more come than the hot tier and the opened chunks hold.
        """
        hot = int(rng.binomial(n, len(self._hot) / max(1, len(self))))
        parts = [self._hot.sample(max(hot, n - len(self) + len(self._hot)), rng)]
        opened = rng.permutation(len(self._cold))[:CHUNKS_PER_DRAW].tolist()
        rows = sum(len(self._cold[k]) for k in opened)
        chosen = np.sort(rng.choice(rows, min(rows, n - len(parts[0])), replace=False))
        first = 0
        for k in opened:
            size = len(self._cold[k])
            own = chosen[(chosen >= first) & (chosen < first + size)] - first
            parts.append(self._decoded(self._cold[k], own))
            first += size
        return Batch.concat(parts)

    def chunks(self) -> Iterator[Batch]:
        """All rows, one chunk at a time, the hot tier last."""
        for chunk in self._cold:
            yield self._decoded(chunk, np.arange(len(chunk)))
        yield self._hot.all()

    def all(self) -> Batch:
        """All rows."""
        return Batch.concat(list(self.chunks()))

    def contains(self, sample_id: int) -> bool:
        """Whether a row has this sample id."""
        return self._hot.contains(sample_id) or any(
            bool(np.any(chunk.labels.ids == sample_id)) for chunk in self._cold
        )

    def remove(self, ids: Iterable[int]) -> int:
        """Forget the rows with these sample ids; how many there were."""
        doomed = np.fromiter(ids, dtype=np.int64)
        removed = self._hot.remove(doomed.tolist())
        for k, chunk in enumerate(self._cold):
            keep = np.flatnonzero(~np.isin(chunk.labels.ids, doomed))
            if len(keep) < len(chunk):
                removed += len(chunk) - len(keep)
                codes = decompressed(chunk, self.codec)[keep]
                self._cold[k] = compressed(codes, chunk.labels[keep])
        self._cold = [chunk for chunk in self._cold if len(chunk)]
        return removed

    def relabel(self, sample_id: int, cls: int) -> bool:
        """Give the rows with this sample id another class; whether there were any."""
        found = self._hot.relabel(sample_id, cls)
        for chunk in self._cold:
            own = chunk.labels.ids == sample_id
            chunk.labels.classes[own] = cls
            found = found or bool(own.any())
        return found

    def resize(self, allowed_bytes: int, rng: np.random.Generator) -> None:
        """Change the bytes; what no longer fits is evicted at random.

        Raises
        ------
        BudgetExceeded
            The hot tier alone does not fit.
        """
        hot_bytes = sum(self._hot.ledger_bytes().values()) + 16
        if hot_bytes > allowed_bytes:
            raise BudgetExceeded(hot_bytes, allowed_bytes, "the hot tier alone does not fit")
        self.allowed_bytes = allowed_bytes
        self._full = self.total_bytes > allowed_bytes
        while self.total_bytes > allowed_bytes:
            k = int(rng.integers(len(self._cold)))
            self._drop(k, rng)

    def arrays(self) -> dict[str, Array]:
        """The whole state by name; the chunks one after the other."""
        hot = {f"hot.{name}": array for name, array in self._hot.arrays().items()}
        labels = Labels.concat([chunk.labels for chunk in self._cold])
        sizes = [(len(chunk), len(chunk.content)) for chunk in self._cold]
        content = b"".join(chunk.content for chunk in self._cold)
        return {
            **hot,
            "cold.content": np.frombuffer(content, dtype=np.uint8),
            "cold.sizes": np.array(sizes, dtype=np.uint32).reshape(-1, 2),
            "cold.classes": labels.classes,
            "cold.contexts": labels.contexts,
            "cold.ids": labels.ids,
            "reservoir": np.array([self._seen, self._full], dtype=np.int64),
        }

    def restore(self, arrays: dict[str, Array]) -> None:
        """Continue bit-identically from `arrays`.

        Raises
        ------
        CheckpointError
            Arrays are missing or do not fit together, or a chunk is damaged.
        """
        try:
            self._hot.restore(
                {k.removeprefix("hot."): v for k, v in arrays.items() if k.startswith("hot.")}
            )
            labels = Labels(*(arrays[f"cold.{k}"].copy() for k in ("classes", "contexts", "ids")))
            sizes, content = arrays["cold.sizes"].tolist(), arrays["cold.content"].tobytes()
            self._seen, self._full = int(arrays["reservoir"][0]), bool(arrays["reservoir"][1])
        except KeyError as missing:
            raise CheckpointError(f"tiered memory: {missing} is missing") from missing
        self._cold, row, byte = [], 0, 0
        for rows, size in sizes:
            own = np.arange(row, row + rows)
            if row + rows > len(labels):
                raise CheckpointError("tiered memory: fewer labels than rows")
            self._cold.append(Chunk(content[byte : byte + size], labels[own]))
            decompressed(self._cold[-1], self.codec)
            row, byte = row + rows, byte + size

    def ledger_bytes(self) -> dict[str, int]:
        """Bytes by name, exactly those of `arrays`."""
        hot = {f"hot.{name}": size for name, size in self._hot.ledger_bytes().items()}
        rows = sum(len(chunk) for chunk in self._cold)
        return {
            **hot,
            "cold.content": sum(len(chunk.content) for chunk in self._cold),
            "cold.sizes": 8 * len(self._cold),
            "cold.classes": 2 * rows,
            "cold.contexts": 2 * rows,
            "cold.ids": 8 * rows,
            "reservoir": 16,
        }

    def _decoded(self, chunk: Chunk, rows: Int64) -> Batch:
        labels = chunk.labels[rows]
        return Batch(
            self.codec.decode(decompressed(chunk, self.codec)[rows]),
            labels.classes.astype(np.int64),
            labels.contexts.astype(np.int64),
            labels.ids.astype(np.int64),
        )

    def _cool(self, rng: np.random.Generator) -> None:
        """Move the hot rows to the cold tier."""
        arrays, n = self._hot.arrays(), len(self._hot)
        codes = arrays["codes"][:n].copy()
        labels = Labels(*(arrays[name][:n].copy() for name in ("classes", "contexts", "ids")))
        self._hot.clear()
        if self._full and self._cold:
            for part in np.array_split(rng.permutation(n), SPREAD):
                self._absorb(int(rng.integers(len(self._cold))), codes[part], labels[part], rng)
            return
        self._cold.append(compressed(codes, labels))
        self._full = self.total_bytes > self.allowed_bytes
        if self._full:
            self._fit(len(self._cold) - 1, rng)
        else:
            self._mix(rng)

    def _mix(self, rng: np.random.Generator) -> None:
        """The last chunk shares its rows with a random other one, if that leaves them small."""
        other = int(rng.integers(len(self._cold)))
        last, chunk = self._cold[-1], self._cold[other]
        if chunk is last:
            return
        codes = np.concatenate([decompressed(c, self.codec) for c in (chunk, last)])
        labels = Labels.concat([chunk.labels, last.labels])
        order = rng.permutation(len(codes))
        for k, rows in ((other, order[: len(chunk)]), (len(self._cold) - 1, order[len(chunk) :])):
            self._cold[k] = compressed(codes[rows], labels[rows])
        self._fit(other, rng)

    def _absorb(self, k: int, codes: UInt8, labels: Labels, rng: np.random.Generator) -> None:
        """Rows take the place of random rows of chunk `k`, or join it as far as there is room."""
        chunk = self._cold[k]
        row_bytes = 1 + self.total_bytes // max(1, len(self))
        room = (self.allowed_bytes - self.total_bytes) // row_bytes
        leaving = max(0, len(codes) - room)
        stay = rng.permutation(len(chunk))[: max(0, len(chunk) - leaving)]
        codes = np.concatenate([decompressed(chunk, self.codec)[stay], codes])
        self._cold[k] = compressed(codes, Labels.concat([chunk.labels[stay], labels]))
        self._fit(k, rng)

    def _fit(self, k: int, rng: np.random.Generator) -> None:
        """Drop rows of chunk `k`, and then of others, until everything fits."""
        while self.total_bytes > self.allowed_bytes:
            if not self._drop(k, rng):
                k = int(rng.integers(max(1, len(self._cold))))

    def _drop(self, k: int, rng: np.random.Generator) -> bool:
        """Drop a few random rows of chunk `k`; whether any are left. An empty chunk goes."""
        chunk = self._cold[k]
        stay = rng.permutation(len(chunk))[: len(chunk) - max(1, len(chunk) // 32)]
        if len(stay):
            codes = decompressed(chunk, self.codec)[stay]
            self._cold[k] = compressed(codes, chunk.labels[stay])
        else:
            del self._cold[k]
        return len(stay) > 0
