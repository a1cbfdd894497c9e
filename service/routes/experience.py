"""Boundaries of the stream, for clients that know them."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from service.conditions import IfMatch, expected_versions
from service.keys import checked_key
from service.routes.documents import IdempotencyKey, problems
from service.routes.receipts import receipt
from service.schemas import ExperienceEnded
from service.serving import serving_of

__all__ = ["router"]

router = APIRouter(tags=["samples"])


@router.post(
    "/v1/learners/{learner}/experience/end",
    response_model=ExperienceEnded,
    responses=problems(404, 409, 412, 422, 503, 507),
)
async def end_experience(
    request: Request,
    learner: str,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Say that the present stretch of the stream ends, so that the strategy consolidates it."""
    serving = serving_of(request)
    served = serving.registry.get(learner)
    key, expected = checked_key(idempotency_key), expected_versions(if_match)
    return receipt(await serving.end_experience(served, key, expected), learner)
