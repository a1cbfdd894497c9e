"""Values that a strategy keeps beside each row follow the row wherever it goes."""

from __future__ import annotations

import numpy as np

from edge_cl.codec import make_codec
from edge_cl.memory import ReplayMemory
from edge_cl.state import Slot

from .conftest import POLICIES, SPEC, check, stream

COLUMNS = {"told": Slot((2,), np.int64), "mark": Slot((), np.float32)}
ROW_BYTES = sum(slot.stored_bytes for slot in COLUMNS.values())


def tagged(capacity: int, selection: str = "reservoir") -> ReplayMemory:
    return ReplayMemory(make_codec("uint8", SPEC), capacity, selection, columns=COLUMNS)


def values(batch):
    return {"told": np.stack([batch.ids, -batch.ids], axis=1), "mark": batch.ids.astype(np.float32)}


def follows(memory: ReplayMemory) -> None:
    ids = memory.all().ids
    np.testing.assert_array_equal(memory.column("told"), np.stack([ids, -ids], axis=1))
    np.testing.assert_array_equal(memory.column("mark"), ids)


def test_columns_follow_their_rows(rng):
    for selection in POLICIES:
        memory = tagged(30, selection)
        for start in range(0, 30 if selection == "all" else 90, 6):
            memory.begin_experience(start // 30)
            batch = stream(6, first_id=start, seed=start)
            memory.add(batch, rng, columns=values(batch))
            follows(memory)
        memory.remove(memory.all().ids[:4].tolist())
        memory.resize(20, rng)
        follows(memory)


def test_columns_are_on_the_ledger_and_in_the_checkpoint(rng):
    memory, twin = tagged(12), tagged(12)
    batch = stream(9)
    memory.add(batch, rng, columns=values(batch))
    expected = ReplayMemory.bytes_for(memory.codec.row_bytes + ROW_BYTES, 12, "reservoir")
    assert sum(memory.ledger_bytes().values()) == expected
    twin.restore({name: array.copy() for name, array in memory.arrays().items()})
    follows(twin)


def test_columns_grow_with_zeros(rng):
    memory = tagged(12)
    batch = stream(9)
    memory.add(batch, rng, columns=values(batch))
    memory.resize(12, rng, {**COLUMNS, "told": Slot((3,), np.int64)})
    np.testing.assert_array_equal(memory.column("told")[:, 0], batch.ids)
    np.testing.assert_array_equal(memory.column("told")[:, 2], 0)


def test_a_replaced_row_does_not_inherit_values(rng):
    memory = tagged(3, "ring")
    batch = stream(6)
    memory.add(batch[:3], rng, columns=values(batch[:3]))
    memory.add(batch[3:], rng)
    assert not memory.column("mark").any()


def test_a_row_can_be_put_anywhere_and_discarded(rng):
    memory = ReplayMemory(make_codec("uint8", SPEC), 5)
    batch = stream(8)
    for n in range(5):
        memory.put(n, batch[n : n + 1])
    memory.put(2, batch[7:8])
    check(memory)
    assert sorted(memory.all().ids.tolist()) == [0, 1, 3, 4, 7]
    memory.discard(memory.slots_of_class(int(batch.classes[0])))
    check(memory)
    assert int(batch.classes[0]) not in memory.all().classes
