"""From any exception to a problem."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from edge_cl.errors import EdgeCLError
from service.errors import FieldError, Problem, of_library, problem_answer
from service.journal import JournalError
from service.middleware import request_id_of
from service.serving import serving_of

__all__ = ["answer", "install", "of_validation"]


def install(app: FastAPI) -> None:
    """Make `app` answer every exception with a problem."""
    for kind, translate in TRANSLATIONS:
        app.add_exception_handler(kind, _handler(translate))


def answer(problem: Problem, request: Request) -> Response:
    """The answer to `request`."""
    serving_of(request).meters.errors.labels(problem.name).inc()
    return problem_answer(problem, request.url.path, request_id_of(request.scope))


def of_validation(error: ValidationError | RequestValidationError, root: str = "") -> Problem:
    """The problem of values that a schema refuses; the values themselves are not repeated."""
    faults = []
    for fault in error.errors()[:20]:
        pointer = "/".join(str(part) for part in fault["loc"])
        faults.append(FieldError(f"{root}{pointer}", str(fault["msg"])[:300]))
    return Problem("invalid", f"{faults[0].pointer}: {faults[0].detail}", faults)


def _handler(translate: Any) -> Any:
    async def respond(request: Request, error: Exception) -> Response:
        problem = translate(error)
        if problem.name == "method":
            problem.headers["Allow"] = ", ".join(_methods_of(request))
        return answer(problem, request)

    return respond


def _methods_of(request: Request) -> list[str]:
    """Every method that the request's path takes: a route itself knows only its own."""
    methods: set[str] = set()
    scope = {name: request.scope[name] for name in ("type", "path", "method", "headers")}
    for route in request.app.state.routes:
        match, _ = route.matches(scope)
        if match is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return sorted(methods)


def _of_http(error: HTTPException) -> Problem:
    headers = dict(error.headers or {})
    if error.status_code == 405:
        return Problem("method", "the path does not take this method", headers=headers)
    if error.status_code == 404:
        return Problem("no-route", "no route has this path", headers=headers)
    return Problem("malformed", str(error.detail), headers=headers)


def _of_journal(error: JournalError) -> Problem:
    return Problem("not-ready", f"the journal cannot be read: {error}")


TRANSLATIONS: tuple[tuple[type[Exception], Any], ...] = (
    (Problem, lambda problem: problem),
    (EdgeCLError, of_library),
    (RequestValidationError, of_validation),
    (HTTPException, _of_http),
    (JournalError, _of_journal),
)
