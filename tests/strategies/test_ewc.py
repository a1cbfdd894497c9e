"""EWC: the Fisher against autograd, and how many anchors there are."""

import numpy as np
import pytest
from clusters import QUICK_CHECKS, conforms, draw, make, teach

from edge_cl.errors import ContextRequired
from edge_cl.head import Head
from edge_cl.strategies.ewc import fisher


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def autograd_fisher(torch, head, weights, latents):
    """Per sample and per label, squared gradients weighted by the label's probability."""
    flat = torch.tensor(weights, dtype=torch.float64, requires_grad=True)
    start, total, width = 0, np.zeros(len(weights)), head.dim
    layers = []
    for out in head.hidden:
        layers.append((slice(start, start + out * width), (out, width)))
        layers.append((slice(start + out * width, start + out * (width + 1)), (out,)))
        start, width = start + out * (width + 1), out
    for latent in latents:
        for c in range(head.classes(weights)):
            active = torch.tensor(latent, dtype=torch.float64)
            for (w, shape), (b, _) in zip(layers[::2], layers[1::2], strict=True):
                active = torch.relu(flat[w].view(shape) @ active + flat[b])
            rows = flat[start:].view(-1, width + 1)
            log_p = torch.log_softmax(rows[:, :-1] @ active + rows[:, -1], 0)[c]
            gradient = torch.autograd.grad(log_p, flat)[0].numpy()
            total += float(log_p.detach().exp()) * gradient**2
    return total


@pytest.mark.parametrize("hidden", [(), (4,), (5, 3)])
def test_the_fisher_is_autograds_over_all_labels(rng, hidden):
    torch = pytest.importorskip("torch", reason="autograd needs torch")
    head = Head(6, hidden)
    weights = rng.normal(0, 0.7, head.size(3)).astype(np.float32)
    latents = rng.normal(0, 1, (9, 6)).astype(np.float32)
    expected = autograd_fisher(torch, head, weights, latents)
    np.testing.assert_allclose(fisher(head, weights, latents), expected, rtol=2e-4, atol=1e-6)


def test_the_fisher_of_a_linear_head_has_a_closed_form(rng):
    head = Head(6, bias=False)
    weights = rng.normal(0, 1, head.size(4)).astype(np.float32)
    latents = rng.normal(0, 1, (20, 6)).astype(np.float32)
    logits = latents @ weights.reshape(4, 6).T
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = np.einsum("nc,nd->cd", p * (1 - p), latents**2).ravel()
    np.testing.assert_allclose(fisher(head, weights, latents), expected, rtol=1e-4)


def test_offline_keeps_an_anchor_for_every_context(rng):
    ewc = make("ewc", variant="offline", hidden=(4,))
    ends = []
    for context, classes in enumerate(((0, 1), (2, 3), (4, 5))):
        teach(ewc, draw(rng, classes, 30, context=context))
        ewc.end_experience()
        ends.append(ewc.weights.copy())
    assert ewc.anchor.shape == ewc.importance.shape == (3, len(ewc.weights))
    for anchor, end in zip(ewc.anchor, ends, strict=True):
        np.testing.assert_array_equal(anchor[: len(end)], end)
        assert not anchor[len(end) :].any()
    assert (ewc.importance.sum(axis=1) > 0).all()


def test_online_decays_one_sum(rng):
    ewc = make("ewc", variant="online", decay=0.5)
    teach(ewc, draw(rng, (0, 1), 30, context=0))
    ewc.end_experience()
    first = ewc.importance[0].copy()
    teach(ewc, draw(rng, (0, 1), 30, context=1))
    window = ewc.memories["window"].all()
    ewc.end_experience()
    latest = fisher(ewc.head, ewc.weights, window.latents) / len(window)
    np.testing.assert_allclose(ewc.importance[0], 0.5 * first + latest, rtol=1e-4)
    np.testing.assert_array_equal(ewc.anchor[0], ewc.weights)
    assert len(ewc.memories["window"]) == 0


def test_the_penalty_is_half_lambda_fisher_times_the_squared_way(rng):
    ewc = make("ewc", variant="offline", strength=7.0)
    for context in (0, 1):
        teach(ewc, draw(rng, (0, 1, 2), 30, context=context))
        ewc.end_experience()
    batch = draw(rng, (0, 1, 2), 8, context=1)

    def penalty(weights):
        way = weights.astype(np.float64) - ewc.anchor
        return 3.5 * (ewc.importance * way**2).sum()

    ewc.weights += rng.normal(0, 0.1, len(ewc.weights)).astype(np.float32)
    found = ewc.shape_gradient(np.zeros_like(ewc.weights), batch)
    for n in range(len(found)):
        nudge = np.zeros(len(found))
        nudge[n] = 1e-3
        slope = (penalty(ewc.weights + nudge) - penalty(ewc.weights - nudge)) / 2e-3
        assert found[n] == pytest.approx(slope, rel=1e-3, abs=1e-5)


def test_outside_its_context_a_class_has_no_importance(rng):
    ewc = make("ewc", softmax_over="context")
    for context, classes in enumerate(((0, 1), (2, 3))):
        teach(ewc, draw(rng, classes, 30, context=context))
        rows = ewc.head.rows(ewc.importance[0].copy())
        ewc.end_experience()
        added = ewc.head.rows(ewc.importance[0]) - rows
        assert (np.flatnonzero(np.abs(added).sum(axis=1)) == classes).all()


def test_offline_asks_for_contexts():
    with pytest.raises(ContextRequired, match="'online' does without"):
        make("ewc", variant="offline").check_contexts(np.array([0, -1]))


@pytest.mark.parametrize("check", QUICK_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    "options",
    [{"variant": "offline", "hidden": (6,)}, {"softmax_over": "context", "fisher_samples": 5}],
)
def test_conforms(check, options):
    conforms("ewc", check, **options)
