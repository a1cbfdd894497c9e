"""The Open Inference Protocol v2: every learner is a model, its version the model's."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

import edge_cl
from service import inference
from service.bodies import LARGE_BYTES
from service.errors import Problem
from service.gate import grant_of
from service.routes.documents import json_answer, problems
from service.routes.health import readiness
from service.schemas import ModelIndex, ModelMetadata, ServerMetadata
from service.served import ServedLearner
from service.serving import serving_of
from service.tensors import HEAD_LENGTH, read_request, write_answer

__all__ = ["router"]

router = APIRouter(tags=["open inference protocol"])

EXTENSIONS = ["binary_tensor_data", "classification", "model_repository(index)"]
INFER_PROBLEMS = problems(400, 404, 408, 413, 415, 422, 503)
TENSOR: dict[str, Any] = {
    "name": {"type": "string"},
    "parameters": {"type": "object"},
}
INPUT: dict[str, Any] = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        **TENSOR,
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"type": "string"},
        "data": {"type": "array", "items": {}},
    },
}
OUTPUT: dict[str, Any] = {"type": "object", "required": ["name"], "properties": TENSOR}
HEAD: dict[str, Any] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "inputs": {"type": "array", "minItems": 1, "items": INPUT},
        "outputs": {"type": "array", "items": OUTPUT},
    },
}
BINARY = {"schema": {"type": "string", "format": "binary"}}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": HEAD}, "application/octet-stream": BINARY},
    }
}


@router.get("/v2", response_model=ServerMetadata, responses=problems())
async def server_metadata() -> Response:
    """Show the server's name, version and the extensions of the protocol that it has."""
    content = {"name": "edge_cl", "version": edge_cl.__version__, "extensions": EXTENSIONS}
    return json_answer(content)


@router.get("/v2/health/live")
async def server_live() -> Response:
    """Tell that the process answers."""
    return json_answer({"live": True})


@router.get("/v2/health/ready", responses={503: problems(503)[503]})
async def server_ready(request: Request) -> Response:
    """Tell whether models can be asked."""
    faults = readiness(serving_of(request))
    if faults:
        raise Problem("not-ready", "; ".join(f"{part}: {why}" for part, why in faults.items()))
    return json_answer({"ready": True})


@router.post("/v2/repository/index", response_model=ModelIndex, responses=problems())
async def repository_index(request: Request) -> Response:
    """List all learners as models."""
    return json_answer(
        [
            {"name": name, "version": str(one.worker.view.version), "state": "READY", "reason": ""}
            for name, one in serving_of(request).registry.all().items()
            if grant_of(request).reaches(name)
        ]
    )


@router.get("/v2/models/{learner}", response_model=ModelMetadata, responses=problems(404, 503))
@router.get(
    "/v2/models/{learner}/versions/{version}",
    response_model=ModelMetadata,
    responses=problems(404, 503),
)
async def model_metadata(request: Request, learner: str, version: str | None = None) -> Response:
    """Show a learner's inputs and outputs; only its present version can be asked."""
    return json_answer(inference.metadata(_model(request, learner, version)))


@router.get("/v2/models/{learner}/ready", responses=problems(404, 503))
@router.get("/v2/models/{learner}/versions/{version}/ready", responses=problems(404, 503))
async def model_ready(request: Request, learner: str, version: str | None = None) -> Response:
    """Tell whether a learner can be asked."""
    served = _model(request, learner, version)
    return json_answer({"name": served.name, "ready": True})


@router.post("/v2/models/{learner}/infer", responses=INFER_PROBLEMS, openapi_extra=BODY)
@router.post(
    "/v2/models/{learner}/versions/{version}/infer",
    responses=INFER_PROBLEMS,
    openapi_extra=BODY,
)
async def infer(request: Request, learner: str, version: str | None = None) -> Response:
    """Say what samples are; tensors may come and go as JSON or as bytes."""
    serving = serving_of(request)
    served = _model(request, learner, version)
    with serving.intake.body(request) as body:
        content = await body.read()
        asked = await _read(content, request.headers.get(HEAD_LENGTH))
        items = inference.items_of(asked, served, serving.settings.max_batch_samples)
        answer = await serving.predict(served, items, inference.ALL_CLASSES)
    outputs = inference.outputs_of(answer)
    tensors, binary = inference.answered(asked, outputs, answer.view.published.labels)
    head: dict[str, Any] = {"model_name": served.name, "model_version": str(answer.view.version)}
    if asked.id is not None:
        head["id"] = asked.id
    encoded, headers = write_answer(head, tensors, binary)
    return Response(encoded, headers=headers)


async def _read(content: bytes, head_length: str | None) -> Any:
    """The request in a body; a large one is parsed in a thread, so that others are answered."""
    if len(content) < LARGE_BYTES:
        return read_request(content, head_length)
    return await asyncio.to_thread(read_request, content, head_length)


def _model(request: Request, learner: str, version: str | None) -> ServedLearner:
    served = serving_of(request).registry.get(learner)
    present = served.worker.view.version
    if version not in (None, str(present)):
        raise Problem(
            "not-found", f"model {learner!r} has version {present}, not {(version or '')[:40]!r}"
        )
    return served
