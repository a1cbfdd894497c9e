"""The classes that a learner knows: list, rename, merge, forget."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from service.conditions import NOT_MODIFIED, IfMatch, etag, unless_known
from service.correction_schemas import ClassChange, Corrected, Merge
from service.corrections import MergeClasses, RenameClass
from service.plans import forget_class
from service.routes.documents import IdempotencyKey, json_answer, model_body, problems, read_model
from service.routes.receipts import corrected
from service.schemas import Classes
from service.serving import serving_of

__all__ = ["router"]

router = APIRouter(tags=["classes"])

Label = Annotated[str, Path(description="A class's name, percent-encoded.")]


@router.get(
    "/v1/learners/{learner}/classes",
    response_model=Classes,
    responses={**NOT_MODIFIED, **problems(404, 503)},
)
async def list_classes(request: Request, learner: str) -> Response:
    """List a learner's classes with the samples learned of each."""
    view = serving_of(request).registry.get(learner).worker.view
    classes = [{"label": name, "samples": count} for name, count in view.class_counts.items()]
    answer = json_answer({"classes": classes, "version": view.version})
    return unless_known(request, answer, etag(view.version))


@router.patch(
    "/v1/learners/{learner}/classes/{label:path}",
    response_model=Corrected,
    responses=problems(400, 404, 408, 409, 412, 413, 415, 422, 503, 507),
    openapi_extra=model_body(ClassChange),
)
async def rename_class(
    request: Request,
    learner: str,
    label: Label,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Rename a class; nothing is learned, and a name that is taken is refused."""
    serving_of(request).registry.get(learner)
    wanted = await read_model(request, ClassChange)
    asked, operation = (RenameClass.kind, label, wanted.name), RenameClass(label, wanted.name)
    return await corrected(request, learner, operation, asked, idempotency_key, if_match)


@router.post(
    "/v1/learners/{learner}/classes/{label:path}/merge",
    response_model=Corrected,
    responses=problems(400, 404, 408, 409, 412, 413, 415, 422, 503, 507),
    openapi_extra=model_body(Merge),
)
async def merge_class(
    request: Request,
    learner: str,
    label: Label,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Merge a class into another one."""
    serving_of(request).registry.get(learner)
    wanted = await read_model(request, Merge)
    asked, operation = (MergeClasses.kind, label, wanted.into), MergeClasses(label, wanted.into)
    return await corrected(request, learner, operation, asked, idempotency_key, if_match)


@router.delete(
    "/v1/learners/{learner}/classes/{label:path}",
    response_model=Corrected,
    responses=problems(404, 409, 412, 422, 503, 507),
)
async def delete_class(
    request: Request,
    learner: str,
    label: Label,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Forget a class and all samples of it."""
    asked, plan = ("forget_class", label), forget_class(label)
    return await corrected(request, learner, plan, asked, idempotency_key, if_match)
