"""A full disk: 507, nothing acknowledged is lost, and it goes on when there is room."""

from __future__ import annotations

import os
import subprocess
import time

import pytest
from serving_kit import Running, add_learner, latent, lesson, settings_for

from service.ballast import Ballast

SAMPLES = "/v1/learners/l/samples"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("a small file system cannot be mounted here (that needs root)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(path):
    with path.open("wb", buffering=0) as file:
        for size_bytes in (65_536, 4096, 512, 1):
            while True:
                try:
                    if file.write(b"x" * size_bytes) < size_bytes:
                        break
                except OSError:
                    break


def test_a_full_file_system(small_disk):
    running = Running(settings_for(small_disk / "data"), None)
    try:
        client = running.client
        add_learner(client)
        acknowledged = []
        for kind in range(4):
            acknowledged += client.post(SAMPLES, json=lesson(kind)).json()["ids"]
        fill(small_disk / "filler")
        answers = [client.post(SAMPLES, json=lesson(*[0] * 100)) for _ in range(8)]
        assert answers[-1].status_code == 507
        assert answers[-1].json()["type"].endswith("disk-full")
        for answer in answers:
            if answer.status_code == 201:
                acknowledged += answer.json()["ids"]
        asked = client.post("/v1/learners/l/predict", json={"samples": [{"latent": latent(2)}]})
        assert asked.json()["predictions"][0]["label"] == "class 2"
        assert client.get("/readyz").status_code == 503
        refused = client.post("/v1/learners", json={"name": "m", "dim": 8})
        assert refused.json()["type"].endswith("disk-full")
        running.close()
        fill(small_disk / "more")
        running = Running(settings_for(small_disk / "data"), None)
        client = running.client
        assert client.post(SAMPLES, json=lesson(*[0] * 100)).status_code in (503, 507)
        assert client.get("/readyz").status_code == 503
        (small_disk / "filler").unlink()
        (small_disk / "more").unlink()
        deadline = time.monotonic() + 20
        while client.get("/readyz").status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        acknowledged += client.post(SAMPLES, json=lesson(7)).json()["ids"]
        assert client.get("/readyz").status_code == 200
        running.close()
        running = Running(settings_for(small_disk / "data"), None)
        items = running.client.get(SAMPLES + "?limit=1000").json()["items"]
        assert [item["id"] for item in items] == acknowledged
    finally:
        running.close()


def test_a_database_that_may_not_grow(latents):
    """The same by SQLite's own limit, which needs no root."""
    assert latents.client.post(SAMPLES, json=lesson(0)).status_code == 201
    connection = latents.serving.registry.get("l").store.journal._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages}")
    answer = latents.client.post(SAMPLES, json=lesson(*[0] * 200))
    assert answer.status_code == 507
    assert "nothing was stored" in answer.json()["detail"]
    assert latents.client.get("/readyz").status_code == 503
    connection.execute("PRAGMA max_page_count=1000000")
    time.sleep(1.1)
    assert latents.client.post(SAMPLES, json=lesson(*[0] * 200)).status_code == 201
    assert latents.client.get("/readyz").status_code == 200
    assert latents.client.get(SAMPLES).json()["total"] == 201


def test_ballast_is_real_disk_and_comes_back(tmp_path):
    path = tmp_path / "ballast"
    ballast = Ballast(path, 100_000)
    assert ballast.hold()
    assert os.stat(path).st_blocks * 512 >= 100_000
    ballast.release()
    assert not path.exists()
    assert not ballast.hold()
    time.sleep(1.05)
    assert ballast.hold()


def test_old_samples_make_room_for_new_ones(start):
    running = start(journal_bytes="300KiB", snapshot_operations=4)
    add_learner(running.client, memory_budget="64KiB")
    for _ in range(40):
        assert running.client.post(SAMPLES, json=lesson(*[0, 1] * 100)).status_code == 201
    store = running.serving.registry.get("l").store
    deadline = time.monotonic() + 10
    while store.over_size and time.monotonic() < deadline:
        time.sleep(0.1)
    listing = running.client.get(SAMPLES).json()
    assert listing["total"] == 8000
    assert listing["retired"] > 0
    assert listing["items"][0]["id"] == listing["retired"] + 1
    assert running.client.get(SAMPLES + "/1").status_code == 404
    running = start(journal_bytes="300KiB", snapshot_operations=4)
    assert running.client.get("/readyz").json()["status"] == "ready"
    classes = running.client.get("/v1/learners/l/classes").json()["classes"]
    assert [one["samples"] for one in classes] == [4000, 4000]
