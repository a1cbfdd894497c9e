"""Batches that are taught as jobs: archives, lines, what is wrong with them, crashes."""

from __future__ import annotations

import io
import json
import signal
import stat
import threading
import time
import wave
import zipfile

import numpy as np
import pytest
from serving_kit import DIM, add_learner, jpeg, latent

from edge_cl import Learner
from service.bulk_job import BulkJob, Speed

DEFAULT = "/v1/learners/default/samples"
SAMPLES = "/v1/learners/l/samples"
COLOURS = ("red", "green", "blue")


def archive(entries, **options):
    """A zip of (name, content) pairs."""
    encoded = io.BytesIO()
    with zipfile.ZipFile(encoded, "w", **options) as file:
        for name, content in entries:
            file.writestr(name, content)
    return encoded.getvalue()


def folders(count=3):
    return [
        (f"photos/{label}/{n}.jpg", jpeg(channel, seed=n))
        for channel, label in enumerate(COLOURS)
        for n in range(count)
    ]


def lines(count, kinds=3):
    rows = [{"label": f"class {n % kinds}", "latent": latent(n % kinds, n)} for n in range(count)]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def post_zip(client, content, url=DEFAULT, **headers):
    headers = {"Content-Type": "application/zip", **headers}
    return client.post(url, content=content, headers=headers)


def post_lines(client, content, url=SAMPLES, **headers):
    headers = {"Content-Type": "application/x-ndjson", **headers}
    return client.post(url, params={"mode": "job"}, content=content, headers=headers)


def ended(client, location):
    while (job := client.get(location).json())["state"] in ("waiting", "running"):
        threading.Event().wait(0.01)
    return job


def test_an_archive_of_class_folders_is_taught(start, extractor):
    client = start(extractor).client
    content = archive([("photos/", b""), ("__MACOSX/photos/red/._0.jpg", b"x"), *folders()])
    answer = post_zip(client, content)
    assert answer.status_code == 202
    assert answer.json()["samples"] == 9
    job = ended(client, answer.headers["Location"])
    assert (job["state"], job["taught"], job["refused"], job["progress"]) == ("done", 9, 0, 1.0)
    counts = client.get("/v1/learners/default/classes").json()["classes"]
    assert {one["label"]: one["samples"] for one in counts} == dict.fromkeys(COLOURS, 3)
    assert client.get("/v1/jobs").json()["jobs"] == [job]
    asked = {"content": jpeg(1, seed=50), "headers": {"Content-Type": "image/jpeg"}}
    said = client.post("/v1/learners/default/predict", **asked).json()
    assert said["predictions"][0]["label"] == "green"
    assert said["model_version"] >= job["version"]


def test_images_that_cannot_be_decoded_are_named_and_the_others_learned(start, extractor):
    client = start(extractor).client
    entries = [*folders(1), ("red/torn.jpg", jpeg(0)[:300]), ("blue/text.png", b"no image")]
    job = ended(client, post_zip(client, archive(entries)).headers["Location"])
    assert (job["state"], job["taught"], job["refused"]) == ("done", 3, 2)
    assert [fault["place"] for fault in job["faults"]] == ["red/torn.jpg", "blue/text.png"]


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("entries", "status", "words"),
    [
        ([("../cup/1.jpg", b"x")], 422, "out of the archive"),
        ([("/cup/1.jpg", b"x")], 422, "out of the archive"),
        ([("a\\..\\cup/1.jpg", b"x")], 422, "out of the archive"),
        ([(link("cup/1.jpg"), b"/etc/passwd")], 422, "link"),
        ([("1.jpg", b"x")], 422, "label"),
        ([("x" * 129 + "/1.jpg", b"x")], 422, "128"),
        ([("cup/notes.txt", b"x")], 422, "none of .jpg"),
        ([("cup/", b"")], 400, "no images"),
        ([(f"cup/{n}.jpg", b"x") for n in range(21)], 413, "21 samples"),
        ([("cup/1.jpg", bytes(200_000))], 422, "at most 100,000"),
        ([(f"cup/{n}.jpg", bytes(range(250)) * 200) for n in range(11)], 413, "unpacks to"),
    ],
)
def test_archives_that_are_refused_whole(strict, entries, status, words):
    content = archive(entries, compression=zipfile.ZIP_DEFLATED)
    answer = post_zip(strict.client, content)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]
    assert strict.client.get("/v1/jobs").json()["jobs"] == []


@pytest.fixture(scope="module")
def strict(tmp_path_factory, extractor):
    from serving_kit import Running, settings_for

    limits = {"max_body_bytes": 100_000, "job_samples": 20, "job_unpacked_bytes": 500_000}
    folder = tmp_path_factory.mktemp("strict")
    running = Running(settings_for(folder, job_bytes=300_000, **limits), extractor)
    yield running
    running.close()
    assert list((folder / "jobs").iterdir()) == []


def test_what_is_no_archive_or_too_large_is_refused(strict):
    whole = archive(folders(1))
    for content, status in (
        (b"no archive", 400),
        (b"", 400),
        (whole[:-10], 400),
        (b"PK\x05\x06" + bytes(18), 400),
        (bytes(300_001), 413),
    ):
        assert post_zip(strict.client, content).status_code == status
    bomb = archive([("cup/1.jpg", bytes(99_000))], compression=zipfile.ZIP_BZIP2)
    assert "compression method" in post_zip(strict.client, bomb).json()["detail"]
    many = bytearray(whole)
    many[-14:-10] = (300).to_bytes(2, "little") * 2
    assert post_zip(strict.client, bytes(many)).status_code == 413
    answer = strict.client.post(DEFAULT, params={"mode": "job"}, json={"samples": []})
    assert answer.status_code == 415


def test_an_entry_that_is_not_what_it_says_is_a_fault_of_its_own(start, extractor):
    client = start(extractor).client
    content = bytearray(archive(folders(1)))
    at = content.index(b"photos/green/0.jpg") + 200
    content[at] ^= 0xFF
    job = ended(client, post_zip(client, bytes(content)).headers["Location"])
    assert (job["state"], job["taught"], job["refused"]) == ("done", 2, 1)
    assert job["faults"][0]["place"] == "photos/green/0.jpg"


def test_lines_are_taught_and_bad_ones_named(latents):
    client = latents.client
    content = lines(150) + b'{"label": "class 0"}\n\n{"no json\n' + lines(2)
    job = ended(client, post_lines(client, content).headers["Location"])
    assert (job["state"], job["samples"], job["taught"], job["refused"]) == ("done", 154, 152, 2)
    assert client.get(SAMPLES).json()["total"] == 152
    assert job["faults"][1]["place"].startswith("byte ")
    wide = json.dumps({"label": "a", "latent": [0.0] * (DIM + 1)}).encode() + b"\n"
    job = ended(client, post_lines(client, wide).headers["Location"])
    assert (job["state"], job["taught"], job["refused"]) == ("done", 0, 1)
    assert post_lines(client, b"\n\n").status_code == 400


def test_notes_hold_for_the_whole_upload(latents):
    answer = latents.client.post(
        SAMPLES,
        params={"mode": "job", "context": "kitchen", "label": "cup"},
        content=json.dumps({"latent": latent(0)}).encode(),
        headers={"Content-Type": "application/x-ndjson", "X-Device-ID": "camera"},
    )
    assert ended(latents.client, answer.headers["Location"])["taught"] == 1
    note = latents.client.get(SAMPLES).json()["items"][0]
    assert (note["label"], note["context"], note["device"]) == ("cup", "kitchen", "camera")


def test_a_learner_of_latents_takes_no_archive(latents):
    answer = post_zip(latents.client, archive(folders(1)), SAMPLES)
    assert answer.status_code == 422


def test_a_repeated_upload_is_one_job(latents):
    key = {"Idempotency-Key": "upload-1"}
    first = post_lines(latents.client, lines(5), **key)
    again = post_lines(latents.client, lines(5), **key)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    other = post_lines(latents.client, lines(6), **key)
    assert other.json()["type"].endswith("key-reused")
    ended(latents.client, first.headers["Location"])
    assert latents.client.get(SAMPLES).json()["total"] == 5


@pytest.fixture
def gate(monkeypatch):
    opened, learn = threading.Event(), Learner.learn_latents

    def held(*arguments):
        assert opened.wait(20)
        learn(*arguments)

    monkeypatch.setattr(Learner, "learn_latents", held)
    yield opened
    opened.set()


def test_jobs_can_be_cancelled_and_are_bounded(start, gate):
    client = start(max_jobs=2).client
    add_learner(client)
    first = post_lines(client, lines(200)).headers["Location"]
    second = post_lines(client, lines(3)).headers["Location"]
    assert post_lines(client, lines(1)).status_code == 503
    assert client.delete(second).status_code == 204
    assert client.delete(first).status_code == 204
    gate.set()
    assert ended(client, first)["state"] == "cancelled"
    assert ended(client, post_lines(client, lines(1)).headers["Location"])["state"] == "done"
    assert client.get(SAMPLES).json()["total"] == 64 + 1
    assert client.delete(second).status_code == 204
    assert client.get(second).status_code == 404
    assert client.delete(second).status_code == 404


def test_a_job_of_a_deleted_learner_fails_and_says_why(start, gate):
    client = start().client
    add_learner(client)
    add_learner(client, "m")
    first = post_lines(client, lines(70)).headers["Location"]
    second = post_lines(client, lines(1), "/v1/learners/m/samples").headers["Location"]
    gate.set()
    client.delete("/v1/learners/m")
    assert ended(client, first)["state"] == "done"
    job = ended(client, second)
    if job["state"] == "failed":
        assert "'m'" in job["reason"]


def test_a_job_that_is_killed_goes_on_and_teaches_every_sample_once(servers):
    server = servers(extractor="none")
    add_learner(server.client)
    location = post_lines(server.client, lines(4000)).headers["Location"]
    for _ in range(3):
        before = server.client.get(SAMPLES).json()["total"]
        while server.client.get(SAMPLES).json()["total"] < min(before + 100, 4000):
            threading.Event().wait(0.001)
        server.end(signal.SIGKILL)
        server = servers(extractor="none")
    job = ended(server.client, location)
    assert (job["state"], job["taught"], job["refused"]) == ("done", 4000, 0)
    assert server.client.get(SAMPLES).json()["total"] == 4000
    assert server.client.get("/v1/learners/l").json()["samples_seen"] == 4000


def test_an_image_of_an_archive_has_the_metadata_that_lies_beside_it(start, extractor):
    client = start(extractor).client
    entries = [
        ("photos/red/1.jpg", jpeg(0)),
        ("photos/red/1.json", '{"camera": "door"}'),
        ("photos/red/2.jpg", jpeg(0, 1)),
        ("photos/red/3.jpg", jpeg(0, 2)),
        ("photos/red/3.json", "[]"),
    ]
    job = ended(client, post_zip(client, archive(entries)).headers["Location"])
    assert (job["state"], job["taught"], job["refused"]) == ("done", 2, 1)
    assert job["faults"][0]["place"] == "photos/red/3.jpg"
    assert "a JSON list" in job["faults"][0]["detail"]
    items = client.get(DEFAULT).json()["items"]
    assert [one["metadata"] for one in items] == [{"camera": "door"}, None]


def test_metadata_of_no_image_and_metadata_that_is_too_large_are_refused(start, extractor):
    client = start(extractor).client
    entries = [
        ("red/1.jpg", jpeg(0)),
        ("red/1.json", '{"text": "' + "x" * 9000 + '"}'),
        ("red/2.json", "{}"),
    ]
    answer = post_zip(client, archive(entries, compression=zipfile.ZIP_DEFLATED))
    assert answer.status_code == 422
    faults = {one["pointer"]: one["detail"] for one in answer.json()["errors"]}
    assert "9,012 bytes" in faults["/red/1.json"]
    assert "8,192" in faults["/red/1.json"]
    assert "no sample" in faults["/red/2.json"]


def wav(hertz, seed, samples=4000):
    """A noisy tone."""
    tone = np.sin(np.arange(samples) * hertz * 2 * np.pi / 8000)
    tone += np.random.default_rng(seed).normal(0, 0.1, samples)
    encoded = io.BytesIO()
    with wave.open(encoded, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes((tone * 9000).astype("<i2").tobytes())
    return encoded.getvalue()


def csv(slope, seed, heading=""):
    """A window of two channels."""
    rows = np.outer(np.arange(16), [slope, 1]) + np.random.default_rng(seed).normal(0, 0.1, (16, 2))
    return (heading + "".join(f"{x:.4f}, {y:.4f}\r\n" for x, y in rows)).encode()


def test_an_archive_of_sounds_is_taught(start):
    client = start().client
    client.post("/v1/learners", json={"name": "words", "frontend": "sound"})
    entries = [(f"{hertz}/{n}.wav", wav(hertz, n)) for hertz in (440, 2000) for n in range(4)]
    entries += [("440/0.json", '{"room": "hall"}'), ("440/photo.wav", jpeg(0))]
    url = "/v1/learners/words/samples"
    job = ended(client, post_zip(client, archive(entries), url).headers["Location"])
    assert (job["state"], job["taught"], job["refused"]) == ("done", 8, 1)
    assert job["faults"][0]["place"] == "440/photo.wav"
    assert "WAV" in job["faults"][0]["detail"]
    assert client.get(url).json()["items"][0]["metadata"] == {"room": "hall"}
    asked = client.post(
        "/v1/learners/words/predict", content=wav(2000, 9), headers={"Content-Type": "audio/wav"}
    )
    assert asked.json()["predictions"][0]["label"] == "2000"


def test_an_archive_of_sensor_readings_is_taught(start):
    client = start().client
    options = {"channels": 2, "scale": 10}
    wanted = {"name": "moves", "frontend": "series", "frontend_options": options}
    assert client.post("/v1/learners", json=wanted).status_code == 201
    entries = [(f"up/{n}.csv", csv(1, n, "x,y\n")) for n in range(4)]
    entries += [(f"down/{n}.csv", csv(-1, n)) for n in range(4)]
    entries += [("up/5.csv", b"1,2\n3,no\n"), ("up/6.csv", b"1\n" * 20)]
    url = "/v1/learners/moves/samples"
    job = ended(client, post_zip(client, archive(entries), url).headers["Location"])
    assert (job["state"], job["taught"], job["refused"]) == ("done", 8, 2)
    faults = {fault["place"]: fault["detail"] for fault in job["faults"]}
    assert "line 2: 'no' is no number" in faults["up/5.csv"]
    assert "2" in faults["up/6.csv"]
    rows = [[float(cell) for cell in line.split(b",")] for line in csv(-1, 9).splitlines()]
    asked = client.post("/v1/learners/moves/predict", json={"samples": [{"series": rows}]})
    assert asked.json()["predictions"][0]["label"] == "down"


@pytest.mark.parametrize(
    ("frontend", "name", "expected"),
    [
        (None, "cup/1.wav", "it is a sound: this learner takes images (.jpg, .jpeg, .png, .webp)"),
        ("sound", "cup/1.JPG", "it is an image: this learner takes sounds (.wav)"),
        ("sound", "cup/1.mp3", "it is none of .wav"),
        ("series", "cup/1.wav", "it is a sound: this learner takes series (.csv)"),
    ],
)
def test_a_file_of_another_kind_is_named_with_what_is_taken(
    start, extractor, frontend, name, expected
):
    client = start(extractor if frontend is None else None).client
    url = DEFAULT
    if frontend is not None:
        client.post("/v1/learners", json={"name": "words", "frontend": frontend})
        url = "/v1/learners/words/samples"
    answer = post_zip(client, archive([(name, b"x")]), url)
    assert answer.status_code == 422
    assert answer.json()["errors"][0] == {"pointer": f"/{name}", "detail": expected}


def test_the_time_that_is_left_is_measured(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    job = BulkJob("j", "l", "ndjson", samples=1000, state="running", taught=600)
    assert job.content()["eta_s"] is None
    job.speed.begin(600)
    assert job.content()["eta_s"] is None
    for _ in range(2):
        now[0] += 4
        job.taught += 60
        job.refused += 4
        job.speed.note(job.taught + job.refused)
    assert job.content()["eta_s"] == 17.0
    assert job.content()["progress"] == 0.728
    now[0] += 8
    assert job.content()["eta_s"] == 34.0
    job.state = "done"
    assert job.content()["eta_s"] is None
    assert BulkJob(**json.loads(job.encode())) == job


def test_only_the_last_groups_say_how_fast_a_job_is(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    speed = Speed(groups=2)
    speed.begin(0)
    for seconds, done in ((90, 64), (1, 128), (1, 192)):
        now[0] += seconds
        speed.note(done)
    assert speed.seconds_for(640) == 10.0


def test_a_running_job_tells_the_time_that_is_left(latents):
    job = latents.client.get(post_lines(latents.client, lines(400)).headers["Location"])
    told = [job.json()]
    while told[-1]["state"] in ("waiting", "running"):
        told.append(latents.client.get(f"/v1/jobs/{told[0]['id']}").json())
    assert all(
        one["eta_s"] is None or (one["state"] == "running" and one["eta_s"] >= 0) for one in told
    )
    first = {"Last-Event-ID": f"{latents.serving.events.epoch}-0"}
    asked = {"kind": "job", "duration_s": 1}
    news = latents.client.get("/v1/events", params=asked, headers=first).text
    etas = [json.loads(line[6:])["eta_s"] for line in news.splitlines() if line[:5] == "data:"]
    assert etas[0] is etas[-1] is None
    assert any(eta is not None for eta in etas)
