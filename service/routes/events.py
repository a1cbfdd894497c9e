"""Following what happens, as server-sent events."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import StreamingResponse

from service.errors import Problem
from service.events import Event
from service.gate import grant_of
from service.routes.documents import problems
from service.serving import serving_of

__all__ = ["router"]

router = APIRouter(tags=["events"])

TOLD = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "event": {"type": "string"},
        "data": {"type": "string", "description": "A JSON object."},
        "retry": {"type": "integer"},
    },
    "additionalProperties": False,
}
STREAM = {"content": {"text/event-stream": {"itemSchema": TOLD}}}
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@router.get(
    "/v1/events",
    response_class=StreamingResponse,
    responses={200: {"description": "Events, until the client or a bound ends them", **STREAM},
               **problems(403, 404, 422, 503)},
)  # fmt: skip
async def events(
    request: Request,
    learner: Annotated[str | None, Query(description="Only of this learner.")] = None,
    kind: Annotated[
        list[str] | None, Query(max_length=20, description="Only of this kind; may be repeated.")
    ] = None,
    limit: Annotated[
        int | None, Query(ge=1, le=1_000_000, description="End after so many events.")
    ] = None,
    duration_s: Annotated[
        float | None, Query(ge=0, le=86_400, description="End after so many seconds.")
    ] = None,
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", description="Go on after this event.")
    ] = None,
) -> StreamingResponse:
    """Follow what happens: learned, published, classes-added, drift, snapshot, job and more."""
    serving = serving_of(request)
    grant = grant_of(request)
    if learner is not None:
        if not grant.reaches(learner):
            raise Problem("forbidden", f"the key is not of learner {learner[:80]!r}")
        serving.registry.get(learner)

    def wanted(event: Event) -> bool:
        named = learner in (None, event.learner) and (not kind or event.kind in kind)
        return named and grant.reaches(event.learner)

    stream = serving.events.follow(last_event_id, wanted, limit, duration_s)
    return StreamingResponse(stream, media_type="text/event-stream", headers=HEADERS)
