"""Teaching samples, and looking at what was taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from service.bodies import read_items
from service.catalogue import SampleRecord
from service.conditions import NOT_MODIFIED, IfMatch, etag, expected_versions, unless_known
from service.correction_schemas import Corrected, SampleChange
from service.job_schemas import JobNote
from service.keys import checked_key
from service.plans import forget_sample, relabel, unknown_sample
from service.routes.documents import (
    IdempotencyKey,
    MetadataHeader,
    json_answer,
    link_to_next,
    model_body,
    problems,
    read_model,
    samples_body,
)
from service.routes.jobs import job_answer
from service.routes.receipts import corrected, receipt
from service.schemas import SampleList, SampleNote, Taught
from service.serving import serving_of
from service.store import Store
from service.uploads import receive_upload, upload_kind

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
        202: {
            "model": Taught | JobNote,
            "description": "Durable; learned in a moment (mode=async), or as a job",
        },
        **problems(400, 404, 408, 409, 412, 413, 415, 422, 503, 507),
    },
    openapi_extra=samples_body(labelled=True),
)
async def teach(
    request: Request,
    learner: str,
    mode: Literal["sync", "async", "job"] = "sync",
    label: Note = None,
    context: Note = None,
    device: Note = None,
    captured_at: Note = None,
    metadata: Note = None,
    sample_metadata: MetadataHeader = None,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Teach one or many samples: all of them, or none.

    201 means that the samples are durable and learned, 202 that they are durable. A zip
    archive, and NDJSON with `mode=job`, is taught as a job: 202, and its Location.
    """
    serving = serving_of(request)
    served = serving.registry.get(learner)
    key, expected = checked_key(idempotency_key), expected_versions(if_match)
    if (kind := upload_kind(request, mode)) is not None:
        job, known = await receive_upload(request, served, kind, key)
        return job_answer(job, 202, known)
    with serving.intake.body(request) as body:
        items = await read_items(request, body, serving.settings.max_batch_samples)
        reply = await serving.teach(served, items, key, mode == "sync", expected)
    return receipt(reply, learner)


@router.get(
    "/v1/learners/{learner}/samples",
    response_model=SampleList,
    responses={**NOT_MODIFIED, **problems(404, 422, 503)},
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
    """List what is taught at present by id, without the latents."""
    serving = serving_of(request)
    store = serving.registry.get(learner).store
    catalogue, facts = store.catalogue, await serving.read(store.catalogue.facts)
    # Taken before the list is read: newer content under an older tag is only fetched again.
    tag = etag(store.journal.last_sequence, facts["retired_sequence"], store.thumbnails.budget)
    wanted = {"label": label, "context": context, "device": device}
    found = await serving.read(partial(catalogue.samples, int(cursor or 0), limit + 1, wanted))
    tally = await serving.read(catalogue.tally)
    more = str(found[limit - 1].id) if len(found) > limit else None
    items = await serving.read(partial(_described, store, found[:limit]))
    content = {
        "items": items,
        "next_cursor": more,
        "total": sum(count for _, _, count in tally),
        "retired": facts["retired_samples"],
    }
    return unless_known(request, json_answer(content, headers=link_to_next(request, more)), tag)


@router.get(
    "/v1/learners/{learner}/samples/{sample_id}",
    response_model=SampleNote,
    responses=problems(404, 422, 503),
)
async def one_sample(request: Request, learner: str, sample_id: SampleId) -> Response:
    """Show one sample that is taught at present."""
    serving = serving_of(request)
    store = serving.registry.get(learner).store
    found = await serving.read(partial(store.catalogue.sample, sample_id))
    if found is None:
        raise unknown_sample(sample_id)
    (content,) = await serving.read(partial(_described, store, [found]))
    return json_answer(content)


@router.patch(
    "/v1/learners/{learner}/samples/{sample_id}",
    response_model=Corrected,
    responses=problems(400, 404, 408, 409, 412, 413, 415, 422, 503, 507),
    openapi_extra=model_body(SampleChange),
)
async def relabel_sample(
    request: Request,
    learner: str,
    sample_id: SampleId,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Give a sample another label, and learn it so."""
    serving_of(request).registry.get(learner)
    wanted = await read_model(request, SampleChange)
    asked, plan = ("relabel", str(sample_id), wanted.label), relabel(sample_id, wanted.label)
    return await corrected(request, learner, plan, asked, idempotency_key, if_match)


@router.delete(
    "/v1/learners/{learner}/samples/{sample_id}",
    response_model=Corrected,
    responses=problems(404, 409, 412, 422, 503, 507),
)
async def forget(
    request: Request,
    learner: str,
    sample_id: SampleId,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> Response:
    """Forget a sample; `exact` says whether it is as if it had never been taught."""
    asked, plan = ("forget_sample", str(sample_id)), forget_sample(sample_id)
    return await corrected(request, learner, plan, asked, idempotency_key, if_match)


def _described(store: Store, found: Sequence[SampleRecord]) -> list[dict[str, Any]]:
    """Samples in the order of their ids, each with whether it has a picture."""
    pictured = store.thumbnails.between(found[0].id, found[-1].id) if found else set()
    return [{**asdict(one), "thumbnail": one.id in pictured} for one in found]
