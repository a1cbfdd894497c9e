"""Corrections over HTTP: what they answer, what they change, and that they last."""

from __future__ import annotations

import signal
import sqlite3

import numpy as np
import pytest
from serving_kit import DIM, add_learner, latent, lesson
from test_recovery import restart_after, scores, uninterrupted

from service.corrections import Deny
from service.jobs import Job, Reply
from service.journal import Journal
from service.operations import Lesson, decode

LEARNER = "/v1/learners/l"
SAMPLES = f"{LEARNER}/samples"


def labels(running):
    items = running.client.get(SAMPLES).json()["items"]
    return {item["id"]: item["label"] for item in items}


def counts(running):
    classes = running.client.get(f"{LEARNER}/classes").json()["classes"]
    return {one["label"]: one["samples"] for one in classes}


def deny(running, kind, name):
    """As the feedback of a prediction does it."""
    operation = Deny(np.array([latent(kind)], np.float32), (name,), (None,))
    job = Job(operation, lambda receipt: Reply(200, str(receipt.correction)))
    return running.serving.registry.get("l").worker.submit(job).result()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "learners" / "l"


@pytest.mark.parametrize(("strategy", "exact"), [("slda", True), ("ar1", False), ("naive", False)])
def test_a_sample_is_relabelled_and_forgotten(start, strategy, exact):
    running = start()
    add_learner(running.client, strategy=strategy)
    running.client.post(SAMPLES, json=lesson(0, 1, 2, 0))
    answer = running.client.patch(f"{SAMPLES}/4", json={"label": "other"})
    assert answer.status_code == 200
    assert answer.json() == {
        "learner": "l", "version": 2, "operation": "relabel", "samples": 1, "exact": exact,
        "durable": True, "learned": True,
    }  # fmt: skip
    assert labels(running) == {1: "class 0", 2: "class 1", 3: "class 2", 4: "other"}
    assert counts(running) == {"class 0": 1, "class 1": 1, "class 2": 1, "other": 1}
    answer = running.client.delete(f"{SAMPLES}/2")
    assert (answer.status_code, answer.json()["exact"]) == (200, exact)
    assert labels(running) == {1: "class 0", 3: "class 2", 4: "other"}
    assert counts(running) == {"class 0": 1, "class 2": 1, "other": 1}
    assert running.client.get(f"{SAMPLES}/2").status_code == 404
    for again in (
        running.client.delete(f"{SAMPLES}/2"),
        running.client.patch(f"{SAMPLES}/2", json={"label": "x"}),
    ):
        assert again.status_code == 404
        assert "was forgotten" in again.json()["detail"]
    assert scores(running) == uninterrupted(running)


def test_classes_are_renamed_merged_and_forgotten(latents):
    client = latents.client
    client.post(SAMPLES, json=lesson(0, 1, 2, 3, 3))
    assert client.patch(f"{LEARNER}/classes/class 0", json={"name": "a/b"}).json()["exact"]
    taken = client.patch(f"{LEARNER}/classes/a%2Fb", json={"name": "class 1"})
    assert taken.status_code == 409
    merged = client.post(f"{LEARNER}/classes/class%203/merge", json={"into": "a/b"})
    assert (merged.json()["samples"], merged.json()["exact"]) == (2, True)
    assert labels(latents) == {1: "a/b", 2: "class 1", 3: "class 2", 4: "a/b", 5: "a/b"}
    gone = client.delete(f"{LEARNER}/classes/a/b")
    assert (gone.json()["operation"], gone.json()["samples"]) == ("forget", 3)
    assert counts(latents) == {"class 1": 1, "class 2": 1}
    assert client.get(SAMPLES, params={"label": "a/b"}).json()["items"] == []
    assert client.delete(f"{LEARNER}/classes/a/b").status_code == 404
    client.post(SAMPLES, json=lesson(0))
    assert counts(latents) == {"class 0": 1, "class 1": 1, "class 2": 1}
    assert scores(latents) == uninterrupted(latents)


def test_an_exact_correction_predicts_as_if_it_had_been_taught_so(start):
    running = start()
    for name in "lm":
        add_learner(running.client, name, strategy="slda")
    running.client.post(SAMPLES, json=lesson(0, 1, 2, 3, 1, 0, 3))
    running.client.patch(f"{SAMPLES}/5", json={"label": "class 2"})
    assert running.client.delete(f"{SAMPLES}/1").json()["exact"]
    assert running.client.delete(f"{LEARNER}/classes/class 3").json()["exact"]
    right = lesson(0, 1, 2, 3, 1, 0, 3)["samples"]
    right[4]["label"] = "class 2"
    kept = [right[n] for n in (1, 2, 4, 5)]
    running.client.post("/v1/learners/m/samples", json={"samples": kept})
    body = {"samples": [{"latent": latent(kind, 9)} for kind in range(DIM)]}
    answers = [
        running.client.post(f"/v1/learners/{name}/predict?top_k=9", json=body).json()
        for name in "lm"
    ]
    for one, other in zip(*(answer["predictions"] for answer in answers), strict=True):
        left, right = ({c["label"]: c["score"] for c in p["top"]} for p in (one, other))
        assert left == pytest.approx(right, abs=1e-5)


def test_what_the_memory_alone_knows_can_be_forgotten(start, folder):
    """The journal has dropped the lesson; the replay memory has not."""
    running = start()
    add_learner(running.client, strategy="replay")
    running.client.post(SAMPLES, json=lesson(0, 1))
    running = restart_after(running, start, lambda: retire_all(folder))
    assert running.client.get(SAMPLES).json()["items"] == []
    assert running.client.delete(f"{SAMPLES}/1").json()["exact"] is False
    assert not running.serving.registry.get("l").store.learner.remembers(1)
    assert running.client.delete(f"{SAMPLES}/1").status_code == 404


def retire_all(folder):
    with sqlite3.connect(folder / "journal.db") as connection:
        connection.execute("DELETE FROM operation")
        connection.execute("DELETE FROM sample")
        connection.execute("UPDATE fact SET value=1 WHERE name LIKE '%_sequence'")
    connection.close()


def correct_everything(client):
    client.post(SAMPLES, json=lesson(0, 1, 2, 3, 4, 5))
    client.patch(f"{SAMPLES}/2", json={"label": "class 3"})
    client.delete(f"{SAMPLES}/1")
    client.post(SAMPLES, json=lesson(0, 1, seed=5))
    client.post(f"{LEARNER}/classes/class 4/merge", json={"into": "class 5"})
    client.patch(f"{LEARNER}/classes/class 5", json={"name": "five"})
    client.delete(f"{LEARNER}/classes/class 2")
    client.post(SAMPLES, json=lesson(6, 2, seed=7))


@pytest.mark.parametrize("strategy", ["ar1", "slda", "slda_replay", "cwr", "ranpac"])
def test_a_replay_of_corrections_changes_no_bit(start, folder, strategy):
    running = start()
    options = {"width": 16} if strategy == "ranpac" else {}
    add_learner(running.client, strategy=strategy, options=options)
    correct_everything(running.client)
    if strategy in ("ar1", "cwr"):
        assert "exact=False" in deny(running, 0, "class 0").body
    before = scores(running), labels(running), counts(running)
    running = restart_after(running, start, lambda: None, forget_snapshots=folder)
    assert (scores(running), labels(running), counts(running)) == before
    assert before[0] == uninterrupted(running)


def test_corrections_survive_a_kill(servers):
    server = servers()
    add_learner(server.client, strategy="slda")
    correct_everything(server.client)
    listed, known = (server.client.get(f"{LEARNER}{path}").json() for path in ("/samples", ""))
    server.end(signal.SIGKILL)
    server = servers()
    assert server.client.get(SAMPLES).json() == listed
    after = server.client.get(LEARNER).json()
    assert (after["version"], after["samples_seen"]) == (known["version"], known["samples_seen"])


def test_a_salvaged_journal_is_listed_with_its_corrections(latents, tmp_path):
    correct_everything(latents.client)
    journal = latents.serving.registry.get("l").store.journal
    salvaged = Journal(tmp_path / "salvaged.db")
    salvaged.adopt({}, {}, list(journal.rows()))
    query = "SELECT id, sequence, label FROM sample ORDER BY id"
    with salvaged.reading() as new, journal.reading() as old:
        assert new.execute(query).fetchall() == old.execute(query).fetchall() != []
    salvaged.close()


def test_a_repeated_correction_is_done_once(latents):
    latents.client.post(SAMPLES, json=lesson(0, 1))
    key = {"Idempotency-Key": "k"}
    first = latents.client.delete(f"{SAMPLES}/1", headers=key)
    again = latents.client.delete(f"{SAMPLES}/1", headers=key)
    assert first.content == again.content
    assert again.headers["Idempotent-Replayed"] == "true"
    other = latents.client.delete(f"{SAMPLES}/2", headers=key)
    assert other.json()["type"].endswith("key-reused")


def test_if_match_refuses_what_was_decided_on_another_version(latents):
    client = latents.client
    client.post(SAMPLES, json=lesson(0, 1))
    seen = {"If-Match": client.get(LEARNER).headers["ETag"]}
    client.post(SAMPLES, json=lesson(2))
    changes = [
        client.post(SAMPLES, json=lesson(3), headers=seen),
        client.post(f"{LEARNER}/experience/end", headers=seen),
        client.patch(f"{SAMPLES}/1", json={"label": "x"}, headers=seen),
        client.delete(f"{SAMPLES}/1", headers=seen),
        client.patch(f"{LEARNER}/classes/class 0", json={"name": "x"}, headers=seen),
        client.post(f"{LEARNER}/classes/class 0/merge", json={"into": "class 1"}, headers=seen),
        client.delete(f"{LEARNER}/classes/class 0", headers=seen),
        client.patch(LEARNER, json={"memory_budget": 200_000}, headers=seen),
        client.delete(LEARNER, headers=seen),
        client.delete(f"{SAMPLES}/1", headers={"If-Match": 'W/"v2"'}),
        client.delete(f"{SAMPLES}/1", headers={"If-Match": "nonsense"}),
    ]
    for answer in changes:
        assert answer.status_code == 412
        assert answer.json()["type"].endswith("precondition-failed")
        assert "version v2" in answer.json()["detail"]
    assert client.get(LEARNER).json()["version"] == 2
    for version, tag in ((3, '"v1", "v2"'), (4, "*"), (5, '"v4"')):
        answer = client.post(SAMPLES, json=lesson(0), headers={"If-Match": tag})
        assert answer.json()["version"] == version
    assert client.delete(LEARNER, headers={"If-Match": '"v5"'}).status_code == 204


@pytest.mark.parametrize("path", [LEARNER, f"{LEARNER}/classes", SAMPLES])
def test_an_unchanged_read_is_304(latents, path):
    latents.client.post(SAMPLES, json=lesson(0))
    tag = latents.client.get(path).headers["ETag"]
    for given in (tag, f'"x", W/{tag}', "*"):
        answer = latents.client.get(path, headers={"If-None-Match": given})
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", tag)
    latents.client.post(SAMPLES, json=lesson(0))
    assert latents.client.get(path, headers={"If-None-Match": tag}).status_code == 200


def test_bad_corrections_are_refused_and_change_nothing(latents):
    client = latents.client
    client.post(SAMPLES, json=lesson(0, 1))
    for method, path, body, status in [
        ("PATCH", f"{SAMPLES}/1", {"label": ""}, 422),
        ("PATCH", f"{SAMPLES}/1", {"label": "x" * 200}, 422),
        ("PATCH", f"{SAMPLES}/1", {"name": "x"}, 422),
        ("PATCH", f"{SAMPLES}/1", {}, 422),
        ("PATCH", f"{SAMPLES}/9", {"label": "x"}, 404),
        ("DELETE", f"{SAMPLES}/0", None, 422),
        ("DELETE", f"{SAMPLES}/99999", None, 404),
        ("PATCH", f"{LEARNER}/classes/none", {"name": "x"}, 404),
        ("PATCH", f"{LEARNER}/classes/class 0", {"name": "class 1"}, 409),
        ("POST", f"{LEARNER}/classes/class 0/merge", {"into": "class 0"}, 409),
        ("POST", f"{LEARNER}/classes/class 0/merge", {"into": "none"}, 404),
        ("DELETE", f"{LEARNER}/classes/none", None, 404),
        ("DELETE", "/v1/learners/none/samples/1", None, 404),
    ]:
        answer = client.request(method, path, json=body)
        assert answer.status_code == status, (method, path, answer.text)
    assert client.get(LEARNER).json()["version"] == 1


def test_two_requests_to_forget_one_sample_that_wait_together(latents):
    client = latents.client
    client.post(SAMPLES, json=lesson(0, 1))
    worker = latents.serving.registry.get("l").worker
    from service.plans import forget_sample

    jobs = [Job(forget_sample(1), lambda _: Reply(200, "{}")) for _ in range(2)]
    worker._queue.put_back(jobs)
    assert jobs[0].reply.result(10).status == 200
    with pytest.raises(Exception, match="was forgotten"):
        jobs[1].reply.result(10)


def test_every_correction_comes_back_from_its_row_as_it_was(latents):
    correct_everything(latents.client)
    rows = latents.serving.registry.get("l").store.journal.rows()
    kinds = set()
    for row in rows:
        operation = decode(row.kind, row.header, row.payload)
        kinds.add(operation.kind)
        assert isinstance(operation, Lesson) or operation.encode() == (row.header, row.payload)
    assert kinds == {"learn", "relabel", "forget", "merge_classes", "rename_class"}
