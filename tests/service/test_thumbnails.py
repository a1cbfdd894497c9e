"""Small pictures of samples: within their budget, gone with what is forgotten, in nobody's way."""

from __future__ import annotations

import io
import json
import os
import signal
import threading

import numpy as np
import pytest
from PIL import Image
from serving_kit import OwnServer, add_learner, jpeg, latent, lesson

from edge_cl.client import Client
from service.store import Store
from service.thumbnails import LEAST_BUDGET, Thumbnails, thumbnail

LEARNER = "/v1/learners/default"
SAMPLES = f"{LEARNER}/samples"
JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture
def images(start, extractor):
    """A service whose learner `default` keeps thumbnails."""
    running = start(extractor)
    answer = running.client.patch(LEARNER, json={"thumbnail_budget": "2MiB"})
    assert answer.json()["thumbnail_budget"] == 2**21
    return running


def teach(client, *labels, size=64):
    for seed, label in enumerate(labels):
        asked = {"label": label}
        content = jpeg(seed % 3, seed, size)
        assert client.post(SAMPLES, params=asked, content=content, headers=JPEG).status_code == 201


def pictured(client, url=SAMPLES):
    return [one["id"] for one in client.get(url).json()["items"] if one["thumbnail"]]


def stored(path):
    """What the file itself still has, byte by byte."""
    return (path / "thumbnails.db").read_bytes()


def noise(seed, side=96):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return thumbnail(Image.fromarray(pixels))


def test_nothing_is_kept_unless_it_is_asked_for(start, extractor):
    running = start(extractor)
    teach(running.client, "red")
    state = running.client.get(LEARNER).json()
    assert (state["thumbnail_budget"], state["thumbnail_used"]) == (0, 0)
    assert pictured(running.client) == []
    answer = running.client.get(f"{SAMPLES}/1/thumbnail")
    assert answer.status_code == 404
    assert "keeps no thumbnails" in answer.json()["detail"]
    folder = running.serving.registry.get("default").store.folder
    assert not (folder / "thumbnails.db").exists()


def test_a_taught_image_has_a_picture_of_its_own_shape(images):
    wide = io.BytesIO()
    Image.open(io.BytesIO(jpeg(1, size=300))).resize((300, 100)).save(wide, "PNG")
    files = [("file", ("a.png", wide.getvalue())), ("file", ("b.jpg", jpeg(2, size=40)))]
    images.client.post(SAMPLES, files=files, data={"label": ["wide", "small"]})
    answer = images.client.get(f"{SAMPLES}/1/thumbnail")
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["Cache-Control"] == "no-store"
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.size == (96, 32)
    assert np.asarray(picture).mean((0, 1)).argmax() == 1
    small = Image.open(io.BytesIO(images.client.get(f"{SAMPLES}/2/thumbnail").content))
    assert small.size == (40, 40)
    assert pictured(images.client) == [1, 2]
    assert images.client.get(f"{SAMPLES}/2").json()["thumbnail"] is True
    assert 0 < images.client.get(LEARNER).json()["thumbnail_used"] <= 2**21


def test_what_is_learned_is_the_same_with_and_without(images):
    teach(images.client, "red", "green")
    images.client.patch(LEARNER, json={"thumbnail_budget": 0})
    teach(images.client, "red", "green")
    rows = list(images.serving.registry.get("default").store.journal.rows())
    assert [row.payload for row in rows[:2]] == [row.payload for row in rows[2:]]


def test_a_picture_has_nothing_but_pixels():
    exif = Image.Exif()
    exif[0x010E] = "at the back door"
    encoded = io.BytesIO()
    photo = Image.new("RGB", (200, 100), "red")
    photo.save(encoded, "JPEG", exif=exif, comment=b"somebody", icc_profile=b"a profile")
    picture = thumbnail(Image.open(encoded))
    assert not {"exif", "comment", "icc_profile"} & set(Image.open(io.BytesIO(picture)).info)
    assert b"somebody" not in picture


def test_forgetting_deletes_the_picture_also_from_the_file(images):
    teach(images.client, "red", "green", "green")
    folder = images.serving.registry.get("default").store.folder
    first, second = (images.client.get(f"{SAMPLES}/{n}/thumbnail").content for n in (1, 2))
    # What lies in one of the pages that the picture fills.
    assert first[-400:] in stored(folder)
    images.client.delete(f"{SAMPLES}/1")
    assert images.client.get(f"{SAMPLES}/1/thumbnail").status_code == 404
    assert first[-400:] not in stored(folder)
    images.client.delete(f"{LEARNER}/classes/green")
    assert second[-400:] not in stored(folder)
    images.client.post(f"{LEARNER}/undo")
    assert [one["id"] for one in images.client.get(SAMPLES).json()["items"]] == [2, 3]
    answer = images.client.get(f"{SAMPLES}/2/thumbnail")
    assert (answer.status_code, "has no thumbnail" in answer.json()["detail"]) == (404, True)


def test_what_is_undone_has_no_picture_and_relabelled_samples_keep_theirs(images):
    teach(images.client, "red", "green")
    images.client.patch(f"{SAMPLES}/1", json={"label": "other"})
    assert pictured(images.client) == [1, 2]
    images.client.post(f"{LEARNER}/rollback", json={"to": 1})
    assert pictured(images.client) == [1]
    assert len(images.serving.registry.get("default").store.thumbnails.between(1, 9)) == 1


def test_what_the_journal_drops_has_no_picture(images):
    served = images.serving.registry.get("default")
    teach(images.client, "red", "green")
    served.worker.save_now().result(30)
    teach(images.client, "blue")
    served.worker.save_now().result(30)
    # From now on the journal is too large, and the worker shortens it when it has time.
    served.store._journal_bytes = 0
    for _ in range(300):
        if served.store.thumbnails.between(1, 9) != {1, 2, 3}:
            break
        threading.Event().wait(0.1)
    assert served.store.thumbnails.between(1, 9) == {3}
    assert pictured(images.client) == [3]
    assert images.client.get(SAMPLES).json()["retired"] == 2


def test_a_smaller_budget_keeps_the_newest_and_none_deletes_the_file(images):
    teach(images.client, *["red"] * 80, size=96)
    assert pictured(images.client) == list(range(1, 81))
    tag = images.client.get(SAMPLES).headers["ETag"]
    state = images.client.patch(LEARNER, json={"thumbnail_budget": "64KiB"}).json()
    assert state["thumbnail_used"] <= 65_536
    left = pictured(images.client)
    assert 10 < len(left) < 80
    assert left == list(range(81 - len(left), 81))
    fresh = images.client.get(SAMPLES, headers={"If-None-Match": tag})
    assert fresh.status_code == 200
    folder = images.serving.registry.get("default").store.folder
    assert (folder / "thumbnails.db").stat().st_size <= 65_536
    images.client.patch(LEARNER, json={"thumbnail_budget": 0})
    assert not (folder / "thumbnails.db").exists()
    assert pictured(images.client) == []


def test_the_file_never_outgrows_the_budget(tmp_path):
    path, budget = tmp_path / "thumbnails.db", 100_000
    kept = Thumbnails(path, budget)
    random = np.random.default_rng(0)
    for lesson_number in range(60):
        first = lesson_number * 10 + 1
        kept.add({first + n: noise(n, int(random.integers(8, 97))) for n in range(10)})
        assert path.stat().st_size <= budget
        assert kept.used_bytes == path.stat().st_size
        assert (tmp_path / "thumbnails.db-journal").stat().st_size == 0
    held = sorted(kept.between(1, 10_000))
    # The newest, without a gap, and in most of the room that they may take.
    assert held == list(range(601 - len(held), 601))
    assert path.stat().st_size > 0.8 * budget
    kept.add({9_000: bytes(200_000)})
    assert kept.get(9_000) is None
    kept.close()


def test_pictures_survive_a_killed_process_and_a_damaged_file_is_begun_anew(servers, tmp_path):
    server: OwnServer = servers()
    server.client.patch(LEARNER, json={"thumbnail_budget": "256KiB"})
    teach(server.client, "red", "green", "blue")
    before = server.client.get(f"{SAMPLES}/2/thumbnail").content
    server.end(signal.SIGKILL)
    server.start()
    assert server.client.get(f"{SAMPLES}/2/thumbnail").content == before
    assert pictured(server.client) == [1, 2, 3]
    server.end(signal.SIGKILL)
    path = server.folder / "learners" / "default" / "thumbnails.db"
    path.write_bytes(os.urandom(5000))
    server.start()
    assert server.client.get("/readyz").status_code == 200
    assert pictured(server.client) == []
    teach(server.client, "red")
    assert pictured(server.client) == [4]


def test_a_forgotten_sample_has_no_picture_after_a_crash_between_the_two(
    start, extractor, monkeypatch
):
    running = start(extractor)
    running.client.patch(LEARNER, json={"thumbnail_budget": "256KiB"})
    teach(running.client, "red", "green")
    monkeypatch.setattr(Store, "_drop_unlisted_thumbnails", lambda self: None)
    running.client.delete(f"{SAMPLES}/1")
    assert running.client.get(f"{SAMPLES}/1/thumbnail").status_code == 404
    folder = running.serving.registry.get("default").store.folder
    running.close()
    monkeypatch.undo()
    running = start(extractor)
    assert running.serving.registry.get("default").store.thumbnails.between(1, 9) == {2}
    assert folder.exists()


def test_an_archive_has_no_pictures_and_the_learner_of_it_makes_its_own(images):
    teach(images.client, "red")
    archive = images.client.get(f"{LEARNER}/export").content
    head = {"Content-Type": "application/zstd"}
    answer = images.client.post("/v1/learners/import?name=copy", content=archive, headers=head)
    assert answer.json()["thumbnail_budget"] == 2**21
    assert pictured(images.client, "/v1/learners/copy/samples") == []
    answer = images.client.get("/v1/learners/copy/samples/1/thumbnail")
    assert "has no thumbnail" in answer.json()["detail"]


def test_the_inbox_shows_a_picture_and_feedback_hands_it_on(images):
    teach(images.client, "red", "green")
    images.client.post(f"{LEARNER}/predict", content=jpeg(2, 9), headers=JPEG)
    (waiting,) = images.client.get(f"{LEARNER}/inbox").json()["items"]
    assert waiting["thumbnail"] is True
    where = f"{LEARNER}/predictions/{waiting['prediction_id']}"
    picture = images.client.get(f"{where}/thumbnail").content
    log = images.serving.registry.get("default").predictions
    with_picture = log.used_bytes
    images.client.post(f"{where}/feedback", json={"label": "blue"})
    assert images.client.get(f"{SAMPLES}/3/thumbnail").content == picture
    assert images.client.get(f"{where}/thumbnail").status_code == 404
    assert log.used_bytes == with_picture - len(picture)
    images.client.post(f"{LEARNER}/predict", content=jpeg(2, 9), headers=JPEG)
    images.client.patch(LEARNER, json={"thumbnail_budget": 0})
    (waiting,) = images.client.get(f"{LEARNER}/inbox").json()["items"]
    assert waiting["thumbnail"] is False


def test_latents_have_none_and_a_learner_of_latents_cannot_keep_any(images):
    code = images.serving.extractor.spec.to_float(
        np.zeros(images.serving.extractor.spec.dim, np.uint8)
    )
    body = {"samples": [{"label": "a", "latent": code.tolist()}]}
    assert images.client.post(SAMPLES, json=body).status_code == 201
    assert pictured(images.client) == []
    new = {"name": "l", "dim": 8, "thumbnail_budget": "1MiB"}
    answer = images.client.post("/v1/learners", json=new)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/thumbnail_budget"
    add_learner(images.client)
    answer = images.client.patch("/v1/learners/l", json={"thumbnail_budget": "1MiB"})
    assert "takes no images" in answer.json()["detail"]
    images.client.post("/v1/learners/l/samples", json=lesson(0))
    body = {"samples": [{"latent": latent(0)}]}
    asked = images.client.post("/v1/learners/l/predict", json=body).json()["predictions"][0]
    where = f"/v1/learners/l/predictions/{asked['prediction_id']}/thumbnail"
    assert images.client.get(where).status_code == 404


@pytest.mark.parametrize("budget", [1, LEAST_BUDGET - 1, "63KiB", -1, 2**40, "much"])
def test_a_budget_that_is_none_is_refused_and_changes_nothing(images, budget):
    answer = images.client.patch(LEARNER, json={"thumbnail_budget": budget})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/thumbnail_budget"
    assert images.client.get(LEARNER).json()["thumbnail_budget"] == 2**21


def test_a_learner_is_created_with_a_budget_that_a_restart_keeps(start, extractor):
    running = start(extractor)
    new = {"name": "cups", "thumbnail_budget": "128KiB"}
    assert running.client.post("/v1/learners", json=new).json()["thumbnail_budget"] == 131_072
    running.client.patch("/v1/learners/cups", json={"thumbnail_budget": "64KiB"})
    state = start(extractor).client.get("/v1/learners/cups").json()
    assert state["thumbnail_budget"] == 65_536
    written = json.loads(
        (running.serving.settings.folder / "learners" / "cups" / "learner.json").read_text()
    )
    assert written["thumbnail_budget"] == 65_536


def test_a_picture_that_cannot_be_kept_fails_no_lesson(images):
    teach(images.client, "red")
    store = images.serving.registry.get("default").store
    store.thumbnails._connection.execute("PRAGMA query_only=ON")
    teach(images.client, "red")
    assert images.client.get(SAMPLES).json()["total"] == 2
    assert pictured(images.client) == [1]


def test_the_clients_fetch_pictures(images):
    with Client(images.url) as client:
        client.teach(jpeg(0), "red")
        assert Image.open(io.BytesIO(client.thumbnail(1))).format == "JPEG"
        asked = client.predict(jpeg(0))
        assert client.prediction_thumbnail(asked.prediction_id)[:2] == b"\xff\xd8"
        assert client.change(thumbnail_budget=0)["thumbnail_used"] == 0
