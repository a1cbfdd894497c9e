"""Idle learners and the idle extractor: out of the memory, and back as they were."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
from serving_kit import Running, add_learner, jpeg, latent, lesson, settings_for

from service import idle
from service.jobs import Job, Reply
from service.machine import resident_bytes, return_memory
from service.operations import Lesson, Sample
from service.snapshots import Snapshots

SAMPLES = "/v1/learners/l/samples"
QUESTION = {"samples": [{"latent": latent(kind, 90 + kind)} for kind in range(4)]}
IDLE_S = 0.01
LIMIT_S = 30.0


def put_away(running, name="l"):
    """Wait until the learner has left the memory."""
    worker, end = running.serving.registry.get(name).worker, time.monotonic() + LIMIT_S
    while worker.view.loaded:
        assert time.monotonic() < end
        worker._queue.wake()
    return worker


def asked(running):
    answer = running.client.post("/v1/learners/l/predict?top_k=9", json=QUESTION)
    assert answer.status_code == 200, answer.text
    return answer.json()["model_version"], [one["top"] for one in answer.json()["predictions"]]


def taught(running, rows):
    for row in rows:
        answer = running.client.post(SAMPLES, json=lesson(row % 3, seed=row))
        assert answer.status_code == 201, answer.text


def test_a_learner_comes_back_to_the_bit_and_learns_on(start):
    running = start(idle_unload_s=IDLE_S)
    for name in ("l", "m"):
        add_learner(running.client, name, strategy="ar1", options={"hidden": [8]})
    taught(running, range(8))
    before = asked(running)
    worker = put_away(running)
    assert worker.unsaved_operations == 0
    state = running.client.get("/v1/learners/l").json()
    assert (state["loaded"], state["samples_seen"]) == (False, 8)
    assert running.client.get(SAMPLES).json()["total"] == 8
    assert running.client.get("/metrics").status_code == 200
    assert not worker.view.loaded
    assert asked(running) == before
    put_away(running)
    taught(running, range(8, 14))
    for row in range(14):
        body = lesson(row % 3, seed=row)
        running.client.post("/v1/learners/m/samples", json=body)
    others = running.client.post("/v1/learners/m/predict?top_k=9", json=QUESTION).json()
    assert asked(running)[1] == [one["top"] for one in others["predictions"]]


def test_many_ask_at_once_for_a_learner_that_is_away(start):
    running = start(idle_unload_s=IDLE_S)
    add_learner(running.client)
    taught(running, range(4))
    before, found = asked(running), []
    put_away(running)
    threads = [threading.Thread(target=lambda: found.append(asked(running))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [before] * 8


def test_a_damaged_snapshot_is_made_good_from_the_journal(start):
    running = start(idle_unload_s=IDLE_S)
    add_learner(running.client)
    taught(running, range(5))
    before = asked(running)
    worker = put_away(running)
    folder = running.serving.registry.get("l").store.folder / "snapshots"
    sequence = Snapshots(folder).sequences()[0]
    (path,) = folder.glob(f"*{sequence}.snapshot")
    path.write_bytes(b"damaged")
    assert asked(running) == before
    assert worker.failure is None


def test_what_only_looks_does_not_wake_and_export_does(start):
    running = start(idle_unload_s=IDLE_S)
    add_learner(running.client)
    taught(running, range(3))
    worker = put_away(running)
    for path in ("", "/classes", "/metrics", "/samples", "/export"):
        assert running.client.get(f"/v1/learners/l{path}").status_code == 200
    assert not worker.view.loaded
    assert running.client.delete("/v1/learners/l").status_code == 204


def test_memory_goes_back_to_the_system(tmp_path):
    """In a process of its own, so that nothing but the learner takes or gives memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        size, given_back = pool.submit(memory_given_back, tmp_path / "data").result(120)
    assert size > 7e6
    assert given_back > size * 0.6


def memory_given_back(folder):
    """Bytes of a filled learner, and by how much less is resident once it is put away."""
    running = Running(settings_for(folder, idle_unload_s=1.0), None)
    try:
        options = {"strategy": "replay", "memory_budget": "8MiB", "dim": 4096}
        running.client.post("/v1/learners", json={"name": "l", **options})
        rng = np.random.default_rng(0)
        served = running.serving.registry.get("l")
        for _ in range(5):
            latents = rng.standard_normal((128, 4096)).astype(np.float32)
            job = Job(Lesson(latents, (Sample("a"),) * 128), lambda receipt: Reply(201, "{}"))
            served.worker.submit(job).result(60)
        return_memory()
        size = sum(array.nbytes for array in served.store.learner._strategy.arrays().values())
        held = resident_bytes()
        put_away(running)
        return size, held - resident_bytes()
    finally:
        running.close()


def test_the_extractor_is_released_and_loads_itself_again(start, extractor):
    class Turns:
        """Ends after one look."""

        def __init__(self):
            self.left = 1

        def wait(self, _):
            self.left -= 1
            return self.left < 0

    running = start(extractor)
    headers = {"Content-Type": "image/jpeg"}
    ask = "/v1/learners/default/predict"
    send = {"content": jpeg(0), "headers": headers, "params": {"label": "red"}}
    running.client.post("/v1/learners/default/samples", **send)
    before = running.client.post(ask, content=jpeg(1), headers=headers).json()["predictions"]
    maker = running.serving._maker
    idle.release_when_idle(extractor, lambda: maker.used_at, 3600.0, Turns())
    assert extractor.loaded
    idle.release_when_idle(extractor, lambda: maker.used_at - 3600.0, 3600.0, Turns())
    assert running.client.get("/v1/info").json()["extractor"]["loaded"] is False
    after = running.client.post(ask, content=jpeg(1), headers=headers).json()["predictions"]
    assert before[0]["top"] == after[0]["top"]
    assert extractor.loaded
