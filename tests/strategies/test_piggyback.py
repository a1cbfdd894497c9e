"""Piggyback: masks by the straight-through gradient, one bit each, on a backbone that rests."""

import numpy as np
import pytest
from autograd import leaf, logits
from clusters import QUICK_CHECKS, accuracy, conforms, draw, make, teach

from edge_cl.errors import ContextRequired
from edge_cl.isolation import matrix_positions

OPTIONS = {"hidden": (12, 8), "learning_rate": 0.1, "batch_size": 8, "mask_rate": 1e-3}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def learned(rng, contexts, **options):
    """A Piggyback that has learned contexts of two classes each; the last one is open."""
    piggyback = make("piggyback", **{**OPTIONS, **options})
    piggyback.grow(6, 3, 1 << 22)
    for context in range(contexts):
        teach(piggyback, draw(rng, (2 * context, 2 * context + 1), 160, context))
    return piggyback


@pytest.mark.parametrize(
    "options", [{}, {"optimizer": "adam", "learning_rate": 0.01}, {"momentum": 0.9}], ids=str
)
def test_old_contexts_answer_bit_identically_after_new_ones(rng, options):
    piggyback = learned(rng, 1, **options)
    piggyback.end_experience()
    probe = draw(rng, (0, 1), 50).latents
    before = piggyback.scores(probe, 0)
    for context in (1, 2):
        teach(piggyback, draw(rng, (2 * context, 2 * context + 1), 240, context))
        assert piggyback.scores(probe, 0).tobytes() == before.tobytes()
    assert not piggyback.mask(1).all()
    for context in range(3):
        probe = draw(rng, (2 * context, 2 * context + 1), 100)
        assert accuracy(piggyback, probe, context) > 0.9


def test_the_mask_gradient_is_autograds_through_mask_times_weight(rng, monkeypatch):
    torch = pytest.importorskip("torch", reason="autograd needs torch")
    piggyback = learned(rng, 2)
    batch, seen = draw(rng, (2, 3), 8, 1), []
    size = piggyback.head.body_size
    mask, weights = piggyback.mask(1), piggyback.weights.copy()

    class Rule:
        def slots(self, size):
            return {}

        def update(self, scores, gradient, state):
            seen.append(gradient.copy())

    monkeypatch.setattr(type(piggyback), "mask_rule", Rule())
    piggyback.step(batch)
    real = leaf(torch, mask)
    flat = torch.cat([real * torch.tensor(weights[:size]), torch.tensor(weights[size:])])
    out = logits(torch, piggyback.head, flat, batch.latents)[:, 2:4]
    torch.nn.functional.cross_entropy(out, torch.tensor(batch.classes) - 2).backward()
    expected = real.grad.numpy() * matrix_positions(piggyback.head)
    np.testing.assert_allclose(seen[0], expected, rtol=1e-4, atol=1e-6)


def test_a_mask_is_the_scores_above_the_threshold_one_bit_each(rng):
    piggyback = learned(rng, 2)
    size = piggyback.head.body_size
    assert piggyback.masks.dtype == np.uint8
    assert piggyback.masks.shape == (3, -(-size // 8))
    np.testing.assert_array_equal(piggyback.mask(1), piggyback.mask_scores > 5e-3)


def test_the_backbone_rests_after_the_first_experience(rng):
    piggyback = learned(rng, 1)
    size = piggyback.head.body_size
    teach(piggyback, draw(rng, (2, 3), 8, 1))
    before = piggyback.weights[:size].copy()
    teach(piggyback, draw(rng, (2, 3), 80, 1))
    assert piggyback.weights[:size].tobytes() == before.tobytes()
    assert piggyback.mask(0).all()
    assert piggyback.mask(1)[~matrix_positions(piggyback.head)].all()


def test_a_context_that_comes_back_goes_on_from_its_mask(rng):
    piggyback = learned(rng, 3)
    mask, other = piggyback.mask(1), piggyback.masks[2].copy()
    piggyback.end_experience()
    probe = draw(rng, (2, 3), 30).latents
    before = piggyback.scores(probe, 1)
    piggyback.begin(type(piggyback.experience)(4, 1, 0, True))
    np.testing.assert_array_equal(piggyback.mask(1), mask)
    assert piggyback.scores(probe, 1).tobytes() == before.tobytes()
    teach(piggyback, draw(rng, (2, 3), 40, 1))
    assert piggyback.masks[2].tobytes() == other.tobytes()


def test_a_class_of_two_contexts_keeps_its_first_row(rng):
    piggyback = learned(rng, 1)
    row = piggyback.head.rows(piggyback.weights)[0].copy()
    teach(piggyback, draw(rng, (0, 2), 80, 1))
    assert piggyback.head.rows(piggyback.weights)[0].tobytes() == row.tobytes()
    assert piggyback.membership[:2, 0].all()


def test_it_needs_a_context(rng):
    with pytest.raises(ContextRequired):
        learned(rng, 1).scores(draw(rng, (0,), 1).latents)


@pytest.mark.parametrize("check", QUICK_CHECKS)
@pytest.mark.parametrize(
    "options", [{"hidden": ()}, {"hidden": (5, 4), "optimizer": "adam", "mask_rate": 0.01}], ids=str
)
def test_it_conforms_with_other_options(check, options):
    conforms("piggyback", check, **options)
