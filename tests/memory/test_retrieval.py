from __future__ import annotations

import numpy as np
import pytest

from edge_cl.codec import make_codec
from edge_cl.errors import InvalidOption
from edge_cl.memory import ReplayMemory, retrievals
from edge_cl.types import Batch

from .conftest import SPEC, memory, stream


def skewed(sizes: list[int]) -> ReplayMemory:
    mem, n = memory(sum(sizes)), sum(sizes)
    batch = stream(n)
    classes = np.repeat(np.arange(len(sizes)), sizes)
    mem.add(Batch(batch.latents, classes, batch.contexts, batch.ids), np.random.default_rng(0))
    return mem


@pytest.mark.parametrize("retrieval", ["uniform", "class_balanced"])
@pytest.mark.parametrize("n", [0, 1, 5, 29, 30, 200])
def test_rows_are_distinct_and_fewer_when_there_are_fewer(
    retrieval: str, n: int, rng: np.random.Generator
) -> None:
    drawn = skewed([10, 15, 5]).sample(n, rng, retrieval=retrieval)
    assert len(drawn) == min(n, 30)
    assert len(np.unique(drawn.ids)) == len(drawn)
    assert drawn.latents.dtype == np.float32


@pytest.mark.parametrize("retrieval", ["uniform", "class_balanced"])
def test_an_empty_memory_gives_an_empty_batch(retrieval: str, rng: np.random.Generator) -> None:
    drawn = memory(5).sample(3, rng, retrieval=retrieval)
    assert drawn.latents.shape == (0, 4)


def test_uniform_draws_every_row_equally() -> None:
    mem, rng, drawn = skewed([40, 10]), np.random.default_rng(0), np.zeros(50)
    for _ in range(500):
        drawn[mem.sample(10, rng).ids] += 1
    assert ((drawn - 100) ** 2 / 100).sum() < 85.4  # 49 degrees of freedom, 99.9 %


def test_class_balanced_draws_classes_equally_and_rows_within_a_class() -> None:
    mem, rng, drawn = skewed([40, 10, 2]), np.random.default_rng(0), np.zeros(52)
    for _ in range(600):
        drawn[mem.sample(7, rng, retrieval="class_balanced").ids] += 1
    for rows in (drawn[:40], drawn[40:50], drawn[50:]):
        assert ((rows - rows.mean()) ** 2 / rows.mean()).sum() < 80
    assert drawn[50:].sum() == pytest.approx(600 * 2, rel=0.02)
    assert drawn[:40].sum() == pytest.approx(drawn[40:50].sum(), rel=0.05)


def test_class_balanced_shares_differ_by_one_at_most(rng: np.random.Generator) -> None:
    for n in range(1, 40):
        drawn = skewed([30, 20, 10]).sample(n, rng, retrieval="class_balanced")
        counts = np.bincount(drawn.classes, minlength=3)
        full = counts == [30, 20, 10]
        assert full.any() or counts.max() - counts.min() <= 1


@pytest.mark.parametrize("retrieval", ["uniform", "class_balanced"])
def test_only_these_classes_and_not_this_context(retrieval: str, rng: np.random.Generator) -> None:
    mem = memory(200)
    batch = stream(200)
    mem.add(batch, rng)
    drawn = mem.sample(500, rng, retrieval=retrieval, classes=[4, 1, 1, 99], exclude_context=0)
    expected = np.isin(batch.classes, [1, 4]) & (batch.contexts != 0)
    np.testing.assert_array_equal(np.sort(drawn.ids), batch.ids[expected])
    assert len(mem.sample(5, rng, retrieval=retrieval, classes=[])) == 0


def test_hardest_first_brings_the_hardest_of_the_candidates(rng: np.random.Generator) -> None:
    mem = skewed([40, 60])
    scored: list[int] = []

    def hardness(batch: Batch) -> np.ndarray:
        scored.extend(batch.ids.tolist())
        return batch.ids.astype(np.float32)

    drawn = mem.sample(10, rng, retrieval="hardest_first", hardness=hardness)
    assert len(set(scored)) == 40
    assert drawn.ids.tolist() == sorted(scored, reverse=True)[:10]
    assert len(mem.sample(300, rng, retrieval="hardest_first", hardness=hardness)) == 100


def test_hardest_first_without_scores_says_so(rng: np.random.Generator) -> None:
    with pytest.raises(InvalidOption, match="scores exemplars"):
        skewed([4]).sample(2, rng, retrieval="hardest_first")


def test_candidates_are_uniform_and_of_other_contexts(rng: np.random.Generator) -> None:
    mem = ReplayMemory(make_codec("uint8", SPEC), 50, retrieval="hardest_first")
    mem.add(stream(50), rng)
    assert 1 not in mem.candidates(50, rng, exclude_context=1).contexts


def test_every_retrieval_is_covered() -> None:
    assert set(retrievals()) == {"uniform", "class_balanced", "hardest_first"}
