"""Teaching samples, and looking at what was taught."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from service.bodies import read_items
from service.errors import Problem
from service.jobs import Reply
from service.keys import checked_key
from service.routes.documents import IdempotencyKey, json_answer, problems, samples_body
from service.schemas import SampleList, SampleNote, Taught
from service.serving import Repeated, serving_of

__all__ = ["router"]

router = APIRouter(tags=["samples"])

SampleId = Annotated[int, Path(ge=1, lt=2**63)]
Filter = Annotated[str | None, Query(max_length=128)]
Note = Annotated[str | None, Query(description="Of every sample that does not say its own.")]


@router.post(
    "/v1/learners/{learner}/samples",
    status_code=201,
    response_model=Taught,
    responses={
        202: {"model": Taught, "description": "Durable; learned in a moment (mode=async)"},
        **problems(400, 404, 408, 409, 413, 415, 422, 503, 507),
    },
    openapi_extra=samples_body(labelled=True),
)
async def teach(
    request: Request,
    learner: str,
    mode: Literal["sync", "async"] = "sync",
    label: Note = None,
    context: Note = None,
    device: Note = None,
    captured_at: Note = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Teach one or many samples: all of them, or none.

    201 means that the samples are durable and learned, 202 that they are durable.
    """
    serving = serving_of(request)
    served = serving.registry.get(learner)
    key = checked_key(idempotency_key)
    with serving.intake.body(request) as body:
        items = await read_items(request, body, serving.settings.max_batch_samples)
        reply = await serving.teach(served, items, key, until_learned=mode == "sync")
    return receipt(reply, learner)


@router.get(
    "/v1/learners/{learner}/samples", response_model=SampleList, responses=problems(404, 422, 503)
)
async def list_samples(
    request: Request,
    learner: str,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(pattern="^[0-9]{1,18}$")] = None,
    label: Filter = None,
    context: Filter = None,
    device: Filter = None,
) -> Response:
    """List acknowledged samples by id, without their latents."""
    serving = serving_of(request)
    catalogue = serving.registry.get(learner).store.catalogue
    wanted = {"label": label, "context": context, "device": device}
    found = await serving.read(partial(catalogue.samples, int(cursor or 0), limit + 1, wanted))
    tally = await serving.read(catalogue.tally)
    facts = await serving.read(catalogue.facts)
    more = str(found[limit - 1].id) if len(found) > limit else None
    headers = {}
    if more is not None:
        following = request.url.include_query_params(cursor=more)
        headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    content = {
        "items": [asdict(one) for one in found[:limit]],
        "next_cursor": more,
        "total": sum(count for _, _, count in tally),
        "retired": facts["retired_samples"],
    }
    return json_answer(content, headers=headers)


@router.get(
    "/v1/learners/{learner}/samples/{sample_id}",
    response_model=SampleNote,
    responses=problems(404, 422, 503),
)
async def one_sample(request: Request, learner: str, sample_id: SampleId) -> Response:
    """Show one acknowledged sample."""
    serving = serving_of(request)
    catalogue = serving.registry.get(learner).store.catalogue
    found = await serving.read(partial(catalogue.sample, sample_id))
    if found is None:
        raise Problem("not-found", f"sample {sample_id} was never acknowledged, or was retired")
    return json_answer(asdict(found))


def receipt(reply: Reply, learner: str) -> Response:
    """The answer to an operation, new or repeated."""
    headers = {}
    if isinstance(reply, Repeated):
        headers["Idempotent-Replayed"] = "true"
    ids = json.loads(reply.body).get("ids", [])
    if len(ids) == 1:
        headers["Location"] = f"/v1/learners/{learner}/samples/{ids[0]}"
    return Response(reply.body, reply.status, headers, "application/json")
