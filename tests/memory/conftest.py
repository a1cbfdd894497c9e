from __future__ import annotations

import numpy as np
import pytest

from edge_cl.codec import make_codec
from edge_cl.memory import ReplayMemory
from edge_cl.types import Batch, LatentSpec

SPEC = LatentSpec(4, scale=0.5, zero_point=3)
POLICIES = (
    "reservoir",
    "class_balanced",
    "class_reservoir",
    "ring",
    "share",
    "herding",
    "weighted",
    "all",
)


def stream(n: int, n_classes: int = 5, seed: int = 0, first_id: int = 0) -> Batch:
    """Samples whose latent tells their id, so that a mixed-up row is found."""
    rng = np.random.default_rng(seed)
    ids = np.arange(first_id, first_id + n, dtype=np.int64)
    codes = ids.astype("<u4").view(np.uint8).reshape(n, 4)
    classes = rng.integers(0, n_classes, n)
    return Batch(SPEC.to_float(codes), classes, rng.integers(-1, 3, n), ids)


def memory(capacity: int, selection: str = "reservoir", codec: str = "uint8") -> ReplayMemory:
    return ReplayMemory(make_codec(codec, SPEC), capacity, selection)


def check(mem: ReplayMemory, labels: dict[int, int] | None = None) -> None:
    """The invariants of a memory, by brute force."""
    rows = mem.all()
    assert len(rows) == len(mem) <= mem.capacity
    told = SPEC.to_codes(rows.latents).view("<u4")[:, 0]
    np.testing.assert_array_equal(told, rows.ids)
    index = mem._rows.index
    size = len(mem)
    assert sorted(index.members[:size].tolist()) == list(range(size))
    np.testing.assert_array_equal(index.members[index.places[:size]], np.arange(size))
    np.testing.assert_array_equal(index.classes(), np.unique(rows.classes))
    for cls in np.unique(rows.classes):
        slots = index.slots_of(int(cls))
        np.testing.assert_array_equal(np.sort(slots), np.flatnonzero(rows.classes == cls))
    np.testing.assert_array_equal(mem.counts, np.bincount(rows.classes))
    arrays, ledger = mem.arrays(), mem.ledger_bytes()
    assert ledger == {name: array.nbytes for name, array in arrays.items()}
    fixed = mem.bytes_for(mem.codec.row_bytes, mem.capacity, mem.selection)
    assert sum(ledger.values()) == fixed + mem.codec.ledger_bytes()
    if labels is not None:
        assert all(labels[i] == c for i, c in zip(rows.ids.tolist(), rows.classes, strict=True))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
