"""The gate: who sends a request, how many more it may send, and what it may do."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access import ANYBODY, Grant, Keyring
from service.errors import Problem
from service.meters import Meters
from service.middleware import answer_problem
from service.rates import Rates
from service.scopes import OPEN_PATHS, SCOPE_OF, SHARED

__all__ = ["Gate", "authorise", "grant_of"]

SAFE = frozenset(("GET", "HEAD", "OPTIONS"))


class Gate:
    """Finds out who asks, before anything else is done.

    Parameters
    ----------
    app
        What it wraps.
    keyring
        All keys.
    rates
        The clients' buckets.
    origins
        Sites whose pages may use the service.
    meters
        Instruments.
    """

    def __init__(
        self, app: ASGIApp, keyring: Keyring, rates: Rates, origins: Sequence[str], meters: Meters
    ) -> None:
        self._app = app
        self._origins = frozenset(origins)
        self._keyring = keyring
        self._rates = rates
        self._meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        grant = self._grant(headers)
        told: dict[str, str] = {}
        problem = self._refusal(grant, scope, headers)
        if self._rates.limited:
            allowance = self._rates.take(_client(grant, scope))
            told = self._rates.headers(allowance)
            if not allowance.granted:
                problem = Problem("rate-limit", "this client has used up its requests")

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(told)
            await send(message)

        if problem is not None:
            self._meters.errors.labels(problem.name).inc()
            await answer_problem(problem, scope, receive, telling)
            return
        scope.setdefault("state", {})["grant"] = grant
        await self._app(scope, receive, telling)

    def _grant(self, headers: Headers) -> Grant | None:
        if not self._keyring.needed:
            return ANYBODY
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        sent = bearer if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        return self._keyring.grant_of(sent.strip())

    def _refusal(self, grant: Grant | None, scope: Scope, headers: Headers) -> Problem | None:
        if grant is None:
            told = {"WWW-Authenticate": 'Bearer realm="edge_cl"'}
            return Problem("unauthorized", "the request has no valid API key", headers=told)
        if grant.key is None and scope["method"] not in SAFE and self._is_foreign(headers):
            # Any page in a browser on this machine could teach a service that wants no key.
            detail = f"a page of {headers['origin'][:80]!r} may not change a service without keys"
            return Problem("forbidden", detail)
        return None

    def _is_foreign(self, headers: Headers) -> bool:
        """Whether a browser says that the page of a site that is not known sends this."""
        origin = headers.get("origin")
        if origin is None or "*" in self._origins or origin in self._origins:
            return False
        return urlsplit(origin).netloc != headers.get("host")


async def authorise(request: Request) -> None:
    """Refuse a request whose key lacks the route's scope or does not reach its learner."""
    route = f"{request.method} {request.scope['route'].path_format}"
    if request.url.path in OPEN_PATHS:
        return
    grant = grant_of(request)
    # What nobody thought of is for admins only.
    scope = SCOPE_OF.get(route, "admin")
    if not grant.allows(scope):
        held = ", ".join(sorted(grant.scopes))
        raise Problem("forbidden", f"{route} needs the scope {scope}, the key has: {held}")
    if grant.learners is None or route in SHARED:
        return
    named = request.path_params.get("learner")
    if named is None or not grant.reaches(named):
        held = ", ".join(sorted(grant.learners))
        raise Problem("forbidden", f"the key is bound to the learners: {held}")


def grant_of(request: Request) -> Grant:
    """What a request may do; set by the gate."""
    grant: Grant = request.scope["state"]["grant"]
    return grant


def _client(grant: Grant | None, scope: Scope) -> str:
    if grant is not None and grant.key is not None:
        return f"key {grant.key}"
    address = scope.get("client")
    return f"address {address[0]}" if address else "unknown"
