"""A learner that has learned gets another budget, or another strategy."""

from __future__ import annotations

import numpy as np
import pytest

from edge_cl import LatentSpec, Learner, errors, strategies
from edge_cl.checks import assert_same_state, stream
from edge_cl.rebuild import Exemplars

SPEC = LatentSpec(8, scale=0.02)


def taught(strategy, samples=600, **settings) -> Learner:
    settings = {"spec": SPEC, "memory_budget": "32KiB", "seed": 3, **settings}
    made = Learner.create(strategy=strategy, **settings)
    stream(SPEC, samples).teach(made, 0, samples)
    return made


def test_less_evicts_by_the_selection_policy_and_more_fills_up():
    made = taught("replay", options={"selection": "class_balanced"})
    before = len(made._strategy.memory)
    made.set_budget("8KiB")
    counts = made._strategy.memory.counts
    assert sum(made.ledger().values()) <= 8192
    # What is freed is the memory's alone: 8192 bytes hold as many rows as they hold whole rows.
    rest = 8192 - sum(made.ledger().values())
    row_bytes = sum(made.ledger()[f"memory/{name}"] for name in ("codes", "classes", "ids"))
    assert rest < 2 * row_bytes / made._strategy.memory.capacity + 64
    assert max(counts) - min(counts) <= 1
    made.set_budget("32KiB")
    assert made._strategy.memory.capacity > len(made._strategy.memory) == counts.sum()
    stream(SPEC, 600, seed=2).teach(made, 0, 600)
    assert len(made._strategy.memory) > before - 1


def test_a_strategy_that_keeps_everything_gives_up_nothing():
    made = taught("joint", samples=60)
    with pytest.raises(errors.BudgetExceeded) as refusal:
        made.set_budget("1KiB")
    made.set_budget(refusal.value.asked_bytes)
    assert len(made._strategy.memory) == 60
    with pytest.raises(errors.BudgetExceeded):
        made.learn_latents(np.ones((1, 8), dtype=np.float32), ["class 0"])


def test_a_budget_is_part_of_what_is_saved(tmp_path):
    made = taught("ar1")
    made.set_budget("16KiB")
    made.save(tmp_path / "learner")
    loaded = Learner.load(tmp_path / "learner")
    assert loaded.memory_budget == 16 * 1024
    assert_same_state(made, loaded)
    with pytest.raises(errors.InvalidOption, match="no size"):
        made.set_budget("some")


def exemplars(learner):
    """Latents and classes that the memory holds, as the strategy sees them."""
    strategy = learner._strategy
    batch = strategy.normalised(strategy.memory.all())
    return batch.latents, batch.classes


def test_a_strategy_is_built_from_the_exemplars_alone():
    made = taught("replay", options={"memory_samples": 40})
    latents, classes = exemplars(made)
    made.change_strategy("ncm")
    for c in range(6):
        mean = latents[classes == c].mean(axis=0)
        assert made._strategy.count[c] == (classes == c).sum()
        np.testing.assert_allclose(made._strategy.total[c] / made._strategy.count[c], mean, 1e-5)
    assert made.samples_seen == 600
    assert made.labels == taught("replay").labels


def test_a_sample_in_two_memories_is_learned_once_and_contexts_keep_together():
    made = taught("replay", samples=90)
    memory = made._strategy.memory
    kept = Exemplars({"one": memory, "other": memory}, seed=1, by_context=True)
    assert sorted(kept.ids.tolist()) == list(range(90))
    assert kept.contexts.tolist() == sorted(kept.contexts.tolist())
    latents = np.concatenate([batch.latents for batch in kept.batches()])
    rows = {int(i): row for i, row in zip(memory.all().ids, memory.all().latents, strict=True)}
    assert all((rows[int(i)] == row).all() for i, row in zip(kept.ids, latents, strict=True))
    mixed = Exemplars({"one": memory}, seed=1)
    assert mixed.contexts.tolist() != sorted(mixed.contexts.tolist())


@pytest.mark.parametrize("selection", ["reservoir", "class_balanced", "herding", "ring", "share"])
def test_another_codec_keeps_the_head_and_every_exemplar_that_fits(selection):
    made = taught("slda_replay", 240, options={"codec": "float32", "selection": selection})
    before = {name: array.copy() for name, array in made._strategy.arrays().items()}
    rows = made._strategy.memory.all()
    made.change_strategy("slda_replay", {"codec": "uint4"})
    assert made.options["codec"] == "uint4"
    assert made.options["selection"] == selection
    assert sum(made.ledger().values()) <= made.memory_budget
    for name in ("mean", "triangle", "factor", "waiting", "count", "rng"):
        assert before[name].tobytes() == made._strategy.arrays()[name].tobytes(), name
    after, codec = made._strategy.memory.all(), made._strategy.memory.codec
    kept = {int(i): n for n, i in enumerate(after.ids)}
    assert set(kept) == set(rows.ids.tolist())
    for n, i in enumerate(rows.ids):
        difference = np.abs(rows.latents[n] - after.latents[kept[int(i)]]).max()
        assert difference <= codec.error_bound() * 1.001
    made.change_strategy("slda_replay", {"codec": "float32"})
    assert sum(made.ledger().values()) <= made.memory_budget
    assert set(made._strategy.memory.all().ids.tolist()) <= set(kept)


def test_an_option_that_changes_what_the_head_means_builds_it_anew():
    made = taught("replay")
    weights = made._strategy.weights.copy()
    made.change_strategy("replay", {"normalise": "l2"})
    assert made.options["normalise"] == "l2"
    assert not np.array_equal(weights, made._strategy.weights)
    made.change_strategy("replay", {"hidden": [16]})
    assert made._strategy.weights.size > weights.size
    assert made.options["normalise"] == "l2"


@pytest.mark.parametrize(
    ("old", "new", "options", "error", "words"),
    [
        ("slda", "replay", {}, errors.Conflict, "keeps no exemplar of 6 of 6"),
        ("ewc", "replay", {}, errors.Conflict, "teach a sample of each"),
        ("slda", "slda", {"normalise": "l2"}, errors.Conflict, "keeps no exemplar"),
        (
            "latent_replay",
            "joint",
            {"codec": "float32"},
            errors.BudgetExceeded,
            "keeps every sample",
        ),
        ("replay", "ar1", {"hidden": [4096]}, errors.BudgetExceeded, "needed"),
        ("replay", "ar1", {"hiden": [8]}, errors.InvalidOption, "hiden"),
        ("replay", "best", {}, errors.UnknownStrategy, "best"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(old, new, options, error, words):
    made = taught(old, memory_budget="16KiB")
    before = made.to_bytes()
    for attempt in (made.check_strategy, made.change_strategy):
        with pytest.raises(error, match=words):
            attempt(new, options)
    assert made.to_bytes() == before


def test_a_learner_that_has_learned_nothing_may_take_any_strategy():
    made = Learner.create(strategy="slda", spec=SPEC)
    made.change_strategy("ar1")
    assert (made.strategy, made.samples_seen) == ("ar1", 0)


def test_a_forgotten_class_is_no_obstacle_and_stays_forgotten():
    made = taught("replay", samples=90)
    made.forget(label="class 0")
    made.change_strategy("slda_replay")
    assert "class 0" not in made.labels
    found = made.predict_latents(stream(SPEC, 30).latents, top_k=9)
    assert all(label != "class 0" for one in found for label, _ in one.top)


def test_a_strategy_that_is_not_there_is_no_damage(monkeypatch):
    content = taught("ncm", samples=12).to_bytes()
    monkeypatch.delitem(strategies._TABLE, "ncm")
    with pytest.raises(errors.UnknownStrategy, match="ncm"):
        Learner.from_bytes(content)
