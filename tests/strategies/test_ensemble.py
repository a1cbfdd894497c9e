"""An ensemble: one head a context, and which of them is believed."""

import numpy as np
import pytest
from clusters import QUICK_CHECKS, accuracy, conforms, draw, make, teach

from edge_cl.types import LatentSpec


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def taught(rng, pick="confidence", **options):
    ensemble = make("ensemble", pick=pick, learning_rate=0.5, hidden=(8,), **options)
    for context, classes in enumerate(((0, 1), (2, 3), (1, 4, 5))):
        teach(ensemble, draw(rng, classes, 120, context=context))
    return ensemble


def by_hand(ensemble, latent, row):
    """One head's answer, a class and a unit at a time."""
    weights = ensemble.heads[row].astype(np.float64)
    (hidden,), dim = ensemble.options.hidden, ensemble.spec.dim
    matrix = weights[: hidden * dim].reshape(hidden, dim)
    bias = weights[hidden * dim : hidden * (dim + 1)]
    rows = weights[hidden * (dim + 1) :].reshape(-1, hidden + 1)
    features = [max(0.0, float(m @ latent + b)) for m, b in zip(matrix, bias, strict=True)]
    own = np.flatnonzero(ensemble.owned[row])
    logits = {int(c): float(rows[c, :-1] @ features + rows[c, -1]) for c in own}
    total = sum(np.exp(z) for z in logits.values())
    return {c: np.exp(z) / total for c, z in logits.items()}


def test_a_head_answers_over_the_classes_of_its_context(rng):
    ensemble = taught(rng)
    latents = draw(rng, range(6), 5).latents
    for context, classes in enumerate(((0, 1), (2, 3), (1, 4, 5))):
        found = np.exp(ensemble.scores(latents, context))
        for n, latent in enumerate(latents):
            expected = by_hand(ensemble, latent, context + 1)
            assert set(expected) == set(classes)
            for c in range(6):
                assert found[n, c] == pytest.approx(expected.get(c, 0.0), abs=1e-5)


@pytest.mark.parametrize("pick", ["confidence", "entropy"])
def test_without_a_context_the_surest_head_is_believed(rng, pick):
    ensemble = taught(rng, pick)
    latents = draw(rng, range(6), 40).latents
    scores = np.exp(ensemble.scores(latents))
    for n, latent in enumerate(latents):
        answers = [by_hand(ensemble, latent, row) for row in (1, 2, 3)]
        if pick == "confidence":
            doubts = [-max(answer.values()) for answer in answers]
        else:
            doubts = [
                -sum(p * np.log(p) for p in answer.values()) / np.log(len(answer))
                for answer in answers
            ]
        believed = answers[int(np.argmin(doubts))]
        if np.ptp(np.sort(doubts)[:2]) < 1e-6:
            continue
        for c in range(6):
            assert scores[n, c] == pytest.approx(believed.get(c, 0.0), abs=1e-5)


def test_later_contexts_leave_a_head_bit_identical(rng):
    ensemble = taught(rng)
    before = ensemble.heads[:4].copy()
    probe = draw(rng, range(6), 20).latents
    answers = [ensemble.scores(probe, context) for context in range(3)]
    teach(ensemble, draw(rng, (0, 2, 4), 100, context=3))
    assert ensemble.heads[:4].tobytes() == before.tobytes()
    for context in range(3):
        np.testing.assert_array_equal(ensemble.scores(probe, context), answers[context])


def test_new_classes_elsewhere_change_no_answer(rng):
    ensemble = taught(rng)
    probe = draw(rng, range(6), 20).latents
    before = ensemble.scores(probe, 0)
    ensemble.grow(9, 3, 1 << 22)
    after = ensemble.scores(probe, 0)
    np.testing.assert_allclose(after[:, :6], before, atol=1e-6)
    assert (np.exp(after[:, 6:]) < 1e-30).all()


def test_it_knows_each_context_and_guesses_well(rng):
    ensemble = taught(rng)
    for context, classes in enumerate(((0, 1), (2, 3), (1, 4, 5))):
        assert accuracy(ensemble, draw(rng, classes, 200), context) > 0.95
    assert accuracy(ensemble, draw(rng, (0, 2, 3, 4, 5), 400)) > 1 / 3


def test_samples_without_a_context_have_a_head_too(rng):
    ensemble = make("ensemble", learning_rate=0.5)
    teach(ensemble, draw(rng, (0, 1), 60))
    assert accuracy(ensemble, draw(rng, (0, 1), 100)) > 0.95


@pytest.mark.parametrize("check", QUICK_CHECKS)
def test_ensemble_variants_conform(check):
    conforms("ensemble", check, pick="entropy", hidden=(4,), momentum=0.9, learning_rate=0.1)
    conforms("ensemble", check, LatentSpec(4), optimizer="adam", learning_rate=0.01)
