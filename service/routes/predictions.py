"""Predictions that were made: what they should have been, and which ask for an answer."""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from service.conditions import IfMatch, expected_versions
from service.errors import FieldError, Problem
from service.latents import checked_text
from service.metadata import metadata_content
from service.prediction_schemas import FeedbackGiven, Inbox, NewFeedback
from service.predictions import Feedback, Kept, Place
from service.routes.documents import json_answer, link_to_next, model_body, problems, read_model
from service.routes.receipts import receipt
from service.serving import serving_of

__all__ = ["router"]

router = APIRouter(tags=["predictions"])


@router.post(
    "/v1/learners/{learner}/predictions/{prediction_id}/feedback",
    status_code=201,
    response_model=FeedbackGiven,
    responses={
        200: {"model": FeedbackGiven, "description": "Learned what it is not"},
        **problems(400, 404, 408, 409, 412, 413, 415, 422, 503, 507),
    },
    openapi_extra=model_body(NewFeedback),
)
async def give_feedback(
    request: Request, learner: str, prediction_id: str, if_match: IfMatch = None
) -> Response:
    """Say what a predicted sample is, that the prediction was right, or what it is not.

    It is learned once: the same feedback again is answered again, another one is 409.
    """
    serving = serving_of(request)
    served = serving.registry.get(learner)
    wanted = await read_model(request, NewFeedback)
    feedback = Feedback(
        checked_text(wanted.label, "label", ""), wanted.correct,
        checked_text(wanted.not_, "not", ""),
    )  # fmt: skip
    expected = expected_versions(if_match)
    return receipt(await serving.feed_back(served, prediction_id, feedback, expected), learner)


@router.get("/v1/learners/{learner}/inbox", response_model=Inbox, responses=problems(404, 422, 503))
async def inbox(
    request: Request,
    learner: str,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    cursor: Annotated[str | None, Query(max_length=80)] = None,
    unknown: Annotated[bool, Query(description="Only what is unknown.")] = False,
) -> Response:
    """List recent predictions without feedback: unknown first, then the least sure."""
    log = serving_of(request).registry.get(learner).predictions
    after = None if cursor is None else _place(cursor).key
    waiting = await serving_of(request).read(partial(log.open, unknown))
    rest = [one for one in waiting if after is None or one.place.key > after]
    more = _cursor(rest[limit - 1].place) if len(rest) > limit else None
    content = {
        "items": [_item(one) for one in rest[:limit]], "next_cursor": more, "total": len(waiting),
    }  # fmt: skip
    return json_answer(content, headers=link_to_next(request, more))


def _item(one: Kept) -> dict[str, Any]:
    said, asked = one.prediction, one.question
    return {
        "prediction_id": one.id,
        "label": said.label,
        "score": said.score,
        "unknown": said.unknown,
        "typicality": said.typicality,
        "top": [{"label": label, "score": score} for label, score in said.top],
        "context": asked.context,
        "device": asked.device,
        "captured_at": asked.captured_at,
        "metadata": metadata_content(asked.metadata),
        "thumbnail": asked.thumbnail is not None,
        "predicted_at": one.at,
        "model_version": one.version,
    }


def _cursor(place: Place) -> str:
    return f"{int(place.known)}_{place.score!r}_{-place.age}"


def _place(cursor: str) -> Place:
    parts = cursor.split("_")
    try:
        known, score, number = bool(int(parts[0])), float(parts[1]), int(parts[2])
    except (ValueError, IndexError):
        score = math.nan
    if not math.isfinite(score):
        detail = "the cursor is none of those that this listing gives"
        raise Problem("invalid", detail, [FieldError("query/cursor", detail)])
    return Place(known, score, -number)
