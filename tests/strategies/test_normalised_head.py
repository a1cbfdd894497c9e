"""Batch renormalisation: equal to batch normalisation where it should be, and where not."""

import numpy as np
import pytest
from clusters import QUICK_CHECKS, conforms, draw, make, teach

from edge_cl.normalised_head import NormalisedHead

BATCH_NORM = {"largest_ratio": 1.0, "largest_shift": 0.0}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def drawn(rng, head, classes=3, samples=12):
    weights = head.initial(classes, rng)
    weights += rng.normal(0, 0.3, len(weights)).astype(np.float32)
    for layer in head.normalised_layers(weights):
        layer.deviation[:] = np.abs(layer.deviation) + 0.5
    return weights, rng.normal(0.3, 1.5, (samples, head.dim)).astype(np.float32)


def torch_layers(torch, head, weights):
    """PyTorch's own batch normalisation with the documented layout's values."""
    norms, start, width = [], 0, head.dim
    for out in head.hidden:
        matrix = torch.tensor(weights[start : start + out * width].reshape(out, width))
        start += out * width
        beta, gamma, mean, deviation = weights[start : start + 4 * out].reshape(4, out)
        norm = torch.nn.BatchNorm1d(out, momentum=head.momentum)
        for name, value in (("bias", beta), ("weight", gamma)):
            getattr(norm, name).data = torch.tensor(value)
        norm.running_mean.data = torch.tensor(mean)
        norm.running_var.data = torch.tensor(deviation**2 - 1e-5)
        norms.append((matrix.requires_grad_(), norm))
        start, width = start + 4 * out, out
    rows = torch.tensor(weights[start:].reshape(-1, width + head.bias))
    return norms, rows.requires_grad_()


def torch_logits(torch, norms, rows, latents):
    active = torch.tensor(latents)
    for matrix, norm in norms:
        active = torch.relu(norm(active @ matrix.T))
    return active @ rows[:, :-1].T + rows[:, -1]


@pytest.mark.parametrize("hidden", [(5,), (6, 4)])
def test_at_r_one_and_d_zero_it_is_batch_normalisation(rng, hidden):
    torch = pytest.importorskip("torch", reason="compared with torch's batch normalisation")
    head = NormalisedHead(7, hidden, **BATCH_NORM)
    weights, latents = drawn(rng, head)
    norms, rows = torch_layers(torch, head, weights)
    expected = torch_logits(torch, norms, rows, latents)
    forward = head.training_forward(weights, latents)
    np.testing.assert_allclose(forward.logits, expected.detach(), rtol=1e-3, atol=1e-4)
    pull = rng.normal(0, 1, forward.logits.shape).astype(np.float32)
    (expected * torch.tensor(pull)).sum().backward()
    slopes = head.normalised_layers(head.gradient(weights, forward, pull))
    for slope, (matrix, norm) in zip(slopes, norms, strict=True):
        np.testing.assert_allclose(slope.matrix, matrix.grad, rtol=1e-2, atol=1e-4)
        np.testing.assert_allclose(slope.gamma, norm.weight.grad, rtol=1e-2, atol=1e-4)
        np.testing.assert_allclose(slope.beta, norm.bias.grad, rtol=1e-2, atol=1e-4)
        assert not slope.mean.any()
        assert not slope.deviation.any()


def test_in_evaluation_it_uses_the_running_statistics(rng):
    torch = pytest.importorskip("torch", reason="compared with torch's batch normalisation")
    head = NormalisedHead(7, (6, 4))
    weights, latents = drawn(rng, head)
    norms, rows = torch_layers(torch, head, weights)
    for _, norm in norms:
        norm.eval()
    expected = torch_logits(torch, norms, rows, latents).detach()
    np.testing.assert_allclose(head.logits(weights, latents), expected, rtol=1e-3, atol=1e-4)
    one_by_one = [head.logits(weights, latents[n : n + 1]) for n in range(len(latents))]
    np.testing.assert_allclose(np.concatenate(one_by_one), expected, rtol=1e-3, atol=1e-4)


def test_unclipped_training_equals_evaluation(rng):
    head = NormalisedHead(7, (6,), largest_ratio=1e6, largest_shift=1e6)
    weights, latents = drawn(rng, head)
    trained = head.training_forward(weights, latents).logits
    np.testing.assert_allclose(trained, head.logits(weights, latents), rtol=1e-3, atol=1e-3)


def test_r_and_d_are_clipped_and_constant_for_the_gradient(rng):
    head = NormalisedHead(7, (6,), largest_ratio=1.25, largest_shift=0.5)
    weights, latents = drawn(rng, head)
    forward = head.training_forward(weights, latents)
    norm = forward.normalised[0]
    running = head.normalised_layers(weights)[0]
    r = np.clip(norm.deviation / running.deviation, 0.8, 1.25)
    d = np.clip((norm.mean - running.mean) / running.deviation, -0.5, 0.5)
    assert np.unique(r).size > 1
    np.testing.assert_allclose(norm.shifted, norm.standard * r + d, rtol=1e-4, atol=1e-6)
    u = latents @ running.matrix.T
    pull = rng.normal(0, 1, u.shape)

    def loss(values):
        standard = (values - values.mean(axis=0)) / np.sqrt(values.var(axis=0) + 1e-5)
        return float(
            (np.maximum(running.gamma * (standard * r + d) + running.beta, 0) * pull).sum()
        )

    # An identity as last layer makes logits of the hidden layer.
    plain = NormalisedHead(7, (6,), bias=False, largest_ratio=1.25, largest_shift=0.5)
    weights = np.concatenate([weights[: head.body_size], np.eye(6, dtype=np.float32).ravel()])
    forward = plain.training_forward(weights, latents)
    found = plain.gradient(weights, forward, pull.astype(np.float32))
    slope = plain.normalised_layers(found)[0].matrix
    for o, i in ((0, 0), (2, 3), (5, 6)):
        nudge = np.zeros_like(u, dtype=np.float64)
        nudge[:, o] = 1e-5 * latents[:, i]
        assert slope[o, i] == pytest.approx(
            (loss(u + nudge) - loss(u - nudge)) / 2e-5, rel=1e-2, abs=1e-2
        )


@pytest.mark.parametrize("norm", ["batch", "batch_renorm"])
def test_ar1_tracks_statistics_and_gives_importance_to_matrices_alone(rng, norm):
    ar1 = make("ar1", hidden=(5,), norm=norm, learning_rate=0.05, weight_decay=0.5, batch_size=8)
    teach(ar1, draw(rng, (0, 1), 80, context=0))
    layer = ar1.head.normalised_layers(ar1.weights)[0]
    assert (layer.deviation > 0).all()
    assert not np.allclose(layer.deviation, 1)
    before = ar1.weights[: ar1.head.body_size][ar1.head.statistics()].copy()
    ar1.update(np.zeros_like(ar1.weights))
    after = ar1.weights[: ar1.head.body_size][ar1.head.statistics()]
    np.testing.assert_array_equal(after, before)
    ar1.end_experience()
    assert ar1.importance[ar1.head.matrices()].any()
    assert not ar1.importance[~ar1.head.matrices()].any()


@pytest.mark.parametrize("check", QUICK_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("norm", ["batch", "batch_renorm"])
def test_conforms(check, norm):
    conforms("ar1", check, hidden=(6, 5), norm=norm, learning_rate=0.1, batch_size=4)
