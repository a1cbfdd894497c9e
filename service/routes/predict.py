"""Asking a learner."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.bodies import read_items
from service.routes.documents import json_answer, problems, samples_body
from service.schemas import Predictions
from service.serving import serving_of

__all__ = ["router"]

router = APIRouter(tags=["predictions"])

Rate = Annotated[
    float | None,
    Query(
        ge=0, lt=1,
        description="Share of samples of known classes that may be called unknown; 0 is never.",
    ),
]  # fmt: skip


@router.post(
    "/v1/learners/{learner}/predict",
    response_model=Predictions,
    responses=problems(400, 404, 408, 413, 415, 422, 503),
    openapi_extra=samples_body(labelled=False),
)
async def predict(
    request: Request,
    learner: str,
    top_k: Annotated[int, Query(ge=1, le=100)] = 1,
    false_reject_rate: Rate = None,
    explain: Annotated[
        int, Query(ge=0, le=20, description="Nearest remembered samples to show with each.")
    ] = 0,
    context: Annotated[str | None, Query(description="Of samples that do not say theirs.")] = None,
) -> Response:
    """Say what samples are; a label in the body is ignored."""
    serving = serving_of(request)
    served = serving.registry.get(learner)
    with serving.intake.body(request) as body:
        items = await read_items(request, body, serving.settings.max_batch_samples)
        answer = await serving.predict(served, items, top_k, false_reject_rate, explain)
    return json_answer(answer.content())
