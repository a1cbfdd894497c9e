"""A learner after a restart: what the snapshot and the journal say together."""

from __future__ import annotations

import json
import shutil
import sqlite3

import numpy as np
import pytest
from serving_kit import DIM, add_learner, latent, lesson

from edge_cl import Learner
from service.operations import decode
from service.snapshots import DamagedSnapshot, Snapshots

SAMPLES = "/v1/learners/l/samples"
PROBE = {"samples": [{"latent": latent(kind, 50 + kind)} for kind in range(DIM)]}


def scores(running):
    answer = running.client.post("/v1/learners/l/predict?top_k=100", json=PROBE).json()
    return [one["top"] for one in answer["predictions"]]


def uninterrupted(running):
    """The same journal, learned by a learner that never stopped."""
    store = running.serving.registry.get("l").store
    learner = store.origin.create()
    for row in store.journal.rows():
        decode(row.kind, row.header, row.payload).apply(learner, row.first_id)
    probe = np.array([one["latent"] for one in PROBE["samples"]], dtype=np.float32)
    return [
        [{"label": label, "score": score} for label, score in one.top]
        for one in learner.predict_latents(probe, top_k=100)
    ]


def teach(running, rounds, first=0):
    for number in range(first, first + rounds):
        kinds = [number % DIM, (number + 1) % DIM]
        answer = running.client.post(SAMPLES, json=lesson(*kinds, seed=10 * number))
        assert answer.status_code == 201
        if number % 5 == 4:
            assert running.client.post("/v1/learners/l/experience/end").status_code == 200


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "learners" / "l"


@pytest.mark.parametrize("strategy", ["ar1", "slda", "replay", "cwr", "gdumb"])
def test_a_restart_changes_no_bit(start, strategy):
    running = start(snapshot_operations=7)
    add_learner(running.client, strategy=strategy)
    teach(running, 12)
    running = start(snapshot_operations=7)
    teach(running, 12, first=12)
    assert scores(running) == uninterrupted(running)


def test_a_damaged_snapshot_falls_back_to_the_one_before(start, folder):
    running = start(snapshot_operations=5)
    add_learner(running.client, strategy="slda")
    teach(running, 20)
    running = start(snapshot_operations=1000)
    teach(running, 3, first=20)
    before = scores(running)
    shutil.copytree(folder, folder.parent.parent.parent / "crashed")
    running = start(snapshot_operations=1000)
    assert len(list((folder / "snapshots").iterdir())) == 2
    newest = max((folder / "snapshots").iterdir())
    running = restart_after(running, start, lambda: flip(newest))
    assert scores(running) == before == uninterrupted(running)
    assert running.client.get("/readyz").json()["status"] == "ready"
    assert next((folder / "quarantine").iterdir()).name == newest.name


def test_without_any_snapshot_the_whole_journal_is_learned_again(start, folder):
    running = start(snapshot_operations=5)
    add_learner(running.client, strategy="slda")
    teach(running, 12)
    before = scores(running)
    running = restart_after(
        running, start, lambda: [flip(path) for path in (folder / "snapshots").iterdir()]
    )
    assert scores(running) == before


def test_a_damaged_row_is_said_loudly_and_the_rest_is_learned(start, folder):
    running = start()
    add_learner(running.client, strategy="ncm")
    teach(running, 10)
    running = restart_after(running, start, lambda: damage(folder, 3), forget_snapshots=folder)
    ready = running.client.get("/readyz?verbose")
    assert ready.status_code == 200
    assert ready.json()["status"] == "degraded"
    assert "operations 3 to 3 (2 samples) are LOST" in ready.json()["checks"]["journal l"][0]
    assert running.client.get("/v1/learners/l").json()["damages"][0]["learned"] is False
    assert 'journal_lost_operations{learner="l"} 1.0' in running.client.get("/metrics").text
    assert running.client.get(SAMPLES).json()["total"] == 18
    assert scores(running) == uninterrupted(running)
    assert running.client.post(SAMPLES, json=lesson(0)).status_code == 201


def test_a_row_that_cannot_be_learned_stops_the_learner_and_keeps_it_answering(
    start, folder, monkeypatch
):
    running = start()
    add_learner(running.client, strategy="ncm")
    teach(running, 3)
    before = scores(running)
    learn = Learner.learn_latents

    def broken(self, latents, labels, *rest):
        if "class 7" in labels:
            raise RuntimeError("a bug")
        learn(self, latents, labels, *rest)

    monkeypatch.setattr(Learner, "learn_latents", broken)
    answer = running.client.post(SAMPLES, json=lesson(7))
    assert answer.status_code == 503
    assert answer.json()["type"].endswith("learner-failed")
    ready = running.client.get("/readyz")
    assert ready.status_code == 503
    assert "a bug" in ready.json()["checks"]["learner l"]
    assert running.client.post(SAMPLES, json=lesson(0)).status_code == 503
    assert scores(running) == before
    running = start()
    assert running.client.get("/readyz").status_code == 503
    monkeypatch.setattr(Learner, "learn_latents", learn)
    running = start()
    assert running.client.get("/readyz").status_code == 200
    classes = running.client.get("/v1/learners/l/classes").json()["classes"]
    assert {one["label"]: one["samples"] for one in classes}["class 7"] == 1


def test_a_learner_of_another_extractor_is_not_opened(start, extractor, folder):
    running = start(extractor)
    path = folder.parent / "default" / "learner.json"
    content = path.read_text().replace(extractor.manifest.sha256, "0" * 64)
    running = restart_after(running, lambda: start(extractor), lambda: path.write_text(content))
    assert running.client.get("/readyz").status_code == 503
    answer = running.client.get("/v1/learners/default")
    assert answer.status_code == 503
    assert "old model file" in answer.json()["detail"]
    assert "teach it again" in answer.json()["detail"]


def test_a_learner_keeps_the_defaults_it_was_created_with(start, folder):
    running = start()
    add_learner(running.client, strategy="ar1", options={"epochs": 2})
    written = json.loads((folder / "learner.json").read_text())["options"]
    assert written == running.client.get("/v1/learners/l").json()["options"]
    assert written["epochs"] == 2
    assert len(written) > 5


def test_half_created_and_half_deleted_learners_are_swept_away(start, folder):
    start()
    for name in (".new-1", ".gone-2"):
        (folder.parent / name).mkdir()
    start()
    assert [path.name for path in folder.parent.iterdir()] == []


def test_one_folder_serves_one_process(start, tmp_path):
    from service.config import ConfigError
    from service.registry import take_folder

    start()
    with pytest.raises(ConfigError, match="in use"):
        take_folder(tmp_path / "data")


def test_snapshots_are_checked_byte_by_byte(tmp_path):
    snapshots = Snapshots(tmp_path)
    for sequence in (3, 5, 9):
        snapshots.write(sequence, 4, b"body %d" % sequence)
    assert snapshots.sequences() == [9, 5]
    assert snapshots.read(9).body == b"body 9"
    path = max(tmp_path.iterdir())
    whole = path.read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1
        path.write_bytes(changed)
        try:
            snapshot = snapshots.read(9)
        except DamagedSnapshot:
            continue
        assert snapshot.body == b"body 9"
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedSnapshot):
            snapshots.read(9)


def restart_after(running, start, change, forget_snapshots=None):
    """End the service, change its files, start it again."""
    running.close()
    if forget_snapshots is not None:
        shutil.rmtree(forget_snapshots / "snapshots")
    change()
    running.close = lambda: None
    return start()


def flip(path):
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)


def damage(folder, sequence):
    with sqlite3.connect(folder / "journal.db") as connection:
        connection.execute("UPDATE operation SET payload='x' WHERE sequence=?", (sequence,))
    connection.close()
