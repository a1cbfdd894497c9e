"""What the routes say of themselves in the OpenAPI document, and small common steps."""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar

from fastapi import Header
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from service.answers import of_validation
from service.errors import KINDS, Problem
from service.schemas import ProblemBody
from service.serving import serving_of

__all__ = [
    "IdempotencyKey",
    "MetadataHeader",
    "json_answer",
    "link_to_next",
    "model_body",
    "problems",
    "read_model",
    "samples_body",
]

Model = TypeVar("Model", bound=BaseModel)

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="1 to 255 ASCII characters. A repeated request with the same key and body is "
        "answered again, and not learned again, for 24 hours.",
    ),
]

MetadataHeader = Annotated[
    str | None,
    Header(
        alias="X-Sample-Metadata",
        description="A JSON object, of every sample that has no metadata of its own.",
    ),
]

SAMPLE_PROPERTIES: dict[str, Any] = {
    "label": {"type": "string", "maxLength": 128},
    "context": {"type": "string", "maxLength": 128},
    "device": {"type": "string", "maxLength": 128},
    "captured_at": {"type": "string", "maxLength": 128},
    "metadata": {
        "type": "object",
        "description": "What else the client says: at most 2,048 bytes of JSON, 3 levels deep.",
        "example": {"camera": "door", "box": [12, 40, 96, 88]},
    },
    "image_b64": {"type": "string", "contentEncoding": "base64"},
    "latent": {"type": "array", "items": {"type": "number"}},
    "latent_b64": {"type": "string", "contentEncoding": "base64"},
    "audio_b64": {"type": "string", "contentEncoding": "base64"},
    "series": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
    "extractor": {"type": "string", "maxLength": 128},
    "dtype": {"type": "string", "enum": ["uint8", "float16", "float32"]},
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, for its ``responses``; those that every route has included."""
    documented: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*statuses, 401, 403, 429, 500}):
        titles = [
            f"`{name}`: {kind.title}" for name, kind in KINDS.items() if kind.status == status
        ]
        documented[status] = {
            "description": ". ".join(titles),
            "model": ProblemBody,
            "content": {"application/problem+json": {}},
        }
    return documented


def samples_body(labelled: bool) -> dict[str, Any]:
    """The four kinds of body, for a route's ``openapi_extra``."""
    sample = {"type": "object", "properties": SAMPLE_PROPERTIES, "additionalProperties": False}
    if labelled:
        sample = {**sample, "required": ["label"]}
    texts = {
        name: {"type": "array", "items": SAMPLE_PROPERTIES[name]}
        for name in ("label", "context", "device", "captured_at")
    }
    texts["metadata"] = {
        "type": "array",
        "items": {"type": "string", "contentMediaType": "application/json"},
    }
    file = {"type": "array", "items": {"type": "string", "format": "binary"}}
    form = {"type": "object", "required": ["file"], "properties": {"file": file, **texts}}
    batch = {
        "type": "object",
        "required": ["samples"],
        "properties": {"samples": {"type": "array", "minItems": 1, "items": sample}},
    }
    binary = {"schema": {"type": "string", "format": "binary"}}
    content = {
        "multipart/form-data": {"schema": form},
        "application/json": {"schema": batch},
        "application/x-ndjson": {"schema": {"type": "string", "description": "A sample a line."}},
        **({"application/zip": binary} if labelled else {}),
        **dict.fromkeys(("image/jpeg", "image/png", "image/webp", "audio/wav"), binary),
    }
    return {"requestBody": {"required": True, "content": content}}


def model_body(model: type[BaseModel]) -> dict[str, Any]:
    """A JSON body that the route reads itself, for ``openapi_extra``."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def read_model(request: Request, model: type[Model]) -> Model:
    """A request's JSON body, within the limits of all bodies."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem("media-type", f"Content-Type is {kind[:80]!r}, application/json is needed")
    with serving_of(request).intake.body(request) as body:
        content = await body.read()
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            raise Problem("malformed", str(error.errors()[0]["msg"])) from error
        raise of_validation(error, "/") from error


def link_to_next(request: Request, cursor: str | None) -> dict[str, str]:
    """The header that leads to the page after this one; none when it is the last."""
    if cursor is None:
        return {}
    following = request.url.include_query_params(cursor=cursor)
    return {"Link": f'<{following.path}?{following.query}>; rel="next"'}


def json_answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer; ASCII, so that no text can break it."""
    return Response(json.dumps(content), status, headers, "application/json")
