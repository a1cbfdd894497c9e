"""Corrections against a learner that was taught rightly from the start."""

from __future__ import annotations

import numpy as np
import pytest

from edge_cl import Learner
from edge_cl.equations import denial, denial_direction, softmax
from edge_cl.errors import BudgetExceeded, Conflict, InvalidInput, NotFound
from edge_cl.recall import Recall

DIM = 6
CLOSED = [
    ("ncm", {}),
    ("slda", {}),
    ("ranpac", {"width": 24, "ridge": 1e-2, "precision": "float64"}),
]
RNG = np.random.default_rng(3)
CENTRES = RNG.normal(0, 1, (4, DIM))
KINDS = RNG.integers(0, 4, 60)
KINDS[:4] = range(4)
LATENTS = (CENTRES[KINDS] + RNG.normal(0, 0.4, (60, DIM))).astype(np.float32)
LABELS = [f"kind {kind}" for kind in KINDS]
PROBE = RNG.normal(0, 1, (20, DIM)).astype(np.float32)


def taught(strategy, options, rows=range(60), labels=LABELS, seed=0):
    learner = Learner.create(
        strategy=strategy, dim=DIM, options=options, memory_budget="256KiB", seed=seed
    )
    for n in rows:
        learner.learn_latents(LATENTS[n : n + 1], [labels[n]], ids=[n])
    return learner


def recall(*ids, labels=LABELS):
    rows = list(ids)
    names = tuple(labels[n] for n in rows)
    return Recall(tuple(rows), names, (None,) * len(rows), LATENTS[rows])


def scores(learner):
    """Scores by label; of unit scale, so that one tolerance fits all strategies."""
    published = learner.publish()
    found = published.strategy.scores(published.strategy.normalise(PROBE)).astype(np.float64)
    by_label = {label: found[:, published.classes.number(label)] for label in published.labels}
    middle = np.mean(list(by_label.values()), axis=0)
    by_label = {label: column - middle for label, column in by_label.items()}
    size = max(np.abs(column).max() for column in by_label.values())
    return {label: column / size for label, column in by_label.items()}


def assert_equal(one, other, tolerance=1e-6):
    left, right = scores(one), scores(other)
    assert left.keys() == right.keys()
    assert one.class_counts == other.class_counts
    for label in left:
        np.testing.assert_allclose(left[label], right[label], atol=tolerance, err_msg=label)


@pytest.fixture(params=CLOSED, ids=[name for name, _ in CLOSED])
def closed(request):
    return request.param


def precise(strategy, options):
    """A covariance of 32 bits keeps 7 digits; solving with it multiplies what they lack."""
    return 1e-5 if strategy == "slda" else 1e-6


def test_forgetting_samples_equals_never_having_seen_them(closed):
    learner = taught(*closed)
    gone = [7, 20, 21, 59]
    correction = learner.forget(sample_ids=gone, recall=recall(*gone))
    assert (correction.samples, correction.exact) == (4, True)
    other = taught(*closed, rows=[n for n in range(60) if n not in gone])
    assert_equal(learner, other, precise(*closed))


@pytest.mark.parametrize("strategy", ["slda", "ranpac"])
def test_the_statistics_themselves_are_equal_to_a_millionth(strategy):
    """The sums, not only what is solved from them."""
    options = {"ranpac": {"width": 24, "ridge": 1e-2, "precision": "float64"}}.get(strategy, {})
    learner, gone = taught(strategy, options), [7, 20, 21, 59]
    learner.forget(sample_ids=gone, recall=recall(*gone))
    other = taught(strategy, options, rows=[n for n in range(60) if n not in gone])
    arrays, expected = learner._strategy.arrays(), other._strategy.arrays()
    for name in {"mean", "scatter", "gram", "prototypes", "count"} & arrays.keys():
        scale = max(np.abs(expected[name]).max(), 1)
        np.testing.assert_allclose(arrays[name], expected[name], atol=1e-6 * scale, err_msg=name)


def test_forgetting_a_class_equals_never_having_seen_it(closed):
    learner = taught(*closed)
    of_class = [n for n in range(60) if KINDS[n] == 1]
    correction = learner.forget(label="kind 1", recall=recall(*of_class))
    assert (correction.samples, correction.exact) == (len(of_class), True)
    other = taught(*closed, rows=[n for n in range(60) if KINDS[n] != 1])
    assert "kind 1" not in learner.labels
    assert_equal(learner, other, precise(*closed))


def test_relabelling_equals_having_been_taught_rightly(closed):
    wrong = ["kind 0" if n in (9, 33) else "new" if n == 34 else LABELS[n] for n in range(60)]
    learner = taught(*closed, labels=wrong)
    for n in (9, 33, 34):
        assert learner.relabel(n, LABELS[n], recall(n, labels=wrong)).exact
    assert "new" not in learner.labels
    assert_equal(learner, taught(*closed), precise(*closed))


def test_merging_equals_having_been_taught_one_class(closed):
    learner = taught(*closed)
    correction = learner.merge_classes("kind 3", "kind 1")
    assert (correction.samples, correction.exact) == ((KINDS == 3).sum(), True)
    other = taught(*closed, labels=["kind 1" if kind == 3 else f"kind {kind}" for kind in KINDS])
    assert_equal(learner, other, precise(*closed))


def test_renaming_changes_the_name_alone(closed):
    learner, other = taught(*closed), taught(*closed)
    assert learner.rename_class("kind 2", "cup").exact
    left, right = scores(learner), scores(other)
    assert list(left) == ["kind 0", "kind 1", "cup", "kind 3"]
    assert (left["cup"] == right["kind 2"]).all()


def test_a_class_comes_back_as_if_it_were_new(closed):
    learner = taught(*closed)
    of_class = [n for n in range(60) if KINDS[n] == 2]
    learner.forget(label="kind 2", recall=recall(*of_class))
    for n in of_class:
        learner.learn_latents(LATENTS[n : n + 1], ["kind 2"], ids=[n])
    assert learner.labels == taught(*closed).labels
    assert_equal(learner, taught(*closed), precise(*closed))


def test_a_ridge_that_samples_have_chosen_is_said_to_be_approximate():
    learner = taught("ranpac", {"width": 24, "holdout_samples": 16})
    assert learner.check_forget(sample_ids=[5], recall=recall(5)).exact
    for n in range(60):
        learner.learn_latents(LATENTS[n : n + 1], [LABELS[n]])
    assert not learner.check_forget(sample_ids=[5], recall=recall(5)).exact


def test_statistics_of_few_bits_come_close():
    gone = list(range(10, 25))
    learner = taught("slda_replay", {})
    assert not learner.forget(sample_ids=gone, recall=recall(*gone)).exact
    other = taught("slda_replay", {}, rows=[n for n in range(60) if n not in gone])
    ours, theirs = learner._strategy.known(), other._strategy.known()
    assert (ours.counts == theirs.counts).all()
    np.testing.assert_allclose(ours.means, theirs.means, atol=1e-3)
    np.testing.assert_allclose(ours.covariance, theirs.covariance, atol=2e-3)


def test_a_replayed_sample_leaves_the_memory_and_the_answer_is_approximate():
    learner = taught("replay", {"memory_samples": 60})
    assert not learner.forget(sample_ids=[4, 5]).exact
    memory = learner._strategy.memory
    assert (len(memory), memory.contains(4), memory.contains(6)) == (58, False, True)
    learner.relabel(6, "another")
    batch = memory.all()
    assert learner.labels[batch.classes[batch.ids == 6][0]] == "another"
    assert sum(learner.class_counts.values()) == 58


def test_merged_probabilities_add_up():
    learner = taught("ar1", {})
    before = [dict(one.top) for one in learner.predict_latents(PROBE, top_k=9)]
    assert not learner.merge_classes("kind 0", "kind 2").exact
    after = [dict(one.top) for one in learner.predict_latents(PROBE, top_k=9)]
    for old, new in zip(before, after, strict=True):
        assert new.keys() == {"kind 1", "kind 2", "kind 3"}
        assert new["kind 2"] == pytest.approx(old["kind 0"] + old["kind 2"], abs=1e-6)
        assert new["kind 1"] == pytest.approx(old["kind 1"], abs=1e-6)
    assert Learner.from_bytes(learner.to_bytes()).class_counts == learner.class_counts
    learner.learn_latents(LATENTS[:1], ["kind 0"])
    assert learner.class_counts["kind 0"] == 1


def test_denying_lowers_the_odds_by_e_at_least():
    learner = taught("naive", {})
    odds = []
    for _ in range(2):
        probability = dict(learner.predict_latents(PROBE[:1], top_k=9)[0].top)["kind 1"]
        odds.append(probability / (1 - probability))
        learner.learn_not(PROBE[:1], ["kind 1"])
    assert odds[1] <= odds[0] / np.e * (1 + 1e-4)


def test_the_direction_of_denial_is_the_gradient_of_its_loss():
    logits = RNG.normal(0, 2, (1, 5)).astype(np.float32)
    denied = np.array([[False, True, False, True, False]])
    slope = np.zeros(5)
    for c in range(5):
        step = np.zeros((1, 5), dtype=np.float32)
        step[0, c] = 1e-2
        slope[c] = (denial(logits + step, denied) - denial(logits - step, denied))[0] / 2e-2
    probability = softmax(logits)[denied[0][None]].sum()
    direction = denial_direction(logits, denied)[0]
    np.testing.assert_allclose(slope, probability * direction, atol=1e-3)
    assert direction[denied[0]].sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda one: one.forget(), InvalidInput, "either"),
        (lambda one: one.forget(sample_ids=[1], label="kind 0"), InvalidInput, "either"),
        (lambda one: one.forget(sample_ids=[5]), NotFound, "forget its class"),
        (lambda one: one.forget(label="nothing"), NotFound, "'kind 0'"),
        (lambda one: one.relabel(5, "x"), NotFound, "sample 5"),
        (lambda one: one.rename_class("kind 0", "kind 1"), Conflict, "merge"),
        (lambda one: one.rename_class("kind 0", " "), InvalidInput, "empty"),
        (lambda one: one.merge_classes("kind 0", "kind 0"), Conflict, "itself"),
        (lambda one: one.merge_classes("kind 0", "nothing"), NotFound, "nothing"),
        (lambda one: one.learn_not(PROBE[:1], ["kind 0"]), Conflict, "'ncm'"),
    ],
)
def test_what_cannot_be_corrected_is_refused_and_changes_nothing(call, error, words):
    learner = taught("ncm", {})
    before = learner.to_bytes()
    with pytest.raises(error, match=words):
        call(learner)
    assert learner.to_bytes() == before


def test_more_than_was_taught_cannot_be_forgotten():
    learner = taught("ncm", {}, rows=range(4))
    ids = (70, 71)
    twice = Recall(ids, ("kind 0", "kind 0"), (None, None), LATENTS[:2])
    with pytest.raises(Conflict, match="only 1"):
        learner.forget(sample_ids=ids, recall=twice)


def test_the_only_class_cannot_be_denied():
    learner = Learner.create(strategy="naive", dim=DIM)
    learner.learn_latents(LATENTS[:1], ["alone"])
    with pytest.raises(Conflict, match="alone"):
        learner.learn_not(LATENTS[:1], ["alone"])


def test_a_name_that_does_not_fit_is_refused():
    learner = taught("ncm", {})
    learner.memory_budget = sum(learner.ledger().values()) + 10
    with pytest.raises(BudgetExceeded):
        learner.rename_class("kind 0", "x" * 60)
    assert "kind 0" in learner.labels
