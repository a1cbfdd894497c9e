"""Reading request bodies: every byte counted, every wait bounded."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import Message

from service.errors import Problem

__all__ = ["Body", "Intake"]


@dataclass(frozen=True)
class Intake:
    """The limits on bodies, and the bytes that are held at present.

    Parameters
    ----------
    max_body_bytes
        Largest body of one request.
    max_inflight_bytes
        All bodies of running requests together.
    timeout_s
        A body must have arrived after this time.
    """

    max_body_bytes: int
    max_inflight_bytes: int
    timeout_s: float
    held: list[int]

    @contextlib.contextmanager
    def body(self, request: Request) -> Iterator[Body]:
        """The request's body; its bytes count as held until the block ends."""
        body = Body(request, self)
        try:
            yield body
        finally:
            self.held[0] -= body.received_bytes

    def take(self, count: int) -> None:
        """Count bytes in; Problem ``busy`` when too many are held already."""
        if self.held[0] + count > self.max_inflight_bytes:
            raise Problem("busy", f"bodies of {self.held[0]:,} bytes are being worked on")
        self.held[0] += count


class Body:
    """The body of one request; made by `Intake.body`."""

    def __init__(self, request: Request, intake: Intake) -> None:
        self._request = request
        self._intake = intake
        self._deadline = time.monotonic() + intake.timeout_s
        self.received_bytes = 0
        self._check_head()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes as they come.

        Raises
        ------
        Problem
            ``too-large``, ``slow-body`` or ``busy``; what follows is not read.
        """
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Problem("malformed", "the client went away within the body")
            more = message.get("more_body", False)
            if chunk := message.get("body", b""):
                self._count(len(chunk))
                yield chunk

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([chunk async for chunk in self.chunks()])

    def _check_head(self) -> None:
        if self._request.headers.get("content-encoding", "identity") != "identity":
            raise Problem("media-type", "a body with Content-Encoding is not read")
        declared = self._request.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._intake.max_body_bytes:
            raise self._too_large(f"{int(declared):,} bytes")

    async def _receive(self) -> Message:
        left_s = self._deadline - time.monotonic()
        try:
            return await asyncio.wait_for(self._request.receive(), max(left_s, 0.0))
        except asyncio.TimeoutError as error:
            raise Problem(
                "slow-body",
                f"{self.received_bytes:,} bytes came in {self._intake.timeout_s:g} s, then the "
                "time was over",
            ) from error

    def _count(self, count: int) -> None:
        if self.received_bytes + count > self._intake.max_body_bytes:
            raise self._too_large(f"more than {self._intake.max_body_bytes:,} bytes")
        self._intake.take(count)
        self.received_bytes += count

    def _too_large(self, size: str) -> Problem:
        allowed = self._intake.max_body_bytes
        return Problem("too-large", f"the body has {size}, at most {allowed:,} are taken")
