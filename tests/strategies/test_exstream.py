"""ExStream: merges, counts, cached distances, moving capacity, measured rehearsal."""

import numpy as np
import pytest
from clusters import ALLOWED_BYTES, CODES, QUICK_CHECKS, accuracy, conforms, draw, make, teach

from edge_cl.types import Batch, LatentSpec

FLOATS = LatentSpec(6)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


class SlowReference:
    """Per-class buffers, all distances anew for every sample, in float64."""

    def __init__(self, clusters=None, capacity=None):
        self.clusters, self.capacity, self.buffers = clusters, capacity, {}

    def learn(self, latent, cls):
        own = self.buffers.setdefault(cls, [])
        if self.clusters is not None and len(own) >= self.clusters:
            self.merge(own)
        elif self.capacity is not None and self.total() >= self.capacity:
            largest = max(sorted(self.buffers), key=lambda c: len(self.buffers[c]))
            self.merge(self.buffers[largest])
        own.append((latent.astype(np.float64), 1))

    def total(self):
        return sum(len(buffer) for buffer in self.buffers.values())

    def merge(self, buffer):
        pairs = [(i, j) for i in range(len(buffer)) for j in range(i)]
        gaps = [((buffer[i][0] - buffer[j][0]) ** 2).sum() for i, j in pairs]
        i, j = pairs[int(np.argmin(gaps))]
        (left, m), (right, n) = buffer[i], buffer[j]
        del buffer[max(i, j)], buffer[min(i, j)]
        buffer.append(((left * m + right * n) / (m + n), m + n))


def same_prototypes(strategy, reference):
    rows, counts = strategy.memory.all(), strategy.memory.column("count")
    for cls, buffer in reference.buffers.items():
        own = rows.classes == cls
        found = [
            (count, *np.round(w, 4))
            for w, count in zip(rows.latents[own], counts[own], strict=True)
        ]
        expected = [(count, *np.round(w, 4)) for w, count in buffer]
        assert len(found) == len(expected)
        np.testing.assert_allclose(sorted(found), sorted(expected), atol=2e-4)


@pytest.mark.parametrize("mode", ["per class", "single buffer"])
def test_prototypes_are_those_of_the_slow_reference(rng, mode):
    single = mode == "single buffer"
    bounds = {"memory_samples": 20} if single else {"clusters": 6}
    strategy = make("exstream", FLOATS, codec="float32", **bounds)
    reference = SlowReference(capacity=20) if single else SlowReference(clusters=6)
    for classes in ((0, 1), (2,), (0, 3, 4)):
        batch = draw(rng, classes, 80, noise=0.5)
        latents = rng.normal(batch.latents, 0.01).astype(np.float32)
        batch = Batch.of(latents, batch.classes)
        teach(strategy, batch)
        for latent, cls in zip(latents, batch.classes.tolist(), strict=True):
            reference.learn(latent, cls)
        same_prototypes(strategy, reference)


def test_counts_and_means_are_conserved(rng):
    strategy = make("exstream", FLOATS, codec="float32", memory_samples=9)
    batch = draw(rng, (0, 1, 2), 300)
    teach(strategy, batch)
    rows, counts = strategy.memory.all(), strategy.memory.column("count")
    for cls in range(3):
        own, learned = rows.classes == cls, batch.classes == cls
        assert counts[own].sum() == learned.sum()
        mean = np.average(rows.latents[own], axis=0, weights=counts[own])
        np.testing.assert_allclose(mean, batch.latents[learned].mean(axis=0), atol=1e-4)


def test_quantised_prototypes_keep_exact_counts_and_near_means(rng):
    strategy = make("exstream", CODES, memory_samples=12)
    batch = draw(rng, (0, 1), 400)
    teach(strategy, batch)
    assert strategy.ledger()["memory/codes"] == 12 * CODES.dim
    rows, counts = strategy.memory.all(), strategy.memory.column("count")
    for cls in range(2):
        own, learned = rows.classes == cls, batch.classes == cls
        assert counts[own].sum() == learned.sum()
        mean = np.average(rows.latents[own], axis=0, weights=counts[own])
        np.testing.assert_allclose(mean, batch.latents[learned].mean(axis=0), atol=4 / 64)


def test_bounds_never_lie_above_the_distance_to_the_nearest(rng):
    strategy = make("exstream", CODES, memory_samples=30)
    for classes in ((0, 1), (2, 3), (0, 4)):
        teach(strategy, draw(rng, classes, 90, noise=0.4))
        rows, bounds = strategy.memory.all(), strategy.memory.column("bound")
        for n in range(len(rows)):
            others = (rows.classes == rows.classes[n]) & (np.arange(len(rows)) != n)
            gaps = ((rows.latents[others] - rows.latents[n]) ** 2).sum(axis=1)
            assert bounds[n] <= gaps.min(initial=np.inf) * (1 + 1e-5)


def measured(strategy, batch):
    """Distances computed for each sample of the batch."""
    count, distances = 0, strategy.distances

    def counted(slot, others):
        nonlocal count
        count += len(others)
        return distances(slot, others)

    strategy.distances = counted
    teach(strategy, batch)
    return count / len(batch)


def test_distances_per_sample_grow_with_the_clusters_not_their_square(rng):
    costs = {}
    for clusters in (10, 40, 160):
        strategy = make("exstream", CODES, clusters=clusters, replay_batch=1)
        teach(strategy, draw(rng, (0,), clusters + 200, noise=1.0))
        costs[clusters] = measured(strategy, draw(rng, (0,), 200, noise=1.0)) / clusters
    assert max(costs.values()) < 6, costs
    assert costs[160] < 1.5 * costs[10], costs


def test_the_single_buffer_moves_capacity_to_new_classes(rng):
    strategy = make("exstream", CODES, memory_samples=24)
    for classes, share in (((0, 1), 12), ((2, 3), 6), ((4, 5), 4)):
        teach(strategy, draw(rng, classes, 120))
        counts = strategy.memory.counts
        assert counts.sum() == 24
        assert counts.max() - share <= 1
        assert counts.min() >= share - 1
    assert strategy.memory.column("count").sum() == 360


def test_a_shrinking_budget_merges_and_loses_no_count(rng):
    strategy = make("exstream", CODES)
    teach(strategy, draw(rng, (0, 1, 2), 300, noise=0.5))
    assert len(strategy.memory) == 300
    allowed = strategy.fixed_bytes(3, 0) + 40 * 40
    strategy.grow(3, 0, allowed)
    assert len(strategy.memory) <= strategy.memory.capacity < 60
    assert strategy.memory.column("count").sum() == 300
    assert sum(strategy.ledger().values()) <= allowed < ALLOWED_BYTES


def test_a_class_with_one_prototype_never_loses_it(rng):
    strategy = make("exstream", CODES, memory_samples=3)
    for cls in range(5):
        teach(strategy, draw(rng, (cls,), 10))
    assert strategy.memory.counts.tolist() == [1, 1, 1]


def test_rehearsal_is_bounded_and_follows_the_measured_loss(rng):
    strategy = make("exstream", CODES, memory_samples=120, replay_batch=30, learning_rate=0.5)
    teach(strategy, draw(rng, (0, 1, 2), 300))
    calm = [len(strategy.rehearsed()) for _ in range(20)]
    assert max(calm) < 15, "little is lost, so little is rehearsed"
    strategy.weights[:] = -strategy.weights
    for _ in range(60):
        rows = strategy.memory.rows(strategy.rehearsed())
        strategy.loss(rows, strategy.head.forward(strategy.weights, rows.latents))
    assert 25 <= len(strategy.rehearsed()) <= 30


def test_the_class_that_drifts_is_rehearsed_most(rng):
    strategy = make("exstream", CODES, memory_samples=120, replay_batch=30, learning_rate=0.5)
    teach(strategy, draw(rng, (0, 1, 2), 300))
    strategy.head.rows(strategy.weights)[1] *= -1
    for _ in range(40):
        rows = strategy.memory.all()
        strategy.loss(rows, strategy.head.forward(strategy.weights, rows.latents))
    drawn = strategy.memory.rows(strategy.rehearsed()).classes
    assert np.bincount(drawn, minlength=3)[1] > 0.7 * len(drawn)


def test_an_epoch_over_all_prototypes_is_the_other_mode(rng):
    options = {"memory_samples": 50, "replay_batch": 8, "learning_rate": 0.3}
    strategy = make("exstream", CODES, rehearsal="all", **options)
    teach(strategy, draw(rng, (0, 1), 50))
    steps = []
    strategy.update = lambda gradient: steps.append(gradient)
    strategy.step(draw(rng, (0, 1), 1))
    assert len(steps) == 7


def test_it_remembers(rng):
    for options in ({}, {"rehearsal": "all"}, {"clusters": 4}):
        strategy = make("exstream", CODES, memory_samples=24, learning_rate=0.5, **options)
        for classes in ((0, 1), (2, 3), (4, 5)):
            teach(strategy, draw(rng, classes, 100))
        assert accuracy(strategy, draw(rng, range(6), 300)) > 0.9, options


@pytest.mark.parametrize("check", QUICK_CHECKS)
def test_exstream_variants_conform(check):
    conforms("exstream", check, hidden=(4,), batch_size=3, learning_rate=0.1, memory_samples=15)
    conforms("exstream", check, rehearsal="all", clusters=3, replay_batch=4, learning_rate=0.1)
