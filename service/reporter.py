"""What a learner's worker tells the rest: its prequential record, and events."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from edge_cl.monitoring import Monitor
from service.events import Events
from service.operations import Lesson
from service.outcomes import recorded
from service.records import Entry

if TYPE_CHECKING:
    from service.view import View

__all__ = ["Reporter"]

log = logging.getLogger("edge_cl.reporter")


class Reporter:
    """Speaks for one learner.

    Parameters
    ----------
    name
        The learner's.
    monitor
        Its prequential record.
    events
        Where events go.
    """

    def __init__(self, name: str, monitor: Monitor, events: Events) -> None:
        self._name = name
        self._monitor = monitor
        self._events = events

    def learned(self, entry: Entry) -> None:
        """An operation was applied."""
        operation, version = entry.operation, entry.sequence
        outcomes = [sample.outcome for sample in operation.samples]
        alarms = recorded(self._monitor, operation)
        if not isinstance(operation, Lesson):
            self._emit("changed", version=version, operation=operation.kind)
            return
        tested = [outcome for outcome in outcomes if outcome.predicted is not None]
        right = sum(outcome.predicted == outcome.label for outcome in tested)
        self._emit(
            "learned", version=version, samples=len(outcomes), predicted=len(tested), correct=right
        )
        for alarm in alarms:
            log.warning("learner %s: its error rate rose by %.3f", self._name, alarm.rise)
            self._emit("drift", version=version, at_sample=alarm.at_sample, rise=alarm.rise)

    def published(self, before: View, after: View) -> None:
        """Predictions know more than they did."""
        added = [label for label in after.class_counts if label not in before.class_counts]
        gone = [label for label in before.class_counts if label not in after.class_counts]
        if added:
            self._emit("classes-added", version=after.version, classes=added)
        if gone:
            self._emit("classes-removed", version=after.version, classes=gone)
        if before.memory_budget != after.memory_budget:
            self._emit(
                "budget",
                version=after.version,
                memory_budget=after.memory_budget,
                memory_used=sum(after.ledger.values()),
                evicted_bytes=max(sum(before.ledger.values()) - sum(after.ledger.values()), 0),
            )
        self._emit(
            "published",
            version=after.version,
            classes=len(after.class_counts),
            samples=sum(after.class_counts.values()),
        )

    def snapshot(self, version: int, failure: str | None) -> None:
        """A snapshot was written, or not."""
        self._emit("snapshot", version=version, outcome="failed" if failure else "written")

    def failed(self, reason: str) -> None:
        """The learner has stopped learning."""
        self._emit("failed", reason=reason)

    def _emit(self, kind: str, **content: object) -> None:
        self._events.emit(kind, self._name, **content)
