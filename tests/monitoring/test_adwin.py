"""The change detector against a slow one that keeps every value."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_cl.monitoring import Adwin


class SlowAdwin:
    """The paper's window as a list of lists of values, every sum made anew."""

    def __init__(self, delta):
        self.delta, self.buckets, self.seen = delta, [], 0

    def add(self, value):
        self.seen += 1
        self.buckets.append([value])
        length = 1
        while sum(len(bucket) == length for bucket in self.buckets) > 5:
            oldest = next(n for n, bucket in enumerate(self.buckets) if len(bucket) == length)
            self.buckets[oldest : oldest + 2] = [self.buckets[oldest] + self.buckets[oldest + 1]]
            length *= 2
        if self.seen % 32:
            return 0.0
        before = np.mean(self.window)
        while self.changed():
            del self.buckets[0]
        return max(np.mean(self.window) - before, 0.0)

    @property
    def window(self):
        return [value for bucket in self.buckets for value in bucket]

    def changed(self):
        window = np.array(self.window, float)
        cuts = np.cumsum([len(bucket) for bucket in self.buckets])[:-1]
        for cut in cuts:
            old, new = window[:cut], window[cut:]
            if min(len(old), len(new)) < 5:
                continue
            m = 1 / (1 / len(old) + 1 / len(new))
            certainty = math.log(2 / (self.delta / math.log(len(window))))
            epsilon = math.sqrt(2 / m * window.var() * certainty) + 2 / (3 * m) * certainty
            if abs(old.mean() - new.mean()) >= epsilon:
                return True
        return False


@pytest.mark.parametrize("rates", [(0.1, 0.6), (0.6, 0.1), (0.3, 0.3), (0.05, 0.2, 0.9, 0.0)])
def test_it_equals_the_slow_one_at_every_value(rates):
    rng = np.random.default_rng(len(rates))
    stream = np.concatenate([rng.random(350) < rate for rate in rates])
    fast, slow = Adwin(), SlowAdwin(0.002)
    for value in stream:
        assert fast.add(bool(value)) == pytest.approx(slow.add(bool(value)), abs=1e-12)
        assert fast.width == len(slow.window)
    assert fast.mean == pytest.approx(np.mean(slow.window))


def test_only_a_rise_is_an_alarm():
    rng = np.random.default_rng(0)
    better = Adwin()
    assert not any(better.add(bool(v)) for v in rng.random(1000) < 0.6)
    assert not any(better.add(bool(v)) for v in rng.random(1000) < 0.05)
    assert better.mean < 0.1
    assert any(better.add(bool(v)) for v in rng.random(200) < 0.6)


def test_a_steady_stream_gives_no_alarm_and_little_state():
    rng = np.random.default_rng(1)
    steady = Adwin()
    assert not any(steady.add(bool(v)) for v in rng.random(20_000) < 0.2)
    assert steady.arrays()["buckets"].shape[1] <= 6 * math.ceil(math.log2(20_000))


def test_a_restored_one_goes_on_as_the_first():
    rng = np.random.default_rng(2)
    first, second = Adwin(), Adwin()
    for value in rng.random(777) < 0.2:
        first.add(bool(value))
    second.restore(first.arrays())
    rest = [bool(v) for v in rng.random(500) < 0.7]
    assert [first.add(v) for v in rest] == [second.add(v) for v in rest]
