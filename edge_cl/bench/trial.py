"""One run: a learner meets a stream and is examined on the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from math import isnan
from statistics import median
from typing import Any

import numpy as np

from edge_cl.bench import metrics
from edge_cl.bench.scenarios import TOLD_OF_ENDS
from edge_cl.bench.streams import Samples, Stream
from edge_cl.learner import Learner
from edge_cl.types import Float64

CALL_SAMPLES = 50
"""Samples that are learned in one call, as a device would send them."""

Advance = Callable[[int], None]


class OutOfTime(Exception):
    """A run took more CPU time than it was given."""


@dataclass(frozen=True)
class Examination:
    """How often a learner is tested, and when a run is given up.

    Parameters
    ----------
    points
        Tests over the whole stream at least, evenly spaced; the ends of experiences are
        points of their own.
    prequential
        Predict every call's samples before they are learned.
    limit_s
        CPU seconds after which the run is given up, or None.
    """

    points: int = 10
    prequential: bool = False
    limit_s: float | None = None


@dataclass
class Outcome:
    """What came of a run.

    Parameters
    ----------
    accuracies
        (T, J): after each experience, on each test set.
    untrained
        (J,): of the learner before its first sample.
    seen, seen_accuracies
        Samples learned at each point, and the accuracy then on what was met so far.
    ledger
        Bytes by name at the end.
    most_bytes
        Largest sum of the ledger at any point.
    learn_us
        Median CPU time of learning a sample, in calls of `CALL_SAMPLES`.
    settle_ms
        Median CPU time of publishing what was learned.
    prequential
        Accuracy on samples before they were learned, or None.
    """

    accuracies: Float64
    untrained: Float64
    seen: list[int] = field(default_factory=list)
    seen_accuracies: list[float] = field(default_factory=list)
    ledger: dict[str, int] = field(default_factory=dict)
    most_bytes: int = 0
    learn_us: float = float("nan")
    settle_ms: float = float("nan")
    prequential: float | None = None

    def figures(self, stream: Stream) -> dict[str, Any]:
        """Every metric, and what it was computed from, for JSON; None where not defined."""
        at = stream.learned_at
        found = {
            "accuracy": metrics.mean_accuracy(self.accuracies),
            "forgetting": metrics.forgetting(self.accuracies, at),
            "backward_transfer": metrics.backward_transfer(self.accuracies, at),
            "forward_transfer": metrics.forward_transfer(self.accuracies, self.untrained, at),
            "average_incremental": metrics.average_incremental_accuracy(self.accuracies, at),
            "any_time": metrics.any_time_accuracy(self.seen, self.seen_accuracies),
            "prequential": self.prequential,
            "most_bytes": self.most_bytes,
            "learn_us": self.learn_us,
            "settle_ms": self.settle_ms,
            "ledger": self.ledger,
            "curve": {"seen": self.seen, "accuracy": self.seen_accuracies},
            "matrix": self.accuracies.tolist(),
        }
        return {k: None if isinstance(v, float) and isnan(v) else v for k, v in found.items()}


def accuracy(learner: Learner, test: Samples) -> float:
    """Share of `test` that is named rightly; 0 where the learner cannot know any of it.

    A learner names no label and takes no context that it has not met, so that test sets
    of classes or contexts to come need not be asked.
    """
    if test.context is not None and test.context not in learner.contexts:
        return 0.0
    if not set(test.labels) & set(learner.labels):
        return 0.0
    found = learner.predict_latents(test.latents, test.context)
    pairs = zip(found, test.labels, strict=True)
    return sum(prediction.label == label for prediction, label in pairs) / len(test)


class Trial:
    """A run under way.

    Parameters
    ----------
    learner, stream
        Who meets what.
    examination
        How often it is tested.
    advance
        Told of every call's samples, for a progress bar.
    """

    def __init__(
        self,
        learner: Learner,
        stream: Stream,
        examination: Examination = Examination(),
        advance: Advance = lambda samples: None,
    ) -> None:
        self.learner = learner
        self.stream = stream
        self.examination = examination
        self._advance = advance
        self._learned = 0
        self._spent_s = 0.0
        self._learn_us: list[float] = []
        self._settle_ms: list[float] = []
        self._right: list[bool] = []
        shape = (len(stream.experiences), len(stream.tests))
        self._outcome = Outcome(np.zeros(shape), np.zeros(shape[1]))

    def run(self) -> Outcome:
        """Learn the whole stream.

        Raises
        ------
        OutOfTime
            With how far it came.
        EdgeCLError
            What the learner raises on this stream.
        """
        outcome = self._outcome
        outcome.untrained = np.array([accuracy(self.learner, test) for test in self.stream.tests])
        with one_thread():
            for index, experience in enumerate(self.stream.experiences):
                self._learn_experience(experience, index)
                outcome.accuracies[index] = self._examine(index)
        outcome.ledger = self.learner.ledger()
        outcome.learn_us = median(self._learn_us)
        outcome.settle_ms = median(self._settle_ms)
        if self._right:
            outcome.prequential = metrics.prequential_accuracy(self._right)
        return outcome

    def _learn_experience(self, experience: Samples, index: int) -> None:
        every = max(1, -(-len(self.stream) // self.examination.points))
        for start in range(0, len(experience), CALL_SAMPLES):
            before = self._learned // every
            self._learn(experience[start : start + CALL_SAMPLES])
            if self._learned // every > before and start + CALL_SAMPLES < len(experience):
                self._examine(index)
        if self.stream.scenario in TOLD_OF_ENDS:
            self._timed(self.learner.end_experience)

    def _learn(self, part: Samples) -> None:
        latents, labels = part.latents, part.labels
        if self.examination.prequential:
            found = self.learner.predict_latents(latents, part.context) if self._learned else []
            self._right += [
                prediction.label == label for prediction, label in zip(found, labels, strict=False)
            ]
        first = self._learned
        spent_s = self._timed(
            lambda: self.learner.learn_latents(
                latents, labels, part.context, range(first, first + len(part))
            )
        )
        self._learn_us.append(1e6 * spent_s / len(part))
        self._learned += len(part)
        self._outcome.most_bytes = max(
            self._outcome.most_bytes, sum(self.learner.ledger().values())
        )
        self._advance(len(part))

    def _examine(self, index: int) -> Float64:
        self._settle_ms.append(1000 * self._timed(lambda: self.learner.publish()))
        found = np.array([accuracy(self.learner, test) for test in self.stream.tests])
        met = np.asarray(self.stream.learned_at) <= index
        sizes = np.array([len(test) for test in self.stream.tests])
        self._outcome.seen.append(self._learned)
        self._outcome.seen_accuracies.append(float(np.average(found[met], weights=sizes[met])))
        return found

    def _timed(self, action: Callable[[], object]) -> float:
        start = time.process_time()
        action()
        spent_s = time.process_time() - start
        self._spent_s += spent_s
        limit_s = self.examination.limit_s
        if limit_s is not None and self._spent_s > limit_s:
            raise OutOfTime(
                f"given up after {self._learned:,} of {len(self.stream):,} samples: more than "
                f"{limit_s:g} s of CPU time"
            )
        return spent_s


def one_thread() -> AbstractContextManager[object]:
    """Hold linear algebra to one thread, so that CPU times mean the same everywhere."""
    try:
        threadpoolctl = import_module("threadpoolctl")
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[object] = threadpoolctl.threadpool_limits(1)
    return limits
