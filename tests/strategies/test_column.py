"""A column: its gradient against differences, and what its adapters let through."""

import numpy as np
import pytest

from edge_cl.column import Column
from edge_cl.head import Head


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def drawn(rng, column, classes, samples=7):
    """Weights, latents and lateral activations, all in double precision."""
    size = column.body_size + classes * column.row_size
    lateral = [
        np.abs(rng.normal(0, 1, (samples, column.sources, width))) for width in column.hidden
    ]
    return rng.normal(0, 0.6, size), rng.normal(0, 1, (samples, column.dim)), lateral


@pytest.mark.parametrize("hidden", [(4,), (5, 3)])
@pytest.mark.parametrize("sources", [0, 1, 3])
def test_the_gradient_is_the_losss(rng, hidden, sources):
    column = Column(6, hidden, sources, 2)
    weights, latents, lateral = drawn(rng, column, 3)
    pull = rng.normal(0, 1, (7, 3))

    def loss(at):
        return float((column.forward(at, latents, lateral).logits * pull).sum())

    gradient = column.gradient(weights, column.forward(weights, latents, lateral), pull)
    for n in range(len(weights)):
        nudge = np.zeros(len(weights))
        nudge[n] = 1e-6
        slope = (loss(weights + nudge) - loss(weights - nudge)) / 2e-6
        assert gradient[n] == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_without_sources_it_is_a_head(rng):
    column, head = Column(6, (5,), 0, 2), Head(6, (5,))
    body = column.initial(rng, 0.1)
    rows = rng.normal(0, 1, (3, column.row_size)).astype(np.float32)
    latents = rng.normal(0, 1, (9, 6)).astype(np.float32)
    found = column.forward(
        np.concatenate([body, rows.ravel()]), latents, [np.empty((9, 0, 5), np.float32)]
    )
    layer = column.layers(body)[0]
    same = np.concatenate([layer.matrix.ravel(), layer.bias, np.delete(rows, [5, 6], 1).ravel()])
    np.testing.assert_allclose(found.logits, head.logits(same, latents), rtol=1e-5)


def test_adapters_let_the_sources_through(rng):
    column = Column(6, (5, 4), 2, 3)
    weights, latents, lateral = drawn(rng, column, 3)
    straight = column.forward(weights, latents, lateral).logits
    for level in range(2):
        changed = [layer * (1 + (n == level)) for n, layer in enumerate(lateral)]
        assert not np.allclose(straight, column.forward(weights, latents, changed).logits)
