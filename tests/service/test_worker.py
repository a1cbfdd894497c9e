"""The single writer: groups, back-pressure, publishing, refusals."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from serving_kit import add_learner, latent, lesson

from edge_cl import Learner
from edge_cl.errors import BudgetExceeded

SAMPLES = "/v1/learners/l/samples"


class Gate:
    """Holds every lesson until it is opened."""

    def __init__(self, monkeypatch):
        self.opened = threading.Event()
        self.waiting = threading.Event()
        self.passed = threading.Event()
        learn = Learner.learn_latents

        def held(learner, *arguments):
            self.waiting.set()
            opened = self.opened.wait(20)
            self.passed.set()
            assert opened
            learn(learner, *arguments)

        monkeypatch.setattr(Learner, "learn_latents", held)


@pytest.fixture
def gate(monkeypatch):
    gate = Gate(monkeypatch)
    yield gate
    gate.opened.set()


def post_async(running, *kinds):
    return running.client.post(SAMPLES, params={"mode": "async"}, json=lesson(*kinds))


def metric(running, line):
    for row in running.client.get("/metrics").text.splitlines():
        if row.startswith(line):
            return float(row.split()[-1])
    return 0.0


def test_a_full_queue_refuses_and_loses_nothing(start, gate):
    running = start(queue_requests=3)
    add_learner(running.client)
    assert post_async(running, 0).status_code == 202
    assert gate.waiting.wait(10)
    with ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(post_async, running, 0) for _ in range(5)]
        while running.serving.registry.get("l").worker.backlog < 3:
            time.sleep(0.01)
        refused = post_async(running, 0)
        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "1"
        assert refused.json()["type"].endswith("busy")
        gate.opened.set()
        codes = sorted(answer.result().status_code for answer in answers)
    assert codes == [202, 202, 202, 503, 503]
    assert running.client.get(SAMPLES).json()["total"] == 4


def test_a_queue_is_bounded_in_bytes_too(start, gate):
    running = start(queue_bytes=3000)
    add_learner(running.client)
    assert post_async(running, 0).status_code == 202
    assert gate.waiting.wait(10)
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(post_async, running, 0) for _ in range(4)]
        while not any(answer.done() for answer in answers):
            time.sleep(0.01)
        gate.opened.set()
        codes = {answer.result().status_code for answer in answers}
    assert codes == {202, 503}


def test_predictions_do_not_wait_for_an_update(latents, gate):
    assert post_async(latents, 0).status_code == 202
    assert gate.waiting.wait(10)
    answer = latents.client.post(
        "/v1/learners/l/predict", json={"samples": [{"latent": latent(0)}]}
    )
    assert answer.json()["model_version"] == 0
    assert not gate.passed.is_set()
    gate.opened.set()


def test_what_waits_is_committed_together(latents, gate):
    assert post_async(latents, 0).status_code == 202
    assert gate.waiting.wait(10)
    with ThreadPoolExecutor(10) as pool:
        answers = [pool.submit(post_async, latents, 0) for _ in range(10)]
        while latents.serving.registry.get("l").worker.backlog < 10:
            time.sleep(0.01)
        gate.opened.set()
        assert {answer.result().status_code for answer in answers} == {202}
    assert metric(latents, 'edge_cl_commit_duration_seconds_count{learner="l"}') == 2


def test_slow_publishing_does_not_starve_commits(latents, monkeypatch):
    publish = Learner.publish

    def slowly(learner):
        time.sleep(0.1)
        return publish(learner)

    monkeypatch.setattr(Learner, "publish", slowly)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: post_async(latents, 0), range(60)))
    assert {answer.status_code for answer in answers} == {202}
    commits = metric(latents, 'edge_cl_commit_duration_seconds_count{learner="l"}')
    publishes = metric(latents, 'edge_cl_publish_duration_seconds_count{learner="l"}')
    assert publishes < commits


def test_a_budget_that_cannot_hold_it_is_507_and_nothing_is_stored(start):
    running = start()
    add_learner(running.client, strategy="slda", memory_budget=2400)
    codes = []
    for kind in range(8):
        answer = running.client.post(SAMPLES, json=lesson(kind))
        codes.append(answer.status_code)
        if answer.status_code == 507:
            assert answer.json()["type"].endswith("budget")
    assert set(codes) == {201, 507}
    assert running.client.get(SAMPLES).json()["total"] == codes.count(201)
    state = running.client.get("/v1/learners/l").json()
    assert state["memory_used"] <= state["memory_budget"]
    assert running.client.get("/readyz").status_code == 200


def test_two_requests_that_fit_only_alone_are_not_both_taken(start, gate):
    """The second is judged after the first has been learned, although both wait together."""
    running = start()
    gate.opened.set()
    add_learner(running.client, strategy="slda", memory_budget=2400)
    taken = 0
    while running.client.post(SAMPLES, json=lesson(taken)).status_code == 201:
        taken += 1
    running.client.delete("/v1/learners/l")
    add_learner(running.client, strategy="slda", memory_budget=2400)
    for kind in range(taken - 1):
        assert running.client.post(SAMPLES, json=lesson(kind)).status_code == 201
    gate.opened.clear()
    gate.waiting.clear()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(running.client.post, SAMPLES, json=lesson(0))
        assert gate.waiting.wait(10)
        both = [pool.submit(running.client.post, SAMPLES, json=lesson(kind)) for kind in (6, 7)]
        while running.serving.registry.get("l").worker.backlog < 2:
            time.sleep(0.01)
        gate.opened.set()
        assert first.result().status_code == 201
        assert sorted(one.result().status_code for one in both) == [201, 507]


def test_a_strategy_that_keeps_everything_acknowledges_only_what_it_keeps(start, gate):
    """Each request would fit alone; together they would not."""
    running = start()
    add_learner(running.client, strategy="joint", memory_budget="8KiB")
    with ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(post_async, running, *[0] * 40) for _ in range(12)]
        assert gate.waiting.wait(10)
        gate.opened.set()
        codes = [answer.result().status_code for answer in answers]
    assert set(codes) == {202, 507}
    assert running.client.post("/v1/learners/l/experience/end").status_code == 200
    taken = 40 * codes.count(202)
    assert running.client.get(SAMPLES).json()["total"] == taken
    assert running.client.get("/v1/learners/l").json()["samples_seen"] == taken


def test_a_refusal_after_the_commit_is_not_counted_and_not_replayed(start, monkeypatch):
    running = start()
    add_learner(running.client)
    running.client.post(SAMPLES, json=lesson(0))
    learn = Learner.learn_latents

    def refuse(learner, latents, labels, *rest):
        if "class 5" in labels:
            raise BudgetExceeded(2, 1, "teach less")
        learn(learner, latents, labels, *rest)

    monkeypatch.setattr(Learner, "learn_latents", refuse)
    assert running.client.post(SAMPLES, json=lesson(5)).status_code == 507
    assert running.client.post(SAMPLES, json=lesson(1)).status_code == 201
    monkeypatch.setattr(Learner, "learn_latents", learn)
    running = start()
    assert running.client.get(SAMPLES).json()["total"] == 2
    labels = [
        one["label"] for one in running.client.get("/v1/learners/l/classes").json()["classes"]
    ]
    assert labels == ["class 0", "class 1"]


def test_learners_that_do_not_fit_together_are_refused(start):
    running = start(learners_budget="512KiB")
    add_learner(running.client, "a")
    add_learner(running.client, "b")
    answer = running.client.post("/v1/learners", json={"name": "c", "dim": 8})
    assert answer.status_code == 507
