"""Percentiles of the last requests, and over HTTP."""

from __future__ import annotations

import numpy as np
from serving_kit import add_learner, latent, lesson

from service.latency import Durations

SAMPLES = "/v1/learners/l/samples"
METRICS = "/v1/learners/l/metrics"


def test_percentiles_are_durations_that_occurred():
    durations = Durations()
    for ms in np.random.default_rng(0).permutation(100) + 1:
        durations.add(ms / 1000)
    assert durations.report() == {"requests": 100, "p50_ms": 51.0, "p95_ms": 96.0, "p99_ms": 100.0}


def test_only_the_last_ones_count_and_nothing_grows():
    durations = Durations(kept=10)
    for ms in range(1, 26):
        durations.add(ms / 1000)
    report = durations.report()
    assert report["requests"] == 25
    assert (report["p50_ms"], report["p99_ms"]) == (21.0, 25.0)


def test_nothing_is_said_before_there_is_anything():
    assert Durations().report() == {"requests": 0, "p50_ms": None, "p95_ms": None, "p99_ms": None}


def test_requests_of_a_learner_are_timed(latents):
    client = latents.client
    add_learner(client, "other")
    before = client.get(METRICS).json()["latency"]
    assert {one["requests"] for one in before.values()} == {0}
    client.post(SAMPLES, json=lesson(0), headers={"Idempotency-Key": "one"})
    client.post(SAMPLES, json=lesson(0), headers={"Idempotency-Key": "one"})
    client.post(SAMPLES, params={"mode": "async"}, json=lesson(1))
    assert client.post(SAMPLES, json={"samples": [{"latent": [0.0]}]}).status_code == 422
    for kind in range(3):
        asked = {"samples": [{"latent": latent(kind)}]}
        assert client.post("/v1/learners/l/predict", json=asked).is_success
    assert client.post("/v1/learners/l/predict", json={"samples": []}).status_code == 400
    timed = client.get(METRICS).json()["latency"]
    assert (timed["learn"]["requests"], timed["predict"]["requests"]) == (1, 3)
    for one in timed.values():
        assert 0 < one["p50_ms"] <= one["p95_ms"] <= one["p99_ms"] < 30_000
    other = client.get("/v1/learners/other/metrics").json()["latency"]
    assert other["predict"]["requests"] == 0
