"""Giving memory back while nobody asks for anything."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from service.machine import return_memory

if TYPE_CHECKING:
    from edge_cl.extractor import Extractor

__all__ = ["release_when_idle"]

LONGEST_REST_S = 5.0


def release_when_idle(
    extractor: Extractor, used_at: Callable[[], float], idle_s: float, stop: threading.Event
) -> None:
    """Release the extractor whenever it was not used for a time; it loads itself again.

    Parameters
    ----------
    extractor
        The service's.
    used_at
        When it was used last, on the monotonic clock.
    idle_s
        After how long it is released.
    stop
        Ends this, which otherwise never returns.
    """
    while not stop.wait(min(idle_s / 2, LONGEST_REST_S)):
        if extractor.loaded and time.monotonic() - used_at() >= idle_s:
            extractor.release()
            return_memory()
