"""Moving a learner: out as an archive, in from one."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse

from service.errors import Problem
from service.intake import Body
from service.routes.documents import json_answer, problems
from service.routes.learners import etag, learner_content
from service.schemas import LearnerState
from service.serving import serving_of

__all__ = ["router"]

router = APIRouter(tags=["learners"])

ARCHIVE = "application/zstd"
MODEL = "application/octet-stream"
TAKEN = (ARCHIVE, "application/x-zstd", "application/octet-stream")
BINARY = {"schema": {"type": "string", "format": "binary"}}
WRITTEN_BYTES = 1 << 20


@router.get(
    "/v1/learners/{learner}/export",
    response_class=Response,
    responses={
        200: {
            "description": "The archive, or the model",
            "content": {ARCHIVE: BINARY, MODEL: BINARY},
        },
        **problems(404, 409, 422, 503, 507),
    },
)
async def export_learner(
    request: Request,
    learner: str,
    kind: Annotated[
        Literal["archive", "onnx"],
        Query(alias="format", description="`onnx`: extractor and head as one model."),
    ] = "archive",
    checkpoints: Annotated[
        bool, Query(description="Of an archive: whether the named checkpoints come along.")
    ] = True,
) -> Response:
    """Send a learner and all that it was taught as one archive, or what it knows as a model."""
    serving = serving_of(request)
    served = serving.registry.get(learner)
    if kind == "onnx":
        version, content = await serving.read(partial(serving.mover.model, served))
        headers = {"Content-Disposition": f'attachment; filename="{learner}-{version}.onnx"'}
        return Response(content, headers=headers, media_type=MODEL)
    parcel = await serving.read(partial(serving.mover.parcel, served, checkpoints))
    name = f"{learner}-{parcel.manifest.sequence}.edge-cl.tar.zst"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(parcel.pieces(), headers=headers, media_type=ARCHIVE)


@router.post(
    "/v1/learners/import",
    status_code=201,
    response_model=LearnerState,
    responses=problems(400, 408, 409, 413, 415, 422, 503, 507),
    openapi_extra={"requestBody": {"required": True, "content": dict.fromkeys(TAKEN, BINARY)}},
)
async def import_learner(
    request: Request,
    name: Annotated[str | None, Query(description="Leave it out for the name it had.")] = None,
) -> Response:
    """Take a learner in from an archive; it goes on where the other one was."""
    serving = serving_of(request)
    kind = request.headers.get("content-type", ARCHIVE).partition(";")[0].strip().lower()
    if kind not in TAKEN:
        raise Problem("media-type", f"Content-Type is {kind[:80]!r}, {ARCHIVE} is needed")
    with serving.archives.body(request) as body, serving.mover.draft("new") as draft:
        archive = draft / "archive"
        await _store(body, archive)
        served = await serving.read(partial(serving.mover.take_in, draft, archive, name))
    headers = {"Location": f"/v1/learners/{served.name}", **etag(served)}
    return json_answer(learner_content(served), 201, headers)


async def _store(body: Body, path: Path) -> None:
    """Write a body to the disk as it comes: it may be larger than the memory."""
    waiting = bytearray()
    try:
        with path.open("wb") as file:
            async for chunk in body.chunks():
                waiting += chunk
                if len(waiting) >= WRITTEN_BYTES:
                    await asyncio.to_thread(file.write, bytes(waiting))
                    waiting.clear()
            await asyncio.to_thread(file.write, bytes(waiting))
    except OSError as error:
        raise Problem("disk-full", f"the archive was not stored: {error}") from error
