"""GDumb: the greedy balanced sampler, the schedule, and training from scratch."""

import numpy as np
import pytest
from clusters import QUICK_CHECKS, accuracy, conforms, draw, make, teach

from edge_cl.strategies.gdumb import learning_rate


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_sampler_is_greedy_and_balanced(rng):
    """Counts of each class against the published rule, replayed on counts alone."""
    gdumb, counts = make("gdumb", memory_samples=20, passes=1), {}
    for classes in ((0,), (1, 2), (0, 3, 4)):
        batch = draw(rng, classes, 40)
        teach(gdumb, batch)
        for cls in batch.classes.tolist():
            known = len(counts.keys() | {cls})
            if sum(counts.values()) < 20:
                counts[cls] = counts.get(cls, 0) + 1
            elif counts.get(cls, 0) < 20 / known:
                largest = max(sorted(counts), key=counts.__getitem__)
                counts[largest] -= 1
                counts[cls] = counts.get(cls, 0) + 1
        assert gdumb.memory.counts.tolist() == [counts.get(c, 0) for c in range(max(counts) + 1)]
    assert max(counts.values()) - min(counts.values()) <= 1


def test_learning_rates_are_those_of_the_published_training():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, T_0=1, T_mult=2, eta_min=5e-4
    )
    for epoch in range(130):
        if epoch < 2:
            optimizer.param_groups[0]["lr"] = 0.05 * (0.1, 1.0)[epoch]
        else:
            optimizer.step()
            schedule.step()
        expected = optimizer.param_groups[0]["lr"]
        assert learning_rate(epoch, 0.05, 5e-4) == pytest.approx(expected, abs=1e-9)


def test_a_power_of_two_passes_ends_at_the_lowest_rate():
    rates = [learning_rate(epoch, 0.05, 5e-4) for epoch in range(128)]
    assert rates[127] == min(rates)


def test_the_head_depends_on_the_memory_alone(rng):
    asked, silent = make("gdumb", memory_samples=30), make("gdumb", memory_samples=30)
    for classes in ((0, 1), (2, 3)):
        batch = draw(rng, classes, 40)
        teach(asked, batch)
        asked.publish()
        teach(silent, batch)
    asked.settle()
    silent.settle()
    assert asked.weights.tobytes() == silent.weights.tobytes()
    assert asked.memory.all().ids.tolist() == silent.memory.all().ids.tolist()


def test_gradients_are_clipped(rng):
    gdumb = make("gdumb", largest_gradient=1e-3)
    batch = draw(rng, (0, 1), 20)
    teach(gdumb, batch)
    gdumb.settle()
    gdumb.weights[:] = 0
    assert np.linalg.norm(gdumb._clipped_gradient(batch)) == pytest.approx(1e-3, rel=1e-4)


def test_it_remembers(rng):
    gdumb = make("gdumb", memory_samples=60)
    for classes in ((0, 1), (2, 3), (4, 5)):
        teach(gdumb, draw(rng, classes, 100))
    assert accuracy(gdumb, draw(rng, range(6), 300)) > 0.95


@pytest.mark.parametrize("check", QUICK_CHECKS)
def test_gdumb_variant_conforms(check):
    conforms("gdumb", check, hidden=(4,), passes=4, memory_samples=25, softmax_over="context")
