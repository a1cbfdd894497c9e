"""Whatever the OpenAPI document allows, and forbids: no 5xx, no answer that it does not name."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from serving_kit import DIM, Running, lesson, settings_for

from service.app import create_app

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

from schemathesis import GenerationMode  # noqa: E402
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = 5
ENDLESS = {"/v1/events"}
"""Answers that end only where the request says so."""
KEY = secrets.token_hex(16)
HEADERS = {"Authorization": f"Bearer {KEY}"}


def cases() -> Iterator[Any]:
    """Every operation with inputs that its schema allows, and, where it has one, forbids."""
    with tempfile.TemporaryDirectory() as folder:
        document = create_app(settings_for(Path(folder)), None).openapi()
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = found.ok()
        name = f"{operation.method.upper()} {operation.path}"
        yield pytest.param(operation, GenerationMode.POSITIVE, id=f"{name} as allowed")
        if operation.body or operation.query:
            yield pytest.param(operation, GenerationMode.NEGATIVE, id=f"{name} as forbidden")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("contract") / "data"
    running = Running(settings_for(folder, api_key=KEY), None)
    running.client.headers.update(HEADERS)
    yield running
    running.close()


@pytest.fixture
def learner(service: Running) -> str:
    """A learner that knows three classes, also after a case that deleted it."""
    if service.client.get("/v1/learners/l").status_code == 404:
        assert service.client.post("/v1/learners", json={"name": "l", "dim": DIM}).is_success
        assert service.client.post("/v1/learners/l/samples", json=lesson(0, 1, 2)).is_success
    return "l"


@pytest.mark.parametrize(("operation", "mode"), list(cases()))
def test_every_answer_is_documented(
    operation: Any, mode: GenerationMode, service: Running, learner: str
) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(operation.as_strategy(generation_mode=mode))
    def asked(case: Any) -> None:
        if "learner" in (case.path_parameters or {}):
            case.path_parameters["learner"] = learner
        if operation.path in ENDLESS and mode is GenerationMode.POSITIVE:
            case.query = {**(case.query or {}), "duration_s": 0.05}
        answer = case.call(base_url=service.url, headers=HEADERS, timeout=60)
        case.validate_response(answer, checks=CHECKS)

    asked()
