"""A repeated request is answered again and learned once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from serving_kit import add_learner, jpeg, lesson
from test_worker import Gate

SAMPLES = "/v1/learners/l/samples"
KEY = {"Idempotency-Key": "k 1"}


@pytest.fixture
def gate(monkeypatch):
    gate = Gate(monkeypatch)
    yield gate
    gate.opened.set()


def test_the_same_request_gets_the_same_answer(latents):
    first = latents.client.post(SAMPLES, json=lesson(0, 1), headers=KEY)
    again = latents.client.post(SAMPLES, json=lesson(0, 1), headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert latents.client.get(SAMPLES).json()["total"] == 2


def test_it_survives_a_restart(start):
    running = start()
    add_learner(running.client)
    first = running.client.post(SAMPLES, json=lesson(0), headers=KEY)
    running = start()
    again = running.client.post(SAMPLES, json=lesson(0), headers=KEY)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert first.content == again.content


def test_a_form_with_another_boundary_is_the_same_request(start, extractor):
    running = start(extractor)
    for replayed in (None, "true"):
        files = [("file", ("cup.jpg", jpeg(0)))]
        answer = running.client.post(
            "/v1/learners/default/samples", files=files, data={"label": "cup"}, headers=KEY
        )
        assert answer.status_code == 201
        assert answer.headers.get("Idempotent-Replayed") == replayed


@pytest.mark.parametrize(
    "other", [lesson(1), lesson(0, 0), lesson(0, context="x"), lesson(0, device="x")]
)
def test_another_body_is_refused(latents, other):
    latents.client.post(SAMPLES, json=lesson(0), headers=KEY)
    answer = latents.client.post(SAMPLES, json=other, headers=KEY)
    assert answer.status_code == 422
    assert answer.json()["type"].endswith("key-reused")
    assert latents.client.get(SAMPLES).json()["total"] == 1


def test_another_kind_of_request_is_refused(latents):
    assert latents.client.post("/v1/learners/l/experience/end", headers=KEY).status_code == 200
    again = latents.client.post("/v1/learners/l/experience/end", headers=KEY)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert latents.client.post(SAMPLES, json=lesson(0), headers=KEY).status_code == 422


def test_a_refused_request_does_not_use_its_key_up(latents):
    assert latents.client.post(SAMPLES, json={"samples": []}, headers=KEY).status_code == 400
    bad = {"samples": [{"label": "a", "latent": [1.0]}]}
    assert latents.client.post(SAMPLES, json=bad, headers=KEY).status_code == 422
    assert latents.client.post(SAMPLES, json=lesson(0), headers=KEY).status_code == 201


def test_keys_belong_to_one_learner(latents):
    add_learner(latents.client, "m")
    for name in "lm":
        answer = latents.client.post(f"/v1/learners/{name}/samples", json=lesson(0), headers=KEY)
        assert "Idempotent-Replayed" not in answer.headers


def test_a_request_that_still_runs_is_a_conflict(latents, gate):
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(latents.client.post, SAMPLES, json=lesson(0), headers=KEY, timeout=30)
        assert gate.waiting.wait(10)
        same = latents.client.post(SAMPLES, json=lesson(0), headers=KEY)
        other = latents.client.post(SAMPLES, json=lesson(1), headers=KEY)
        gate.opened.set()
        assert first.result().status_code == 201
    assert same.status_code == 409
    assert same.json()["type"].endswith("key-in-flight")
    assert same.headers["Retry-After"] == "1"
    assert other.status_code == 422


def test_of_many_at_the_same_time_one_is_learned(latents):
    barrier = threading.Barrier(8)

    def post(_):
        barrier.wait()
        return latents.client.post(SAMPLES, json=lesson(0), headers=KEY)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(post, range(8)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert latents.client.get(SAMPLES).json()["total"] == 1
