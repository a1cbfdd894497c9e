"""What clients keep beside their samples: every door, its limits, and how long it stays."""

from __future__ import annotations

import base64
import io
import json
import signal
import tarfile
import threading
import zipfile
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import zstandard
from serving_kit import DIM, OwnServer, add_learner, jpeg, latent, lesson

from edge_cl.client import Client, ServiceProblem
from edge_cl.client.queue import OfflineQueue
from service.catalogue import Catalogue
from service.journal import Journal
from service.metadata import MOST_BYTES
from service.operations import Lesson, Sample
from service.records import Entry

SAMPLES = "/v1/learners/l/samples"
DEFAULT = "/v1/learners/default/samples"
DOOR = {"camera": "door", "box": [12, 40.5, 96], "night": False, "né": None}
FORMER = Path(__file__).parent / "former" / "cups.edge-cl.tar.zst"
"""An archive that was exported before samples had metadata."""


@pytest.fixture
def images(start, extractor):
    return start(extractor)


def kept(client, url=SAMPLES):
    return [one["metadata"] for one in client.get(url).json()["items"]]


def test_a_sample_of_json_keeps_its_metadata(latents):
    body = lesson(0, 1, 2)
    body["samples"][1]["metadata"] = DOOR
    assert latents.client.post(SAMPLES, json=body).status_code == 201
    assert kept(latents.client) == [None, DOOR, None]
    assert latents.client.get(f"{SAMPLES}/2").json()["metadata"] == DOOR


def test_lines_keep_it_taught_at_once_and_as_a_job(latents):
    lines = b"".join(
        json.dumps({"label": "a", "latent": latent(n), "metadata": {"n": n}}).encode() + b"\n"
        for n in range(3)
    )
    head = {"Content-Type": "application/x-ndjson"}
    latents.client.post(SAMPLES, content=lines, headers=head)
    asked = {"mode": "job", "metadata": '{"n": "of the upload"}'}
    more = lines + json.dumps({"label": "b", "latent": latent(4)}).encode()
    job = latents.client.post(SAMPLES, params=asked, content=more, headers=head).headers["Location"]
    while latents.client.get(job).json()["state"] in ("waiting", "running"):
        threading.Event().wait(0.01)
    numbers = [one["n"] for one in kept(latents.client)]
    assert numbers == [0, 1, 2, 0, 1, 2, "of the upload"]


def test_a_raw_image_has_it_in_the_query_or_in_a_header(images):
    head = {"Content-Type": "image/jpeg"}
    where = f"{DEFAULT}?label=red&metadata={quote(json.dumps(DOOR))}"
    assert images.client.post(where, content=jpeg(0), headers=head).status_code == 201
    plain = json.dumps(DOOR, ensure_ascii=False).encode()
    for text in (json.dumps(DOOR).encode(), plain):
        headers = {**head, "X-Sample-Metadata": text}
        answer = images.client.post(f"{DEFAULT}?label=red", content=jpeg(0), headers=headers)
        assert answer.status_code == 201, answer.text
    assert kept(images.client, DEFAULT) == [DOOR] * 3


def test_a_form_has_it_once_for_all_or_once_for_each(images):
    files = [("file", ("a", jpeg(0))), ("file", ("b", jpeg(1)))]
    each = {"label": ["red", "green"], "metadata": [json.dumps(DOOR), '{"n": 2}']}
    images.client.post(DEFAULT, files=files, data=each)
    images.client.post(DEFAULT, files=files, data={"label": "red", "metadata": '{"n": 3}'})
    assert kept(images.client, DEFAULT) == [DOOR, {"n": 2}, {"n": 3}, {"n": 3}]


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"text": "x" * (MOST_BYTES - 10)}, "2,049 bytes"),
        ({"text": "ü" * 1024}, "2,059 bytes"),
        ({"a": {"b": {"c": {}}}}, "more than 3 deep"),
        ({"a": [[[1]]]}, "more than 3 deep"),
        ([1], "a JSON list"),
        ("{}", "a JSON string"),
        (True, "a JSON boolean"),
        (7, "a JSON number"),
    ],
)
def test_what_is_no_small_object_is_refused_with_its_size(latents, metadata, said):
    body = lesson(0, 1)
    body["samples"][1]["metadata"] = metadata
    answer = latents.client.post(SAMPLES, json=body)
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert fault["pointer"] == "/samples/1/metadata"
    assert "at most 2,048 bytes and 3 levels" in fault["detail"]
    assert said in fault["detail"]
    assert kept(latents.client) == []


@pytest.mark.parametrize(
    "text", ['{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}', '{"\\udfff": 1}']
)
def test_what_no_json_can_say_is_refused(latents, text):
    body = f'{{"samples": [{{"label": "a", "latent": {latent(0)}, "metadata": {text}}}]}}'
    head = {"Content-Type": "application/json"}
    assert latents.client.post(SAMPLES, content=body, headers=head).status_code == 422


def test_metadata_of_exactly_the_limit_is_kept(latents):
    full = {"text": "x" * (MOST_BYTES - 11)}
    body = {"samples": [{"label": "a", "latent": latent(0), "metadata": full}]}
    assert latents.client.post(SAMPLES, json=body).status_code == 201
    assert kept(latents.client) == [full]


@pytest.mark.parametrize("text", ["{", "[]", "7", "[" * 4000, '{"a": 1', "\xff"])
def test_text_that_is_no_object_is_refused_where_it_stands(images, text):
    files = [("file", ("a", jpeg(0)))]
    answer = images.client.post(DEFAULT, files=files, data={"label": "a", "metadata": text})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/metadata"
    head = {"Content-Type": "image/jpeg"}
    asked = {"label": "a", "metadata": text}
    answer = images.client.post(DEFAULT, params=asked, content=jpeg(0), headers=head)
    assert answer.json()["errors"][0]["pointer"] == "query/metadata"
    head["X-Sample-Metadata"] = text.encode("latin-1")
    answer = images.client.post(f"{DEFAULT}?label=a", content=jpeg(0), headers=head)
    assert answer.json()["errors"][0]["pointer"] == "header/X-Sample-Metadata"


def test_the_same_key_with_other_metadata_is_another_request(latents):
    key = {"Idempotency-Key": "k"}
    first = lesson(0, metadata={"n": 1})
    assert latents.client.post(SAMPLES, json=first, headers=key).status_code == 201
    again = latents.client.post(SAMPLES, json=first, headers=key)
    assert again.headers["Idempotent-Replayed"] == "true"
    other = latents.client.post(SAMPLES, json=lesson(0, metadata={"n": 2}), headers=key)
    assert other.status_code == 422


def test_relabelling_keeps_it_and_forgetting_takes_it_away(latents):
    latents.client.post(SAMPLES, json=lesson(0, metadata=DOOR))
    latents.client.post(SAMPLES, json=lesson(0, metadata={"n": 2}))
    latents.client.patch(f"{SAMPLES}/1", json={"label": "other"})
    latents.client.patch("/v1/learners/l/classes/other", json={"name": "another"})
    assert latents.client.get(f"{SAMPLES}/1").json()["metadata"] == DOOR
    latents.client.delete(f"{SAMPLES}/1")
    assert latents.client.get(f"{SAMPLES}/1").status_code == 404
    assert kept(latents.client) == [{"n": 2}]
    latents.client.post("/v1/learners/l/undo")
    assert kept(latents.client) == [DOOR, {"n": 2}]
    latents.client.post("/v1/learners/l/rollback", json={"to": 1})
    assert kept(latents.client) == [DOOR]


def test_a_prediction_shows_it_in_the_inbox_and_hands_it_on_to_the_lesson(latents):
    latents.client.post(SAMPLES, json=lesson(0, 1))
    body = {"samples": [{"latent": latent(0, 5), "metadata": DOOR}]}
    latents.client.post("/v1/learners/l/predict", json=body)
    (waiting,) = latents.client.get("/v1/learners/l/inbox").json()["items"]
    assert waiting["metadata"] == DOOR
    where = f"/v1/learners/l/predictions/{waiting['prediction_id']}/feedback"
    assert latents.client.post(where, json={"label": "mug"}).status_code == 201
    assert kept(latents.client) == [None, None, DOOR]


def test_it_moves_with_its_learner(latents):
    latents.client.post(SAMPLES, json=lesson(0, 1, metadata=DOOR))
    archive = latents.client.get("/v1/learners/l/export").content
    head = {"Content-Type": "application/zstd"}
    answer = latents.client.post("/v1/learners/import?name=copy", content=archive, headers=head)
    assert answer.status_code == 201
    assert kept(latents.client, "/v1/learners/copy/samples") == [DOOR, DOOR]


def test_what_was_answered_survives_a_killed_process(servers):
    server: OwnServer = servers()
    add_learner(server.client)
    for n in range(5):
        answer = server.client.post(SAMPLES, json=lesson(n % 3, metadata={"n": n}))
        assert answer.status_code == 201
    server.end(signal.SIGKILL)
    server.start()
    assert kept(server.client) == [{"n": n} for n in range(5)]


def test_a_ruined_journal_is_rebuilt_with_it(tmp_path):
    path = tmp_path / "journal.db"
    journal = Journal(path)
    lessons = [
        Lesson(np.zeros((1, DIM), np.float32), (Sample("a", metadata=f'{{"n":{n}}}'),))
        for n in range(3)
    ]
    for n, one in enumerate(lessons, 1):
        journal.append([Entry(n, n, one)])
    rows = list(journal.rows())
    journal.close()
    other = Journal(tmp_path / "rebuilt.db")
    other.adopt({}, {}, rows)
    catalogue = Catalogue(other.path)
    assert [one.metadata for one in catalogue.samples(0, 9)] == [{"n": 0}, {"n": 1}, {"n": 2}]
    catalogue.close()
    other.close()


@pytest.mark.parametrize("content", ["[[[", b"\xff\x00", "[1]", "7", "[" * 100_000, '{"a": NaN}'])
def test_what_a_foreign_journal_has_in_its_place_breaks_no_listing(tmp_path, content):
    journal = Journal(tmp_path / "journal.db")
    lesson_of_one = Lesson(np.zeros((1, 1), np.float32), (Sample("a", metadata="{}"),))
    journal.append([Entry(1, 1, lesson_of_one)])
    with journal.reading() as connection:
        connection.execute("UPDATE metadata SET content=?", (content,))
    catalogue = Catalogue(journal.path)
    assert [one.metadata for one in catalogue.samples(0, 9)] == [None]
    catalogue.close()
    journal.close()


def test_it_counts_on_the_disk_and_goes_with_its_lesson(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    empty = journal.used_bytes()
    sample = Sample("a", metadata=json.dumps({"text": "x" * 1900}))
    for n in range(1, 101):
        journal.append([Entry(n, n, Lesson(np.zeros((1, 1), np.float32), (sample,)))])
    assert journal.used_bytes() - empty > 100 * 1900
    assert journal.retire(90, empty + 30_000) == 90
    with journal.reading() as connection:
        ids = [number for (number,) in connection.execute("SELECT id FROM metadata")]
    assert ids == list(range(91, 101))
    journal.void(95, "refused")
    with journal.reading() as connection:
        assert connection.execute("SELECT count(*) FROM metadata").fetchone() == (9,)
    journal.close()


def test_a_folder_and_an_archive_of_before_are_read(start, tmp_path):
    former = zstandard.ZstdDecompressor().decompress(FORMER.read_bytes())
    home = tmp_path / "data" / "learners" / "cups"
    home.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(former)) as tar:
        for name in ("learner.json", "journal.db"):
            (home / name).write_bytes(tar.extractfile(name).read())
    client = start().client
    head = {"Content-Type": "application/zstd"}
    answer = client.post("/v1/learners/import?name=copy", content=FORMER.read_bytes(), headers=head)
    assert answer.status_code == 201, answer.text
    body = {"samples": [{"latent": latent(2, 77)}]}
    for name in ("cups", "copy"):
        url = f"/v1/learners/{name}/samples"
        assert client.get(f"/v1/learners/{name}").json()["damages"] == []
        items = client.get(url).json()["items"]
        assert [(one["id"], one["label"][-1]) for one in items] == [
            (1, "0"), (2, "2"), (3, "2"), (5, "1"), (6, "0"), (7, "2"),
        ]  # fmt: skip
        assert kept(client, url) == [None] * 6
        said = client.post(f"/v1/learners/{name}/predict", json=body).json()
        assert (said["predictions"][0]["label"], said["model_version"]) == ("class 2", 6)
        assert client.post(url, json=lesson(0, metadata=DOOR)).status_code == 201
        assert kept(client, url)[-1] == DOOR
        assert client.post(f"/v1/learners/{name}/undo").status_code == 200
    assert start().client.get("/v1/learners/cups").json()["damages"] == []


def test_the_client_sends_it_with_every_lesson(images, tmp_path):
    add_learner(images.client, "l")
    image = jpeg(0)
    with Client(images.url) as client:
        client.teach(image, "red", metadata=DOOR)
        client.teach_many([image, image], ["red", "red"], metadata=[None, DOOR])
        encoded = base64.b64encode(image).decode()
        client.teach_samples([{"label": "red", "image_b64": encoded, "metadata": {"n": 2}}])
        with OfflineQueue(tmp_path / "queue") as queue:
            queue.teach(image, "red", metadata=DOOR)
            assert queue.drain(client).sent == 1
        assert [one["metadata"] for one in client.samples()] == [
            DOOR,
            None,
            DOOR,
            {"n": 2},
            DOOR,
        ]
    with Client(images.url, learner="l") as client:
        rows = np.array([latent(0), latent(1)], dtype=np.float32)
        client.teach_latents(rows, ["a", "b"], metadata=[DOOR, {}])
        assert [one["metadata"] for one in client.samples()] == [DOOR, {}]


def test_uploads_of_the_client_have_it_too(images, tmp_path):
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("red/1.jpg", jpeg(0))
        archive.writestr("red/2.jpg", jpeg(0, 1))
        archive.writestr("red/2.json", '{"n": 2}')
    encoded = base64.b64encode(jpeg(1)).decode()
    with Client(images.url) as client:
        client.wait_for_job(client.teach_archive(path, metadata=DOOR))
        samples = [{"label": "green", "image_b64": encoded}]
        client.wait_for_job(client.teach_job(samples, metadata={"n": 3}))
        assert [one["metadata"] for one in client.samples()] == [DOOR, {"n": 2}, {"n": 3}]


def test_a_full_object_fits_into_a_query(images):
    full = {"text": "ü" * 1018}
    with Client(images.url) as client:
        client.teach(jpeg(0), "red", metadata=full)
        assert [one["metadata"] for one in client.samples()] == [full]
        with pytest.raises(ServiceProblem, match="2,049 bytes"):
            client.teach(jpeg(0), "red", metadata={"text": "ü" * 1018 + "yy"})
