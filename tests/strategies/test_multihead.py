"""Multi-head: nothing is forgotten where nothing is shared."""

import numpy as np
import pytest
from clusters import QUICK_CHECKS, accuracy, conforms, draw, make, teach

from edge_cl.errors import ContextRequired

TASKS = ((0, 1), (2, 3), (0, 3))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("hidden", [(), (5,)])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_old_contexts_answer_bit_identically(rng, hidden, optimizer):
    heads = make("multihead", hidden=hidden, optimizer=optimizer, momentum=0.9, learning_rate=0.1)
    probe, before = draw(rng, range(4), 50), []
    for context, classes in enumerate(TASKS):
        teach(heads, draw(rng, classes, 60, context=context))
        heads.end_experience()
        before.append(heads.scores(probe.latents, context)[:, classes])
        for k, old in enumerate(before):
            np.testing.assert_array_equal(heads.scores(probe.latents, k)[:, TASKS[k]], old)


def test_a_trunk_that_always_learns_does_change_old_answers(rng):
    heads = make("multihead", hidden=(5,), train_trunk="always", learning_rate=0.1)
    teach(heads, draw(rng, (0, 1), 60, context=0))
    before = heads.scores(draw(rng, (0, 1), 20).latents, 0)
    teach(heads, draw(rng, (2, 3), 60, context=1))
    assert not np.array_equal(heads.scores(draw(rng, (0, 1), 20).latents, 0)[:, :2], before)


def test_a_class_has_a_row_in_every_context_it_is_in(rng):
    heads = make("multihead", learning_rate=0.5)
    for context, classes in enumerate(TASKS):
        teach(heads, draw(rng, classes, 60, context=context))
    assert heads.membership.tolist() == [
        [True, True, False, False],
        [False, False, True, True],
        [True, False, False, True],
    ]
    for context, classes in enumerate(TASKS):
        assert accuracy(heads, draw(rng, classes, 60), context) > 0.95
        scores = heads.scores(draw(rng, classes, 5).latents, context)
        assert np.exp(scores).sum(axis=1) == pytest.approx(np.ones(5))


def test_it_needs_a_context_to_learn():
    with pytest.raises(ContextRequired):
        make("multihead").check_contexts(np.array([0, -1]))


@pytest.mark.parametrize("check", QUICK_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("options", [{"hidden": (6,)}, {"hidden": (4,), "train_trunk": "always"}])
def test_conforms(check, options):
    conforms("multihead", check, learning_rate=0.1, **options)
