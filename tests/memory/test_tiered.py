from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_cl.codec import make_codec
from edge_cl.errors import BudgetExceeded, CheckpointError
from edge_cl.memory import TieredMemory
from edge_cl.types import Batch, LatentSpec

SPEC = LatentSpec(24, scale=0.5)


def stream(n: int, first_id: int = 0, n_classes: int = 5) -> Batch:
    """Compressible latents whose first four codes tell the id."""
    rng = np.random.default_rng(first_id)
    ids = np.arange(first_id, first_id + n, dtype=np.int64)
    codes = np.zeros((n, 24), dtype=np.uint8)
    codes[:, :4] = ids.astype("<u4").view(np.uint8).reshape(n, 4)
    codes[:, 4:] = rng.integers(0, 4, (n, 20))
    return Batch(SPEC.to_float(codes), rng.integers(0, n_classes, n), np.full(n, 1), ids)


def memory(allowed_bytes: int = 6000, hot_rows: int = 16) -> TieredMemory:
    return TieredMemory(make_codec("uint8", SPEC), allowed_bytes, hot_rows)


def check(mem: TieredMemory) -> None:
    rows, ledger = mem.all(), mem.ledger_bytes()
    assert ledger == {name: array.nbytes for name, array in mem.arrays().items()}
    assert mem.total_bytes <= mem.allowed_bytes
    assert len(rows) == len(mem)
    assert len(np.unique(rows.ids)) == len(rows)
    told = np.ascontiguousarray(SPEC.to_codes(rows.latents)[:, :4]).view("<u4")[:, 0]
    np.testing.assert_array_equal(told, rows.ids)
    np.testing.assert_array_equal(mem.counts, np.bincount(rows.classes))


def same(one: TieredMemory, other: TieredMemory) -> bool:
    left, right = one.arrays(), other.arrays()
    return left.keys() == right.keys() and all(np.array_equal(left[k], right[k]) for k in left)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from("aaaarls"), max_size=15), st.integers(0, 999))
def test_rows_stay_whole_and_within_the_bytes(steps: list[str], seed: int) -> None:
    mem, rng = memory(), np.random.default_rng(seed)
    for i, step in enumerate(steps):
        ids = mem.all().ids
        if step == "a":
            mem.add(stream(int(rng.integers(0, 120)), 1000 * i), rng)
        elif step == "r" and len(ids):
            doomed = rng.choice(ids, rng.integers(1, len(ids) + 1), replace=False)
            assert mem.remove(doomed.tolist()) == len(doomed)
        elif step == "l" and len(ids):
            assert mem.relabel(int(ids[0]), 4)
        elif step == "s":
            mem.resize(int(rng.integers(2000, 9000)), rng)
        check(mem)


def test_more_rows_fit_than_uncompressed(rng: np.random.Generator) -> None:
    mem = memory(20_000)
    mem.add(stream(4000), rng)
    check(mem)
    assert len(mem) > 20_000 / (24 + 12)
    assert mem.total_bytes > 0.97 * mem.allowed_bytes


def test_it_continues_bit_identically(rng: np.random.Generator) -> None:
    whole, part, twin = memory(), memory(), np.random.default_rng(0)
    whole.add(stream(555), rng)
    twin.bit_generator.state = rng.bit_generator.state
    part.restore(whole.arrays())
    for mem, generator in ((whole, rng), (part, twin)):
        mem.add(stream(400, 1000), generator)
    assert same(whole, part)
    np.testing.assert_array_equal(whole.sample(30, rng).ids, part.sample(30, twin).ids)


def test_samples_of_the_whole_stream_are_equally_likely() -> None:
    kept = np.zeros(600)
    for seed in range(60):
        mem, rng = memory(5000), np.random.default_rng(seed)
        mem.add(stream(600), rng)
        kept[mem.all().ids] += 1
    thirds = kept.reshape(4, 150).mean(axis=1)
    assert np.all(np.abs(thirds / thirds.mean() - 1) < 0.15)


@pytest.mark.parametrize("n", [0, 1, 20, 60, 10_000])
def test_draws_are_distinct(n: int, rng: np.random.Generator) -> None:
    mem = memory()
    mem.add(stream(500), rng)
    drawn = mem.sample(n, rng)
    assert len(np.unique(drawn.ids)) == len(drawn)
    assert len(drawn) == n or n > 60
    assert mem.contains(int(mem.all().ids[0]))
    assert not mem.contains(9999)
    assert len(memory().sample(5, rng)) == 0


def test_chunks_mix_a_class_ordered_stream(rng: np.random.Generator) -> None:
    mem = memory(12_000)
    batch = stream(1500)
    mem.add(Batch(batch.latents, np.repeat(np.arange(10), 150), batch.contexts, batch.ids), rng)
    drawn = [len(np.unique(mem.sample(40, rng).classes)) for _ in range(20)]
    assert np.mean(drawn) > 8


def test_what_cannot_work_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(BudgetExceeded):
        memory(100)
    with pytest.raises(ValueError, match="fitted"):
        TieredMemory(make_codec("uint8", LatentSpec(4)), 6000)
    mem = memory()
    mem.add(stream(300), rng)
    with pytest.raises(BudgetExceeded):
        mem.resize(100, rng)
    arrays = mem.arrays()
    damaged = arrays["cold.content"].copy()
    damaged[30] ^= 1
    for broken in ({}, {**arrays, "cold.content": damaged}):
        with pytest.raises(CheckpointError):
            memory().restore(broken)
    short = {k: v[:-1] if k.startswith("cold.") and v.ndim == 1 else v for k, v in arrays.items()}
    with pytest.raises(CheckpointError):
        memory().restore(short)
