from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_cl.codec import make_codec
from edge_cl.errors import BudgetExceeded, CheckpointError, InvalidInput, InvalidOption
from edge_cl.memory import ReplayMemory, retrievals, selections
from edge_cl.types import Batch, LatentSpec

from .conftest import POLICIES, SPEC, check, memory, stream

EVICTING = tuple(name for name in POLICIES if name != "all")


def same(one: ReplayMemory, other: ReplayMemory) -> bool:
    left, right = one.arrays(), other.arrays()
    return left.keys() == right.keys() and all(np.array_equal(left[k], right[k]) for k in left)


def test_names_are_those_tested() -> None:
    assert set(POLICIES) == set(selections())
    assert {"uniform", "class_balanced"} <= set(retrievals())


@pytest.mark.parametrize("option", ["selection", "retrieval"])
def test_an_unknown_policy_is_named_with_those_there_are(option: str) -> None:
    with pytest.raises(InvalidOption, match="there are"):
        ReplayMemory(make_codec("uint8", SPEC), 4, **{option: "best"})


@settings(max_examples=60, deadline=None)
@given(
    selection=st.sampled_from(EVICTING),
    capacity=st.integers(1, 40),
    n_classes=st.integers(1, 60),
    steps=st.lists(st.sampled_from("aaaabrlmsge"), max_size=25),
    seed=st.integers(0, 2**16),
)
def test_rows_and_index_agree_whatever_happens(
    selection: str, capacity: int, n_classes: int, steps: list[str], seed: int
) -> None:
    mem, rng, labels = memory(capacity, selection), np.random.default_rng(seed), {}
    for i, step in enumerate(steps):
        if step == "a":
            batch = stream(int(rng.integers(0, 30)), n_classes, seed + i, first_id=100 * i)
            labels |= dict(zip(batch.ids.tolist(), batch.classes.tolist(), strict=True))
            mem.add(batch, rng)
        elif step == "b":
            mem.begin_experience(i)
        elif step == "r" and len(mem):
            doomed = rng.choice(mem.all().ids, rng.integers(1, len(mem) + 1), replace=False)
            assert mem.remove(doomed.tolist()) == len(doomed)
        elif step == "l" and len(mem):
            chosen = int(rng.choice(mem.all().ids))
            labels[chosen] = int(rng.integers(n_classes))
            assert mem.relabel(chosen, labels[chosen])
        elif step == "m":
            a, b = rng.integers(0, n_classes, 2).tolist()
            mem.merge_class(a, b)
            labels = {k: b if c == a else c for k, c in labels.items()}
        elif step in "sg":
            new = max(1, mem.capacity // 2) if step == "s" else mem.capacity + 5
            mem.resize(new, rng)
        else:
            mem.end_experience()
        check(mem, labels)


@pytest.mark.parametrize("selection", EVICTING)
@pytest.mark.parametrize("cut", [0, 7, 40, 113])
def test_a_restored_memory_continues_bit_identically(selection: str, cut: int) -> None:
    whole, rng = memory(32, selection), np.random.default_rng(1)
    batch = stream(200)
    whole.begin_experience(0)
    whole.add(batch[:cut], rng)
    part, twin = memory(1, selection), np.random.default_rng(1)
    twin.bit_generator.state = rng.bit_generator.state
    part.restore({name: array.copy() for name, array in whole.arrays().items()})
    for mem, generator in ((whole, rng), (part, twin)):
        mem.add(batch[cut:150], generator)
        mem.begin_experience(1)
        mem.remove([int(i) for i in mem.all().ids[:3]])
        mem.add(batch[150:], generator)
        mem.resize(20, generator)
    assert same(whole, part)
    for name in set(retrievals()) - {"hardest_first"}:
        drawn, again = whole.sample(9, rng, retrieval=name), part.sample(9, twin, retrieval=name)
        np.testing.assert_array_equal(drawn.ids, again.ids)
    check(part)


@pytest.mark.parametrize("selection", [name for name in POLICIES if name != "herding"])
def test_one_by_one_is_the_same_as_in_batches(selection: str) -> None:
    capacity = 100 if selection == "all" else 16
    batch, one, many = stream(100), memory(capacity, selection), memory(capacity, selection)
    rng, twin = np.random.default_rng(2), np.random.default_rng(2)
    for i in range(100):
        one.add(batch[i : i + 1], rng)
    many.add(batch[:33], twin)
    many.add(batch[33:], twin)
    assert same(one, many)


@pytest.mark.parametrize("selection", EVICTING)
def test_it_grows_until_full_and_never_beyond(selection: str, rng: np.random.Generator) -> None:
    mem = memory(50, selection)
    for i in range(20):
        mem.begin_experience(i)
        mem.add(stream(7, first_id=7 * i), rng)
        assert len(mem) == min(50, 7 * (i + 1))


@pytest.mark.parametrize("selection", POLICIES)
@pytest.mark.parametrize("codec", ["uint8", "uint4", "float32"])
@given(allowed=st.integers(0, 1 << 22))
@settings(max_examples=40, deadline=None)
def test_capacity_for_is_the_most_that_fits(codec: str, selection: str, allowed: int) -> None:
    row = make_codec(codec, LatentSpec(512)).row_bytes
    capacity = ReplayMemory.capacity_for(allowed, row, selection)
    assert capacity == 0 or ReplayMemory.bytes_for(row, capacity, selection) <= allowed
    assert ReplayMemory.bytes_for(row, capacity + 1, selection) > allowed


def test_a_memory_of_more_than_65535_rows_uses_wider_slot_numbers(
    rng: np.random.Generator,
) -> None:
    mem = memory(70_000)
    mem.add(stream(70_500), rng)
    check(mem)
    assert mem.arrays()["places"].dtype == np.uint32


def test_a_memory_without_room_keeps_nothing(rng: np.random.Generator) -> None:
    mem = memory(0)
    mem.add(stream(5), rng)
    assert len(mem) == 0
    assert mem.sample(3, rng).latents.shape == (0, 4)


def test_keeping_all_refuses_before_anything_is_added(rng: np.random.Generator) -> None:
    mem = memory(10, "all")
    mem.add(stream(8), rng)
    with pytest.raises(BudgetExceeded, match="11 samples are to be kept and 10 fit") as refusal:
        mem.add(stream(3, first_id=8), rng)
    assert refusal.value.asked_bytes > refusal.value.allowed_bytes
    assert len(mem) == 8


@pytest.mark.parametrize(("cls", "context"), [(-1, 0), (1 << 16, 0), (0, 1 << 15), (0, -2)])
def test_labels_that_do_not_fit_a_row_are_refused(
    cls: int, context: int, rng: np.random.Generator
) -> None:
    batch = Batch.of(np.zeros((1, 4), np.float32), np.array([cls]), context)
    with pytest.raises(InvalidInput, match="are kept as"):
        memory(3).add(batch, rng)


def test_rows_can_be_looked_up(rng: np.random.Generator) -> None:
    mem, batch = memory(100), stream(60)
    mem.add(batch, rng)
    np.testing.assert_array_equal(np.sort(mem.of_class(3).ids), batch.ids[batch.classes == 3])
    np.testing.assert_array_equal(mem.of_context(-1).ids, batch.ids[batch.contexts == -1])
    assert len(mem.of_class(77)) == 0
    assert mem.contains(59)
    assert not mem.contains(60)
    assert not mem.relabel(60, 1)
    assert mem.remove([60, 61]) == 0
    np.testing.assert_array_equal(
        np.concatenate([chunk.ids for chunk in mem.chunks(7)]), mem.all().ids
    )


def test_forgetting_a_class(rng: np.random.Generator) -> None:
    mem = memory(100)
    mem.add(stream(60), rng)
    assert mem.remove_class(2) == np.sum(stream(60).classes == 2)
    check(mem)
    assert 2 not in mem.all().classes


@pytest.mark.parametrize("codec", ["uint8", "uint4", "uint8_channel", "float16"])
def test_float_latents_that_grow_are_re_encoded(codec: str, rng: np.random.Generator) -> None:
    mem = ReplayMemory(make_codec(codec, LatentSpec(6)), 64)
    latents = rng.normal(size=(64, 6)).astype(np.float32)
    latents *= np.linspace(0.1, 30, 64, dtype=np.float32)[:, None]
    for i in range(0, 64, 4):
        mem.add(Batch.of(latents[i : i + 4], np.zeros(4, np.int64)), rng)
    worst = np.abs(mem.all().latents - latents).max()
    assert worst <= 5 * mem.codec.error_bound()
    twin = ReplayMemory(make_codec(codec, LatentSpec(6)), 1)
    twin.restore(mem.arrays())
    np.testing.assert_array_equal(twin.all().latents, mem.all().latents)


def test_restoring_foreign_arrays_is_an_error(rng: np.random.Generator) -> None:
    mem = memory(8)
    mem.add(stream(8), rng)
    arrays = mem.arrays()
    for broken in (
        {},
        {**arrays, "codes": arrays["codes"][:, :2]},
        {**arrays, "ids": arrays["ids"].astype(np.int32)},
        {**arrays, "counters": arrays["counters"] + 100},
        {**arrays, "codec.range": np.zeros((2, 1), np.float32)},
    ):
        with pytest.raises(CheckpointError):
            memory(8).restore(broken)
