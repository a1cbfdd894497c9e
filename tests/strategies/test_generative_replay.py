"""Deep generative replay: the generator's gradient, and who labels what with which weight."""

from itertools import pairwise

import numpy as np
import pytest

from edge_cl.equations import cross_entropy
from edge_cl.generator import LatentVAE, row_shares
from edge_cl.options import parse_options
from edge_cl.strategies.generative_replay import DREAMED, GenerativeReplay, GenerativeReplayOptions
from edge_cl.types import Batch, LatentSpec

DIM = 6


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def clusters(rng, classes, rows):
    labels = rng.integers(0, len(classes), rows)
    centres = np.eye(DIM, dtype=np.float32) * 3
    noise = rng.normal(0, 0.1, (rows, DIM))
    classes = np.array(classes)[labels]
    return Batch.of((centres[classes] + noise).astype(np.float32), classes)


def make(**options):
    defaults = {"normalise": "none", "learning_rate": 0.1, "replay_batch": 8, "batch_size": 8}
    values = {**defaults, **options}
    parsed = parse_options(GenerativeReplayOptions, values, strategy="generative_replay")
    return GenerativeReplay(LatentSpec(DIM), parsed, seed=3, allowed_bytes=1 << 24)


def taught(rng, steps=60, **options):
    """A scholar whose first experience has the classes 0 and 1, and is over."""
    scholar = make(**options)
    scholar.grow(2, 0, 1 << 24)
    for _ in range(steps):
        scholar.observe(clusters(rng, (0, 1), 8))
    scholar.end_experience()
    return scholar


@pytest.mark.parametrize("bernoulli", [False, True])
@pytest.mark.parametrize("hidden", [(), (5, 4)])
def test_generator_gradient_is_that_of_autograd(rng, bernoulli, hidden):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    vae = LatentVAE(DIM, hidden, 3, bernoulli)
    weights = rng.normal(0, 0.3, vae.size).astype(np.float32)
    latents = rng.uniform(0, 1, (7, DIM)).astype(np.float32)
    noise = rng.standard_normal((7, 3)).astype(np.float32)
    shares = row_shares(3, 4, 0.25)
    _, gradient = vae.gradient(weights, latents, shares, noise)

    flat = torch.tensor(weights, dtype=torch.float64, requires_grad=True)
    x, w, e = (torch.tensor(a, dtype=torch.float64) for a in (latents, shares, noise))

    def mlp(inputs, widths, start):
        for k, (into, out) in enumerate(pairwise(widths)):
            if k < len(widths) - 2:
                matrix = flat[start : start + out * into].reshape(out, into)
                bias = flat[start + out * into : start + out * (into + 1)]
                inputs = torch.relu(inputs @ matrix.T + bias)
            else:
                rows = flat[start : start + out * (into + 1)].reshape(out, into + 1)
                inputs = inputs @ rows[:, :-1].T + rows[:, -1]
            start += out * (into + 1)
        return inputs, start

    moments, start = mlp(x, (DIM, *hidden, 6), 0)
    mean, log_variance = moments[:, :3], moments[:, 3:]
    output, end = mlp(mean + (log_variance / 2).exp() * e, (3, *hidden[::-1], DIM), start)
    assert end == vae.size
    if bernoulli:
        prediction = torch.sigmoid(output)
        likelihood = torch.nn.functional.binary_cross_entropy(prediction, x, reduction="none")
        error = likelihood.sum(1) @ w
    else:
        error = DIM / 2 * torch.log(((output - x) ** 2).sum(1) @ w / DIM)
    divergence = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).sum(1) @ w
    ((error + divergence) / DIM).backward()
    np.testing.assert_allclose(gradient, flat.grad.numpy(), rtol=2e-4, atol=1e-5)


def test_a_scale_is_the_same_generator_of_scaled_latents(rng):
    plain, scaled = LatentVAE(DIM, (5,), 3), LatentVAE(DIM, (5,), 3, scale=0.05)
    weights = rng.normal(0, 0.3, plain.size).astype(np.float32)
    latents = rng.uniform(0, 1, (7, DIM)).astype(np.float32)
    noise = rng.standard_normal((7, 3)).astype(np.float32)
    shares = row_shares(7, 0, 1.0)
    loss, gradient = plain.gradient(weights, latents, shares, noise)
    small = scaled.gradient(weights, latents * np.float32(0.05), shares, noise)
    assert small[0] == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(small[1], gradient, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(
        scaled.decode(weights, noise), 0.05 * plain.decode(weights, noise), rtol=1e-5
    )


def test_the_first_dreams_lie_around_the_first_latents(rng):
    scholar = make()
    scholar.grow(2, 0, 1 << 24)
    batch = clusters(rng, (0, 1), 4)
    scholar.observe(batch)
    dreams = scholar.vae.sample(scholar.generator, 200, rng)
    np.testing.assert_allclose(dreams.mean(axis=0), batch.latents.mean(axis=0), atol=0.1)


def test_dreams_are_latents_labelled_by_the_old_solver(rng):
    scholar = taught(rng)
    teacher = scholar.weights.copy()
    scholar.grow(3, 0, 1 << 24)
    for _ in range(20):
        scholar.observe(clusters(rng, (2,), 8))
    assert not np.array_equal(scholar.weights[: len(teacher)], teacher)
    dreamed = scholar.dreamed_batch()
    assert dreamed.latents.shape == (8, DIM)
    logits = scholar.head.logits(teacher, dreamed.latents)
    np.testing.assert_array_equal(dreamed.classes, logits.argmax(axis=1))
    assert (dreamed.ids == DREAMED).all()


@pytest.mark.parametrize("experience", [1, 2, 5])
def test_new_samples_weigh_one_part_in_t(rng, experience):
    scholar = taught(rng)
    scholar.grow(3, 0, 1 << 24)
    scholar.experience.index = experience
    new = clusters(rng, (2,), 4)
    mixed = Batch.concat([new, scholar.dreamed_batch()])
    forward = scholar.head.forward(scholar.weights, mixed.latents)
    losses = cross_entropy(forward.logits, mixed.classes)
    expected = losses[:4].mean() / experience
    if experience > 1:
        expected += losses[4:].mean() * (1 - 1 / experience)
    assert scholar.loss(mixed, forward)[0] == pytest.approx(expected, rel=1e-5)


def test_the_generator_learns_from_its_own_dreams_too(rng):
    scholar = taught(rng, steps=300, epochs=3, generator_hidden=(24,), generator_code=4)
    scholar.grow(3, 0, 1 << 24)
    for _ in range(150):
        scholar.observe(clusters(rng, (2,), 8))
    scholar.end_experience()
    scholar.experience.index = 3
    dreams = np.concatenate([scholar.dream() for _ in range(40)])
    found = np.bincount(dreams[:, :3].argmax(axis=1), minlength=3)
    assert (found > 0.1 * len(dreams)).all(), found


def test_first_experience_dreams_nothing(rng):
    scholar = make()
    scholar.grow(2, 0, 1 << 24)
    scholar.observe(clusters(rng, (0, 1), 4))
    assert len(scholar.dreamed_batch()) == 0
