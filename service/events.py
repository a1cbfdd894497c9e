"""What happens in the service, as events that clients can follow and resume."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from service.errors import Problem

__all__ = ["Event", "Events"]

RETRY_MS = 2000


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Parameters
    ----------
    number
        Rises by one with each event of this process.
    kind
        What happened.
    learner
        To which learner.
    at
        Seconds since the epoch.
    content
        Further members, fit for JSON.
    """

    number: int
    kind: str
    learner: str
    at: float
    content: dict[str, Any]

    def encode(self, epoch: str) -> str:
        """The event in the format of server-sent events."""
        data = {"learner": self.learner, "at": round(self.at, 3), **self.content}
        return f"id: {epoch}-{self.number}\nevent: {self.kind}\ndata: {json.dumps(data)}\n\n"


class Events:
    """The last events, in a ring that is shared by everybody who follows.

    Followers have a place in the ring and no queue of their own: one that is slow
    costs nothing, and is told what it missed.

    Parameters
    ----------
    kept
        Events in the ring.
    streams
        Followers at one time.
    heartbeat_s
        A silent stream sends a comment after this time.
    """

    def __init__(self, kept: int = 1000, streams: int = 32, heartbeat_s: float = 15.0) -> None:
        # Numbers begin anew with each process; the epoch tells them apart.
        self.epoch = f"{time.time_ns() // 1_000_000:x}"
        self._ring: deque[Event] = deque(maxlen=kept)
        self._last = 0
        self._streams = streams
        self._heartbeat_s = heartbeat_s
        self._followers: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._lock = threading.Lock()
        self._closed = False

    @property
    def followers(self) -> int:
        """Streams that are open."""
        return len(self._followers)

    def emit(self, kind: str, learner: str, **content: Any) -> None:
        """Add an event; any thread may."""
        with self._lock:
            self._last += 1
            self._ring.append(Event(self._last, kind, learner, time.time(), content))
        self._wake()

    def close(self) -> None:
        """End all streams, so that the process can end."""
        self._closed = True
        self._wake()

    def after(self, number: int) -> tuple[list[Event], int]:
        """Events beyond `number`, and how many of them the ring no longer has."""
        with self._lock:
            found = [event for event in self._ring if event.number > number]
            return found, max(self._last - number, 0) - len(found)

    def place(self, last_id: str | None) -> tuple[int, bool]:
        """The number that a follower has seen, and whether its id is of this process."""
        if last_id is None:
            return self._last, True
        epoch, _, number = last_id.rpartition("-")
        if epoch == self.epoch and number.isdecimal() and int(number) <= self._last:
            return int(number), True
        return 0, False

    def follow(
        self,
        last_id: str | None,
        wanted: Callable[[Event], bool],
        limit: int | None = None,
        duration_s: float | None = None,
    ) -> AsyncIterator[str]:
        """A stream of `wanted` events after `last_id`, encoded; without it, of those to come.

        Parameters
        ----------
        last_id
            Id of the last event that the follower has seen.
        wanted
            Whether an event is told.
        limit, duration_s
            The stream ends after so many events, or so many seconds; None for never.

        Raises
        ------
        Problem
            ``busy`` when too many follow already.
        """
        if len(self._followers) >= self._streams:
            raise Problem("busy", f"{self._streams} event streams are open, no more may be")
        told = self._encoded(last_id, wanted, math.inf if duration_s is None else duration_s)
        return told if limit is None else _first(told, limit)

    async def _encoded(
        self, last_id: str | None, wanted: Callable[[Event], bool], duration_s: float
    ) -> AsyncGenerator[str, None]:
        ends_at = time.monotonic() + duration_s
        seen, known = self.place(last_id)
        with self._woken() as woken:
            # With its place, a stream that breaks before its first event has missed nothing.
            yield f"retry: {RETRY_MS}\nid: {self.epoch}-{seen}\n\n"
            while not self._closed:
                woken.clear()
                found, lost = self.after(seen)
                if lost or not known:
                    yield self._missed(lost, known)
                    known = True
                for event in filter(wanted, found):
                    yield event.encode(self.epoch)
                seen = found[-1].number if found else seen + lost
                left_s = ends_at - time.monotonic()
                if left_s > 0 and await self._wait(woken, min(left_s, self._heartbeat_s)):
                    continue
                # The id comes along, so that a resumed quiet stream has missed nothing.
                yield f": heartbeat\nid: {self.epoch}-{seen}\n\n"
                if left_s <= self._heartbeat_s:
                    return

    def _missed(self, lost: int, known: bool) -> str:
        """An event that says that there is a gap, so that the client asks for the state anew."""
        reason = "these are no longer kept" if known else "the id is of another run of the service"
        return f"event: missed\ndata: {json.dumps({'events': lost, 'reason': reason})}\n\n"

    async def _wait(self, woken: asyncio.Event, longest_s: float) -> bool:
        try:
            await asyncio.wait_for(woken.wait(), longest_s)
        except asyncio.TimeoutError:
            return False
        return True

    @contextlib.contextmanager
    def _woken(self) -> Iterator[asyncio.Event]:
        """An event of the loop that is set whenever something happens."""
        woken = asyncio.Event()
        self._followers[woken] = asyncio.get_running_loop()
        try:
            yield woken
        finally:
            del self._followers[woken]

    def _wake(self) -> None:
        for woken, loop in list(self._followers.items()):
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(woken.set)


async def _first(told: AsyncGenerator[str, None], limit: int) -> AsyncIterator[str]:
    """The stream up to its event number `limit`; what has no id is no event that happened."""
    async with contextlib.aclosing(told):
        async for block in told:
            yield block
            limit -= block.startswith("id: ")
            if limit <= 0:
                return
