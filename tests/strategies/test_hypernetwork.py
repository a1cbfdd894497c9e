"""The hypernetwork: its gradient, and outputs that are held while weights are free."""

import numpy as np
import pytest
from autograd import leaf, logits
from clusters import QUICK_CHECKS, accuracy, conforms, draw, make, teach

from edge_cl.strategies.hypernetwork import relative_entropy

OPTIONS = {"hidden": (10,), "hyper_hidden": (9, 8), "chunk_size": 32, "batch_size": 8}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def learned(rng, contexts, rows=400, **options):
    """A hypernetwork that has learned contexts of two classes each; the last one is open."""
    hyper = make("hypernetwork", **{**OPTIONS, **options})
    hyper.grow(6, 3, 1 << 22)
    for context in range(contexts):
        teach(hyper, draw(rng, (2 * context, 2 * context + 1), rows, context))
    return hyper


def torch_heads(torch, hyper, flat, embeddings):
    """Flat heads of a list of embeddings, chunk by chunk, in torch."""
    width, size = hyper.hyper_options.embedding_size, hyper.maker.size(32)
    maker, chunks = flat[width : width + size], flat[width + size :].view(-1, width)
    made = []
    for embedding in embeddings:
        inputs = torch.cat([embedding.expand(len(chunks), -1), chunks], 1)
        start, into, active = 0, 2 * width, inputs
        for out in hyper.maker.hidden:
            matrix = maker[start : start + out * into].view(out, into)
            active = active @ matrix.T + maker[start + out * into : start + out * (into + 1)]
            active = torch.relu(active)
            start, into = start + out * (into + 1), out
        rows = maker[start:].view(-1, into + 1)
        outputs = (active @ rows[:, :-1].T + rows[:, -1]).ravel()
        scale = torch.tensor(hyper.scale(), dtype=torch.float64)
        made.append(outputs[: len(scale)] * scale)
    return made


def test_the_gradient_is_autograds_of_loss_and_regulariser(rng, monkeypatch):
    torch = pytest.importorskip("torch", reason="autograd needs torch")
    hyper = learned(rng, 3, rows=40, strength=0.7)
    batch, seen = draw(rng, (4, 5), 8, 2), []
    monkeypatch.setattr(hyper, "update", lambda gradient: seen.append(gradient))
    flat, width = leaf(torch, hyper.weights), hyper.hyper_options.embedding_size
    old = torch.tensor(hyper.old_weights, dtype=torch.float64)
    earlier = list(torch.tensor(hyper.embeddings[:2], dtype=torch.float64))
    hyper.step(batch)

    head = torch_heads(torch, hyper, flat, [flat[:width]])[0]
    out = logits(torch, hyper.head, head, batch.latents)[:, 4:6]
    loss = torch.nn.functional.cross_entropy(out, torch.tensor(batch.classes) - 4)
    made = torch_heads(torch, hyper, flat, earlier)
    targets = torch_heads(torch, hyper, old, earlier)
    for context, (now, then) in enumerate(zip(made, targets, strict=True)):
        # Rows of classes that the context does not have decide nothing.
        own = np.ones(len(now))
        own[hyper.head.body_size :] = np.repeat(np.arange(6) // 2 == context, hyper.head.row_size)
        loss = loss + 0.7 / 2 * (torch.tensor(own) * (now - then) ** 2).sum()
    loss.backward()
    np.testing.assert_allclose(seen[0], flat.grad.numpy(), rtol=2e-3, atol=2e-5)


def test_targets_are_of_the_network_before_the_context(rng):
    hyper = learned(rng, 1)
    before = hyper.weights.copy()
    size = hyper.hyper_options.embedding_size
    teach(hyper, draw(rng, (2, 3), 8, 1))
    assert hyper.old_weights[size:].tobytes() == before[size:].tobytes()
    teach(hyper, draw(rng, (2, 3), 80, 1))
    assert hyper.old_weights[size:].tobytes() == before[size:].tobytes()
    assert not np.array_equal(hyper.weights[size:], before[size:])


def test_outputs_are_held_and_weights_are_not(rng):
    def moved(strength):
        hyper = learned(np.random.default_rng(1), 1, strength=strength)
        before, head = hyper.weights.copy(), hyper.made_heads(hyper.weights, hyper.embeddings[:1])
        teach(hyper, draw(np.random.default_rng(2), (2, 3), 800, 1))
        after = hyper.made_heads(hyper.weights, hyper.embeddings[:1])
        relevant = hyper.relevant(np.array([0]))
        return np.abs(hyper.weights - before).mean(), np.abs((after - head) * relevant).mean()

    free_weights, free_outputs = moved(0.0)
    held_weights, held_outputs = moved(10.0)
    assert held_outputs < 0.3 * free_outputs
    assert held_weights > 0.5 * free_weights


def test_embeddings_of_earlier_contexts_rest(rng):
    hyper = learned(rng, 2)
    before = hyper.embeddings[:1].copy()
    teach(hyper, draw(rng, (2, 3), 80, 1))
    assert hyper.embeddings[:1].tobytes() == before.tobytes()
    assert hyper.embeddings[1].tobytes() == hyper.weights[:8].tobytes()


def test_earlier_contexts_are_kept_and_inferred(rng):
    hyper = learned(rng, 3, rows=1600, learning_rate=5e-3, strength=1.0)
    for context in range(3):
        probe = draw(rng, (2 * context, 2 * context + 1), 100)
        assert accuracy(hyper, probe, context) > 0.9
    assert accuracy(hyper, draw(rng, range(6), 300)) > 1 / 3


def test_without_a_context_the_surest_head_answers(rng):
    hyper = learned(rng, 3)
    probe = draw(rng, range(6), 40).latents
    answers = [hyper.scores(probe, context) for context in range(3)]
    sureness = []
    for context, answer in enumerate(answers):
        own = answer[:, 2 * context : 2 * context + 2].astype(np.float64)
        p = np.exp(own) / np.exp(own).sum(axis=1, keepdims=True)
        sureness.append((p * np.log(p)).sum(axis=1))
    expected = np.stack(answers)[np.argmax(sureness, axis=0), np.arange(40)]
    np.testing.assert_allclose(hyper.scores(probe), expected, rtol=1e-5)


def test_a_context_of_one_class_never_looks_sure():
    assert (relative_entropy(np.ones((3, 1), np.float32)) == 1).all()
    np.testing.assert_allclose(relative_entropy(np.zeros((2, 5), np.float32)), 1, rtol=1e-6)


def test_a_step_compares_a_bounded_number_of_contexts(rng):
    hyper = learned(rng, 3, rows=8, compared_contexts=1)
    drawn = {int(hyper.drawn_contexts(2)[0]) for _ in range(40)}
    assert drawn == {0, 1}
    assert len(learned(rng, 3, rows=8).drawn_contexts(2)) == 2


def test_made_weights_begin_with_he_variance():
    hyper = make("hypernetwork", hidden=(64,), chunk_size=64)
    hyper.grow(4, 1, 1 << 22)
    heads = hyper.made_heads(hyper.weights, np.random.default_rng(0).normal(size=(30, 8)))
    ratio = heads.std(axis=0) / hyper.scale()
    assert 0.5 < ratio.mean() < 2


def test_new_classes_in_a_context_add_chunks_and_leave_the_rest(rng):
    hyper = make("hypernetwork", **OPTIONS)
    teach(hyper, draw(rng, (0, 1), 40, 0))
    before = hyper.made_heads(hyper.weights, hyper.embeddings)[0]
    hyper.grow(9, 1, 1 << 22)
    after = hyper.made_heads(hyper.weights, hyper.embeddings)[0]
    np.testing.assert_allclose(after[: len(before)], before, rtol=1e-5, atol=1e-7)
    size = hyper.hyper_options.embedding_size + hyper.maker.size(32)
    np.testing.assert_array_equal(hyper.old_weights[size + 8 * 4 :], hyper.weights[size + 8 * 4 :])


@pytest.mark.parametrize("check", QUICK_CHECKS)
@pytest.mark.parametrize(
    "options",
    [{"hidden": ()}, {"hidden": (5, 4), "compared_contexts": 1, "optimizer": "sgd"}],
    ids=str,
)
def test_it_conforms_with_other_options(check, options):
    values = {"learning_rate": 1e-3, "chunk_size": 16, **options}
    conforms("hypernetwork", check, **values)
