"""A learner that serves gets another memory budget."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from serving_kit import DIM, add_learner, latent, lesson

from service.operations import decode

LEARNER = "/v1/learners/l"
SAMPLES = f"{LEARNER}/samples"
PROBE = {"samples": [{"latent": latent(kind, 50 + kind)} for kind in range(DIM)]}


def teach(client, rounds, first=0):
    for number in range(first, first + rounds):
        body = lesson(*(np.arange(20) + number) % DIM, seed=100 * number)
        assert client.post(SAMPLES, json=body).status_code == 201


def scores(running):
    answer = running.client.post(f"{LEARNER}/predict?top_k=100", json=PROBE).json()
    return [[(one["label"], one["score"]) for one in p["top"]] for p in answer["predictions"]]


def learned_in_one_go(running):
    """Scores of a learner that learns the journal without ever stopping."""
    store = running.serving.registry.get("l").store
    learner = store.origin.create()
    for row in store.journal.rows():
        decode(row.kind, row.header, row.payload).apply(learner, row.first_id)
    probe = np.array([one["latent"] for one in PROBE["samples"]], dtype=np.float32)
    return [list(one.top) for one in learner.predict_latents(probe, top_k=100)]


def set_budget(client, budget, learner="l"):
    return client.patch(f"/v1/learners/{learner}", json={"memory_budget": budget})


def test_a_budget_changes_while_it_serves_and_survives_a_kill(servers, start):
    server = servers(memory_budget="16KiB")
    add_learner(server.client, strategy="slda_replay")
    for number, budget in enumerate((4096, "8KiB", 3000)):
        teach(server.client, 10, 10 * number)
        answer = set_budget(server.client, budget)
        assert answer.status_code == 200, answer.text
        state = answer.json()
        assert state["memory_used"] <= state["memory_budget"] <= 8192
        assert answer.headers["ETag"] == f'"v{state["version"]}"'
    server.end(signal.SIGKILL)
    running = start()
    assert running.client.get(LEARNER).json()["memory_budget"] == 3000
    assert 'edge_cl_memory_budget_bytes{learner="l"} 3000' in running.client.get("/metrics").text
    assert scores(running) == learned_in_one_go(running)
    teach(running.client, 5, 30)
    assert scores(running) == learned_in_one_go(running)
    state = start().client.get(LEARNER).json()
    assert state["memory_used"] <= state["memory_budget"] == 3000


def test_a_budget_too_small_is_507_names_the_least_and_changes_nothing(latents):
    teach(latents.client, 20)
    before = latents.client.get(LEARNER).json()
    answer = set_budget(latents.client, 100)
    assert answer.status_code == 507
    least = int(answer.json()["detail"].split(" bytes are needed")[0].replace(",", ""))
    assert latents.client.get(LEARNER).json() == before
    assert set_budget(latents.client, least - 1).status_code == 507
    assert set_budget(latents.client, least).json()["memory_used"] <= least


def test_the_budgets_of_all_learners_are_bounded_also_by_changes(start):
    running = start(memory_budget="32KiB", learners_budget="100KiB")
    client = running.client
    add_learner(client)
    add_learner(client, "other")
    refused = set_budget(client, "70KiB")
    assert refused.status_code == 507
    assert "raise learners_budget" in refused.json()["detail"]
    assert set_budget(client, "68KiB").json()["memory_budget"] == 68 * 1024
    assert client.post("/v1/learners", json={"name": "third", "dim": 8}).status_code == 507
    assert set_budget(client, "16KiB", "other").status_code == 200
    assert set_budget(client, "16KiB").status_code == 200
    add_learner(client, "third", memory_budget="68KiB")
    assert not running.serving.registry._promises


@pytest.mark.parametrize("budget", [0, -1, 2**60, "much", None, []])
def test_what_is_no_size_is_refused(latents, budget):
    before = latents.client.get(LEARNER).json()
    assert set_budget(latents.client, budget).status_code == (200 if budget is None else 422)
    assert latents.client.get(LEARNER).json() == before
