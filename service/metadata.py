"""What clients say of their samples in their own words: a small JSON object, kept as text."""

from __future__ import annotations

import json
from typing import Any

from service.errors import Problem

__all__ = ["MOST_BYTES", "MOST_LEVELS", "metadata_content", "metadata_text", "parsed_metadata"]

MOST_BYTES = 2048
MOST_LEVELS = 3
"""Objects and lists within each other, the outermost included."""


def metadata_text(value: Any, pointer: str) -> str | None:
    """A client's metadata as compact JSON; None stays None.

    Raises
    ------
    Problem
        For what is no object, is nested too deep, is too large, or is no JSON.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _refused(f"it is a JSON {_kind(value)}", pointer)
    if _deeper(value, MOST_LEVELS):
        raise _refused(f"objects and lists are nested more than {MOST_LEVELS} deep", pointer)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
    except ValueError as error:
        # Python reads NaN, Infinity and halves of characters, which no JSON has.
        raise _refused(f"it is no JSON: {error}"[:300], pointer) from error
    if size > MOST_BYTES:
        raise _refused(f"it has {size:,} bytes without blanks", pointer)
    return text


def parsed_metadata(text: str | None, pointer: str) -> str | None:
    """The same of an object that came as text, as in a query, a header or a form."""
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refused(f"it is no JSON: {error}"[:300], pointer) from error
    return metadata_text(value, pointer)


def metadata_content(text: str | None) -> dict[str, Any] | None:
    """The object in a stored text; None when a damaged or foreign journal has none there."""
    try:
        content: dict[str, Any] | None = json.loads(text or "null")
        metadata_text(content, "")
    except (Problem, ValueError, RecursionError):
        return None
    return content


def _deeper(value: Any, levels: int) -> bool:
    """Whether objects and lists are nested in more than so many levels."""
    if not isinstance(value, dict | list):
        return False
    members = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(one, levels - 1) for one in members)


def _kind(value: Any) -> str:
    kinds = {str: "string", bool: "boolean", list: "list"}
    return kinds.get(type(value), "number")


def _refused(reason: str, pointer: str) -> Problem:
    rule = f"metadata is a JSON object of at most {MOST_BYTES:,} bytes and {MOST_LEVELS} levels"
    return Problem("invalid", f"{rule}; {reason}").at(pointer)
