"""Rate limits: the bucket against a simulated clock, and what a client is told."""

from __future__ import annotations

import random

import pytest
from serving_kit import add_learner

from service import rates
from service.rates import Rates

ADMIN = "a long secret"


def test_a_burst_then_the_long_run():
    now = 0.0
    bucket = Rates(2.0, 5, lambda: now)
    assert [bucket.take("a").granted for _ in range(6)] == [True] * 5 + [False]
    assert bucket.take("b").granted
    now = 0.5
    allowance = bucket.take("a")
    assert (allowance.granted, allowance.left, allowance.wait_s) == (True, 0, 0.5)
    assert not bucket.take("a").granted
    now = 100.0
    assert [bucket.take("a").granted for _ in range(6)] == [True] * 5 + [False]


@pytest.mark.parametrize("seed", range(3))
def test_no_window_has_more_than_the_burst_and_the_rate(seed):
    """Whatever the arrivals: granted in any window of T seconds <= burst + rate * T."""
    rng, now, granted = random.Random(seed), 0.0, []
    bucket = Rates(3.0, 4, lambda: now)
    for _ in range(300):
        now += rng.expovariate(8.0)
        if bucket.take("a").granted:
            granted.append(now)
    for first in range(len(granted)):
        for last in range(first, len(granted)):
            assert last - first + 1 <= 4 + 3.0 * (granted[last] - granted[first]) + 1e-6
    assert len(granted) >= 3.0 * now * 0.9


def test_buckets_are_bounded(monkeypatch):
    monkeypatch.setattr(rates, "MOST_CLIENTS", 10)
    bucket = Rates(1.0, 1, lambda: 0.0)
    for number in range(100):
        bucket.take(str(number))
    assert len(bucket._buckets) == 10


def test_a_client_is_told_how_many_requests_it_has_left(start):
    running = start(rate_per_s=0.001, rate_burst=3)
    told = [running.client.get("/v1/learners") for _ in range(4)]
    assert [one.status_code for one in told] == [200, 200, 200, 429]
    assert told[0].headers["RateLimit-Policy"] == '"client";q=3;w=3000'
    assert told[0].headers["RateLimit"] == '"client";r=2;t=0'
    assert 900 < int(told[3].headers["Retry-After"]) <= 1000
    assert told[3].json()["type"] == "urn:edge-cl:problem:rate-limit"
    assert running.client.get("/livez").status_code == 200


def test_every_key_has_its_own_bucket_and_guessing_has_one_too(start):
    running = start(api_key=ADMIN, rate_per_s=0.001, rate_burst=2)
    client, admin = running.client, {"X-API-Key": ADMIN}
    wrong = [client.get("/v1/info", headers={"X-API-Key": f"guess {n}"}) for n in range(3)]
    assert [one.status_code for one in wrong] == [401, 401, 429]
    body = {"name": "k", "scopes": ["read"]}
    key = client.post("/v1/keys", json=body, headers=admin).json()["key"]
    assert client.get("/v1/info", headers={"X-API-Key": key}).status_code == 200
    assert client.get("/v1/info", headers=admin).status_code == 200
    assert client.get("/v1/info", headers=admin).status_code == 429
    assert client.get("/v1/info", headers={"X-API-Key": key}).status_code == 200


def test_no_limit_unless_it_is_set(latents):
    add_learner(latents.client, "m")
    assert "RateLimit" not in latents.client.get("/v1/learners").headers
