"""Every error answer of the service: RFC 9457 problems, from one table.

A problem's ``type`` is ``urn:edge-cl:problem:`` and its name here; its hint
says what to do next.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from edge_cl import errors as library

__all__ = [
    "KINDS",
    "Faults",
    "FieldError",
    "Problem",
    "ProblemResponse",
    "of_library",
    "problem_answer",
]

MOST_ERRORS = 20
URN = "urn:edge-cl:problem:"


@dataclass(frozen=True)
class Kind:
    """One row of the table of problems."""

    status: int
    title: str
    hint: str


KINDS: dict[str, Kind] = {
    "malformed": Kind(400, "The body cannot be parsed", "Compare it with the examples at /docs."),
    "unauthorized": Kind(
        401, "An API key is needed", "Send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`."
    ),
    "forbidden": Kind(
        403, "The API key does not allow this", "Use a key with the scope that the detail names."
    ),
    "not-found": Kind(404, "There is no such thing", "GET /v1/learners lists the learners."),
    "no-route": Kind(404, "There is no such path", "GET /docs lists every path."),
    "method": Kind(405, "The path has no such method", "The Allow header lists what it has."),
    "slow-body": Kind(
        408,
        "The body did not arrive in time",
        "Send fewer samples at once, or raise body_timeout_s.",
    ),
    "conflict": Kind(409, "The present state forbids it", "GET the learner to see its state."),
    "key-in-flight": Kind(
        409, "This Idempotency-Key is being worked on", "Repeat the request after Retry-After."
    ),
    "precondition-failed": Kind(
        412,
        "The learner has changed since",
        "GET the learner and decide again; ETag is its version.",
    ),
    "too-large": Kind(
        413, "A limit was passed", "GET /v1/info lists the limits. Send less at once."
    ),
    "media-type": Kind(
        415,
        "The body's type is not understood",
        "Send multipart/form-data, image/jpeg, image/png, image/webp, audio/wav, application/json "
        "or application/x-ndjson, or application/zip to teach, without Content-Encoding.",
    ),
    "invalid": Kind(422, "A value cannot be used", "errors[] names each field."),
    "invalid-image": Kind(
        422, "An image cannot be decoded", "Send a whole JPEG, PNG or WebP; errors[] says which."
    ),
    "invalid-latent": Kind(
        422, "A latent cannot be used", "GET the learner: `dim` is the width; values are finite."
    ),
    "invalid-label": Kind(
        422, "A label cannot be used", "A label is 1 to 128 bytes of plain text."
    ),
    "invalid-option": Kind(
        422, "An option cannot be used", "GET /v1/strategies/NAME lists a strategy's options."
    ),
    "unknown-strategy": Kind(422, "There is no such strategy", "GET /v1/strategies lists them."),
    "context-required": Kind(
        422, "This strategy needs a context to predict", "Add `?context=` to the request."
    ),
    "invalid-archive": Kind(
        422, "The archive cannot be used", "Export the learner again; the detail says why."
    ),
    "key-reused": Kind(
        422,
        "This Idempotency-Key belongs to another request",
        "Use a new key for a new request, the same body for a repeated one.",
    ),
    "extractor-mismatch": Kind(
        422, "The latents are of another extractor", "GET the learner: `extractor` names its own."
    ),
    "missing-extra": Kind(
        422, "An optional package is not installed here", "Install it, or choose another strategy."
    ),
    "rate-limit": Kind(429, "Too many requests", "Repeat the request after Retry-After."),
    "internal": Kind(500, "The service failed", "Report it with the request_id; the log has more."),
    "busy": Kind(503, "Too much is waiting", "Repeat the request after Retry-After."),
    "learner-failed": Kind(
        503,
        "The learner has stopped learning",
        "What was acknowledged is in the journal. GET /readyz?verbose says why; a restart "
        "learns it from the journal. Predictions go on.",
    ),
    "not-ready": Kind(503, "The service is not ready", "GET /readyz?verbose says why."),
    "budget": Kind(
        507, "The memory budget cannot hold it", "Raise the budget, or teach fewer classes."
    ),
    "disk-full": Kind(
        507, "The disk is full", "Free some space; teaching goes on by itself. Nothing was stored."
    ),
}


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field.

    Parameters
    ----------
    pointer
        JSON pointer into the body, or ``query/NAME``, ``header/NAME``, ``path/NAME``.
    detail
        What is wrong, with the value and the limit.
    """

    pointer: str
    detail: str


class Problem(Exception):
    """An answer that is an error.

    Parameters
    ----------
    name
        A name of `KINDS`.
    detail
        What happened, the value, the limit.
    errors
        The fields that are at fault.
    headers
        Further headers of the answer.
    """

    def __init__(
        self,
        name: str,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.name = name
        self.kind = KINDS[name]
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        if self.kind.status == 503 or name == "key-in-flight":
            self.headers.setdefault("Retry-After", "1")

    def at(self, pointer: str) -> Problem:
        """The same problem, blamed on one field."""
        return Problem(self.name, self.detail, [FieldError(pointer, self.detail)], self.headers)

    def content(self, instance: str, request_id: str) -> dict[str, Any]:
        """The members of the answer's body."""
        members: dict[str, Any] = {
            "type": URN + self.name,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "instance": instance,
            "request_id": request_id,
            "hint": self.kind.hint,
        }
        if self.errors:
            members["errors"] = [vars(error) for error in self.errors]
        return members


class Faults:
    """Collects what is wrong with each of many samples, to say it all at once."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    @contextlib.contextmanager
    def collected(self) -> Iterator[None]:
        """Keep a Problem of the block instead of raising it."""
        try:
            yield
        except Problem as fault:
            self._found.append(fault)

    def raise_any(self) -> None:
        """Raise one Problem for all, if there are any."""
        if not self._found:
            return
        first = self._found[0]
        same = all(fault.name == first.name for fault in self._found)
        errors = [error for fault in self._found for error in fault.errors][:MOST_ERRORS]
        count = len(self._found)
        more = f" ({count} samples are at fault; nothing was taken)" if count > 1 else ""
        raise Problem(first.name if same else "invalid", first.detail + more, errors)


class ProblemResponse(Response):
    """A problem as an answer; safe for any text that a client sent."""

    media_type = "application/problem+json"

    def render(self, content: Any) -> bytes:
        """ASCII JSON: a lone surrogate in a client's text cannot be UTF-8."""
        return json.dumps(content).encode("ascii")


def problem_answer(problem: Problem, path: str, request_id: str) -> Response:
    """The answer to a request: below /v2 in the form of the Open Inference Protocol."""
    if path == "/v2" or path.startswith("/v2/"):
        where = "".join(f" (at {error.pointer})" for error in problem.errors[:1])
        body = json.dumps({"error": problem.detail + where})
        return Response(body, problem.kind.status, problem.headers, "application/json")
    content = problem.content(path, request_id)
    return ProblemResponse(content, problem.kind.status, problem.headers)


LIBRARY: tuple[tuple[type[library.EdgeCLError], str], ...] = (
    (library.InvalidImage, "invalid-image"),
    (library.InvalidLatent, "invalid-latent"),
    (library.InvalidLabel, "invalid-label"),
    (library.InvalidOption, "invalid-option"),
    (library.UnknownStrategy, "unknown-strategy"),
    (library.ContextRequired, "context-required"),
    (library.InvalidInput, "invalid"),
    (library.TooLarge, "too-large"),
    (library.NotFound, "not-found"),
    (library.Conflict, "conflict"),
    (library.BudgetExceeded, "budget"),
    (library.ExtractorMismatch, "extractor-mismatch"),
    (library.MissingExtra, "missing-extra"),
)


def of_library(error: library.EdgeCLError) -> Problem:
    """The problem that an exception of the library stands for."""
    for kind, name in LIBRARY:
        if isinstance(error, kind):
            return Problem(name, str(error))
    return Problem("internal", "an unexpected failure inside the service")
