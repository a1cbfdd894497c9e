"""Progressive networks: old columns never move, new ones read them."""

import numpy as np
import pytest
from clusters import QUICK_CHECKS, accuracy, conforms, draw, make, teach
from pydantic import ValidationError

from edge_cl.errors import BudgetExceeded, ContextRequired

TASKS = ((0, 1), (2, 3), (4, 5))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def taught(rng, tasks=TASKS, **options):
    network = make("progressive", hidden=(5, 4), adapter=3, **options)
    for context, classes in enumerate(tasks):
        teach(network, draw(rng, classes, 60, context=context))
        network.end_experience()
    return network


def test_old_contexts_answer_bit_identically(rng):
    network = taught(rng, TASKS[:1], optimizer="sgd", momentum=0.9, weight_decay=0.1)
    probe = draw(rng, range(6), 50)
    before = [network.scores(probe.latents, 0)[:, :2]]
    for context in (1, 2):
        teach(network, draw(rng, TASKS[context], 60, context=context))
        network.end_experience()
        for k, old in enumerate(before):
            np.testing.assert_array_equal(network.scores(probe.latents, k)[:, TASKS[k]], old)
        before.append(network.scores(probe.latents, context)[:, TASKS[context]])


def test_a_later_column_reads_the_earlier_ones(rng):
    network = taught(rng)
    probe = draw(rng, range(6), 50)
    straight = network.scores(probe.latents, 2)
    network.body(0)[:] *= 0.5
    assert not np.allclose(network.scores(probe.latents, 2), straight)
    assert np.abs(network.column(2).layers(network.body(2))[1].adapter).sum() > 0


def test_it_learns_every_context(rng):
    network = taught(rng)
    for context, classes in enumerate(TASKS):
        assert accuracy(network, draw(rng, classes, 100), context) > 0.95


def test_a_context_that_comes_again_trains_its_last_layer_only(rng):
    network = taught(rng)
    bodies, rows = network.trunk.copy(), network.rows.copy()
    teach(network, draw(rng, TASKS[0], 20, context=0))
    np.testing.assert_array_equal(network.trunk, bodies)
    np.testing.assert_array_equal(network.rows[1:], rows[1:])
    assert not np.array_equal(network.rows[0], rows[0])


def test_without_a_context_the_surest_column_answers(rng):
    network = taught(rng)
    probe = draw(rng, range(6), 60)
    each = np.stack([network.scores(probe.latents, k) for k in range(3)])
    p = np.exp(each)
    entropy = -(p * np.log(np.maximum(p, 1e-30))).sum(axis=2)
    expected = each[entropy.argmin(axis=0), np.arange(60)]
    np.testing.assert_allclose(network.scores(probe.latents), expected)


def test_columns_end_where_the_budget_does():
    small = make("progressive", hidden=(8,), allowed_bytes=20_000)
    with pytest.raises(BudgetExceeded):
        small.grow(10, 40, 20_000)
    assert small.contexts == 0


def test_it_needs_a_context_and_a_hidden_layer():
    with pytest.raises(ContextRequired):
        make("progressive").check_contexts(np.array([-1]))
    with pytest.raises((ValueError, ValidationError), match="hidden"):
        make("progressive", hidden=())


@pytest.mark.parametrize("check", QUICK_CHECKS, ids=lambda check: check.__name__)
def test_conforms(check):
    conforms("progressive", check, hidden=(6, 5), optimizer="sgd", momentum=0.5, learning_rate=0.1)
