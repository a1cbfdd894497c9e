"""Progress & compress: who learns when, and what the knowledge base is held by."""

import numpy as np
import pytest
from clusters import QUICK_CHECKS, conforms, draw, make, teach

from edge_cl.strategies.ewc import fisher

OPTIONS = {"hidden": (5,), "adapter": 3, "decay": 0.5, "strength": 2.0}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def softmax(logits):
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(axis=1, keepdims=True)


def test_progress_leaves_the_knowledge_base_alone(rng):
    pc = make("progress_compress", **OPTIONS)
    teach(pc, draw(rng, (0, 1), 30, context=0))
    pc.end_experience()
    knowledge, active = pc.knowledge.copy(), pc.weights.copy()
    teach(pc, draw(rng, (0, 1), 30, context=1))
    np.testing.assert_array_equal(pc.knowledge, knowledge)
    assert not np.array_equal(pc.weights, active)


def test_the_fisher_is_the_compressed_knowledge_bases(rng):
    pc = make("progress_compress", **OPTIONS)
    teach(pc, draw(rng, (0, 1), 30, context=0))
    first_window = pc.memories["window"].all()
    pc.end_experience()
    first = fisher(pc.head, pc.knowledge, first_window.latents) / 30
    np.testing.assert_allclose(pc.importance, first, rtol=1e-4)
    np.testing.assert_array_equal(pc.anchor, pc.knowledge)
    teach(pc, draw(rng, (0, 1), 30, context=1))
    window = pc.memories["window"].all()
    pc.end_experience()
    latest = fisher(pc.head, pc.knowledge, window.latents) / 30
    np.testing.assert_allclose(pc.importance, 0.5 * first + latest, rtol=1e-4, atol=1e-9)


def test_compressing_goes_down_divergence_and_decayed_penalty(rng):
    one = make(
        "progress_compress",
        optimizer="sgd",
        learning_rate=0.05,
        compress_passes=1,
        compress_batch=4096,
        **OPTIONS,
    )
    teach(one, draw(rng, (0, 1, 2), 30, context=0))
    one.end_experience()
    one.knowledge += rng.normal(0, 0.05, len(one.knowledge)).astype(np.float32)
    teach(one, draw(rng, (0, 1, 2), 30, context=1))
    latents = one.memories["window"].all().latents
    targets = softmax(one.active.forward(one.weights, latents, one.lateral(latents)).logits)

    def loss(knowledge):
        p = softmax(one.head.logits(knowledge, latents))
        divergence = (targets * (np.log(targets) - np.log(p))).sum(axis=1).mean()
        way = knowledge - one.anchor
        return divergence + 0.5 * 2.0 * 0.5 * (one.importance * way**2).sum()

    start, slope = one.knowledge.astype(np.float64), np.zeros(len(one.knowledge))
    for n in range(len(slope)):
        nudge = np.zeros(len(slope))
        nudge[n] = 1e-5
        slope[n] = (loss(start + nudge) - loss(start - nudge)) / 2e-5
    np.testing.assert_allclose(one.compressed(), start - 0.05 * slope, rtol=1e-3, atol=1e-5)


def test_the_active_column_reads_the_knowledge_base(rng):
    pc = make("progress_compress", **OPTIONS)
    teach(pc, draw(rng, (0, 1), 30, context=0))
    latents = draw(rng, (0, 1), 9).latents
    straight = pc.active.forward(pc.weights, latents, pc.lateral(latents)).logits
    pc.knowledge[:] *= 2
    changed = pc.active.forward(pc.weights, latents, pc.lateral(latents)).logits
    assert not np.allclose(straight, changed)


@pytest.mark.parametrize("reset", [True, False])
def test_a_fresh_active_column_if_asked_for(rng, reset):
    pc = make("progress_compress", reset_active=reset, **OPTIONS)
    teach(pc, draw(rng, (0, 1), 30, context=0))
    pc.end_experience()
    learned = pc.weights.copy()
    pc._open_experience(1)
    assert np.array_equal(pc.weights, learned) is not reset
    assert (pc.active.rows(pc.weights) == 0).all() == reset


def test_what_is_served_is_what_the_end_will_make(rng):
    pc = make("progress_compress", **OPTIONS)
    teach(pc, draw(rng, (0, 1), 30, context=0))
    probe = draw(rng, (0, 1), 20).latents
    provisional = pc.publish().scores(probe)
    pc.end_experience()
    np.testing.assert_array_equal(pc.publish().scores(probe), provisional)


@pytest.mark.parametrize("check", QUICK_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    "options", [{"hidden": (6, 5), "reset_active": False}, {"softmax_over": "context"}]
)
def test_conforms(check, options):
    conforms("progress_compress", check, window_samples=20, **options)
