"""Figures that are read when Prometheus asks for them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.machine import resident_bytes
from service.registry import Registry

__all__ = ["Gauges"]


class Gauges(Collector):
    """The present state of all learners.

    Parameters
    ----------
    registry
        The learners.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def describe(self) -> list[Metric]:
        """Nothing is promised before the learners are open."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All figures, now."""
        used = _gauge("memory_used_bytes", "Memory by part.", "learner", "part")
        used.add_metric(["", "process"], resident_bytes())
        used.add_metric(["", "extractor"], self._registry.extractor_bytes)
        used.add_metric(["", "learners"], self._registry.learners_bytes)
        budget = _gauge("memory_budget_bytes", "Memory that a learner may use.", "learner")
        queue = _gauge("queue_depth", "Requests that wait for a learner.", "learner")
        lag = _gauge("wal_lag_records", "Operations after the last snapshot.", "learner")
        age = _gauge("snapshot_age_seconds", "Time since the last snapshot.", "learner")
        lost = _gauge("journal_lost_operations", "Operations lost to a damaged disk.", "learner")
        failed = _gauge("learner_failed", "1 when a learner has stopped learning.", "learner")
        for name, served in self._registry.all().items():
            for part, size_bytes in served.worker.view.ledger.items():
                used.add_metric([name, part], size_bytes)
            budget.add_metric([name], served.worker.view.memory_budget)
            queue.add_metric([name], served.worker.backlog)
            lag.add_metric([name], served.worker.unsaved_operations)
            age.add_metric([name], time.time() - served.store.snapshot_at)
            gone = [d.last - d.first + 1 for d in served.store.damages if not d.learned]
            lost.add_metric([name], sum(gone))
            failed.add_metric([name], float(served.worker.failure is not None))
        yield from (used, budget, queue, lag, age, lost, failed)
        yield from self._quality()

    def _quality(self) -> Iterator[Metric]:
        """What the prequential records say."""
        accuracy = _gauge(
            "prequential_accuracy", "Samples predicted rightly before they were learned.",
            "learner", "over",
        )  # fmt: skip
        error = _gauge("calibration_error", "Expected calibration error.", "learner")
        drifting = _gauge("drifting", "1 for a while after the error rate rose.", "learner")
        tested = _counter("prequential_samples", "Samples predicted before they were learned.")
        alarms = _counter("drift_alarms", "Rises of the error rate.")
        for name, served in self._registry.all().items():
            monitor = served.store.monitor
            for over, share in zip(("start", "window"), monitor.accuracy(), strict=True):
                accuracy.add_metric([name, over], math.nan if share is None else share)
            ece = monitor.calibration_error()
            error.add_metric([name], math.nan if ece is None else ece)
            drifting.add_metric([name], float(monitor.drifting))
            tested.add_metric([name], monitor.samples)
            alarms.add_metric([name], monitor.alarms)
        yield from (accuracy, error, drifting, tested, alarms)


def _gauge(name: str, about: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"edge_cl_{name}", about, labels=labels)


def _counter(name: str, about: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"edge_cl_{name}", about, labels=["learner"])
