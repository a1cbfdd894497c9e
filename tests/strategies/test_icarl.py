"""iCaRL: herding, tails, sigmoid targets, and the nearest mean of exemplars."""

import numpy as np
import pytest
from clusters import QUICK_CHECKS, conforms, draw, make, teach

from edge_cl.types import LatentSpec


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def features(icarl, latents):
    """The hidden layer, from the documented layout of the weights."""
    out, dim = icarl.head.hidden[0], icarl.spec.dim
    matrix = icarl.weights[: out * dim].reshape(out, dim)
    bias = icarl.weights[out * dim : out * dim + out]
    return unit(np.maximum(latents @ matrix.T + bias, 0).astype(np.float64))


def herded(rows, count):
    """Algorithm 4, by trying every candidate at every place."""
    mean, picks = rows.mean(axis=0), []
    for k in range(1, count + 1):
        ways = [
            np.inf if n in picks else np.linalg.norm(mean - (row + rows[picks].sum(axis=0)) / k)
            for n, row in enumerate(rows)
        ]
        picks.append(int(np.argmin(ways)))
    return picks


def in_order(icarl, cls):
    return icarl.memory.rows(np.sort(icarl.memory.slots_of_class(cls)))


def make_icarl(memory_samples=24, **options):
    return make(
        "icarl",
        hidden=(5,),
        memory_samples=memory_samples,
        window_samples=200,
        codec="float32",
        **options,
    )


def test_exemplars_are_herded_on_unit_features(rng):
    icarl = make_icarl()
    batch = draw(rng, (0, 1), 80, context=0, noise=0.8)
    teach(icarl, batch)
    icarl.end_experience()
    for c in (0, 1):
        own = batch.latents[batch.classes == c]
        rows = features(icarl, own)
        found = features(icarl, in_order(icarl, c).latents)
        np.testing.assert_allclose(found, rows[herded(rows, 12)], atol=1e-6)


def test_shares_shrink_from_the_tail(rng):
    icarl = make_icarl()
    teach(icarl, draw(rng, (0, 1), 60, context=0, noise=0.8))
    icarl.end_experience()
    first = [in_order(icarl, c).latents for c in (0, 1)]
    teach(icarl, draw(rng, (2, 3), 60, context=1, noise=0.8))
    icarl.end_experience()
    assert icarl.memory.counts.tolist() == [6, 6, 6, 6]
    for c in (0, 1):
        np.testing.assert_array_equal(in_order(icarl, c).latents, first[c][:6])


def test_a_smaller_memory_drops_tails_too(rng):
    icarl = make("icarl", LatentSpec(6), hidden=(5,), codec="float32", allowed_bytes=6000)
    teach_within(icarl, draw(rng, (0, 1), 150, noise=0.8), 6000)
    icarl.end_experience()
    before = [in_order(icarl, c).latents for c in (0, 1)]
    icarl.grow(3, 1, 2000)
    for c in (0, 1):
        after = in_order(icarl, c).latents
        assert 0 < len(after) < len(before[c])
        np.testing.assert_array_equal(after, before[c][: len(after)])


def teach_within(icarl, batch, allowed_bytes):
    icarl.grow(2, 1, allowed_bytes)
    icarl.observe(batch)


def test_old_classes_aim_at_the_teachers_sigmoid(rng):
    icarl = make_icarl()
    teach(icarl, draw(rng, (0, 1), 40, context=0))
    icarl.end_experience()
    teacher = icarl.weights.copy()
    teach(icarl, draw(rng, (2, 3), 40, context=1))
    batch = draw(rng, (0, 2, 3), 9, context=1)
    forward = icarl.head.forward(icarl.weights, batch.latents)
    answers = 1 / (1 + np.exp(-icarl.head.logits(teacher, batch.latents).astype(np.float64)))
    targets = np.eye(4)[batch.classes]
    targets[:, :2] = answers
    p = 1 / (1 + np.exp(-forward.logits.astype(np.float64)))
    expected = -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean()
    value, gradient = icarl.loss(batch, forward)
    assert value == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(gradient, (p - targets) / p.size, rtol=1e-4, atol=1e-7)


def test_a_class_that_comes_again_is_learned_from_its_labels(rng):
    icarl = make_icarl()
    teach(icarl, draw(rng, (0, 1), 40, context=0))
    icarl.end_experience()
    teach(icarl, draw(rng, (1, 2), 40, context=1))
    assert icarl.old.tolist() == [True, False, False]


def test_the_nearest_mean_of_exemplars_answers(rng):
    icarl = make_icarl()
    for context, classes in enumerate(((0, 1), (2, 3))):
        teach(icarl, draw(rng, classes, 60, context=context, noise=0.8))
        icarl.end_experience()
    probe = draw(rng, (0, 1, 2, 3), 100, noise=0.8)
    means = unit(
        np.stack([features(icarl, in_order(icarl, c).latents).mean(axis=0) for c in range(4)])
    )
    ways = np.linalg.norm(features(icarl, probe.latents)[:, None] - means, axis=2)
    served = icarl.publish()
    np.testing.assert_array_equal(served.scores(probe.latents).argmax(axis=1), ways.argmin(axis=1))


@pytest.mark.parametrize("check", QUICK_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("options", [{"hidden": ()}, {"memory_samples": 7, "codec": "uint4"}])
def test_conforms(check, options):
    conforms("icarl", check, **options)
