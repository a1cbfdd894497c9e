"""ADWIN: a window over a stream that shrinks when its mean changes.

Bifet & Gavaldà, "Learning from Time-Changing Data with Adaptive Windowing", SDM 2007.
A change detector with a fixed reference mean would miss a learner that first gets
better and then worse; this window forgets the time before it got better.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from edge_cl.types import Array

BUCKETS = 5
"""Buckets of one size; the paper's M."""
CLOCK = 32
"""The window is tested after so many values, as the paper proposes for speed."""
LEAST = 5
"""No part of the window that is compared is shorter."""


class Adwin:
    """Detects changes of the mean of values 0 and 1.

    Values are kept in buckets of 1, 2, 4, ... values, at most `BUCKETS` of each
    size: the state of n values has about ``BUCKETS * log2(n)`` pairs of numbers.

    Parameters
    ----------
    delta
        Bounds the rate of false alarms: the confidence of each test is ``1 - delta``.
    """

    def __init__(self, delta: float = 0.002) -> None:
        self.delta = delta
        self._seen = 0
        # From the oldest and largest to the newest: values, and how many of them are 1.
        self._sizes: list[int] = []
        self._ones: list[int] = []

    @property
    def width(self) -> int:
        """Values in the window."""
        return sum(self._sizes)

    @property
    def mean(self) -> float:
        """Their mean; 0 without any."""
        return sum(self._ones) / self.width if self._sizes else 0.0

    def add(self, value: bool) -> float:
        """Take one value; return how much the mean rose, when that is a change, else 0.

        A fall shortens the window too, but is no alarm.
        """
        self._seen += 1
        self._sizes.append(1)
        self._ones.append(int(value))
        self._compress()
        return self._shrink() if self._seen % CLOCK == 0 else 0.0

    def arrays(self) -> dict[str, Array]:
        """The state."""
        buckets = np.array([self._sizes, self._ones], dtype=np.int64).reshape(2, -1)
        return {"buckets": buckets, "seen": np.array([self._seen], dtype=np.int64)}

    def restore(self, arrays: dict[str, Array]) -> None:
        """Become the detector whose `arrays` these are."""
        self._sizes, self._ones = (row.tolist() for row in arrays["buckets"])
        self._seen = int(arrays["seen"][0])

    def _compress(self) -> None:
        """Join the two oldest buckets of a size of which there are too many."""
        size, end = 1, len(self._sizes)
        while True:
            start = end
            while start and self._sizes[start - 1] == size:
                start -= 1
            if end - start <= BUCKETS:
                return
            self._sizes[start : start + 2] = [2 * size]
            self._ones[start : start + 2] = [self._ones[start] + self._ones[start + 1]]
            size, end = 2 * size, start + 1

    def _shrink(self) -> float:
        """Drop the oldest buckets while the window has two different parts."""
        before = self.mean
        while self._differs():
            del self._sizes[0], self._ones[0]
        return max(self.mean - before, 0.0)

    def _differs(self) -> bool:
        """Whether the means on both sides of some cut differ by more than chance."""
        width, ones = self.width, sum(self._ones)
        return any(
            abs(count / size - (ones - count) / (width - size))
            >= cut_threshold(size, width - size, ones / width, self.delta)
            for size, count in self._cuts()
        )

    def _cuts(self) -> Iterator[tuple[int, int]]:
        """Length and ones of the older part, for every border of buckets."""
        width, size, count = self.width, 0, 0
        for bucket, ones in zip(self._sizes, self._ones, strict=True):
            size, count = size + bucket, count + ones
            if size >= LEAST and width - size >= LEAST:
                yield size, count


def cut_threshold(old: int, new: int, mean: float, delta: float) -> float:
    """The difference of means that chance does not explain (section 3.2, for ADWIN2).

    ``sqrt(2/m s² ln(2/d')) + 2/(3m) ln(2/d')`` with ``1/m = 1/old + 1/new``,
    ``d' = delta / ln(old + new)``, and s² the variance of the window.
    """
    inverse = 1 / old + 1 / new
    certainty = math.log(2 * math.log(old + new) / delta)
    variance = mean * (1 - mean)
    return math.sqrt(2 * inverse * variance * certainty) + 2 / 3 * inverse * certainty
