"""HAT: gates, their compensated gradient, and weights that belong to contexts."""

import numpy as np
import pytest
from autograd import leaf, logits
from clusters import QUICK_CHECKS, accuracy, conforms, draw, make, teach

from edge_cl.errors import ContextRequired, InvalidOption

OPTIONS = {
    "hidden": (24, 16),
    "learning_rate": 0.1,
    "batch_size": 8,
    "anneal_steps": 30,
    "gate_rate": 0.05,
}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def learned(rng, contexts, **options):
    """A HAT that has learned contexts of two classes each; the last one is open."""
    hat = make("hat", **{**OPTIONS, **options})
    hat.grow(6, 3, 1 << 22)
    for context in range(contexts):
        teach(hat, draw(rng, (2 * context, 2 * context + 1), 320, context))
    return hat


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "adam", "learning_rate": 0.01},
        {"momentum": 0.9, "weight_decay": 0.01},
        {"hidden": (30,)},
    ],
    ids=str,
)
def test_old_contexts_answer_bit_identically_after_new_ones(rng, options):
    hat = learned(rng, 1, **options)
    probe = draw(rng, (0, 1), 50).latents
    before = hat.scores(probe, 0)
    for context in (1, 2):
        teach(hat, draw(rng, (2 * context, 2 * context + 1), 320, context))
        assert hat.scores(probe, 0).tobytes() == before.tobytes()
    for context in range(3):
        assert accuracy(hat, draw(rng, (2 * context, 2 * context + 1), 100), context) > 0.9


def autograd_step(torch, hat, batch, context):
    """Gradients by weights and embedding of cross-entropy and penalty, by autograd."""
    weights, embedding = leaf(torch, hat.weights), leaf(torch, hat.embedding)
    gates = torch.sigmoid(hat.slope * embedding)
    layers = torch.split(gates, list(hat.head.hidden))
    out = logits(torch, hat.head, weights, batch.latents, layers)
    classes = np.flatnonzero(hat.membership[context])
    target = torch.tensor(np.searchsorted(classes, batch.classes))
    free = torch.tensor(~hat.used_elsewhere(context)).double()
    penalty = hat.hat_options.sparsity * (gates * free).sum() / free.sum()
    loss = torch.nn.functional.cross_entropy(out[:, torch.tensor(classes)], target) + penalty
    loss.backward()
    return weights.grad.numpy(), embedding.grad.numpy()


def autograd_slope(hat, steps):
    return 1 / 400 + (400 - 1 / 400) * steps / 29


def compensation(hat):
    """Section 2.5 of the paper: the slope's derivative, taken out again."""
    slope, embedding = hat.slope, hat.embedding.astype(np.float64)
    ratio = (np.cosh(np.clip(slope * embedding, -50, 50)) + 1) / (np.cosh(embedding) + 1)
    return hat.hat_options.sharpest / slope * ratio


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_gradients_are_autograds_compensated_and_masked(rng, monkeypatch, steps):
    torch = pytest.importorskip("torch", reason="autograd needs torch")
    hat = learned(rng, 1, learning_rate=1e-3)
    teach(hat, draw(rng, (2, 3), 8, 1))
    hat.annealed[0] = steps
    batch = draw(rng, (2, 3), 8, 1)
    by_weights, by_embedding = autograd_step(torch, hat, batch, 1)
    factor, used = compensation(hat), hat.used_elsewhere(1)
    weights, embedding = hat.weights.copy(), hat.embedding.copy()
    hat.step(batch)
    # An ordinary gradient step of the weights, where eq. 2 lets them move.
    pre = [np.ones(6, dtype=bool), used[:24]]
    post = [used[:24], used[24:]]
    free = [
        np.concatenate([~np.minimum.outer(b, a).ravel(), ~b])
        for a, b in zip(pre, post, strict=True)
    ]
    rows = np.repeat(np.arange(6) // 2 == 1, hat.head.row_size)
    expected = weights - 1e-3 * by_weights * np.concatenate([*free, rows])
    np.testing.assert_allclose(hat.weights, expected, rtol=1e-4, atol=1e-6)
    stepped = np.clip(embedding - 0.05 * by_embedding * factor, -6, 6)
    # Beyond that autograd's own 1 - gate is cancelled.
    exact = np.abs(autograd_slope(hat, steps) * embedding) < 30
    np.testing.assert_allclose(hat.embedding[exact], stepped[exact], rtol=1e-3, atol=1e-4)


def test_the_compensation_gives_the_gradient_of_an_unsharpened_gate(rng):
    hat = learned(rng, 1)
    hat.annealed[0] = 0
    hat.embedding[:] = rng.uniform(-6, 6, len(hat.embedding))
    by_gates = rng.normal(size=len(hat.embedding)).astype(np.float32)
    plain = 1 / (1 + np.exp(-hat.embedding.astype(np.float64)))
    expected = by_gates * plain * (1 - plain) * hat.hat_options.sharpest
    np.testing.assert_allclose(hat.embedding_gradient(by_gates), expected, rtol=1e-4)


def test_the_slope_rises_over_the_declared_steps_of_each_context(rng):
    hat = make("hat", **OPTIONS)
    hat.grow(6, 3, 1 << 22)
    slopes = []
    for _ in range(32):
        slopes.append(hat.slope)
        teach(hat, draw(rng, (0, 1), 8, 0))
    assert slopes[0] == pytest.approx(1 / 400)
    assert slopes[29] == slopes[31] == pytest.approx(400)
    np.testing.assert_allclose(np.diff(slopes[:30]), (400 - 1 / 400) / 29, rtol=1e-6)
    teach(hat, draw(rng, (2, 3), 8, 1))
    assert hat.annealed[0] == 1


def test_gates_are_one_bit_a_unit_and_context(rng):
    hat = learned(rng, 2)
    assert hat.gate_bits.dtype == np.uint8
    assert hat.gate_bits.shape == (3, 5)
    np.testing.assert_array_equal(hat.gates(1), hat.embedding > 0)
    np.testing.assert_array_equal(hat.used_elsewhere(2), hat.gates(0) | hat.gates(1))


def test_the_penalty_keeps_contexts_small(rng):
    small, large = (
        learned(np.random.default_rng(0), 1, sparsity=c).gates(0).sum() for c in (3.0, 0.0)
    )
    assert small < large


def test_the_input_is_never_gated(rng):
    hat = make("hat", **OPTIONS)
    used = np.zeros(40, dtype=bool)
    used[3] = True
    free = hat.free_body(used)
    assert not free[3 * 6 : 4 * 6].any()
    assert not free[24 * 6 + 3]
    assert free.sum() == len(free) - 7


def test_a_context_that_comes_back_changes_no_other(rng):
    hat = learned(rng, 2)
    probe = draw(rng, (2, 3), 50).latents
    before, gates = hat.scores(probe, 1), hat.gates(0)
    teach(hat, draw(rng, (0, 1), 80, 0))
    assert hat.scores(probe, 1).tobytes() == before.tobytes()
    np.testing.assert_array_equal(hat.gates(0), gates)


def test_it_needs_a_context_and_a_hidden_layer(rng):
    with pytest.raises(ContextRequired):
        learned(rng, 1).scores(draw(rng, (0,), 1).latents)
    with pytest.raises(InvalidOption):
        make("hat", hidden=())


@pytest.mark.parametrize("check", QUICK_CHECKS)
@pytest.mark.parametrize(
    "options",
    [{"hidden": (6, 5), "momentum": 0.9}, {"anneal_steps": 2, "optimizer": "adam"}],
    ids=str,
)
def test_it_conforms_with_other_options(check, options):
    conforms("hat", check, **options)
