"""The conformance suite: what every strategy must hold, whoever wrote it.

``for check in CHECKS: check(Subject("ar1"))`` raises AssertionError with the reason where
a strategy does not conform. A new strategy is tested by adding its name to the table.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from types import FrameType
from typing import Any

import numpy as np

from edge_cl.errors import BudgetExceeded, Conflict, ContextRequired
from edge_cl.learner import Learner
from edge_cl.recall import Recall
from edge_cl.types import Float32, LatentSpec


@dataclass(frozen=True)
class Subject:
    """A strategy under test.

    Parameters
    ----------
    strategy
        Its name.
    options
        Its options.
    spec
        The latents of the test stream.
    memory_budget
        Bytes for the learner.
    long_samples
        Samples of the long stream.
    """

    strategy: str
    options: Mapping[str, Any] = field(default_factory=dict)
    spec: LatentSpec = field(default_factory=lambda: LatentSpec(8, scale=0.02, zero_point=0))
    memory_budget: int = 256 * 1024
    long_samples: int = 10_000

    def learner(self, memory_budget: int | None = None) -> Learner:
        """A fresh learner."""
        return Learner.create(
            strategy=self.strategy,
            spec=self.spec,
            options=self.options,
            memory_budget=memory_budget or self.memory_budget,
            seed=7,
        )


@dataclass(frozen=True)
class Stream:
    """Labelled latents, context after context, two classes in each."""

    latents: Float32
    labels: list[str]
    contexts: list[str]

    def teach(self, learner: Learner, start: int, stop: int, step: int = 3) -> None:
        """Let `learner` learn samples `start` to `stop`, `step` in a call."""
        for first in range(start, stop, step):
            part = slice(first, min(first + step, stop))
            learner.learn_latents(
                self.latents[part], self.labels[part], self.contexts[part], range(first, part.stop)
            )


def stream(spec: LatentSpec, samples: int, classes: int = 6, seed: int = 1) -> Stream:
    """A class-incremental stream of well-separated clusters of non-negative latents."""
    rng = np.random.Generator(np.random.PCG64(seed))
    centres = rng.uniform(0, 4, (classes, spec.dim))
    order = np.arange(samples) * classes // samples // 2 * 2 + rng.integers(0, 2, samples)
    latents = np.maximum(centres[order] + rng.normal(0, 0.2, (samples, spec.dim)), 0)
    return Stream(
        latents.astype(np.float32),
        [f"class {c}" for c in order],
        [f"context {c // 2}" for c in order],
    )


def predictions(learner: Learner, probe: Stream) -> list[tuple[tuple[str, float], ...]]:
    """All scores for those of the stream's latents whose context is known."""
    return [
        learner.predict_latents(latent[None], context, top_k=99)[0].top
        for latent, context in zip(probe.latents, probe.contexts, strict=True)
        if context in learner.contexts
    ]


def assert_same_state(one: Learner, other: Learner) -> None:
    """Every array equal, bit for bit."""
    left, right = one._arrays(), other._arrays()
    assert left.keys() == right.keys(), left.keys() ^ right.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype, f"{name} changed its type"
        assert left[name].tobytes() == right[name].tobytes(), f"array {name} differs"


def restores_at_any_sample(subject: Subject) -> None:
    """Saved anywhere and loaded, it continues bit-identically."""
    source = stream(subject.spec, 48)
    straight = subject.learner()
    source.teach(straight, 0, 48)
    for stop in (0, 3, 15, 18, 33, 45):
        first = subject.learner()
        source.teach(first, 0, stop)
        second = Learner.from_bytes(first.to_bytes())
        assert_same_state(first, second)
        source.teach(second, stop, 48)
        assert_same_state(straight, second)
        assert predictions(straight, source) == predictions(second, source)


def ignores_global_seeds(subject: Subject) -> None:
    """The global random generators change nothing."""
    source, learners = stream(subject.spec, 24), []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - the legacy generator is what is tested
        if "torch" in sys.modules:
            sys.modules["torch"].manual_seed(seed)
        learners.append(subject.learner())
        source.teach(learners[-1], 0, 24)
    assert_same_state(*learners)
    assert predictions(learners[0], source) == predictions(learners[1], source)


def predicts_purely(subject: Subject) -> None:
    """Predicting and publishing change nothing, and never name an unseen class."""
    source = stream(subject.spec, 30)
    asked, silent = subject.learner(), subject.learner()
    for start in range(0, 30, 3):
        source.teach(asked, start, start + 3)
        source.teach(silent, start, start + 3)
        for top in predictions(asked, source) if start % 9 == 0 else []:
            unseen = {label for label, _ in top} - set(source.labels[: start + 3])
            assert not unseen, f"unseen {unseen} after {start + 3} samples"
    assert_same_state(asked, silent)
    assert predictions(asked, source) == predictions(silent, source)


def published_stays(subject: Subject) -> None:
    """What was published does not change while learning goes on."""
    source = stream(subject.spec, 40)
    learner = subject.learner()
    source.teach(learner, 0, 20)
    old = learner.publish()
    probe = source.latents[:20]
    before = old.predict_latents(probe, source.contexts[0], top_k=9)
    source.teach(learner, 20, 40)
    learner.publish()
    assert old.predict_latents(probe, source.contexts[0], top_k=9) == before


def knows_a_class_from_its_first_sample(subject: Subject) -> None:
    """A label is among the predictions as soon as one sample of it was learned."""
    source = stream(subject.spec, 24)
    learner = subject.learner()
    for n in range(24):
        source.teach(learner, n, n + 1)
        top = learner.predict_latents(source.latents[n : n + 1], source.contexts[n], 99)[0].top
        assert source.labels[n] in [label for label, _ in top], f"sample {n}"


def keeps_its_ledger(subject: Subject) -> None:
    """The ledger is the bytes of the arrays, never above the budget; scores stay finite."""
    source = stream(subject.spec, subject.long_samples)
    learner = subject.learner()
    for start in range(0, subject.long_samples, 10):
        try:
            source.teach(learner, start, start + 10, step=10)
        except BudgetExceeded:
            assert learner._strategy.needs.history, "only keepers of everything may be full"
            break
        total = sum(learner.ledger().values())
        assert total <= learner.memory_budget, f"{total} bytes after {start + 10} samples"
    ledger, arrays = learner.ledger(), learner._arrays()
    unlisted = {"rng", "experience"}
    kept = sum(array.nbytes for name, array in arrays.items() if name not in unlisted)
    listed = sum(
        size for name, size in ledger.items() if name not in ("bookkeeping", "published", "names")
    )
    assert kept <= listed, f"{kept} bytes of arrays, {listed} in the ledger"
    for name, array in arrays.items():
        assert array.dtype.kind != "f" or np.isfinite(array).all(), f"{name} is not finite"
    for top in predictions(learner, stream(subject.spec, 12)):
        assert all(np.isfinite(score) for _, score in top)


def shares_no_storage(subject: Subject) -> None:
    """No two arrays overlap, and no array is kept outside the declared state."""
    learner = subject.learner()
    stream(subject.spec, 30).teach(learner, 0, 30)
    strategy = learner._strategy
    for (one, left), (other, right) in combinations(learner._arrays().items(), 2):
        assert not np.may_share_memory(left, right), f"{one} and {other} share storage"
    declared = set(strategy.slots(strategy.classes, strategy.contexts))
    for name, value in vars(strategy).items():
        assert name in declared or not isinstance(value, np.ndarray), f"{name} is no slot"


def refuses_what_does_not_fit(subject: Subject) -> None:
    """A budget that is too small is refused with the bytes that would do."""
    try:
        subject.learner(memory_budget=64)
    except BudgetExceeded as refusal:
        made = subject.learner(memory_budget=refusal.asked_bytes)
        total = sum(made.ledger().values())
        assert total <= made.memory_budget, f"{total} bytes before the first sample"
        try:
            subject.learner(memory_budget=refusal.asked_bytes - 1)
        except BudgetExceeded:
            return
        message = f"{refusal.asked_bytes} bytes were asked for, one less did too"
        raise AssertionError(message) from None
    raise AssertionError("64 bytes were enough")


def stays_whole_when_growth_is_refused(subject: Subject) -> None:
    """A class too many is refused, and the learner is as it was."""
    learner = subject.learner()
    source = stream(subject.spec, 12)
    source.teach(learner, 0, 12)
    learner.memory_budget = sum(learner.ledger().values()) // 2
    before = {name: array.copy() for name, array in learner._arrays().items()}
    labels = [f"{'x' * 100} {n}" for n in range(learner.memory_budget // 100)]
    latents = np.resize(source.latents, (len(labels), subject.spec.dim))
    try:
        learner.learn_latents(latents, labels, "context 0")
    except BudgetExceeded:
        after = learner._arrays()
        assert all(before[name].tobytes() == after[name].tobytes() for name in before)
        return
    raise AssertionError(f"{len(labels)} more classes were taken into half the bytes")


def follows_its_budget(subject: Subject) -> None:
    """A smaller budget is kept to at once, down to the least that the refusal names."""
    learner, source = subject.learner(), stream(subject.spec, 36)
    source.teach(learner, 0, 24)
    before = Learner.from_bytes(learner.to_bytes())
    least = _asked_instead_of(64, learner)
    assert_same_state(before, learner)
    for budget in (max(least, subject.memory_budget // 2), least):
        learner.set_budget(budget)
        total = sum(learner.ledger().values())
        assert total <= budget == learner.memory_budget, f"{total} bytes in {budget}"
        probe = stream(subject.spec, 24)
        assert all(np.isfinite(score) for top in predictions(learner, probe) for _, score in top)
    asked = _asked_instead_of(least - 1, learner)
    assert asked == least, f"{asked} bytes were asked for, {least} do"
    learner.set_budget(subject.memory_budget)
    other = Learner.from_bytes(learner.to_bytes())
    for one in (learner, other):
        source.teach(one, 24, 36)
        assert sum(one.ledger().values()) <= one.memory_budget
    assert_same_state(learner, other)


def takes_over_from_exemplars(subject: Subject) -> None:
    """Built from the exemplars of another learner, twice alike, it knows every class."""
    source, options = stream(subject.spec, 36), dict(subject.options)
    old = replace(subject, strategy="replay", options={}).learner()
    source.teach(old, 0, 30)
    before = Learner.from_bytes(old.to_bytes())
    new = old.with_strategy(subject.strategy, options)
    assert_same_state(before, old)
    assert new.strategy == subject.strategy
    assert sum(new.ledger().values()) <= new.memory_budget
    named = {label for top in predictions(new, stream(subject.spec, 30)) for label, _ in top}
    assert named == set(source.labels[:30]), f"{named} are known"
    old.change_strategy(subject.strategy, options)
    restored = Learner.from_bytes(new.to_bytes())
    for learner in (old, new, restored):
        source.teach(learner, 30, 36)
    assert_same_state(old, new)
    assert_same_state(restored, new)


def _asked_instead_of(budget: int, learner: Learner) -> int:
    """The bytes that the refusal of `budget` names."""
    try:
        learner.set_budget(budget)
    except BudgetExceeded as refusal:
        return refusal.asked_bytes
    raise AssertionError(f"{budget} bytes were enough for all that it knows")


def costs_the_same_at_any_age(subject: Subject) -> None:
    """Learning a sample takes as many calls late in the stream as early."""
    source = stream(subject.spec, 600, classes=2)
    learner = subject.learner()
    calls = [
        _count_calls(partial(source.teach, learner, start, start + 100))
        for start in range(0, 600, 100)
    ]
    assert calls[-1] <= 1.1 * calls[1], f"calls in each 100 samples: {calls}"


def _count_calls(action: Callable[[], None]) -> int:
    count = 0

    def note(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


def is_corrected(subject: Subject) -> None:
    """Samples are relabelled and forgotten, classes merged and forgotten; it learns on, whole."""
    source = stream(subject.spec, 30)
    learner = subject.learner()
    source.teach(learner, 0, 30)
    learner.forget(sample_ids=[3], recall=_recall(source, 3))
    assert not learner._strategy.remembers(3)
    learner.relabel(28, source.labels[0], _recall(source, 28))
    learner.relabel(29, "another class", _recall(source, 29))
    assert learner.class_counts["another class"] == 1
    learner.merge_classes(source.labels[0], source.labels[20])
    learner.rename_class(source.labels[20], "renamed")
    known = [one for one in source.labels[:20] if one in learner.labels]
    learner.forget(label=known[-1])
    assert learner.samples_seen == 29 - source.labels[:30].count(known[-1])
    for top in predictions(learner, source):
        assert sorted(label for label, _ in top) == sorted(learner.labels)
        assert all(np.isfinite(score) for _, score in top)
    assert sum(learner.ledger().values()) <= learner.memory_budget
    restored = Learner.from_bytes(learner.to_bytes())
    for one in (learner, restored):
        source.teach(one, 0, 30)
    assert_same_state(learner, restored)
    for label in learner.labels:
        learner.forget(label=label)
    assert learner.predict_latents(source.latents[:1], source.contexts[0])[0].unknown
    source.teach(learner, 0, 30)
    predictions(learner, source)


def denies_or_says_that_it_cannot(subject: Subject) -> None:
    """What a sample is not becomes less likely, or the learner stays as it is and says so."""
    source = stream(subject.spec, 30)
    learner = subject.learner()
    source.teach(learner, 0, 30)
    before = {name: array.copy() for name, array in learner._arrays().items()}
    for n in (2, 27):
        latent, label, context = source.latents[n], source.labels[n], source.contexts[n]
        odds = _odds(learner, latent, label, context)
        try:
            learner.learn_not(latent[None], [label], [context])
        except Conflict:
            after = learner._arrays()
            assert all(before[name].tobytes() == after[name].tobytes() for name in before)
            return
        now = _odds(learner, latent, label, context)
        # Where no feature is active, there is no weight that could lower anything.
        assert now < odds or odds == now == _even(learner), f"odds went from {odds} to {now}"


def _odds(learner: Learner, latent: Float32, label: str, context: str) -> float:
    """Logarithm of a label's odds, from scores, so that large ones are not rounded away."""
    published = learner.publish()
    strategy, number = published.strategy, published.contexts.number(context)
    scores = strategy.scores(strategy.normalise(latent[None]), number)[0].astype(np.float64)
    own = published.classes.number(label)
    return float(scores[own] - np.logaddexp.reduce(np.delete(scores, own)))


def _even(learner: Learner) -> float:
    return float(-np.log(len(learner.labels) - 1))


def _recall(source: Stream, n: int) -> Recall:
    part = slice(n, n + 1)
    labels, contexts = tuple(source.labels[part]), tuple(source.contexts[part])
    return Recall((n,), labels, contexts, source.latents[part])


def needs_what_it_says(subject: Subject) -> None:
    """It predicts without a context, unless it says that it cannot."""
    source = stream(subject.spec, 30)
    learner = subject.learner()
    source.teach(learner, 0, 30)
    try:
        found = learner.predict_latents(source.latents[:3])
    except ContextRequired:
        assert learner._strategy.needs.context_to_predict or (
            subject.options.get("softmax_over") == "context"
        )
        return
    assert all(prediction.label for prediction in found)


CHECKS: tuple[Callable[[Subject], None], ...] = (
    restores_at_any_sample,
    ignores_global_seeds,
    predicts_purely,
    published_stays,
    knows_a_class_from_its_first_sample,
    keeps_its_ledger,
    shares_no_storage,
    refuses_what_does_not_fit,
    stays_whole_when_growth_is_refused,
    follows_its_budget,
    takes_over_from_exemplars,
    costs_the_same_at_any_age,
    is_corrected,
    denies_or_says_that_it_cannot,
    needs_what_it_says,
)
"""Every check, to be called with a `Subject`."""
