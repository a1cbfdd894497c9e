"""Figures that are read when Prometheus asks for them."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
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


def _gauge(name: str, about: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"edge_cl_{name}", about, labels=labels)
