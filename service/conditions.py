"""Conditional requests: a learner's version is its entity tag (RFC 9110, section 13)."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Header
from starlette.requests import Request
from starlette.responses import Response

from service.errors import FieldError, Problem

__all__ = ["NOT_MODIFIED", "IfMatch", "check_expected", "etag", "expected_versions", "unless_known"]

TAG = re.compile(r'(W/)?"([^"]*)"')
VERSION = re.compile(r"v(\d{1,18})")

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description="The learner's ETag: refused with 412 if it has changed since.",
    ),
]

NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "As the ETag in If-None-Match says, nothing has changed"}
}


def etag(version: int, *more: int) -> str:
    """The entity tag of a version; `more` tells apart what changes without one."""
    beside = "".join(f".{number}" for number in more) if any(more) else ""
    return f'"v{version}{beside}"'


def expected_versions(if_match: str | None) -> frozenset[int] | None:
    """The versions that a change may start from; None for any, empty for none that can be."""
    if if_match is None or if_match.strip() == "*":
        return None
    # A weak tag never matches here.
    tags = [VERSION.fullmatch(tag) for weak, tag in TAG.findall(if_match) if not weak]
    return frozenset(int(tag[1]) for tag in tags if tag)


def check_expected(expected: frozenset[int] | None, version: int) -> None:
    """Problem when a change may not start from this version."""
    if expected is not None and version not in expected:
        asked = ", ".join(f"v{one}" for one in sorted(expected)) or "none that can be"
        detail = f"the learner is at version v{version}, If-Match asks for {asked}"
        raise Problem("precondition-failed", detail, [FieldError("header/If-Match", detail)])


def unless_known(request: Request, answer: Response, tag: str) -> Response:
    """`answer` with its entity tag, or 304 if the client has it."""
    given = request.headers.get("if-none-match", "")
    known = given.strip() == "*" or tag[1:-1] in [one for _, one in TAG.findall(given)]
    if known:
        return Response(status_code=304, headers={"ETag": tag})
    answer.headers["ETag"] = tag
    return answer
