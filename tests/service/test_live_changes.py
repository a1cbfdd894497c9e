"""A learner that serves gets another memory budget, or another strategy."""

from __future__ import annotations

import shutil
import signal
import threading
import time

import numpy as np
import pytest
from serving_kit import DIM, Running, add_learner, latent, lesson, settings_for

from edge_cl import Learner
from service.changes import Succession
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
    succession, voided = Succession(store.origin.create()), store.journal.voided()
    for row in store.journal.rows():
        if row.sequence not in voided:
            operation = decode(row.kind, row.header, row.payload)
            succession.replay(operation, row.sequence, row.first_id)
    learner = succession.learner
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
    assert change(server.client, "replay").status_code == 202
    server.end(signal.SIGKILL)
    running = start()
    state = settled(running.client)
    assert (state["memory_budget"], state["strategy"]) == (3000, "replay")
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


def change(client, strategy, **options):
    return client.patch(LEARNER, json={"strategy": strategy, "options": options})


def settled(client):
    """The learner's state when nothing is being built any more."""
    deadline = time.monotonic() + 30
    while (state := client.get(LEARNER).json())["change"] is not None:
        assert time.monotonic() < deadline, state
        time.sleep(0.01)
    return state


@pytest.fixture
def gate(monkeypatch):
    """Holds the building until it is set."""
    opened, build = threading.Event(), Learner.with_strategy

    def held(*arguments):
        assert opened.wait(20)
        return build(*arguments)

    monkeypatch.setattr(Learner, "with_strategy", held)
    yield opened
    opened.set()


def test_another_strategy_is_built_while_the_old_one_serves_and_learns(start, gate):
    running = start(snapshot_operations=5)
    client = running.client
    add_learner(client, strategy="replay")
    teach(client, 6)
    answer = change(client, "slda_replay", shrinkage=0.1)
    assert answer.status_code == 202, answer.text
    begun = answer.json()
    assert begun["strategy"] == "replay"
    assert begun["change"]["strategy"] == "slda_replay"
    assert begun["change"]["options"]["shrinkage"] == 0.1
    # Two more classes come meanwhile, and a boundary; the old one learns them at once.
    new = {"samples": [{"label": "new", "latent": latent(3, 9)}] * 3}
    assert client.post(SAMPLES, json=new).status_code == 201
    assert client.post(f"{LEARNER}/experience/end").status_code == 200
    assert "new" in [label for label, _ in scores(running)[0]]
    assert change(client, "gdumb").status_code == 409
    assert set_budget(client, "100KiB").status_code == 409
    assert client.post(f"{LEARNER}/undo").status_code == 409
    assert client.get(LEARNER).json()["strategy"] == "replay"
    gate.set()
    state = settled(client)
    assert (state["strategy"], state["change_failure"]) == ("slda_replay", None)
    assert state["options"]["shrinkage"] == 0.1
    assert state["samples_seen"] == 123
    assert state["memory_used"] <= state["memory_budget"]
    assert state["version"] == begun["version"] + 3
    expected = learned_in_one_go(running)
    assert scores(running) == expected
    assert "new" in [label for label, _ in expected[0]]
    running = start()
    assert scores(running) == expected
    assert running.client.get(LEARNER).json()["strategy"] == "slda_replay"
    # What was changed can be undone like everything else, and done again.
    undone = running.client.post(f"{LEARNER}/undo")
    assert undone.status_code == 200, undone.text
    assert running.client.get(LEARNER).json()["strategy"] == "replay"
    back = running.client.post(f"{LEARNER}/rollback", json={"to": state["version"]})
    assert back.status_code == 200, back.text
    assert scores(running) == expected


def test_a_change_that_a_crash_interrupts_is_finished_after_the_restart(start, gate, tmp_path):
    running = start(snapshot_operations=4)
    add_learner(running.client, strategy="replay")
    teach(running.client, 5)
    assert change(running.client, "latent_replay", hidden=[16]).status_code == 202
    teach(running.client, 2, 5)
    shutil.copytree(tmp_path / "data", tmp_path / "crashed")
    gate.set()
    for folder in ("crashed", "crashed"):
        crashed = Running(settings_for(tmp_path / folder), None)
        try:
            state = settled(crashed.client)
            assert (state["strategy"], state["options"]["hidden"]) == ("latent_replay", [16])
            assert state["samples_seen"] == 140 + 20 * (state["version"] - 9)
            assert scores(crashed) == learned_in_one_go(crashed)
            teach(crashed.client, 1, 7)
            assert scores(crashed) == learned_in_one_go(crashed)
        finally:
            crashed.close()


def test_other_options_keep_the_head(latents):
    client = latents.client
    add_learner(client, "other", strategy="replay")
    client.delete("/v1/learners/l")
    add_learner(client, strategy="slda_replay", options={"codec": "float32"})
    teach(client, 10)
    before = scores(latents)
    answer = client.patch(LEARNER, json={"options": {"codec": "uint4"}})
    assert answer.status_code == 202
    assert settled(client)["options"]["codec"] == "uint4"
    assert scores(latents) == before
    assert client.patch(LEARNER, json={"options": {"codec": "uint4"}}).status_code == 200
    assert scores(latents) == learned_in_one_go(latents)


def test_what_the_new_strategy_cannot_learn_ends_the_change_and_loses_nothing(start, gate):
    running = start()
    client = running.client
    add_learner(client, strategy="replay", memory_budget=30_000)
    teach(client, 5)
    # It keeps everything: what fits now is soon too much.
    assert change(client, "joint", codec="float32").status_code == 202
    teach(client, 40, 5)
    gate.set()
    state = settled(client)
    assert state["strategy"] == "replay"
    assert "keeps every sample" in state["change_failure"]
    assert state["samples_seen"] == 900
    assert scores(running) == learned_in_one_go(running)
    teach(client, 1, 45)
    running = start()
    assert scores(running) == learned_in_one_go(running)
    assert running.client.get("/readyz").status_code == 200


def test_changes_that_cannot_be_are_refused_at_once(start):
    running = start(memory_budget="32KiB", learners_budget="70KiB")
    client = running.client
    add_learner(client)
    teach(client, 2)
    before = client.get(LEARNER).json()
    refused = change(client, "replay")
    assert refused.status_code == 409
    assert "keeps no exemplar of 8 of 8 classes" in refused.json()["detail"]
    assert change(client, "no").json()["type"].endswith("unknown-strategy")
    assert change(client, "ncm", no=1).json()["type"].endswith("invalid-option")
    both = client.patch(LEARNER, json={"strategy": "replay", "memory_budget": 1})
    assert both.status_code == 422
    assert client.patch(LEARNER, json={"extractor": "other"}).status_code == 409
    assert client.get(LEARNER).json() == before
    client.delete(LEARNER)
    add_learner(client, strategy="replay")
    teach(client, 2)
    assert change(client, "multihead").status_code == 422
    assert change(client, "gdumb").status_code == 202
    settled(client)
    add_learner(client, "other")
    refused = change(client, "replay")
    assert refused.status_code == 507
    assert "while the new one is built" in refused.json()["detail"]


def test_auto_keeps_the_choice_of_its_first_day(start):
    running = start()
    answer = running.client.post(
        "/v1/learners",
        json={"name": "l", "dim": DIM, "strategy": "auto", "options": {"classes": 8}},
    )
    assert answer.status_code == 201, answer.text
    state = answer.json()
    assert state["strategy"] != "auto"
    assert state["plan"]["classes"] == 8
    assert state["plan"]["reasons"][0].startswith(state["strategy"])
    teach(running.client, 2)
    body = {"samples": [{"label": f"more {n}", "latent": latent(1, n)} for n in range(3)]}
    assert running.client.post(SAMPLES, json=body).status_code == 201
    assert running.client.get(LEARNER).json()["plan"]["classes"] == 22
    assert scores(running) == learned_in_one_go(running)
    running = start()
    again = running.client.get(LEARNER).json()
    assert again["plan"]["classes"] == 22
    assert again["options"] == state["options"]
    bad = {"name": "m", "dim": DIM, "strategy": "auto", "options": {"clases": 8}}
    assert running.client.post("/v1/learners", json=bad).json()["type"].endswith("invalid-option")


def test_auto_can_be_asked_of_a_learner_that_serves(start):
    running = start()
    add_learner(running.client, strategy="replay")
    teach(running.client, 3)
    answer = change(running.client, "auto")
    assert answer.status_code == 202, answer.text
    teach(running.client, 2, 3)
    state = settled(running.client)
    assert state["change_failure"] is None
    assert state["strategy"] != "replay"
    assert state["plan"]["classes"] == 10
    assert state["plan"]["reasons"][0].startswith(state["strategy"])
    assert scores(running) == learned_in_one_go(running)
    body = {"samples": [{"label": f"more {n}", "latent": latent(1, n)} for n in range(5)]}
    assert running.client.post(SAMPLES, json=body).status_code == 201
    outgrown = running.client.get(LEARNER).json()["plan"]
    assert outgrown["classes"] == 26
    before = scores(running)
    running = start()
    assert running.client.get(LEARNER).json()["plan"] == outgrown
    assert scores(running) == before


def test_auto_keeps_what_was_asked_of_it_and_plans_for_the_classes_there_are(start):
    client = start().client
    add_learner(client, strategy="slda_replay")
    teach(client, 2)
    assert change(client, "auto", classes=3, update_ms=5).status_code == 202
    assert settled(client)["plan"].items() >= {"classes": DIM, "update_ms": 5.0}.items()
    assert change(client, "auto", classes=30).status_code == 202
    assert settled(client)["plan"].items() >= {"classes": 30, "update_ms": 5.0}.items()
    before = client.get(LEARNER).json()
    assert change(client, "auto").status_code == 200, "that is what it has"
    assert client.get(LEARNER).json() == before
    assert change(client, "replay").status_code == 202
    assert settled(client)["plan"] is None
    undone = client.post(f"{LEARNER}/undo").json()
    assert client.get(LEARNER).json()["plan"]["classes"] == 30, undone


@pytest.mark.parametrize(
    ("strategy", "options", "status", "words"),
    [
        ("replay", {"clases": 8}, 422, "classes, update_ms"),
        ("replay", {"update_ms": 1e-9}, 422, "fastest"),
        ("replay", {"classes": 20_000}, 507, "fewer classes"),
        ("ncm", {}, 409, "no exemplar"),
    ],
)
def test_a_plan_that_cannot_be_had_leaves_the_learner_as_it_is(
    start, strategy, options, status, words
):
    client = start().client
    add_learner(client, strategy=strategy)
    teach(client, 1)
    before = client.get(LEARNER).json()
    refused = change(client, "auto", **options)
    assert refused.status_code == status, refused.text
    assert words in refused.json()["detail"]
    assert client.get(LEARNER).json() == before
