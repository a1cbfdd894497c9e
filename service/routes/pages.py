"""The pages for people: all their parts come from here, so they work offline."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from fastapi import APIRouter, Response

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

PAGES = Path(__file__).parent.parent / "page"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


@router.get("/")
async def front() -> Response:
    """Show what the service is, live counts, and a first example."""
    return _page("index.html")


@router.get("/docs")
async def documentation() -> Response:
    """Show every route of the OpenAPI document."""
    return _page("docs.html")


def _page(name: str) -> Response:
    return Response(_text(name), headers=HEADERS, media_type="text/html")


@cache
def _text(name: str) -> str:
    return (PAGES / name).read_text(encoding="utf-8")
