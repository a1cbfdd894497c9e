"""API keys: list, make, revoke."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from service.access import ApiKey, Keyring
from service.routes.documents import json_answer, model_body, problems, read_model
from service.schemas import KeyList, KeyMade, NewKey
from service.serving import serving_of

__all__ = ["router"]

router = APIRouter(tags=["keys"])


@router.get("/v1/keys", response_model=KeyList, responses=problems())
async def list_keys(request: Request) -> Response:
    """List the stored keys, without their secrets."""
    keyring = serving_of(request).keyring
    return json_answer({"keys": [key_content(keyring, key) for key in keyring.all()]})


@router.post(
    "/v1/keys",
    status_code=201,
    response_model=KeyMade,
    responses=problems(400, 408, 409, 413, 415, 422, 503, 507),
    openapi_extra=model_body(NewKey),
)
async def make_key(request: Request) -> Response:
    """Make a key. The answer is the only place where its text is ever shown."""
    serving = serving_of(request)
    wanted = await read_model(request, NewKey)
    expires_at = None if wanted.expires_in_s is None else time.time() + wanted.expires_in_s
    make = partial(serving.keyring.add, wanted.name, wanted.scopes, wanted.learners, expires_at)
    key, text = await serving.read(make)
    content = {**key_content(serving.keyring, key), "key": text}
    return json_answer(content, 201, {"Cache-Control": "no-store"})


@router.delete("/v1/keys/{key}", status_code=204, responses=problems(404, 409, 507))
async def revoke_key(request: Request, key: str) -> Response:
    """Revoke a key; the next request that comes with it is refused."""
    serving = serving_of(request)
    await serving.read(partial(serving.keyring.remove, key))
    return Response(status_code=204)


def key_content(keyring: Keyring, key: ApiKey) -> dict[str, Any]:
    """What is told of a key."""
    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "learners": None if key.learners is None else list(key.learners),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "expired": key.expired,
        "used_at": keyring.used_at.get(key.id),
    }
