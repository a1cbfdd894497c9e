"""PackNet: who owns which weight, what pruning leaves, and that nothing old ever moves."""

import numpy as np
import pytest
from clusters import QUICK_CHECKS, accuracy, conforms, draw, make, teach

from edge_cl import Learner
from edge_cl.errors import BudgetExceeded, Conflict, ContextRequired
from edge_cl.isolation import matrices, matrix_positions
from edge_cl.strategy import Experience

OPTIONS = {"hidden": (12, 8), "learning_rate": 0.1, "batch_size": 8, "planned_contexts": 3}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def learned(rng, contexts, **options):
    """A PackNet that has learned contexts of two classes each, the last one closed too."""
    packnet = make("packnet", **{**OPTIONS, **options})
    packnet.grow(6, 3, 1 << 22)
    for context in range(contexts):
        teach(packnet, draw(rng, (2 * context, 2 * context + 1), 160, context))
    packnet.end_experience()
    return packnet


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "adam", "learning_rate": 0.01},
        {"momentum": 0.9, "weight_decay": 0.01},
        {"prune": 0.5},
    ],
    ids=str,
)
def test_old_contexts_answer_bit_identically_after_new_ones(rng, options):
    packnet = learned(rng, 1, **options)
    probe = draw(rng, (0, 1), 50).latents
    before = packnet.scores(probe, 0)
    for context in (1, 2):
        teach(packnet, draw(rng, (2 * context, 2 * context + 1), 160, context))
        assert packnet.scores(probe, 0).tobytes() == before.tobytes()
        packnet.end_experience()
        assert packnet.scores(probe, 0).tobytes() == before.tobytes()
    assert accuracy(packnet, draw(rng, (0, 1), 100), 0) > 0.9
    assert accuracy(packnet, draw(rng, (4, 5), 100), 2) > 0.9


def test_each_context_keeps_an_equal_share_of_every_layer(rng):
    packnet = make("packnet", **OPTIONS)
    packnet.grow(6, 3, 1 << 22)
    for context in range(3):
        free = packnet.owners() == 0
        teach(packnet, draw(rng, (2 * context, 2 * context + 1), 80, context))
        packnet.end_experience()
        own = packnet.owners() == context + 1
        for part, _ in matrices(packnet.head):
            assert own[part].sum() == np.ceil(free[part].sum() / (3 - context))
    assert (packnet.owners() > 0).all()


@pytest.mark.parametrize("prune", [0.5, 0.75])
def test_a_fixed_fraction_of_the_contexts_own_weights_is_pruned(rng, prune):
    packnet = learned(rng, 1, prune=prune)
    before = (packnet.owners() == 0).sum()
    teach(packnet, draw(rng, (2, 3), 80, 1))
    packnet.end_experience()
    assert (packnet.owners() == 0).sum() == pytest.approx(prune * before, abs=2)


def test_the_largest_survive_and_the_rest_is_zero_before_retraining(rng, monkeypatch):
    packnet = make("packnet", **OPTIONS)
    packnet.grow(6, 3, 1 << 22)
    teach(packnet, draw(rng, (0, 1), 80, 0))
    trained, at_retraining = packnet.weights.copy(), []
    monkeypatch.setattr(packnet, "retrain", lambda: at_retraining.append(packnet.weights.copy()))
    packnet.end_experience()
    own = packnet.owners() == 1
    (pruned,) = at_retraining
    body = packnet.head.body_size
    assert not pruned[:body][~own].any()
    np.testing.assert_array_equal(pruned[:body][own], trained[:body][own])
    for part, _ in matrices(packnet.head):
        magnitude = np.abs(trained[part])
        assert magnitude[own[part]].min() >= magnitude[~own[part]].max()


def test_retraining_moves_the_survivors_alone_for_half_the_steps(rng, monkeypatch):
    packnet = make("packnet", **OPTIONS)
    packnet.grow(6, 3, 1 << 22)
    teach(packnet, draw(rng, (0, 1), 160, 0))
    assert packnet.steps_taken[0] == 20
    steps, step = [], packnet.step
    monkeypatch.setattr(packnet, "step", lambda batch: steps.append(batch) or step(batch))
    packnet.end_experience()
    assert len(steps) == 10
    free = packnet.owners() == 0
    assert free.any()
    assert not packnet.weights[: packnet.head.body_size][free].any()


def test_biases_are_fixed_after_the_first_context(rng):
    packnet = learned(rng, 1)
    biases = ~matrix_positions(packnet.head)
    before = packnet.weights[: packnet.head.body_size][biases].copy()
    teach(packnet, draw(rng, (2, 3), 80, 1))
    packnet.end_experience()
    after = packnet.weights[: packnet.head.body_size][biases]
    assert before.any()
    assert before.tobytes() == after.tobytes()


def test_owners_take_a_bit_for_each_doubling_of_contexts():
    packnet = make("packnet", **OPTIONS)
    size = packnet.head.body_size
    shapes = [packnet.slots(0, contexts)["owner_bits"].shape for contexts in (1, 3, 4, 10)]
    assert shapes == [(planes, -(-size // 8)) for planes in (1, 2, 3, 4)]


def test_the_context_after_the_last_is_refused_before_anything_changes(rng):
    options = {**OPTIONS, "normalise": "none"}
    learner = Learner.create(strategy="packnet", dim=6, options=options, memory_budget="1MiB")
    for context in range(3):
        learner.learn_latents(draw(rng, (0, 1), 20).latents, ["a", "b"] * 10, f"{context}")
    before = learner.to_bytes()
    with pytest.raises(Conflict, match="planned_contexts is 3"):
        learner.learn_latents(draw(rng, (0, 1), 2).latents, ["a", "b"], "3")
    assert learner.to_bytes() == before


def test_a_context_that_comes_back_changes_no_other(rng):
    packnet = learned(rng, 2)
    probe = draw(rng, (2, 3), 50).latents
    before = packnet.scores(probe, 1)
    teach(packnet, draw(rng, (0, 1), 80, 0))
    packnet.end_experience()
    assert packnet.scores(probe, 1).tobytes() == before.tobytes()


def test_the_last_context_goes_on_with_its_own_weights(rng):
    packnet = learned(rng, 1)
    owners, before = packnet.owners(), packnet.weights[: packnet.head.body_size].copy()
    teach(packnet, draw(rng, (0, 1), 80, 0, noise=1.0))
    moved = packnet.weights[: packnet.head.body_size] != before
    assert moved[owners == 1].any()
    assert not moved[owners != 1].any()
    packnet.end_experience()
    np.testing.assert_array_equal(packnet.owners(), owners)


def test_it_needs_a_context(rng):
    packnet = learned(rng, 1)
    with pytest.raises(ContextRequired):
        packnet.scores(draw(rng, (0,), 1).latents)
    with pytest.raises(ContextRequired):
        packnet.check_contexts(np.array([0, -1]))


def test_the_window_holds_the_present_experience_alone(rng):
    packnet = make("packnet", **OPTIONS)
    teach(packnet, draw(rng, (0, 1), 40, 0))
    assert len(packnet.memory) == 40
    teach(packnet, draw(rng, (2, 3), 8, 1))
    assert len(packnet.memory) == 8
    assert packnet.experience == Experience(2, 1, 8, True)


def test_a_budget_without_room_is_refused():
    with pytest.raises(BudgetExceeded):
        make("packnet", allowed_bytes=1000, **OPTIONS)


@pytest.mark.parametrize("check", QUICK_CHECKS)
@pytest.mark.parametrize(
    "options",
    [{"hidden": ()}, {"prune": 0.5, "momentum": 0.9}, {"hidden": (5, 4), "optimizer": "adam"}],
    ids=str,
)
def test_it_conforms_with_other_options(check, options):
    conforms("packnet", check, **options)
