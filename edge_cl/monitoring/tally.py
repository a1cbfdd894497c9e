"""Counts of predictions against labels: accuracy, confusion, calibration, in bounded bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_cl.types import Array, Float64

MOST_CLASSES = 256
"""Classes with a row of their own; the later ones share one."""
MATRIX_CLASSES = 50
"""A report shows the whole matrix up to so many classes, else the largest entries only."""
MOST_PAIRS = 50
BINS = 15
"""Bins of confidence, as in Guo et al. 2017, "On Calibration of Modern Neural Networks"."""
OTHER = 0


class Tally:
    """Counts of (label, prediction) pairs.

    Row and column 0 of the matrix belong to all classes that came after
    `MOST_CLASSES` others.
    """

    def __init__(self) -> None:
        self.labels: list[str] = [""]
        self._numbers: dict[str, int] = {}
        self._matrix: Array = np.zeros((1, 1), dtype=np.uint32)
        # Not the diagonal: in row 0 two different classes meet.
        self._correct: Array = np.zeros(1, dtype=np.int64)
        self._bins: Float64 = np.zeros((3, BINS))

    def has(self, label: str) -> bool:
        """Whether `label` has a row of its own."""
        return label in self._numbers

    def knows(self, label: str) -> bool:
        """Whether `label` came before; once the rows are used up, every label may have."""
        return label in self._numbers or len(self.labels) > MOST_CLASSES

    @property
    def samples(self) -> int:
        """Predictions counted."""
        return int(self._bins[0].sum())

    @property
    def correct(self) -> int:
        """Of these, right ones."""
        return int(self._correct.sum())

    @property
    def size_bytes(self) -> int:
        """Bytes of the counts and the names."""
        names = sum(len(label.encode()) + 8 for label in self.labels)
        return self._matrix.nbytes + self._correct.nbytes + self._bins.nbytes + names

    def number(self, label: str) -> int:
        """The row of `label`, made if there is room for it."""
        known = self._numbers.get(label)
        if known is not None:
            return known
        if len(self.labels) > MOST_CLASSES:
            return OTHER
        self.labels.append(label)
        self._numbers[label] = len(self.labels) - 1
        self._matrix = np.pad(self._matrix, ((0, 1), (0, 1)))
        self._correct = np.pad(self._correct, (0, 1))
        return self._numbers[label]

    def like(self) -> Tally:
        """A tally of the same rows that has counted nothing."""
        twin = Tally()
        zeros = {name: np.zeros_like(array) for name, array in self.arrays().items()}
        twin.restore(list(self.labels), zeros)
        return twin

    def rename(self, label: str, name: str) -> None:
        """Give a class another name, which no other class has."""
        row = self._numbers.pop(label)
        self.labels[row] = name
        self._numbers[name] = row

    def merge(self, label: str, into: str) -> tuple[int, int]:
        """Add the counts of one class to another's; returns both rows.

        What was an error between the two when it was made stays one.
        """
        target, row = self.number(into), self._numbers.pop(label)
        for counts in (self._matrix, self._matrix.T, self._correct):
            counts[target] += counts[row]
            counts[row] = 0
        self.labels[row] = ""
        return row, target

    def add(self, label: str, predicted: str, confidence: float) -> bool:
        """Count one prediction; returns whether it was right."""
        right = label == predicted
        self.count(self.number(label), self.number(predicted), confidence, right)
        return right

    def count(self, row: int, column: int, confidence: float, right: bool) -> None:
        """Count one prediction of known rows."""
        self._matrix[row, column] += 1
        self._correct[row] += right
        self._bins[:, min(int(confidence * BINS), BINS - 1)] += 1, right, confidence

    def calibration_error(self) -> float | None:
        """Expected calibration error, ``sum_b n_b/n |acc_b - conf_b|`` (Guo et al., eq. 3)."""
        if not self.samples:
            return None
        _, right, confidence = self._bins
        return float(np.abs(right - confidence).sum() / self.samples)

    def report(self) -> dict[str, Any]:
        """Everything, for a JSON answer."""
        return {
            "samples": self.samples,
            "correct": self.correct,
            "accuracy": ratio(self.correct, self.samples),
            "per_class": self._per_class(),
            "confusion": self._confusion(),
            "calibration": {"ece": _rounded(self.calibration_error()), "bins": self._bin_notes()},
        }

    def arrays(self) -> dict[str, Array]:
        """The counts."""
        return {"matrix": self._matrix, "correct": self._correct, "bins": self._bins}

    def restore(self, labels: list[str], arrays: Mapping[str, Array]) -> None:
        """Become the tally with these labels and `arrays`."""
        self.labels = labels
        self._numbers = {label: row for row, label in enumerate(labels) if label}
        self._matrix, self._correct = arrays["matrix"].copy(), arrays["correct"].copy()
        self._bins = arrays["bins"].copy()

    def _name(self, row: int) -> str | None:
        return None if row == OTHER else self.labels[row]

    def _rows(self) -> list[int]:
        """Rows that were counted in; the shared one only if it was."""
        counted = self._matrix.sum(axis=0) + self._matrix.sum(axis=1)
        rows = [*range(1, len(self.labels)), OTHER]
        return [row for row in rows if counted[row]]

    def _per_class(self) -> list[dict[str, Any]]:
        shown, guessed = self._matrix.sum(axis=1), self._matrix.sum(axis=0)
        return [
            {
                "label": self._name(row),
                "samples": int(shown[row]),
                "correct": int(self._correct[row]),
                "accuracy": ratio(self._correct[row], shown[row]),
                "predicted": int(guessed[row]),
                "precision": ratio(self._correct[row], guessed[row]),
            }
            for row in self._rows()
        ]

    def _confusion(self) -> dict[str, Any]:
        rows = self._rows()
        whole = len(rows) <= MATRIX_CLASSES
        return {
            "labels": [self._name(row) for row in rows] if whole else None,
            "matrix": self._matrix[np.ix_(rows, rows)].tolist() if whole else None,
            "most_confused": self._pairs(),
        }

    def _pairs(self) -> list[dict[str, Any]]:
        wrong = self._matrix.astype(np.int64)
        np.fill_diagonal(wrong, 0)
        wrong[OTHER, OTHER] = int(self._matrix[OTHER, OTHER]) - int(self._correct[OTHER])
        order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
        cells = (divmod(int(cell), len(self.labels)) for cell in order)
        return [
            {
                "label": self._name(row),
                "predicted": self._name(column),
                "samples": int(wrong[row, column]),
            }
            for row, column in cells
            if wrong[row, column]
        ]

    def _bin_notes(self) -> list[dict[str, Any]]:
        return [
            {
                "from": round(number / BINS, 4),
                "samples": int(count),
                "accuracy": ratio(right, count),
                "confidence": ratio(confidence, count),
            }
            for number, (count, right, confidence) in enumerate(self._bins.T)
            if count
        ]


def ratio(part: float, whole: float) -> float | None:
    """`part` of `whole`, rounded; None of nothing."""
    return _rounded(float(part) / float(whole)) if whole else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
