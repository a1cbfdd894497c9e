"""Test-then-learn: every taught sample is first a test of what was known before it.

Gama, Sebastião & Rodrigues 2013, "On evaluating stream learning algorithms". The
outcomes come from outside, so that what is counted here depends on nothing but the
order of the samples, and counting them again gives the same numbers.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_cl import checkpoint
from edge_cl.errors import CheckpointError
from edge_cl.monitoring.adwin import Adwin
from edge_cl.monitoring.tally import Tally, ratio
from edge_cl.types import Array

WINDOW_SAMPLES = 1000
FADING = 0.99
"""Factor by which the weight of a class's older samples falls with each new one."""
LEAST_SAMPLES = 50
"""Samples of a class before its forgetting is estimated."""
RECENT = np.dtype([("row", "<i2"), ("column", "<i2"), ("confidence", "<f4"), ("right", "?")])


@dataclass(frozen=True)
class Outcome:
    """What was said of a sample before it was learned.

    Parameters
    ----------
    label
        What it is.
    predicted
        What was predicted; None if nothing could be.
    confidence
        Probability of the prediction, in [0, 1].
    unknown
        Whether it was called unknown.
    """

    label: str
    predicted: str | None = None
    confidence: float = 0.0
    unknown: bool = False


@dataclass(frozen=True)
class Alarm:
    """A rise of the error rate that chance does not explain.

    Parameters
    ----------
    at_sample
        Number of the sample that gave it, counted over all outcomes.
    rise
        By how much the error rate rose.
    """

    at_sample: int
    rise: float


class Monitor:
    """The prequential record of one learner: small, bounded, and deterministic.

    One thread observes, any may ask.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total = Tally()
        self._recent: Array = np.zeros(WINDOW_SAMPLES, dtype=RECENT)
        # By row of the tally: faded hits, faded samples, the best ratio so far, samples.
        self._fading: Array = np.zeros((1, 4))
        self._drift = Adwin()
        self._unpredicted = self._known = self._known_correct = self._alarms = 0
        self._known_rejected = self._new = self._new_accepted = 0
        self._last_alarm: Alarm | None = None

    @property
    def samples(self) -> int:
        """Outcomes counted."""
        return self._total.samples

    @property
    def size_bytes(self) -> int:
        """Bytes of the record."""
        drift = sum(array.nbytes for array in self._drift.arrays().values())
        return self._total.size_bytes + self._recent.nbytes + self._fading.nbytes + drift

    @property
    def drifting(self) -> bool:
        """Whether the last alarm is less than a window of samples old."""
        last = self._last_alarm
        return last is not None and self.samples - last.at_sample < WINDOW_SAMPLES

    @property
    def alarms(self) -> int:
        """Alarms since the start."""
        return self._alarms

    def observe(self, outcomes: Sequence[Outcome]) -> list[Alarm]:
        """Count the samples of one lesson, in order; returns the alarms that they give.

        A sample whose class was new with this lesson cannot be predicted rightly:
        it counts in the accuracy, but neither in the drift nor in the forgetting.
        """
        with self._lock:
            known = [self._total.knows(outcome.label) for outcome in outcomes]
            found = [self._count(*pair) for pair in zip(outcomes, known, strict=True)]
        return [alarm for alarm in found if alarm is not None]

    def rename(self, label: str, name: str) -> None:
        """A class has another name now; one that had it before is the same class now."""
        with self._lock:
            if label == name or not self._total.has(label):
                return
            if not self._total.has(name):
                self._total.rename(label, name)
                return
            row, target = self._total.merge(label, name)
            self._fading[row] = 0
            for column in ("row", "column"):
                self._recent[column][self._recent[column] == row] = target

    def report(self) -> dict[str, Any]:
        """Everything, for a JSON answer."""
        with self._lock:
            return {
                "since_start": self._since_start(),
                "window": self._window().report(),
                "drift": self._drift_note(),
                "state_bytes": self.size_bytes,
            }

    def accuracy(self) -> tuple[float | None, float | None]:
        """Since the start, and in the window."""
        with self._lock:
            window = self._window_rows()
            recent = ratio(int(window["right"].sum()), len(window))
            return ratio(self._total.correct, self.samples), recent

    def calibration_error(self) -> float | None:
        """Expected calibration error since the start."""
        return self._total.calibration_error()

    def to_bytes(self) -> bytes:
        """The whole record; see `from_bytes`."""
        manifest = {
            "labels": self._total.labels,
            "unpredicted": self._unpredicted,
            "known": self._known,
            "known_correct": self._known_correct,
            "known_rejected": self._known_rejected,
            "new": self._new,
            "new_accepted": self._new_accepted,
            "alarms": self._alarms,
            "last_alarm": None if self._last_alarm is None else vars(self._last_alarm),
        }
        arrays = {f"total/{name}": array for name, array in self._total.arrays().items()}
        arrays |= {f"drift/{name}": array for name, array in self._drift.arrays().items()}
        arrays |= {"fading": self._fading, "recent": self._recent.view(np.uint8)}
        return checkpoint.to_bytes(manifest, arrays)

    @classmethod
    def from_bytes(cls, content: bytes) -> Monitor:
        """The record whose `to_bytes` this is.

        Raises
        ------
        CheckpointError
            If the content is damaged.
        """
        manifest, arrays = checkpoint.from_bytes(content)
        monitor = cls()
        try:
            monitor._restore(manifest, arrays)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the saved record does not fit together: {error}") from error
        return monitor

    def _restore(self, manifest: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        self._total.restore(list(manifest["labels"]), _part(arrays, "total/"))
        self._drift.restore(_part(arrays, "drift/"))
        self._fading = arrays["fading"].copy()
        self._recent = arrays["recent"].copy().view(RECENT)
        self._unpredicted, self._known = int(manifest["unpredicted"]), int(manifest["known"])
        self._known_correct, self._alarms = int(manifest["known_correct"]), int(manifest["alarms"])
        self._known_rejected = int(manifest.get("known_rejected", 0))
        self._new = int(manifest.get("new", 0))
        self._new_accepted = int(manifest.get("new_accepted", 0))
        last = manifest["last_alarm"]
        self._last_alarm = None if last is None else Alarm(**last)

    def _count(self, outcome: Outcome, known: bool) -> Alarm | None:
        row = self._row(outcome.label)
        if outcome.predicted is None:
            self._unpredicted += 1
            return None
        column = self._row(outcome.predicted)
        right = outcome.label == outcome.predicted
        place = self.samples % WINDOW_SAMPLES
        self._total.count(row, column, outcome.confidence, right)
        self._recent[place] = (row, column, outcome.confidence, right)
        if not known:
            self._new += 1
            self._new_accepted += not outcome.unknown
            return None
        self._known += 1
        self._known_rejected += outcome.unknown
        self._known_correct += right
        self._fade(row, right)
        return self._alarm(self._drift.add(not right))

    def _row(self, label: str | None) -> int:
        row = 0 if label is None else self._total.number(label)
        if row >= len(self._fading):
            self._fading = np.pad(self._fading, ((0, row + 1 - len(self._fading)), (0, 0)))
        return row

    def _fade(self, row: int, right: bool) -> None:
        hits, weight, best, samples = self._fading[row]
        hits, weight, samples = right + FADING * hits, 1 + FADING * weight, samples + 1
        if samples >= LEAST_SAMPLES:
            best = max(best, hits / weight)
        self._fading[row] = hits, weight, best, samples

    def _forgetting(self, row: int) -> float | None:
        """Best faded accuracy of a class less the present one (Chaudhry et al. 2018, eq. 3)."""
        hits, weight, best, samples = self._fading[row]
        return ratio(best - hits / weight, 1) if samples >= LEAST_SAMPLES else None

    def _alarm(self, rise: float) -> Alarm | None:
        if not rise:
            return None
        self._alarms += 1
        self._last_alarm = Alarm(self.samples, round(rise, 6))
        return self._last_alarm

    def _since_start(self) -> dict[str, Any]:
        content = self._total.report()
        for note in content["per_class"]:
            note["forgetting"] = self._forgetting(self._row(note["label"]))
        forgotten = [note["forgetting"] for note in content["per_class"]]
        estimated = [share for share in forgotten if share is not None]
        return {
            **content,
            "unpredicted": self._unpredicted,
            "known_samples": self._known,
            "accuracy_known": ratio(self._known_correct, self._known),
            "false_reject_rate": ratio(self._known_rejected, self._known),
            "new_samples": self._new,
            "false_accept_rate": ratio(self._new_accepted, self._new),
            "forgetting": ratio(sum(estimated), len(estimated)),
        }

    def _window_rows(self) -> Array:
        return self._recent[: min(self.samples, WINDOW_SAMPLES)]

    def _window(self) -> Tally:
        tally = self._total.like()
        for row, column, confidence, right in self._window_rows().tolist():
            tally.count(row, column, confidence, right)
        return tally

    def _drift_note(self) -> dict[str, Any]:
        return {
            "drifting": self.drifting,
            "alarms": self._alarms,
            "last_alarm": None if self._last_alarm is None else vars(self._last_alarm),
            "window_samples": self._drift.width,
            "window_error": ratio(self._drift.mean, 1),
        }


def _part(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
