"""The history of a learner: list it, undo, go back, keep a version under a name."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from service.catalogue import OperationRecord
from service.conditions import IfMatch
from service.correction_schemas import CheckpointSaved, NewCheckpoint, Restored, Rollback, Versions
from service.plans import roll_back, save_checkpoint, undo
from service.routes.documents import IdempotencyKey, json_answer, model_body, problems, read_model
from service.routes.receipts import corrected
from service.serving import serving_of
from service.store import Store

__all__ = ["router"]

router = APIRouter(tags=["versions"])

CHANGES = problems(400, 404, 408, 409, 412, 413, 415, 422, 503, 507)


@router.get(
    "/v1/learners/{learner}/versions",
    response_model=Versions,
    responses=problems(404, 422, 503),
)
async def list_versions(
    request: Request,
    learner: str,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=1, lt=2**62, description="Versions below it.")] = None,
) -> Response:
    """List what changed the learner, the newest first, and its checkpoints."""
    serving = serving_of(request)
    served = serving.registry.get(learner)
    version = served.worker.view.version
    content = await serving.read(partial(_versions, served.store, before or 2**62, limit))
    return json_answer({"version": version, **content})


@router.post(
    "/v1/learners/{learner}/undo",
    response_model=Restored,
    responses=problems(404, 409, 412, 422, 503, 507),
)
async def undo_last(
    request: Request,
    learner: str,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Undo the last operation that is not undone yet, exactly; again goes back further."""
    registry = serving_of(request).registry
    plan = undo(partial(registry.check_budget, learner))
    return await corrected(request, learner, plan, ("undo",), idempotency_key, if_match)


@router.post(
    "/v1/learners/{learner}/rollback",
    response_model=Restored,
    responses=CHANGES,
    openapi_extra=model_body(Rollback),
)
async def go_back(
    request: Request,
    learner: str,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Make the learner what it was at a version, or at a checkpoint; undo takes it back."""
    registry = serving_of(request).registry
    registry.get(learner)
    wanted = await read_model(request, Rollback)
    plan = roll_back(wanted.to, partial(registry.check_budget, learner))
    asked = ("rollback", repr(wanted.to))
    return await corrected(request, learner, plan, asked, idempotency_key, if_match)


@router.post(
    "/v1/learners/{learner}/checkpoints",
    status_code=201,
    response_model=CheckpointSaved,
    responses=CHANGES,
    openapi_extra=model_body(NewCheckpoint),
)
async def create_checkpoint(
    request: Request,
    learner: str,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Keep the present version under a name, until it is deleted."""
    serving_of(request).registry.get(learner)
    wanted = await read_model(request, NewCheckpoint)
    plan, asked = save_checkpoint(wanted.name), ("checkpoint", wanted.name)
    return await corrected(request, learner, plan, asked, idempotency_key, if_match)


@router.delete(
    "/v1/learners/{learner}/checkpoints/{checkpoint}",
    status_code=204,
    responses=problems(404, 503),
)
async def delete_checkpoint(request: Request, learner: str, checkpoint: str) -> Response:
    """Delete a checkpoint; the learner does not change."""
    serving = serving_of(request)
    store = serving.registry.get(learner).store
    await serving.read(partial(store.checkpoints.delete, checkpoint))
    return Response(status_code=204)


def _versions(store: Store, before: int, limit: int) -> dict[str, Any]:
    found, reach = store.catalogue.operations(before, limit + 1), store.reach()
    return {
        "items": [{**_described(one), "restorable": one.version in reach} for one in found[:limit]],
        "next_before": found[limit - 1].version if len(found) > limit else None,
        "checkpoints": [asdict(one) for one in store.checkpoints.all()],
    }


def _described(one: OperationRecord) -> dict[str, Any]:
    """An operation, with what its row's header says of it."""
    content = {name: value for name, value in asdict(one).items() if name != "header"}
    return {**content, "detail": json.loads(one.header)}
