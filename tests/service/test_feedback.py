"""Labels that come after the prediction, and the inbox of what asks for one."""

from __future__ import annotations

import signal
import time

import httpx
import numpy as np
import pytest
from serving_kit import DIM, add_learner, latent, lesson

from edge_cl.types import Prediction
from service.errors import Problem
from service.operations import Lesson
from service.predictions import RECORD_BYTES, Feedback, PredictionLog, Question

ROOT = "/v1/learners/l"


def ask(client, *kinds, seed=50, **query):
    samples = [{"latent": latent(kind, seed + n)} for n, kind in enumerate(kinds)]
    answer = client.post(f"{ROOT}/predict", json={"samples": samples}, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def tell(client, prediction, **feedback):
    path = f"{ROOT}/predictions/{prediction['prediction_id']}/feedback"
    return client.post(path, json=feedback)


def counts(client):
    return {c["label"]: c["samples"] for c in client.get(f"{ROOT}/classes").json()["classes"]}


@pytest.fixture
def taught(latents):
    latents.client.post(f"{ROOT}/samples", json=lesson(0, 1, 0, 1))
    return latents


def test_a_later_label_is_learned_as_a_sample(taught):
    client = taught.client
    before = ask(client, 5)[0]
    assert before["label"] in ("class 0", "class 1")
    answer = tell(client, before, label="class 5")
    assert answer.status_code == 201, answer.text
    content = answer.json()
    assert (content["accepted"], content["durable"], content["learned"]) == (1, True, True)
    assert ask(client, 5, seed=80)[0]["label"] == "class 5"
    sample = client.get(answer.headers["Location"]).json()
    assert (sample["label"], sample["id"]) == ("class 5", content["ids"][0])
    record = client.get(f"{ROOT}/metrics").json()["since_start"]
    assert record["new_samples"] == 1, "the record has what was predicted at that time"


def test_right_is_learned_under_the_label_that_was_said(taught):
    client = taught.client
    said = ask(client, 1)[0]
    assert tell(client, said, correct=True).status_code == 201
    assert counts(client) == {"class 0": 2, "class 1": 3}


@pytest.mark.parametrize("strategy", ["ar1", "slda_replay"])
def test_wrong_lowers_what_was_said(start, strategy):
    client = start().client
    add_learner(client, strategy=strategy)
    client.post(f"{ROOT}/samples", json=lesson(0, 1, 0, 1))
    for named in (True, False):
        said = ask(client, 5, seed=9, top_k=2)[0]
        members = {"not": said["label"]} if named else {"correct": False}
        answer = tell(client, said, **members)
        assert answer.status_code == 200, answer.text
        assert answer.json()["operation"] == "learn_not"
        after = {one["label"]: one["score"] for one in ask(client, 5, seed=9, top_k=2)[0]["top"]}
        assert after[said["label"]] < said["score"]
    assert counts(client) == {"class 0": 2, "class 1": 2}


def test_what_cannot_be_denied_is_a_conflict(taught):
    said = ask(taught.client, 0)[0]
    refused = tell(taught.client, said, **{"not": "class 0"})
    assert refused.status_code == 409, "ncm keeps sums of samples only"
    assert "slda_replay" in refused.json()["detail"]
    assert tell(taught.client, said, **{"not": "no such class"}).status_code in (404, 409)
    assert tell(taught.client, said, label="class 0").status_code == 201, "it was not used up"


def test_the_same_feedback_is_learned_once_and_another_is_refused(taught):
    client = taught.client
    said = ask(client, 1)[0]
    first = tell(client, said, label="class 1")
    again = tell(client, said, label="class 1")
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    other = tell(client, said, label="class 0")
    assert other.status_code == 409
    assert "other feedback" in other.json()["detail"]
    assert counts(client) == {"class 0": 2, "class 1": 3}


def test_feedback_that_was_undone_is_learned_again_or_otherwise(taught):
    client = taught.client
    said = ask(client, 1)[0]
    first = tell(client, said, label="class 1")
    undo = client.post(f"{ROOT}/undo")
    assert undo.json()["undone"] == first.json()["version"]
    again = tell(client, said, label="class 1")
    assert "Idempotent-Replayed" not in again.headers
    assert again.json()["version"] > undo.json()["version"]
    assert counts(client) == {"class 0": 2, "class 1": 3}
    replayed = tell(client, said, label="class 1")
    assert replayed.headers["Idempotent-Replayed"] == "true"
    assert replayed.json() == again.json()
    client.post(f"{ROOT}/undo")
    other = tell(client, said, label="class 0")
    assert other.status_code == 201, other.text
    assert counts(client) == {"class 0": 3, "class 1": 2}
    assert tell(client, said, label="class 1").status_code == 409


def test_feedback_whose_undoing_was_undone_is_not_learned_twice(taught):
    client = taught.client
    said = ask(client, 1)[0]
    first = tell(client, said, label="class 1").json()
    undone = client.post(f"{ROOT}/undo").json()["version"]
    client.post(f"{ROOT}/rollback", json={"to": first["version"]})
    again = tell(client, said, label="class 1")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == first
    client.post(f"{ROOT}/rollback", json={"to": undone})
    assert "Idempotent-Replayed" not in tell(client, said, label="class 1").headers
    assert counts(client) == {"class 0": 2, "class 1": 3}


def test_a_repeated_request_stays_answered_after_an_undo(taught):
    client, headers = taught.client, {"Idempotency-Key": "one"}
    first = client.post(f"{ROOT}/samples", json=lesson(0), headers=headers)
    client.post(f"{ROOT}/undo")
    again = client.post(f"{ROOT}/samples", json=lesson(0), headers=headers)
    assert again.json() == first.json()
    assert counts(client) == {"class 0": 2, "class 1": 2}


def test_feedback_survives_kill_9_and_is_answered_again(servers):
    server = servers()
    add_learner(server.client)
    server.client.post(f"{ROOT}/samples", json=lesson(0, 1))
    said, unanswered = ask(server.client, 4, 1)
    first = tell(server.client, said, label="class 4").json()
    probe = ask(server.client, 4, 1, 0, top_k=3)
    server.end(signal.SIGKILL)
    server = servers()
    assert counts(server.client) == {"class 0": 1, "class 1": 1, "class 4": 1}
    for one, other in zip(probe, ask(server.client, 4, 1, 0, top_k=3), strict=True):
        assert one["top"] == other["top"]
        assert one["typicality"] == other["typicality"]
    assert tell(server.client, said, label="class 4").json() == first
    gone = tell(server.client, unanswered, label="class 1")
    assert gone.status_code == 404
    assert "restart" in gone.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"label": "a", "correct": True}, 422),
        ({"label": ""}, 422),
        ({"label": "x" * 129}, 422),
        ({"correct": "yes"}, 422),
        ({"wrong": True}, 422),
        ({"label": None}, 422),
    ],
)
def test_feedback_that_says_nothing_is_refused(taught, body, status):
    said = ask(taught.client, 1)[0]
    assert tell(taught.client, said, **body).status_code == status


def test_feedback_to_nothing(taught):
    client = taught.client
    for name in ("0" * 32, "x", "%00", "%F0%9F%98%80", "a" * 2000):
        answer = client.post(f"{ROOT}/predictions/{name}/feedback", json={"label": "a"})
        assert answer.status_code == 404
    path = f"{ROOT}/predictions/x/feedback"
    assert client.post(path, content=b"{", headers={"Content-Type": "a/b"}).status_code == 415


def test_nothing_said_is_neither_right_nor_wrong(latents):
    said = ask(latents.client, 1)[0]
    assert tell(latents.client, said, correct=True).status_code == 422
    assert tell(latents.client, said, label="class 1").status_code == 201


def test_the_context_of_the_question_is_that_of_the_lesson(start):
    client = start().client
    add_learner(client, strategy="multihead")
    client.post(f"{ROOT}/samples", json=lesson(0, 1, context="kitchen"))
    said = ask(client, 0, context="kitchen")[0]
    answer = tell(client, said, label="class 0")
    assert client.get(answer.headers["Location"]).json()["context"] == "kitchen"


def test_predictions_of_the_other_protocol_get_feedback_too(taught):
    tensor = {"name": "latent", "shape": [1, DIM], "datatype": "FP32", "data": latent(1, 60)}
    body = {"inputs": [tensor], "outputs": [{"name": "prediction_id"}]}
    answer = taught.client.post("/v2/models/l/infer", json=body).json()
    said = {"prediction_id": answer["outputs"][0]["data"][0]}
    assert tell(taught.client, said, label="class 1").status_code == 201


def test_the_inbox_has_unknown_first_then_the_least_sure(start):
    client = start().client
    add_learner(client)
    for n in range(10):
        client.post(f"{ROOT}/samples", json=lesson(0, 1, seed=2 * n))
    between = (np.array(latent(0, 1)) + np.array(latent(1, 2))) / 2
    body = {"samples": [{"latent": between.tolist(), "device": "door"}]}
    asked = client.post(f"{ROOT}/predict?false_reject_rate=0", json=body).json()["predictions"]
    asked += ask(client, 0, 1, 6)
    content = client.get(f"{ROOT}/inbox").json()
    items = content["items"]
    assert content["total"] == len(items) == 4
    assert items[0]["prediction_id"] == asked[3]["prediction_id"]
    assert items[0]["unknown"]
    assert (items[1]["prediction_id"], items[1]["device"]) == (asked[0]["prediction_id"], "door")
    scores = [one["score"] for one in items if not one["unknown"]]
    assert scores == sorted(scores)
    assert len(client.get(f"{ROOT}/inbox?unknown=true").json()["items"]) == 1
    tell(client, asked[3], label="class 6")
    rest = client.get(f"{ROOT}/inbox").json()
    assert asked[3]["prediction_id"] not in [one["prediction_id"] for one in rest["items"]]
    assert rest["total"] == 3


def test_the_inbox_comes_in_pages(taught):
    client = taught.client
    asked = {one["prediction_id"] for one in ask(client, *[0, 1] * 6)}
    found, path = [], f"{ROOT}/inbox?limit=5"
    while path:
        answer = client.get(path)
        found += [one["prediction_id"] for one in answer.json()["items"]]
        path = answer.links.get("next", {}).get("url")
    assert len(found) == 12
    assert set(found) == asked
    for cursor in ("x", "1_nan_2", "1_2", "_" * 80):
        assert client.get(f"{ROOT}/inbox", params={"cursor": cursor}).status_code == 422


def kept(log, *kinds):
    questions = [Question(np.full(DIM, kind, dtype=np.float32)) for kind in kinds]
    said = [Prediction("a", kind / 10, typicality=1.0) for kind in kinds]
    return log.add(questions, said, version=3)


def test_the_oldest_go_first_by_number_and_by_bytes():
    log = PredictionLog(3, 10**9, 3600)
    first, *others = kept(log, 1, 2, 3, 4)
    with pytest.raises(Problem, match="not kept"):
        log.get(first)
    assert [log.get(one).question.latent[0] for one in others] == [2, 3, 4]
    size = DIM * 4 + RECORD_BYTES
    small = PredictionLog(100, 2 * size, 3600)
    kept(small, 1, 2, 3, 4, 5)
    assert (len(small), small.used_bytes) == (2, 2 * size)


def test_what_is_too_old_goes(monkeypatch):
    log = PredictionLog(10, 10**9, 60)
    (name,) = kept(log, 1)
    later = time.time() + 61
    monkeypatch.setattr("service.predictions.time.time", lambda: later)
    assert log.open() == []
    with pytest.raises(Problem, match="not kept"):
        log.get(name)
    assert log.used_bytes == 0


def test_a_kept_latent_is_not_a_view_of_its_batch():
    log = PredictionLog(10, 10**9, 60)
    rows = np.zeros((100, DIM), dtype=np.float32)
    (name,) = log.add([Question(rows[7])], [Prediction("a", 0.5)], version=1)
    assert log.get(name).question.latent.base is None


def test_feedback_keeps_what_was_said_for_the_record():
    log = PredictionLog(10, 10**9, 60)
    (name,) = kept(log, 4)
    lesson_ = Feedback(label="b").operation(log.get(name))
    assert isinstance(lesson_, Lesson)
    sample = lesson_.samples[0]
    assert (sample.label, sample.predicted, sample.confidence) == ("b", "a", 0.4)


def test_a_deleted_learner_has_no_inbox(taught):
    assert httpx.get(f"{taught.url}/v1/learners/none/inbox").status_code == 404


def test_a_prediction_is_explained_by_what_is_remembered(start):
    client = start().client
    add_learner(client, strategy="ar1")
    ids = client.post(f"{ROOT}/samples", json=lesson(0, 1, 2, 1)).json()["ids"]
    plain, explained = ask(client, 1)[0], ask(client, 1, explain=3)[0]
    assert "neighbours" not in plain
    found = explained["neighbours"]
    assert [one["label"] for one in found[:2]] == ["class 1", "class 1"]
    assert {one["sample_id"] for one in found[:2]} == {ids[1], ids[3]}
    similarities = [one["similarity"] for one in found]
    assert similarities == sorted(similarities, reverse=True)
    assert len(found) == 3
    client.delete(f"{ROOT}/samples/{found[0]['sample_id']}")
    left = ask(client, 1, explain=3)[0]["neighbours"]
    assert found[0]["sample_id"] not in [one["sample_id"] for one in left]
    assert client.post(f"{ROOT}/predict?explain=21", json=lesson(0)).status_code == 422


def test_without_a_memory_there_is_nothing_to_explain_with(taught):
    assert ask(taught.client, 1, explain=2)[0]["neighbours"] == []
