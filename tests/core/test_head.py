from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_cl.equations import cross_entropy, cross_entropy_gradient
from edge_cl.head import Head
from edge_cl.optimizer import SGD, Adam
from edge_cl.state import zeros


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def random_weights(head: Head, classes: int, seed: int) -> np.ndarray:
    weights = head.initial(classes, rng(seed))
    return weights + rng(seed + 1).normal(0, 0.3, weights.shape).astype(np.float32)


def torch_logits(torch, head, flat, latents):
    """The same network, written against the documented layout of the flat vector."""
    start, active, width = 0, latents, head.dim
    for out in head.hidden:
        matrix = flat[start : start + out * width].view(out, width)
        start += out * width
        bias = flat[start : start + out]
        start += out
        active, width = torch.relu(active @ matrix.T + bias), out
    rows = flat[start:].view(-1, width + head.bias)
    logits = active @ rows[:, :width].T
    return logits + rows[:, width] if head.bias else logits


shapes = st.builds(
    lambda dim, hidden, classes, batch, bias: (Head(dim, tuple(hidden), bias), classes, batch),
    st.integers(1, 17),
    st.lists(st.integers(1, 13), max_size=3),
    st.integers(1, 7),
    st.integers(1, 9),
    st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(0, 10_000))
def test_gradient_agrees_with_autograd(shape, seed):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    head, classes, batch = shape
    weights = random_weights(head, classes, seed)
    latents = rng(seed + 2).normal(size=(batch, head.dim)).astype(np.float32)
    targets = rng(seed + 3).integers(0, classes, batch)

    forward = head.forward(weights, latents)
    gradient = head.gradient(weights, forward, cross_entropy_gradient(forward.logits, targets))

    flat = torch.tensor(weights, requires_grad=True)
    logits = torch_logits(torch, head, flat, torch.tensor(latents))
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(targets))
    loss.backward()
    np.testing.assert_allclose(forward.logits, logits.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(
        cross_entropy(forward.logits, targets).mean(), loss.item(), atol=1e-5
    )
    np.testing.assert_allclose(gradient, flat.grad.numpy(), atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(shapes, st.integers(0, 10_000))
def test_squared_gradient_is_the_sum_of_each_samples_square(shape, seed):
    head, classes, batch = shape
    weights = random_weights(head, classes, seed)
    latents = rng(seed + 2).normal(size=(batch, head.dim)).astype(np.float32)
    by_logits = rng(seed + 3).normal(size=(batch, classes)).astype(np.float32)
    one_by_one = sum(
        head.gradient(weights, head.forward(weights, latents[n : n + 1]), by_logits[n : n + 1]) ** 2
        for n in range(batch)
    )
    forward = head.forward(weights, latents)
    np.testing.assert_allclose(
        head.squared_gradient(weights, forward, by_logits), one_by_one, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("hidden", [(), (5,), (6, 4)])
def test_a_new_class_changes_no_logit_of_the_old_ones(hidden):
    head = Head(8, hidden)
    weights = random_weights(head, 3, 0)
    wider = np.concatenate([weights, np.zeros(head.row_size, np.float32)])
    latents = rng(2).normal(size=(4, 8)).astype(np.float32)
    np.testing.assert_array_equal(head.logits(wider, latents)[:, :3], head.logits(weights, latents))
    assert head.classes(wider) == 4
    assert head.size(4) == len(wider)


def test_features_are_the_input_of_the_last_layer():
    head = Head(5, (4, 3))
    weights = random_weights(head, 2, 0)
    latents = rng(1).normal(size=(6, 5)).astype(np.float32)
    np.testing.assert_array_equal(
        head.features(weights, latents), head.forward(weights, latents).features
    )


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_update_rules_agree_with_torch(name):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    rule = {
        "sgd": SGD(0.1, weight_decay=0.01),
        "momentum": SGD(0.1, momentum=0.9, weight_decay=0.01),
        "adam": Adam(0.01),
    }[name]
    weights = rng().normal(size=20).astype(np.float32)
    state = {key: zeros(slot) for key, slot in rule.slots(20).items()}
    parameter = torch.nn.Parameter(torch.tensor(weights.copy()))
    reference = {
        "sgd": lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.01),
        "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
        "adam": lambda p: torch.optim.Adam(p, 0.01),
    }[name]([parameter])
    for step in range(25):
        gradient = rng(step).normal(size=20).astype(np.float32)
        rule.update(weights, gradient.copy(), state)
        parameter.grad = torch.tensor(gradient)
        reference.step()
    np.testing.assert_allclose(weights, parameter.detach().numpy(), atol=1e-5)
