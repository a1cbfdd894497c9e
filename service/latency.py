"""How long requests took: percentiles of the last ones, in memory that does not grow."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

__all__ = ["Latencies"]

KINDS = ("predict", "learn")
KEPT = 1000
PERCENTILES = (50, 95, 99)


class Durations:
    """The last durations of one kind of request: 4 kB.

    Parameters
    ----------
    kept
        So many of them.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._ms = np.zeros(kept, dtype=np.float32)
        self._count = 0
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        """Note one duration; any thread may."""
        with self._lock:
            self._ms[self._count % len(self._ms)] = 1000 * seconds
            self._count += 1

    def report(self) -> dict[str, Any]:
        """Requests that were counted, and percentiles of the kept ones, each one that occurred."""
        with self._lock:
            count, kept = self._count, self._ms[: self._count].copy()
        found: list[float | None] = [None] * len(PERCENTILES)
        if count:
            # Of two neighbours the longer: a percentile must not promise too much.
            found = [
                round(float(ms), 3) for ms in np.percentile(kept, PERCENTILES, method="higher")
            ]
        names = (f"p{percentile}_ms" for percentile in PERCENTILES)
        return {"requests": count, **dict(zip(names, found, strict=True))}


class Latencies:
    """Durations of the requests of one learner, since the service started."""

    def __init__(self) -> None:
        self._kinds = {kind: Durations() for kind in KINDS}

    def note(self, kind: str, begun: float) -> None:
        """Note a request that has been answered, and began at that time of the counter."""
        self._kinds[kind].add(time.perf_counter() - begun)

    def report(self) -> dict[str, Any]:
        """What `Durations.report` says of each kind."""
        return {kind: durations.report() for kind, durations in self._kinds.items()}
