"""SupSup: weights that come from a seed, masks that are learned, contexts that are guessed."""

import hashlib

import numpy as np
import pytest
from autograd import leaf, logits
from clusters import ALLOWED_BYTES, CODES, QUICK_CHECKS, accuracy, conforms, draw, make, teach

from edge_cl.errors import Conflict
from edge_cl.isolation import matrices

DIGEST_OF_SEED_11 = "df1cbb59dd646224"

OPTIONS = {"hidden": (20, 16), "batch_size": 8, "outputs": 24}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def learned(rng, contexts, rows=240, **options):
    """A SupSup that has learned contexts of two classes each."""
    supsup = make("supsup", **{**OPTIONS, **options})
    supsup.grow(6, 3, 1 << 22)
    for context in range(contexts):
        teach(supsup, draw(rng, (2 * context, 2 * context + 1), rows, context))
    return supsup


@pytest.mark.parametrize("options", [{}, {"kept": 0.3}, {"optimizer": "sgd", "momentum": 0.9}])
def test_old_contexts_answer_bit_identically_after_new_ones(rng, options):
    supsup = learned(rng, 1, **options)
    probe = draw(rng, (0, 1), 50).latents
    before = supsup.scores(probe, 0)
    for context in (1, 2):
        teach(supsup, draw(rng, (2 * context, 2 * context + 1), 240, context))
        assert supsup.scores(probe, 0).tobytes() == before.tobytes()


def test_every_context_is_learned(rng):
    supsup = learned(rng, 3)
    for context in range(3):
        probe = draw(rng, (2 * context, 2 * context + 1), 100)
        assert accuracy(supsup, probe, context) > 0.9


def test_weights_are_regenerated_bit_exactly_and_kept_nowhere(rng):
    weights = make("supsup", seed=11, **OPTIONS).maskable()
    assert weights.tobytes() == make("supsup", seed=11, **OPTIONS).maskable().tobytes()
    assert weights.tobytes() != make("supsup", seed=12, **OPTIONS).maskable().tobytes()
    # Signs of Philox 4x64-10 under key 11, the same on every machine and in every version.
    digest = hashlib.sha256(np.packbits(weights > 0).tobytes()).hexdigest()
    assert digest.startswith(DIGEST_OF_SEED_11)
    supsup = learned(rng, 2)
    floats = [name for name, array in supsup.arrays().items() if array.dtype == np.float32]
    assert sorted(floats) == ["mask_first_moment", "mask_scores", "mask_second_moment"]


def test_weights_are_plus_or_minus_one_constant_a_layer():
    supsup = make("supsup", **OPTIONS)
    weights, seen = supsup.maskable(), np.zeros(supsup.mask_size, dtype=bool)
    for part, into in matrices(supsup.head, 24):
        np.testing.assert_allclose(np.abs(weights[part]), np.sqrt(2 / (into * 0.5)), rtol=1e-6)
        assert abs(np.sign(weights[part]).mean()) < 0.25
        seen[part] = True
    assert not weights[~seen].any()


def test_the_score_gradient_is_autograds_through_mask_times_weight(rng, monkeypatch):
    torch = pytest.importorskip("torch", reason="autograd needs torch")
    supsup = learned(rng, 1)
    batch, seen = draw(rng, (0, 1), 8, 0), []
    real = leaf(torch, supsup.mask(0))
    monkeypatch.setattr(
        type(supsup.optimizer), "update", lambda *arguments: seen.append(arguments[2].copy())
    )
    supsup.step(batch)
    flat = real * torch.tensor(supsup.maskable(), dtype=torch.float64)
    out = logits(torch, supsup.head, flat, batch.latents)
    torch.nn.functional.cross_entropy(out, torch.tensor(batch.classes)).backward()
    np.testing.assert_allclose(seen[0], real.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_kept_is_the_part_of_each_layer_with_the_highest_scores(rng):
    supsup = make("supsup", **{**OPTIONS, "kept": 0.25})
    scores = rng.normal(size=supsup.mask_size).astype(np.float32)
    mask = supsup.mask_of(scores)
    for part, _ in matrices(supsup.head, 24):
        assert mask[part].mean() == pytest.approx(0.25, abs=0.02)
        assert scores[part][mask[part]].min() > scores[part][~mask[part]].max()


def direct_entropy_gradient(torch, supsup, latents, contexts):
    """By autograd through the coefficients of the superposed masks, sample by sample."""
    weights = torch.tensor(supsup.maskable(), dtype=torch.float64)
    masks = torch.tensor(np.stack([supsup.mask(k) for k in range(contexts)]) * 1.0)
    rows = []
    for latent in latents:
        coefficients = leaf(torch, np.full(contexts, 1 / contexts))
        out = logits(torch, supsup.head, (coefficients @ masks) * weights, latent[None])
        log_p = torch.log_softmax(out, 1)
        (-(log_p.exp() * log_p).sum()).backward()
        rows.append(coefficients.grad.numpy())
    return np.array(rows)


def test_the_entropy_gradient_is_autograds(rng):
    torch = pytest.importorskip("torch", reason="autograd needs torch")
    supsup = learned(rng, 3)
    # Codes times signed constants can sum to exactly zero, where a ReLU has no one gradient.
    jitter = rng.normal(size=(12, supsup.spec.dim)).astype(np.float32)
    probe = draw(rng, range(6), 12).latents + np.float32(1e-3) * jitter
    expected = direct_entropy_gradient(torch, supsup, probe, 3)
    found = supsup.entropy_gradient(probe, np.arange(3))
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4)
    np.testing.assert_array_equal(supsup.guessed_contexts(probe), (-expected).argmax(axis=1))


def test_contexts_are_guessed(rng):
    supsup = learned(rng, 3, rows=800, hidden=(64,), outputs=100)
    probe = draw(rng, range(6), 300)
    right = supsup.guessed_contexts(probe.latents) == probe.classes // 2
    assert right.mean() > 0.6
    assert accuracy(supsup, probe) > 0.6
    gradient = supsup.entropy_gradient(probe.latents, np.arange(3))
    together = [gradient[probe.classes // 2 == k].sum(axis=0).argmin() for k in range(3)]
    assert together == [0, 1, 2]


def test_a_batch_of_one_context_is_guessed_as_one(rng):
    supsup = learned(rng, 3, infer_from="batch")
    probe = draw(rng, (2, 3), 50).latents
    gradient = supsup.entropy_gradient(probe, np.arange(3)).sum(axis=0)
    assert (supsup.guessed_contexts(probe) == gradient.argmin()).all()


def test_a_context_that_comes_back_goes_on_from_its_mask(rng):
    supsup = learned(rng, 2)
    mask, other = supsup.mask(0), supsup.masks[1].copy()
    supsup.begin(type(supsup.experience)(3, 0, 0, True))
    np.testing.assert_array_equal(supsup.mask(0), mask)
    teach(supsup, draw(rng, (0, 1), 40, 0))
    assert supsup.masks[1].tobytes() == other.tobytes()


def test_more_classes_than_outputs_are_refused():
    supsup = make("supsup", CODES, **OPTIONS)
    supsup.admit(24, 3, 1, ALLOWED_BYTES)
    with pytest.raises(Conflict, match="24 output units"):
        supsup.admit(25, 3, 1, ALLOWED_BYTES)


@pytest.mark.parametrize("check", QUICK_CHECKS)
@pytest.mark.parametrize("options", [{"hidden": ()}, {"kept": 0.4, "hidden": (6, 5)}], ids=str)
def test_it_conforms_with_other_options(check, options):
    conforms("supsup", check, **options)
