"""Quadratic discriminants on compressed statistics, against ones in floats."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from edge_cl import Learner
from edge_cl.codec import make_codec
from edge_cl.equations import power_l2
from edge_cl.layout import Layout, best_layout, statistics_bytes
from edge_cl.options import parse_options
from edge_cl.strategies.slda_replay import SLDAReplay, SLDAReplayOptions
from edge_cl.types import Batch, LatentSpec

DIM, CLASSES = 10, 3


def samples(count: int = 600):
    """Classes that differ in how they spread as much as in where they lie."""
    rng = np.random.default_rng(0)
    classes = np.arange(count) % CLASSES
    centres = rng.uniform(1.4, 1.6, (CLASSES, DIM))
    latents = centres[classes] + rng.normal(0, 0.2, (count, DIM))
    for c in range(CLASSES):
        direction = rng.normal(0, 0.5, DIM)
        rows = classes == c
        latents[rows] += rng.normal(size=(rows.sum(), 1)) * direction
    return np.abs(latents).astype(np.float32), classes


def taught(latents, classes, budget: int = 1 << 18, **options) -> SLDAReplay:
    parsed = parse_options(SLDAReplayOptions, options, strategy="slda_replay")
    strategy = SLDAReplay(LatentSpec(latents.shape[1]), parsed, allowed_bytes=budget)
    for start in range(0, len(classes), 7):
        part = slice(start, start + 7)
        strategy.grow(max(strategy.classes, int(classes[part].max()) + 1), 0, budget)
        strategy.observe(Batch.of(latents[part], classes[part]))
    return strategy


def test_means_and_covariance_are_those_of_all_samples():
    latents, classes = samples()
    strategy = taught(latents, classes)
    known, rows = strategy.known(), power_l2(latents)[:, strategy.order]
    means = np.stack([rows[classes == c].mean(axis=0) for c in range(CLASSES)])
    away = rows - means[classes]
    # Two steps of their 12 bits.
    np.testing.assert_allclose(known.means, means, atol=4e-4)
    scale = np.sqrt(np.outer(away.var(axis=0), away.var(axis=0)))
    expected = away.T @ away / len(rows)
    np.testing.assert_allclose(known.covariance / scale, expected / scale, atol=0.01)
    np.testing.assert_array_equal(known.counts, np.bincount(classes))


def test_scores_are_log_densities_of_shrunk_covariances():
    latents, classes = samples()
    strategy = taught(latents, classes, rank=DIM)
    rows = power_l2(latents)[:, strategy.order].astype(np.float64)
    means = np.stack([rows[classes == c].mean(axis=0) for c in range(CLASSES)])
    away = rows - means[classes]
    width, free = DIM, len(rows) - CLASSES
    weight = width / (width + free)
    weight += (1 - weight) * 0.01
    pooled = away.T @ away / len(rows)
    pooled = (1 - weight) * pooled + weight * np.trace(pooled) / width * np.eye(width)
    root = np.linalg.cholesky(pooled)
    expected = np.empty((len(rows), CLASSES))
    for c in range(CLASSES):
        of_class = away[classes == c]
        part = 0.2 * min(1, 2 * len(of_class) / (len(of_class) + width))
        inverse = np.linalg.inv(root)
        spread, turn = np.linalg.eigh(inverse @ of_class.T @ of_class @ inverse.T / len(of_class))
        # Where a class spreads less than all do, it is taken to spread as they.
        spread = np.maximum(1 + part * (spread - 1), 1)
        along = (rows - means[c]) @ inverse.T @ turn
        expected[:, c] = -(along**2 / spread).sum(axis=1) / 2 - np.log(spread).sum() / 2
    strategy.settle()
    found = strategy.scores(power_l2(latents)).astype(np.float64)
    found -= found.mean(axis=1, keepdims=True)
    expected -= expected.mean(axis=1, keepdims=True)
    assert np.abs(found - expected).max() < 0.06 * np.abs(expected).max()
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.95


def test_directions_of_a_class_tell_more_than_the_shared_covariance():
    latents, classes = samples(900)
    right = {}
    for rank in (0, 2):
        strategy = taught(latents[:600], classes[:600], rank=rank)
        strategy.settle()
        guesses = strategy.scores(power_l2(latents[600:])).argmax(axis=1)
        right[rank] = (guesses == classes[600:]).mean()
    assert right[2] > right[0]


def test_one_sample_a_class_is_the_nearest_one():
    latents, classes = samples(CLASSES)
    strategy = taught(latents, classes)
    strategy.settle()
    probe = power_l2(samples()[0])
    nearest = ((probe[:, None] - power_l2(latents)) ** 2).sum(axis=2).argmin(axis=1)
    # Samples wait, and discriminants are published, in 8 bits: what lies between may fall aside.
    assert (strategy.scores(probe).argmax(axis=1) == nearest).mean() > 0.97


@pytest.mark.parametrize("rank", [0, 3])
def test_the_density_of_a_denied_class_falls_by_e_and_no_other(rank):
    latents, classes = samples()
    strategy = taught(latents[:599], classes[:599], rank=rank)
    probe, row = latents[599:], power_l2(latents[599:])
    strategy.settle()
    before = strategy.scores(row)[0]
    denied = np.array([[False, True, True]])
    strategy.deny(Batch(probe, np.array([1]), np.array([-1]), np.array([-1])), denied)
    strategy.settle()
    # Relative to the third class; 8 bits leave a little, which the step allows for.
    change = strategy.scores(row)[0] - before
    fall = change[0] - change[1:]
    assert (fall > 1).all()
    assert (fall < 1 + 4 * strategy.steps[1:, 0]).all()


def test_denying_what_was_wrong_does_no_harm_to_what_was_right():
    rng = np.random.default_rng(3)
    centres = rng.uniform(1, 2, (4, 48))
    classes = rng.integers(0, 4, 800)
    latents = (centres[classes] + rng.normal(0, 0.7, (800, 48))).clip(0).astype(np.float32)
    strategy = taught(latents[:200], classes[:200])
    asked, held = np.arange(200, 500), np.arange(500, 800)
    strategy.settle()
    before = (strategy.scores(power_l2(latents[held])).argmax(axis=1) == classes[held]).mean()
    said = strategy.scores(power_l2(latents[asked])).argmax(axis=1)
    wrong = asked[said != classes[asked]]
    for n, label in zip(wrong, said[said != classes[asked]], strict=True):
        unknown = np.array([-1])
        batch = Batch(latents[n : n + 1], np.array([label]), unknown, unknown)
        strategy.deny(batch, np.arange(4)[None] == label)
    strategy.settle()
    after = (strategy.scores(power_l2(latents[held])).argmax(axis=1) == classes[held]).mean()
    assert len(wrong) > 10
    assert after > before - 0.02


def test_denying_the_mean_itself_is_finite():
    learner = Learner.create(strategy="slda_replay", dim=8, memory_budget="64KiB")
    latents = np.eye(8, dtype=np.float32)[:2]
    learner.learn_latents(latents, ["cup", "pen"])
    before = learner.predict_latents(latents[:1], top_k=2)[0]
    assert not learner.learn_not(latents[:1], ["cup"]).exact
    after = dict(learner.predict_latents(latents[:1], top_k=2)[0].top)
    assert np.isfinite(list(after.values())).all()
    assert after["cup"] <= before.score


@pytest.mark.parametrize(
    "layout", [Layout(4, 4, 0, 4), Layout(9, 5, 3, 64), Layout(512, 200, 32, 17, 8)]
)
@pytest.mark.parametrize("classes", [0, 1, 10])
def test_bytes_are_known_beforehand(layout, classes):
    latents, labels = samples(30)
    slots = taught(latents, labels)._statistics(layout, classes).values()
    assert sum(slot.total_bytes for slot in slots) == statistics_bytes(layout, classes)


@pytest.mark.parametrize("classes", [1, 10, 100, 1000])
@pytest.mark.parametrize("allowed", [1 << 16, 1 << 18, 1 << 22])
def test_no_layout_takes_more_than_is_allowed(classes, allowed):
    most = Layout(512, 512, 32, 64)
    found = best_layout(most, 512, classes, allowed)
    assert all(one <= limit for one, limit in zip(found[:4], most[:4], strict=True))
    assert found.own <= found.width
    assert statistics_bytes(found, classes) <= allowed


def test_scores_are_densities_of_the_picked_features_and_of_the_others_given_those():
    latents, classes = samples()
    strategy = taught(latents, classes, rank=2)
    strategy._arrange(strategy._now._replace(own=4))
    strategy._fold()
    strategy.settle()
    known, (picked, kept) = strategy.known(), strategy._factors()
    shared = strategy.shrunk(known.covariance, known.counts).astype(np.float64)
    rows = strategy.features(power_l2(latents)).astype(np.float64)

    def log_density(away, covariance):
        inverse, (_, size) = np.linalg.inv(covariance), np.linalg.slogdet(covariance)
        return -(np.einsum("nw,wv,nv->n", away, inverse, away) + size) / 2

    expected = np.empty((len(rows), CLASSES))
    for c in range(CLASSES):
        away, at = rows - known.means[c], picked[c]
        root = np.linalg.cholesky(shared[np.ix_(at, at)])
        whitened = np.linalg.solve(root, kept[c].T.astype(np.float64))
        turn, sizes, _ = np.linalg.svd(whitened, full_matrices=False)
        part = 0.2 * min(1, 2 * known.counts[c] / (known.counts[c] + len(at)))
        more = np.maximum(part * (sizes**2 - 1), 0)
        of_class = root @ (np.eye(len(at)) + (turn * more) @ turn.T) @ root.T
        expected[:, c] = log_density(away, shared)
        expected[:, c] += log_density(away[:, at], of_class)
        expected[:, c] -= log_density(away[:, at], shared[np.ix_(at, at)])
    found = strategy.scores(power_l2(latents)).astype(np.float64)
    found -= found.mean(axis=1, keepdims=True)
    expected -= expected.mean(axis=1, keepdims=True)
    assert np.abs(found - expected).max() < 0.06 * np.abs(expected).max()
    assert np.abs(found - expected).mean() < 0.02 * np.abs(expected).mean()


def test_dropping_features_leaves_the_statistics_of_the_others():
    latents, classes = samples()
    whole = taught(latents, classes, rank=0)
    whole._fold()
    narrow = taught(latents, classes, rank=0)
    narrow._fold()
    narrow._arrange(narrow._now._replace(width=6, own=6))
    kept = [whole.order.tolist().index(feature) for feature in narrow.order[:6]]
    assert sorted(narrow.order.tolist()) == list(range(DIM))
    step = whole.mean_step.max()
    np.testing.assert_allclose(narrow.known().means, whole.known().means[:, kept], atol=1.1 * step)
    expected = whole.known().covariance[np.ix_(kept, kept)]
    np.testing.assert_allclose(narrow.known().covariance, expected, atol=1e-3 * expected.max())


def test_features_that_follow_from_the_others_are_dropped_first():
    rng = np.random.default_rng(0)
    own = rng.normal(1, 0.1, (400, 4)).clip(0.1)
    copies = np.concatenate([own, own[:, :2] + rng.normal(0, 1e-3, (400, 2))], axis=1)
    narrow = taught(copies.astype(np.float32), np.arange(400) % 2, rank=1)
    narrow._arrange(narrow._now._replace(width=4, own=4))
    kept = set(narrow.order[:4].tolist())
    assert {2, 3} < kept
    assert len(kept & {0, 4}) == len(kept & {1, 5}) == 1


@pytest.mark.parametrize("ordered", [True, False])
def test_what_an_earlier_version_saved_is_read(ordered):
    latents, classes = samples(101)
    now = taught(latents, classes, rank=3)
    width, _, rank, waiting, _ = now._now
    waits = int(now.waits[0])
    assert waits
    if not ordered:
        now.order[:] = now._drawn_order()
    former = dict(now.arrays())
    for name in ("picked", "mean_step", "waiting_step", *(() if ordered else ("order",))):
        del former[name]
    codes = np.zeros((waiting, 2 * DIM), dtype=np.uint8)
    codes[:waits] = make_codec("float16", now.spec).encode(latents[-waits:])
    former |= {
        "layout": np.array([width, rank, waiting]),
        "mean": np.rint(now._means() * 32767).astype(np.int16),
        "waiting": codes,
    }
    read = SLDAReplay(LatentSpec(DIM), now.options, allowed_bytes=1 << 18)
    read.restore(former, CLASSES, 0, 1 << 18)
    assert read._now[:4] == now._now[:4]
    read._arrange(now._now)
    for strategy in (read, now):
        strategy.settle()
    probe = power_l2(latents[:50])
    scores = now.scores(probe)
    np.testing.assert_allclose(read.scores(probe), scores, atol=0.02 * np.abs(scores).max())


def test_more_classes_take_features_and_directions_before_one_is_refused():
    rng = np.random.default_rng(0)
    learner = Learner.create(strategy="slda_replay", dim=64, memory_budget="64KiB")
    layouts = []
    for n in range(60):
        learner.learn_latents(rng.uniform(0, 1, (4, 64)).astype(np.float32), [f"class {n}"] * 4)
        assert sum(learner.ledger().values()) <= learner.memory_budget
        layouts.append(learner._strategy._now)
    assert layouts[0].width == 64
    assert layouts[0].rank > layouts[-1].rank
    assert layouts[-1].width >= 16
    for before, after in pairwise(layouts):
        assert after.width <= before.width
        assert after.own <= before.own
        assert after.rank <= before.rank


def test_scores_without_a_sample_are_nearly_those_of_never_having_learned_it():
    latents, classes = samples(90)
    whole = taught(latents, classes, rank=0, shrinkage=1e-3)
    whole.settle()
    rows = power_l2(latents)
    scores = whole.scores(rows)
    found = whole.held_out_scores(Batch.of(rows, classes), scores)
    errors, before = [], []
    for left_out in range(0, 90, 9):
        kept = np.arange(90) != left_out
        never = taught(latents[kept], classes[kept], rank=0, shrinkage=1e-3)
        never.settle()
        expected = never.scores(rows[left_out : left_out + 1])[0]
        centred = expected - expected.mean()
        errors.append(np.abs(found[left_out] - found[left_out].mean() - centred).max())
        before.append(np.abs(scores[left_out] - scores[left_out].mean() - centred).max())
    assert np.mean(errors) < 0.5 * np.mean(before)
