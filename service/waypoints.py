"""States that are saved so that an undo has little to learn again.

An undo needs the state before the last operation. Snapshots are rare, to spare the disk:
hundreds of operations may lie behind one. A waypoint is saved whenever learning took some
time since the last one, and not before twenty times what saving it took. Only two are kept.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["Waypoints"]

log = logging.getLogger("edge_cl.worker")

WORTH = 20
"""Learning time between waypoints, in units of what the last one cost: 5 % at most."""


class Waypoints:
    """When a waypoint is due, and its writing; for the thread that learns.

    Parameters
    ----------
    every_s
        Seconds of learning between two; 0 for none at all.
    saver
        Threads that write.
    save
        Writes (sequence, next id, body).
    """

    def __init__(
        self, every_s: float, saver: ThreadPoolExecutor, save: Callable[[int, int, bytes], None]
    ) -> None:
        self._every_s = every_s
        self._saver = saver
        self._save = save
        self._learned_s = 0.0
        self._cost_s = 0.0
        self._writing: Future[None] | None = None

    def passed(
        self, seconds: float, sequence: int, next_id: int, state: Callable[[], bytes]
    ) -> None:
        """An operation was learned in so many seconds; `state` makes the bytes of what it left."""
        self._learned_s += seconds
        writing = self._writing is not None and not self._writing.done()
        if not self._every_s or writing:
            return
        if self._learned_s >= max(self._every_s, WORTH * self._cost_s):
            begun = time.perf_counter()
            body = state()
            self._learned_s, self._cost_s = 0.0, time.perf_counter() - begun
            self._writing = self._saver.submit(self._write, sequence, next_id, body)

    def _write(self, sequence: int, next_id: int, body: bytes) -> None:
        begun = time.perf_counter()
        try:
            self._save(sequence, next_id, body)
        except OSError as error:
            # An undo then learns more again.
            log.warning("no state to undo from was saved at %d: %s", sequence, error)
        self._cost_s += time.perf_counter() - begun
