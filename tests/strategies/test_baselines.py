"""Naive, replay, latent replay and NCM: what the others are compared with."""

import numpy as np
import pytest
from clusters import accuracy, draw, make, teach


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_naive_is_plain_gradient_descent(rng):
    naive = make("naive", learning_rate=0.3)
    batch = draw(rng, (0, 1, 2), 25, context=0)
    teach(naive, batch)
    weights = np.zeros((3, 7))
    for latent, c in zip(batch.latents.astype(np.float64), batch.classes, strict=True):
        scores = np.exp(weights @ [*latent, 1])
        weights -= 0.3 * np.outer(scores / scores.sum() - np.eye(3)[c], [*latent, 1])
    np.testing.assert_allclose(naive.weights.reshape(3, 7), weights, rtol=1e-4, atol=1e-6)


def test_naive_forgets_and_replay_does_not(rng):
    found = {}
    for name in ("naive", "replay"):
        options = {"memory_samples": 60} if name == "replay" else {}
        strategy = make(name, learning_rate=0.3, **options)
        for context, classes in enumerate(((0, 1), (2, 3), (4, 5))):
            teach(strategy, draw(rng, classes, 200, context=context, noise=0.4))
        found[name] = accuracy(strategy, draw(rng, (0, 1), 200, noise=0.4))
    assert found["replay"] > found["naive"] + 0.2


def test_replay_trains_on_new_samples_and_exemplars(rng):
    replay = make("replay", replay_batch=5, memory_samples=30)
    teach(replay, draw(rng, (0, 1), 30, context=0))
    new = draw(rng, (2, 3), 3, context=1)
    replay.grow(4, 2, 1 << 22)
    mixed = replay.training_batch(new)
    np.testing.assert_array_equal(mixed.latents[:3], new.latents)
    assert mixed.contexts.tolist() == [1] * 3 + [0] * 5
    kept = {row.tobytes() for row in replay.memory.all().latents}
    assert all(row.tobytes() in kept for row in mixed.latents[3:])


def test_every_experience_keeps_an_equal_share(rng):
    replay = make("replay", memory_samples=60)
    for context in range(4):
        teach(replay, draw(rng, (0, 1), 100, context=context))
        replay.end_experience()
        shares = np.bincount(replay.memory.all().contexts)
        assert shares.sum() == 60
        assert shares[context] == 60 // (context + 1)


def test_latent_replay_keeps_the_extractors_codes_exactly(rng):
    exact, coarse = make("latent_replay", memory_samples=40), make("replay", memory_samples=40)
    batch = draw(rng, (0, 1), 40, context=0)
    teach(exact, batch)
    teach(coarse, batch)
    np.testing.assert_array_equal(exact.memory.all().latents, batch.latents)
    assert 4 * exact.memory.codec.row_bytes == coarse.memory.codec.row_bytes


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_ncm_is_the_nearest_mean_in_any_order(rng, cut):
    batch = draw(rng, range(4), 40, noise=0.6)
    ncm = make("ncm", batch_size=cut)
    teach(ncm, batch[rng.permutation(40)])
    means = np.stack([batch.latents[batch.classes == c].mean(axis=0) for c in range(4)])
    probe = draw(rng, range(4), 100, noise=0.6).latents
    ways = ((probe[:, None] - means) ** 2).sum(axis=2)
    served = ncm.publish()
    scores = served.scores(probe)
    np.testing.assert_array_equal(scores.argmax(axis=1), ways.argmin(axis=1))
    np.testing.assert_allclose(
        scores - scores[:, :1], -(ways - ways[:, :1]) / 2, rtol=1e-3, atol=1e-4
    )


def test_ncm_counts_a_sample_once_whatever_the_epochs(rng):
    batch = draw(rng, (0, 1), 20)
    once, often = make("ncm"), make("ncm", epochs=5)
    for ncm in (once, often):
        teach(ncm, batch)
    np.testing.assert_array_equal(once.total, often.total)
    assert once.count.sum() == 20
