"""Small pictures of what was taught and asked, for learners that keep them."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request, Response

from service.errors import Problem
from service.plans import unknown_sample
from service.routes.documents import problems
from service.routes.samples import SampleId
from service.served import ServedLearner
from service.serving import serving_of

__all__ = ["router"]

router = APIRouter(tags=["samples"])

JPEG = "image/jpeg"
PICTURE = {
    200: {
        "description": "A JPEG, at most 96 pixels wide and high",
        "content": {JPEG: {"schema": {"type": "string", "format": "binary"}}},
    },
    **problems(404, 422, 503),
}


@router.get(
    "/v1/learners/{learner}/samples/{sample_id}/thumbnail",
    response_class=Response,
    responses=PICTURE,
)
async def sample_thumbnail(request: Request, learner: str, sample_id: SampleId) -> Response:
    """Show a small picture of a sample."""
    serving = serving_of(request)
    served = serving.registry.get(learner)
    if await serving.read(partial(served.store.catalogue.sample, sample_id)) is None:
        raise unknown_sample(sample_id)
    _refuse_if_off(served)
    picture = await serving.read(partial(served.store.thumbnails.get, sample_id))
    if picture is None:
        detail = (
            f"sample {sample_id} has no thumbnail: it came before they were kept or without an "
            f"image, or newer ones took its place in {served.store.thumbnails.budget:,} bytes"
        )
        raise Problem("not-found", detail)
    return _answer(picture)


@router.get(
    "/v1/learners/{learner}/predictions/{prediction_id}/thumbnail",
    response_class=Response,
    responses=PICTURE,
)
async def prediction_thumbnail(request: Request, learner: str, prediction_id: str) -> Response:
    """Show a small picture of what a prediction that waits for feedback was asked of."""
    served = serving_of(request).registry.get(learner)
    kept = served.predictions.get(prediction_id)
    _refuse_if_off(served)
    picture = kept.question.thumbnail
    if picture is None:
        detail = (
            f"prediction {prediction_id} has no thumbnail: it was asked without an image or "
            "before they were kept, or has had its feedback"
        )
        raise Problem("not-found", detail)
    return _answer(picture)


def _refuse_if_off(served: ServedLearner) -> None:
    if not served.store.thumbnails.budget:
        detail = f"learner {served.name!r} keeps no thumbnails: PATCH its thumbnail_budget"
        raise Problem("not-found", detail)


def _answer(picture: bytes) -> Response:
    # What is forgotten must not stay in a cache.
    return Response(picture, headers={"Cache-Control": "no-store"}, media_type=JPEG)
