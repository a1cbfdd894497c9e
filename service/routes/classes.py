"""The classes that a learner knows."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from service.routes.documents import json_answer, problems
from service.schemas import Classes
from service.serving import serving_of

__all__ = ["router"]

router = APIRouter(tags=["classes"])


@router.get("/v1/learners/{learner}/classes", response_model=Classes, responses=problems(404, 503))
async def list_classes(request: Request, learner: str) -> Response:
    """List a learner's classes with the samples learned of each."""
    view = serving_of(request).registry.get(learner).worker.view
    classes = [{"label": name, "samples": count} for name, count in view.class_counts.items()]
    return json_answer({"classes": classes, "version": view.version})
