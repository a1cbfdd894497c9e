"""Probabilities that mean something, and samples of no class that was taught."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_cl import Learner
from edge_cl.errors import BudgetExceeded
from edge_cl.types import Batch
from edge_cl.unknown.calibration import _normal_shares, best_temperature

DIM = 24
RNG = np.random.default_rng(3)
CENTRES = RNG.uniform(0, 2, (6, DIM))


def draw(cls, count, seed=0):
    rng = np.random.default_rng([cls, seed])
    return np.abs(CENTRES[cls] + rng.normal(0, 0.25, (count, DIM))).astype(np.float32)


def learner(strategy="ar1", classes=4, each=30, **members):
    made = Learner.create(strategy=strategy, dim=DIM, memory_budget="256KiB", **members)
    for cls in range(classes):
        made.learn_latents(draw(cls, each), [f"class {cls}"] * each)
    return made


def share_unknown(made, cls, **members):
    found = made.predict_latents(draw(cls, 400, seed=1), **members)
    return np.mean([one.unknown for one in found])


@pytest.mark.parametrize("strategy", ["ar1", "replay", "gdumb", "ncm", "slda", "naive"])
def test_the_unknown_is_flagged_and_the_known_at_the_rate_asked_for(strategy):
    made = learner(strategy)
    for cls in (4, 5):
        assert share_unknown(made, cls) > 0.9
    known = np.mean([share_unknown(made, cls) for cls in range(4)])
    assert known < 0.15
    generous = np.mean([share_unknown(made, cls, false_reject_rate=0.3) for cls in range(4)])
    assert known < generous < 0.6
    assert share_unknown(made, 5, false_reject_rate=0) == 0


def test_typicality_is_uniform_over_samples_of_known_classes():
    """A conformal p-value is at or below any rate in about that share of the cases."""
    made = learner(each=200)
    values = [
        one.typicality for cls in range(4) for one in made.predict_latents(draw(cls, 400, seed=2))
    ]
    for rate in (0.1, 0.25, 0.5, 0.75):
        assert np.mean(np.array(values) <= rate) == pytest.approx(rate, abs=0.1)


@pytest.mark.parametrize("strategy", ["ar1", "ncm"])
def test_few_samples_call_nothing_unknown(strategy):
    made = learner(strategy, classes=2, each=1)
    assert share_unknown(made, 5) == 0
    assert made.predict_latents(draw(5, 1))[0].typicality == 1


def test_nothing_learned_is_unknown():
    found = Learner.create(strategy="ar1", dim=DIM).predict_latents(draw(0, 1))[0]
    assert (found.unknown, found.typicality, found.label) == (True, 0.0, "")


def test_saved_and_loaded_it_says_the_same():
    for strategy in ("ar1", "ncm"):
        made = learner(strategy)
        again = Learner.from_bytes(made.to_bytes())
        probe = np.concatenate([draw(cls, 5, seed=4) for cls in range(6)])
        assert made.predict_latents(probe, top_k=4) == again.predict_latents(probe, top_k=4)


def test_a_forgotten_class_is_unknown_again():
    made = learner()
    assert share_unknown(made, 3) < 0.2
    made.forget(label="class 3")
    assert share_unknown(made, 3) > 0.8
    assert share_unknown(made, 1) < 0.3


def test_the_best_temperature_has_the_least_loss():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, 2000)
    scores = rng.normal(0, 1, (2000, 3)).astype(np.float32)
    scores[np.arange(2000), classes] += 1
    for factor in (0.2, 1.0, 4.0):
        found = best_temperature(scores * np.float32(factor), Batch.of(scores, classes))

        def loss(temperature, scaled=scores * factor):
            logits = scaled / temperature
            own = logits[np.arange(2000), classes]
            return np.mean(np.log(np.exp(logits).sum(axis=1)) - own)

        assert loss(found) <= min(loss(found * 1.01), loss(found / 1.01)) + 1e-9


def test_small_samples_use_students_t():
    """2.5 % points of Student's t, from any table: 2.776, 2.262 and 2.045."""
    for freedom, point, error in ((4, 2.776, 0.007), (9, 2.262, 0.002), (29, 2.045, 0.0005)):
        samples = freedom + 1
        value = -point * math.sqrt(1 + 1 / samples)
        share = _normal_shares(np.array([value]), samples)[0]
        assert share == pytest.approx(0.025, abs=error)


def test_bytes_are_in_the_ledger_and_never_above_the_budget():
    made = learner(classes=6)
    ledger = made.ledger()
    arrays = made._arrays()
    kept = sum(array.nbytes for name, array in arrays.items() if name.startswith("statistics/"))
    published = made.publish().calibration
    kept += published.means.nbytes + published.precision.nbytes + published.reference.nbytes
    assert kept <= ledger["class_statistics"] <= kept + 800
    assert sum(ledger.values()) <= made.memory_budget


def test_a_budget_without_room_for_them_is_refused_with_the_bytes_that_do():
    with pytest.raises(BudgetExceeded) as refused:
        Learner.create(strategy="ncm", dim=DIM, memory_budget=900)
    Learner.create(strategy="ncm", dim=DIM, memory_budget=refused.value.asked_bytes)


def test_what_an_older_version_saved_goes_on_without_them():
    from edge_cl import checkpoint

    manifest, arrays = checkpoint.from_bytes(learner(each=3).to_bytes())
    old = {name: array for name, array in arrays.items() if not name.startswith("statistics/")}
    made = Learner.from_bytes(checkpoint.to_bytes(manifest, old))
    assert made.predict_latents(draw(2, 1))[0].label == "class 2"
    assert share_unknown(made, 5) == 0
    for cls in range(4):
        made.learn_latents(draw(cls, 30), [f"class {cls}"] * 30)
    assert share_unknown(made, 5) > 0.9
