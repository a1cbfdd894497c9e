"""Saving a learner beside its learning: snapshots, and the states that an undo starts from."""

from __future__ import annotations

import logging
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from edge_cl.learner import Learner
from service.meters import Meters
from service.pace import Pace
from service.records import Entry
from service.reporter import Reporter
from service.store import Store
from service.waypoints import Waypoints

__all__ = ["Saver"]

log = logging.getLogger("edge_cl.worker")

SOONEST_S = 5.0
"""Rest between snapshots that are only made so that something else can go on."""


class Saver:
    """Writes in a thread of its own; only the copy of the state is made in the caller's.

    All but `wish` and `failure` is for the thread that learns.

    Parameters
    ----------
    store
        Where to.
    pace
        How often.
    meters, reporter
        Who is told.
    """

    def __init__(self, store: Store, pace: Pace, meters: Meters, reporter: Reporter) -> None:
        self.failure: str | None = None
        self._name = store.folder.name
        self._store = store
        self._pace = pace
        self._meters = meters
        self._reporter = reporter
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"save-{self._name}")
        self._begun_at = time.monotonic()
        self._writing: Future[None] | None = None
        self._wishes: deque[Future[None]] = deque()
        self._waypoints = Waypoints(pace.undo_learn_s, self._thread, store.save_waypoint)

    @property
    def busy(self) -> bool:
        """Whether a snapshot is being written."""
        return self._writing is not None and not self._writing.done()

    @property
    def rested(self) -> bool:
        """Whether another one may be tried although none is due."""
        return time.monotonic() - self._begun_at >= SOONEST_S

    def due(self, unsaved_operations: int) -> bool:
        """Whether a snapshot is to be written."""
        if unsaved_operations == 0 or self.busy:
            return False
        if self.rested and self._store.over_size:
            # Only what a snapshot has can be dropped from the journal.
            return True
        age_s = time.monotonic() - self._begun_at
        enough = unsaved_operations >= self._pace.snapshot_operations
        return enough or age_s >= self._pace.snapshot_interval_s

    def save(self, learner: Learner, sequence: int) -> None:
        """Write a snapshot of what the learner is after an operation."""
        self._begun_at = time.monotonic()
        next_id, record = self._store.journal.next_id, self._store.monitor.to_bytes()
        state = learner.to_bytes()
        self._writing = self._thread.submit(self._write, sequence, next_id, state, record)

    def passed(self, learner: Learner, entry: Entry, learned_s: float) -> None:
        """An operation was learned in so many seconds: an undo may want to start from here."""
        if not self.busy:
            # Otherwise there would be two copies of the state.
            next_id = entry.first_id + len(entry.operation.samples)
            self._waypoints.passed(learned_s, entry.sequence, next_id, learner.to_bytes)

    def wish(self) -> Future[None]:
        """Ask for a snapshot; done when it was tried. Any thread may."""
        wish: Future[None] = Future()
        self._wishes.append(wish)
        return wish

    @property
    def wished(self) -> bool:
        """Whether somebody has asked."""
        return bool(self._wishes)

    def grant(self) -> None:
        """Let everybody who has asked wait for what is being written."""
        while self._wishes:
            wish = self._wishes.popleft()
            if self._writing is None:
                wish.set_result(None)
            else:
                self._writing.add_done_callback(partial(_granted, wish))

    def wait(self) -> None:
        """Return when nothing is being written."""
        if self._writing is not None:
            self._writing.result()

    def close(self) -> None:
        """End the thread, once all is written."""
        self._thread.shutdown(wait=True)

    def _write(self, sequence: int, next_id: int, body: bytes, record: bytes) -> None:
        try:
            self._store.save(sequence, next_id, body, record)
            self.failure = None
        except OSError as error:
            log.error("learner %s: snapshot not written: %s", self._name, error)
            self.failure = str(error)
        outcome = "failed" if self.failure else "written"
        self._meters.snapshots.labels(self._name, outcome).inc()
        self._reporter.snapshot(sequence, self.failure)


def _granted(wish: Future[None], _: Future[None]) -> None:
    wish.set_result(None)
