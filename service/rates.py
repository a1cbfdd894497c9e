"""Token buckets: how many requests a client may still make."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Allowance", "Rates"]

MOST_CLIENTS = 4096


@dataclass(frozen=True)
class Allowance:
    """What a bucket says of one request.

    Parameters
    ----------
    granted
        Whether it may be served.
    left
        Requests that may follow at once.
    wait_s
        Seconds until one more may come.
    """

    granted: bool
    left: int
    wait_s: float


class Rates:
    """One bucket a client: `burst` requests at once, `per_s` more each second.

    Parameters
    ----------
    per_s
        Requests a second in the long run; 0 for no limit.
    burst
        Requests at once after a rest.
    clock
        Seconds that only rise.
    """

    def __init__(
        self, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    @property
    def limited(self) -> bool:
        """Whether there is a limit at all."""
        return self._per_s > 0

    def take(self, client: str) -> Allowance:
        """Count one request of `client`. Called from one thread."""
        now = self._clock()
        tokens, filled_at = self._buckets.pop(client, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - filled_at) * self._per_s)
        granted = tokens >= 1
        tokens -= granted
        self._buckets[client] = (tokens, now)
        if len(self._buckets) > MOST_CLIENTS:
            # A bucket that was not touched for longest has had most time to fill up.
            self._buckets.popitem(last=False)
        return Allowance(granted, int(tokens), max(0.0, (1 - tokens) / self._per_s))

    def headers(self, allowance: Allowance) -> dict[str, str]:
        """What the client is told (the IETF's RateLimit header fields)."""
        window_s = math.ceil(self._burst / self._per_s)
        told = {
            "RateLimit-Policy": f'"client";q={self._burst};w={window_s}',
            "RateLimit": f'"client";r={allowance.left};t={math.ceil(allowance.wait_s)}',
        }
        if not allowance.granted:
            told["Retry-After"] = str(max(1, math.ceil(allowance.wait_s)))
        return told
