"""A learner that nobody uses is put away; who asks for it then waits until it is back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from functools import partial

from edge_cl.published import Published
from service.errors import Problem

__all__ = ["Rest"]

WAKE_LIMIT_S = 60.0


class Rest:
    """When a learner is put away, and who waits for it; threads may share it.

    Parameters
    ----------
    idle_s
        It is put away when it was not used for so long; 0 for never.
    """

    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        self._used_at = time.monotonic()
        self._wakings: deque[Future[Published]] = deque()

    def used(self) -> None:
        """Somebody uses it now."""
        self._used_at = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it may be put away."""
        if not self._idle_s or self._wakings:
            return False
        return time.monotonic() - self._used_at >= self._idle_s

    @property
    def asked(self) -> bool:
        """Whether somebody waits for it."""
        return bool(self._wakings)

    def ask(self) -> Callable[[], Published]:
        """Ask for it; call what is returned to wait for it."""
        waking: Future[Published] = Future()
        self._wakings.append(waking)
        return partial(_awaited, waking)

    def wake(self, give: Callable[[], Published]) -> None:
        """Give it to everybody who waits."""
        while self._wakings:
            self._wakings.popleft().set_result(give())

    def refuse(self, problem: Problem) -> None:
        """Say to everybody who waits that it does not come."""
        while self._wakings:
            self._wakings.popleft().set_exception(problem)


def _awaited(waking: Future[Published]) -> Published:
    try:
        return waking.result(WAKE_LIMIT_S)
    except futures.TimeoutError as error:
        raise Problem("not-ready", "the learner is not loaded yet") from error
