"""The OpenAPI document, corrected where FastAPI assumes its own kind of errors."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from service.schemas import InferenceError
from service.scopes import OPEN, SCOPE_OF

__all__ = ["DocumentedApp", "operation_id"]

PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}
INFERENCE_ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/InferenceError"}}}
ASSUMED = "Validation Error"
SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


class DocumentedApp(FastAPI):
    """A FastAPI application whose document shows every error as the problem that it is."""

    def openapi(self) -> dict[str, Any]:
        """The document; made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    operation["responses"] = _corrected(operation["responses"], _errors_of(path))
                    operation.update(_security(f"{method.upper()} {path}"))
            document["components"]["securitySchemes"] = SCHEMES
            schemas = document["components"]["schemas"]
            schemas["InferenceError"] = InferenceError.model_json_schema()
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
        assert self.openapi_schema is not None
        return self.openapi_schema


def operation_id(route: APIRoute) -> str:
    """A short name, which generated clients take for their functions."""
    return f"{route.name}_of_version" if "{version}" in route.path else route.name


def _errors_of(path: str) -> dict[str, Any]:
    """The body of a path's errors: the Open Inference Protocol has its own."""
    return INFERENCE_ERROR if path == "/v2" or path.startswith("/v2/") else PROBLEM


def _corrected(responses: dict[str, Any], errors: dict[str, Any]) -> dict[str, Any]:
    """Errors with the right media type, and without those that only FastAPI would answer."""
    return {
        status: {**response, "content": errors} if int(status) >= 400 else response
        for status, response in responses.items()
        if response["description"] != ASSUMED
    }


def _security(route: str) -> dict[str, Any]:
    """Which key the route needs; the empty requirement stands for a service without keys."""
    scope = SCOPE_OF.get(route, "admin")
    if scope == OPEN:
        return {"security": []}
    return {"security": [{}, *({name: []} for name in SCHEMES)], "x-scope": scope}
