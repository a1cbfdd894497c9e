"""Giving memory back while nobody asks for anything."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from service.machine import return_memory

if TYPE_CHECKING:
    from service.extractors import Extractors

__all__ = ["release_when_idle"]

LONGEST_REST_S = 5.0


def release_when_idle(
    extractors: Extractors, used_at: Callable[[], float], idle_s: float, stop: threading.Event
) -> None:
    """Release the extractors whenever none was used for a time; they load themselves again.

    Parameters
    ----------
    extractors
        The service's.
    used_at
        When one was used last, on the monotonic clock.
    idle_s
        After how long they are released.
    stop
        Ends this, which otherwise never returns.
    """
    while not stop.wait(min(idle_s / 2, LONGEST_REST_S)):
        if extractors.loaded and time.monotonic() - used_at() >= idle_s:
            extractors.release()
            return_memory()
