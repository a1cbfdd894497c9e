"""Health, metrics, pages, keys, and the OpenAPI document."""

from __future__ import annotations

import re

import httpx
import pytest
from serving_kit import add_learner, lesson

from service.errors import KINDS

SAMPLES = "/v1/learners/l/samples"
KEY = "a long secret"


def test_probes(latents):
    assert latents.client.get("/livez").json() == {"status": "alive"}
    assert latents.client.get("/readyz").json() == {"status": "ready"}
    assert latents.client.get("/healthz").json() == {"status": "ready"}
    checks = latents.client.get("/readyz?verbose").json()["checks"]
    assert checks["journal l"] == "ok"


def test_info_names_every_limit(start, extractor):
    info = start(extractor).client.get("/v1/info").json()
    assert info["extractor"]["sha256"] == extractor.manifest.sha256
    assert info["limits"]["max_body_bytes"] == 16 * 1024 * 1024
    assert info["resident_bytes"] > 1e7


def test_strategies_come_with_the_schema_of_their_options(latents):
    found = latents.client.get("/v1/strategies").json()["strategies"]
    assert {"ar1", "slda", "naive"} <= {one["name"] for one in found}
    one = latents.client.get("/v1/strategies/ar1").json()
    assert "epochs" in one["options"]["properties"]


def test_metrics_tell_what_happened(latents):
    latents.client.post(SAMPLES, json=lesson(0, 1))
    latents.client.post("/v1/learners/l/predict", json=lesson(0))
    latents.client.post(SAMPLES, json={"samples": []})
    text = latents.client.get("/metrics").text
    for line in (
        'edge_cl_samples_learned_total{learner="l"} 2.0',
        'edge_cl_predictions_total{learner="l",outcome="known"} 1.0',
        'edge_cl_errors_total{type="malformed"} 1.0',
        'edge_cl_queue_depth{learner="l"} 0.0',
        'edge_cl_memory_budget_bytes{learner="l"} 262144.0',
        'route="/v1/learners/{learner}/samples",status="201"} 1.0',
    ):
        assert line in text
    assert "class 0" not in text


def test_metrics_of_a_deleted_learner_are_gone(latents):
    latents.client.post(SAMPLES, json=lesson(0))
    assert latents.client.delete("/v1/learners/l").status_code == 204
    assert 'learner="l"' not in latents.client.get("/metrics").text


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_need_nothing_from_elsewhere(latents, path):
    page = latents.client.get(path)
    assert page.headers["content-type"].startswith("text/html")
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", page.text)
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]


def test_every_problem_is_documented_by_its_status(latents):
    spec = latents.client.get("/openapi.json").json()
    documented = {
        int(status)
        for methods in spec["paths"].values()
        for operation in methods.values()
        for status in operation["responses"]
    }
    assert {kind.status for kind in KINDS.values()} - documented == {405}


def test_every_route_says_what_it_takes_and_answers(latents):
    spec = latents.client.get("/openapi.json").json()
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            assert operation["description"], (path, method)
            if method in ("post", "patch") and not path.endswith(("end", "index", "undo")):
                assert operation["requestBody"]["content"], (path, method)
    content = spec["paths"]["/v1/learners/{learner}/samples"]["post"]["requestBody"]["content"]
    assert set(content) == {
        "multipart/form-data", "application/json", "application/x-ndjson", "application/zip",
        "image/jpeg", "image/png", "image/webp", "audio/wav",
    }  # fmt: skip


def test_every_error_is_documented_as_a_problem(latents):
    spec = latents.client.get("/openapi.json").json()
    assert "HTTPValidationError" not in spec["components"]["schemas"]
    for path, methods in spec["paths"].items():
        expected = "application/json" if path.startswith("/v2") else "application/problem+json"
        for operation in methods.values():
            for status, response in operation["responses"].items():
                if status >= "400":
                    assert list(response["content"]) == [expected]


def test_a_key_is_asked_for(start):
    running = start(api_key=KEY)
    client = running.client
    for path in ("/livez", "/readyz", "/", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 200
    for path in ("/v1/learners", "/metrics", "/v1/info"):
        refused = client.get(path)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    for headers in (
        {"Authorization": "Bearer wrong key"},
        {"Authorization": f"Basic {KEY}"},
        {"X-API-Key": ""},
        {"X-API-Key": KEY + "x"},
        {"X-API-Key": b"\xff\xfe"},
    ):
        assert client.get("/v1/learners", headers=headers).status_code == 401
    for headers in ({"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY}):
        assert client.get("/v1/learners", headers=headers).status_code == 200


def test_a_refused_client_may_go_on_with_its_connection(start):
    running = start(api_key=KEY)
    with httpx.Client(base_url=running.url) as client:
        for _ in range(3):
            assert client.post("/v1/learners", content=b"x" * 30_000).status_code == 401
        good = {"X-API-Key": KEY}
        assert client.get("/v1/learners", headers=good).status_code == 200


def test_errors_do_not_repeat_what_was_sent(latents):
    secret = {"name": "x", "dim": "a secret value"}
    assert "a secret value" not in latents.client.post("/v1/learners", json=secret).text


def test_an_unexpected_failure_is_a_problem_with_the_request_id(latents, monkeypatch):
    def broken(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(type(latents.serving.registry), "all", broken)
    answer = httpx.get(latents.url + "/v1/learners", headers={"X-Request-ID": "r-7"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == "r-7"
    assert "a bug" not in answer.text
    monkeypatch.undo()


def test_more_learners_than_allowed(start):
    running = start(max_learners=1)
    add_learner(running.client)
    assert running.client.post("/v1/learners", json={"name": "m", "dim": 8}).status_code == 409
