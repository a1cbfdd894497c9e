"""Around every request: its id, its time, and the end of what it sends."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import MutableMapping
from typing import Any, TypeAlias

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Problem, problem_answer
from service.meters import Meters
from service.scopes import OPEN_PATHS

__all__ = ["AccessLog", "UnreadBody", "answer_problem", "request_id_of"]

access = logging.getLogger("edge_cl.access")
log = logging.getLogger("edge_cl.service")

REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
SMALL_BODY_BYTES = 65_536
LINGER_S = 2.0
LINGER_BYTES = 32 * 1024 * 1024

Fields: TypeAlias = MutableMapping[str, Any]


def request_id_of(scope: Fields) -> str:
    """The id of a request, the client's own if it sent a usable one."""
    state = scope.setdefault("state", {})
    if "request_id" not in state:
        sent = Headers(scope=scope).get("x-request-id", "")
        state["request_id"] = sent if REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
    return str(state["request_id"])


class AccessLog:
    """Names every request, times it, and turns what nobody caught into a problem.

    Parameters
    ----------
    app
        What it wraps.
    meters
        Instruments.
    """

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self._app = app
        self._meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        begun = time.perf_counter()
        status = 0

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, named)
        except Exception:
            log.exception("request %s failed", request_id)
            if status:
                raise
            await answer_problem(Problem("internal", "see the log"), scope, receive, named)
        finally:
            self._note(scope, status, time.perf_counter() - begun, request_id)

    def _note(self, scope: Scope, status: int, took_s: float, request_id: str) -> None:
        fallback = scope["path"] if scope["path"] in OPEN_PATHS else "none"
        route = getattr(scope.get("route"), "path_format", fallback)
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._meters.requests.labels(method, route, str(status)).observe(took_s)
        quiet = route in OPEN_PATHS or route == "/metrics"
        access.log(
            logging.DEBUG if quiet else logging.INFO,
            "%s %s %d %.1f ms",
            method,
            scope["path"].encode("ascii", "backslashreplace").decode(),
            status,
            took_s * 1000,
            extra={"request_id": request_id, "route": route, "status": status, **_key_of(scope)},
        )


class UnreadBody:
    """Lets a client read an early refusal although it still sends its body.

    Closing a connection with unread bytes makes the kernel drop the answer
    too. A small rest is read; for a large one the answer goes out first, then
    the rest is thrown away for a bounded time, then the connection is closed.

    Parameters
    ----------
    app
        What it wraps.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if "content-length" not in headers and "transfer-encoding" not in headers:
            await self._app(scope, receive, send)
            return
        rest = _Rest(receive)
        declared = headers.get("content-length", "")
        small = declared.isdigit() and int(declared) <= SMALL_BODY_BYTES
        lingering = False

        async def patient(message: Message) -> None:
            nonlocal lingering
            if message["type"] == "http.response.start" and not rest.ended:
                if small:
                    await rest.discard()
                lingering = not rest.ended
                if lingering:
                    MutableHeaders(scope=message)["Connection"] = "close"
            if lingering and is_last(message):
                await send({**message, "more_body": True})
                await rest.discard()
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self._app(scope, rest.receive, patient)


def _key_of(scope: Scope) -> dict[str, str]:
    """Which key the request came with, for the log."""
    grant = scope.get("state", {}).get("grant")
    return {"key": grant.key} if grant is not None and grant.key else {}


def is_last(message: Message) -> bool:
    """Whether an answer ends with this message."""
    return message["type"] == "http.response.body" and not message.get("more_body", False)


class _Rest:
    """What is left of a request's body."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self.ended = True
        return message

    async def discard(self) -> None:
        deadline = time.monotonic() + LINGER_S
        dropped_bytes = 0
        while not self.ended and dropped_bytes < LINGER_BYTES:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return
            try:
                message = await asyncio.wait_for(self.receive(), left_s)
            except asyncio.TimeoutError:
                return
            dropped_bytes += len(message.get("body", b""))


async def answer_problem(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a problem, outside of any route."""
    response = problem_answer(problem, scope["path"], request_id_of(scope))
    await response(scope, receive, send)
