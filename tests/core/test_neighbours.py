"""Finding the remembered sample that a new one is a copy of."""

from __future__ import annotations

import numpy as np
import pytest

from edge_cl import Learner, codec
from edge_cl.errors import InvalidLatent
from edge_cl.neighbours import CLASS_ROWS, FEW_ROWS
from edge_cl.types import LatentSpec

CODES = LatentSpec(48, scale=0.02, zero_point=40)


def codes(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, CODES.dim), dtype=np.uint8)


def taught(spec, latents, labels, name="uint8", budget="256KiB"):
    options = {"codec": name, "hidden": []}
    learner = Learner.create(strategy="replay", spec=spec, memory_budget=budget, options=options)
    for start in range(0, len(latents), 50):
        part = slice(start, start + 50)
        ids = range(start + 1, start + 1 + len(latents[part]))
        learner.learn_latents(latents[part], labels[part], None, ids)
    return learner


def test_the_most_alike_is_that_of_a_search_through_everything():
    count = 1200
    latents = codes(count)
    labels = [f"class {n % 5}" for n in range(count)]
    learner = taught(CODES, latents, labels, budget="1MiB")
    asked = codes(30, seed=1)
    wanted = [{f"class {n % 5}", f"class {n % 3}"} for n in range(30)]
    known, new = (CODES.to_float(some) for some in (latents, asked))
    cosines = (new @ known.T) / np.outer(np.linalg.norm(new, axis=1), np.linalg.norm(known, axis=1))
    for row, found in enumerate(learner.most_alike(asked, wanted)):
        of_wanted = [n for n, label in enumerate(labels) if label in wanted[row]]
        best = max(of_wanted, key=lambda n: cosines[row, n])
        assert found.sample_id == best + 1
        assert found.label == labels[best]
        assert found.similarity == pytest.approx(cosines[row, best], abs=0.005)


@pytest.mark.parametrize("name", codec.names())
def test_a_copy_is_found_whatever_the_codec_loses(name):
    latents = codes(60)
    learner = taught(CODES, latents, ["a"] * 60, name)
    found = learner.most_alike(latents, [{"a"}] * 60)
    assert [one.sample_id for one in found] == list(range(1, 61))
    assert min(one.similarity for one in found) > 0.9999


def test_latents_of_others_that_a_codec_takes_for_one_are_not_the_same():
    spec = LatentSpec(4)
    first = np.array([[1.0, 0.51, 0.2, 0.0]], np.float32)
    second = np.array([[1.0, 0.52, 0.2, 0.0]], np.float32)
    learner = taught(spec, first, ["a"], "uint2")
    (found,) = learner.most_alike(second, [{"a"}])
    assert found.similarity < 0.9999


def test_of_many_only_the_newest_of_a_class_are_compared():
    latents = codes(FEW_ROWS + 1)
    learner = taught(CODES, latents, ["a"] * len(latents), budget="1MiB")
    found = learner.most_alike(latents[-CLASS_ROWS - 10 :], [{"a"}] * (CLASS_ROWS + 10))
    first = len(latents) - CLASS_ROWS + 1
    assert [one.sample_id for one in found[10:]] == list(range(first, len(latents) + 1))
    assert all(one.sample_id >= first and one.similarity < 0.97 for one in found[:10])
    assert learner.most_alike(codes(2), [{"b"}, set()]) == [None, None]


def test_few_are_compared_whatever_their_class():
    latents = codes(20)
    learner = taught(CODES, latents, [f"class {n % 4}" for n in range(20)])
    found = learner.most_alike(latents, [{"new"}] * 20)
    assert [(one.sample_id, one.label) for one in found] == [
        (n + 1, f"class {n % 4}") for n in range(20)
    ]


def test_there_is_none_without_exemplars():
    empty = Learner.create(strategy="replay", spec=CODES, memory_budget="64KiB")
    assert empty.most_alike(codes(1), [{"a"}]) == [None]
    without = Learner.create(strategy="ncm", spec=CODES, memory_budget="64KiB")
    without.learn_latents(codes(1), ["a"])
    assert without.most_alike(codes(1), [{"a"}]) == [None]


def test_latents_are_checked():
    learner = taught(CODES, codes(5), ["a"] * 5)
    with pytest.raises(InvalidLatent):
        learner.most_alike(np.zeros((1, 3), np.float32), [{"a"}])
