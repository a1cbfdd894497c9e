from __future__ import annotations

import numpy as np
import pytest

from edge_cl.codec import make_codec
from edge_cl.memory import ReplayMemory
from edge_cl.memory.selection.class_balanced import level
from edge_cl.memory.selection.herding import herding_order
from edge_cl.memory.selection.weighted import Weighted
from edge_cl.types import Batch, LatentSpec

from .conftest import check, memory, stream


def experiences(mem: ReplayMemory, sizes: list[int], rng: np.random.Generator) -> None:
    """Stream experiences whose context is their number."""
    first = 0
    for i, size in enumerate(sizes):
        batch = stream(size, first_id=first)
        first += size
        mem.begin_experience(i)
        mem.add(Batch(batch.latents, batch.classes, np.full(size, i), batch.ids), rng)
        mem.end_experience()


def held(mem: ReplayMemory, n: int) -> np.ndarray:
    return np.bincount(mem.all().contexts, minlength=n)


def chi_square(counts: np.ndarray) -> float:
    expected = counts.mean()
    return float(((counts - expected) ** 2 / expected).sum())


def test_reservoir_is_uniform_over_the_stream() -> None:
    kept, batch = np.zeros(60), stream(60)
    for seed in range(600):
        mem, rng = memory(12), np.random.default_rng(seed)
        mem.add(batch, rng)
        kept[mem.all().ids] += 1
    # 59 degrees of freedom: 98.3 is the 99.9 % point of chi-square.
    assert chi_square(kept) < 98.3


def test_ring_keeps_the_last(rng: np.random.Generator) -> None:
    mem = memory(20, "ring")
    mem.add(stream(77), rng)
    assert set(mem.all().ids) == set(range(57, 77))
    mem.remove([60, 61])
    mem.resize(10, rng)
    assert set(mem.all().ids) == set(range(67, 77))
    mem.add(stream(3, first_id=77), rng)
    assert set(mem.all().ids) == set(range(70, 80))


@pytest.mark.parametrize("selection", ["class_balanced", "class_reservoir"])
@pytest.mark.parametrize("n_classes", [1, 3, 7, 10])
def test_class_balanced_reaches_equal_shares(
    n_classes: int, selection: str, rng: np.random.Generator
) -> None:
    mem = memory(30, selection)
    classes = np.repeat(np.arange(n_classes), 50)
    batch = stream(len(classes))
    mem.add(Batch(batch.latents, classes, batch.contexts, batch.ids), rng)
    assert mem.counts.sum() == 30
    assert mem.counts.max() - mem.counts.min() <= 1


def test_class_balanced_never_takes_from_a_class_below_its_share() -> None:
    mem, rng = memory(20, "class_balanced"), np.random.default_rng(3)
    batch = stream(500, n_classes=6)
    for i in range(500):
        before = mem.counts
        mem.add(batch[i : i + 1], rng)
        if len(before) == 6 and before.sum() == 20:
            lost = np.flatnonzero(mem.counts < before)
            assert np.all(before[lost] == before.max())


def test_more_classes_than_rows(rng: np.random.Generator) -> None:
    mem = memory(5, "class_balanced")
    batch = stream(300, n_classes=40)
    mem.add(batch, rng)
    check(mem)
    assert mem.counts.max() == 1


@pytest.mark.parametrize("selection", ["class_balanced", "herding"])
def test_shrinking_takes_from_the_largest_class(selection: str, rng: np.random.Generator) -> None:
    mem = memory(100, selection)
    classes = np.repeat([0, 1, 2], [50, 30, 5])
    batch = stream(85)
    mem.add(Batch(batch.latents, classes, batch.contexts, batch.ids), rng)
    mem.resize(46, rng)
    assert mem.counts.tolist() == [21, 20, 5]


def test_shrinking_a_reservoir_is_uniform() -> None:
    kept, batch = np.zeros(40), stream(40)
    for seed in range(400):
        mem, rng = memory(40), np.random.default_rng(seed)
        mem.add(batch, rng)
        mem.resize(10, rng)
        kept[mem.all().ids] += 1
    assert chi_square(kept) < 72.1  # 39 degrees of freedom, 99.9 %


@pytest.mark.parametrize(
    ("sizes", "total"), [([5, 1, 9], 15), ([5, 1, 9], 7), ([4, 4, 4], 11), ([3], 0), ([2, 8], 9)]
)
def test_level_shares(sizes: list[int], total: int) -> None:
    shares = level(np.array(sizes), total)
    assert shares.sum() == total
    short = shares[shares < sizes]
    assert np.all(shares <= sizes)
    assert len(short) == 0 or shares.max() <= short.min() + 1


def batch_rule(capacity: int, sizes: list[int], rng: np.random.Generator) -> np.ndarray:
    """The rule as published, on whole experiences, grown until full: rows of each at the end."""
    slots: list[int] = []
    for i, size in enumerate(sizes):
        room = min(size, capacity - len(slots))
        slots += [i] * room
        own = room
        h = min(capacity // (i + 1), size)
        older = [s for s, owner in enumerate(slots) if owner != i]
        for s in rng.permutation(older)[: max(0, h - own)]:
            slots[s] = i
    return np.bincount(slots, minlength=len(sizes))


@pytest.mark.parametrize("sizes", [[50] * 6, [10, 80, 30, 60, 60], [300, 40, 40, 40]])
def test_share_has_the_expectation_of_the_published_rule(sizes: list[int]) -> None:
    n, runs = len(sizes), 300
    streamed, batched = np.zeros((runs, n)), np.zeros((runs, n))
    for seed in range(runs):
        mem, rng = memory(48, "share"), np.random.default_rng(seed)
        experiences(mem, sizes, rng)
        streamed[seed] = held(mem, n)
        batched[seed] = batch_rule(48, sizes, rng)
    error = np.sqrt((streamed.var(0) + batched.var(0)) / runs) + 1e-9
    assert np.all(np.abs(streamed.mean(0) - batched.mean(0)) <= 4 * error)


def test_share_is_uniform_within_an_experience_and_over_older_ones() -> None:
    kept = np.zeros(90)
    for seed in range(600):
        mem, rng = memory(12, "share"), np.random.default_rng(seed)
        experiences(mem, [30, 30, 30], rng)
        kept[mem.all().ids] += 1
    assert held(mem, 3)[2] == 4
    for experience in kept.reshape(3, 30):
        assert chi_square(experience) < 58.3  # 29 degrees of freedom, 99.9 %


def test_share_with_one_sample_experiences_does_not_freeze() -> None:
    """The trap of h = M // i: by the letter nothing after the first M samples would be kept."""
    kept = np.zeros(60)
    for seed in range(600):
        mem, rng = memory(12, "share"), np.random.default_rng(seed)
        experiences(mem, [1] * 60, rng)
        assert len(mem) == 12
        kept[mem.all().ids] += 1
    assert chi_square(kept) < 98.3


def test_share_grows_until_full_when_the_first_experience_is_small(
    rng: np.random.Generator,
) -> None:
    mem = memory(50, "share")
    experiences(mem, [10, 10, 10, 40, 40], rng)
    assert len(mem) == 50
    assert held(mem, 5)[4] == 10


def test_beginning_an_experience_twice_changes_nothing(rng: np.random.Generator) -> None:
    mem = memory(10, "share")
    mem.begin_experience(0)
    mem.add(stream(5), rng)
    before = mem.arrays()["counters"]
    mem.begin_experience(0)
    np.testing.assert_array_equal(mem.arrays()["counters"], before)


def test_class_reservoir_is_uniform_within_a_class_whatever_the_others() -> None:
    kept, batch = np.zeros(90), stream(90)
    classes = np.repeat([0, 1, 0], 30)
    for seed in range(600):
        mem, rng = memory(12, "class_reservoir"), np.random.default_rng(seed)
        mem.add(Batch(batch.latents, classes, batch.contexts, batch.ids), rng)
        assert mem.counts.tolist() == [6, 6]
        kept[mem.all().ids] += 1
    assert chi_square(kept[classes == 0]) < 98.3
    assert chi_square(kept[classes == 1]) < 58.3


def test_class_reservoir_counts_survive_more_classes_than_rows(rng: np.random.Generator) -> None:
    mem = memory(5, "class_reservoir")
    for i in range(10):
        mem.add(stream(60, n_classes=40, first_id=60 * i), rng)
        check(mem)
    assert mem.counts.max() == 1
    table = mem.arrays()["selection.table_classes"][: mem.arrays()["counters"][2]]
    assert np.all(np.diff(table.astype(int)) > 0)


def test_weighted_with_equal_weights_is_a_reservoir() -> None:
    kept, batch = np.zeros(60), stream(60)
    for seed in range(600):
        mem, rng = memory(12, "weighted"), np.random.default_rng(seed)
        mem.add(batch, rng, weights=np.ones(60, np.float32))
        kept[mem.all().ids] += 1
    assert chi_square(kept) < 98.3


def test_weighted_keeps_what_weighs_more() -> None:
    kept, batch = np.zeros(60), stream(60)
    weights = np.where(np.arange(60) % 2, 4.0, 1.0).astype(np.float32)
    for seed in range(300):
        mem, rng = memory(6, "weighted"), np.random.default_rng(seed)
        mem.add(batch, rng, weights=weights)
        kept[mem.all().ids] += 1
    # Drawing 6 of 60 one after the other by weight favours the heavy by nearly 4 to 1.
    assert 3.2 < kept[1::2].sum() / kept[::2].sum() < 4.3


def test_weighted_without_weights_favours_rare_classes(rng: np.random.Generator) -> None:
    mem, batch = memory(100, "weighted"), stream(4000)
    classes = rng.choice(2, 4000, p=[0.96, 0.04])
    mem.add(Batch(batch.latents, classes, batch.contexts, batch.ids), rng)
    # A reservoir would hold 4; the square root of 1 : 24 is 17 in 100.
    assert 10 <= mem.counts[1] <= 26


@pytest.mark.parametrize("capacity", [1, 2, 3, 7, 32, 33])
def test_the_tournament_finds_the_least_key(capacity: int, rng: np.random.Generator) -> None:
    mem = memory(capacity, "weighted")
    policy = mem._policy
    assert isinstance(policy, Weighted)
    for i in range(6):
        mem.add(stream(40, first_id=40 * i), rng)
        assert policy._least() == int(np.argmin(policy._keys))
        mem.resize(capacity + i % 2, rng)
        assert policy._keys[: len(mem)].all()


def test_herding_order_agrees_with_brute_force(rng: np.random.Generator) -> None:
    latents = rng.gamma(1, 1, (12, 5)).astype(np.float32)
    unit = latents / np.linalg.norm(latents, axis=1, keepdims=True)
    picks: list[int] = []
    for _ in range(12):
        rest = [i for i in range(12) if i not in picks]
        distance = [np.linalg.norm(unit.mean(0) - unit[[*picks, i]].mean(0)) for i in rest]
        picks.append(rest[int(np.argmin(distance))])
    np.testing.assert_array_equal(herding_order(latents, 12), picks)
    np.testing.assert_array_equal(herding_order(latents, 5), picks[:5])


def test_herding_keeps_the_mean_better_than_chance() -> None:
    distances = {}
    for selection in ("herding", "class_balanced"):
        rng = np.random.default_rng(0)
        latents = rng.gamma(1, 1, (120, 16)).astype(np.float32)
        mem = ReplayMemory(make_codec("float32", LatentSpec(16)), 60, selection)
        for c in range(6):
            mem.add(Batch.of(latents[20 * c : 20 * c + 20], np.full(20, c)), rng)
        mean = latents[:20].mean(0)
        distances[selection] = np.linalg.norm(mem.of_class(0).latents.mean(0) - mean)
        assert mem.counts.tolist() == [10] * 6
    assert distances["herding"] < 0.6 * distances["class_balanced"]


def test_shrinking_drops_the_tail_of_the_herding_order(rng: np.random.Generator) -> None:
    mem = memory(40, "herding")
    batch = stream(40, n_classes=1)
    mem.add(batch, rng)
    mem.add(stream(1, n_classes=1, first_id=40), rng)
    order = herding_order(batch.latents, 40)
    mem.resize(10, rng)
    assert set(mem.all().ids) == set(batch.ids[order[:10]])


class CountingGenerator:
    """Counts draws: the only source of work that could grow with the stream."""

    def __init__(self) -> None:
        self.rng, self.draws = np.random.default_rng(0), 0

    def integers(self, *bounds: int) -> int:
        self.draws += 1
        return int(self.rng.integers(*bounds))

    def random(self) -> float:
        self.draws += 1
        return float(self.rng.random())


@pytest.mark.parametrize(
    "selection",
    ["reservoir", "class_balanced", "class_reservoir", "ring", "share", "weighted"],
)
def test_work_per_sample_does_not_grow(selection: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most one draw a sample, and at most one index entry moved a class."""
    mem, rng, moved = memory(64, selection), CountingGenerator(), []
    index = type(mem._rows.index)
    shift = index._shift
    monkeypatch.setattr(
        index, "_shift", lambda self, s, t: (moved.append(len(s)), shift(self, s, t))[1]
    )
    monkeypatch.setattr(index, "build", None)
    for i in range(8):
        mem.begin_experience(i)
        draws, batch = rng.draws, stream(250, n_classes=6, first_id=250 * i)
        mem.add(batch, rng)  # type: ignore[arg-type]
        assert rng.draws - draws <= 251
    assert max(moved) <= 6
