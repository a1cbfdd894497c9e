"""Learners of sounds and of sensor readings, over HTTP."""

from __future__ import annotations

import base64
import importlib.util
import signal
from pathlib import Path

import numpy as np
import pytest

from edge_cl.client import Client
from edge_cl.frontends import Series, Sound

_spec = importlib.util.spec_from_file_location(
    "recordings", Path(__file__).parents[1] / "frontends" / "recordings.py"
)
assert _spec is not None
recordings = importlib.util.module_from_spec(_spec)
assert _spec.loader is not None
_spec.loader.exec_module(recordings)

MOVES = {"frontend": "series", "frontend_options": {"channels": 3, "scale": 9.81}}


def create(client, name, **members):
    answer = client.post("/v1/learners", json={"name": name, **members})
    assert answer.status_code == 201, answer.text
    return answer.json()


def b64(content):
    return base64.b64encode(content).decode()


@pytest.fixture
def sounds():
    rng = np.random.default_rng(0)
    return {kind: [recordings.sound(kind, rng) for _ in range(5)] for kind in ("tone", "noise")}


def test_sounds_are_taught_in_every_kind_of_body_and_known(start, sounds):
    client = start().client
    state = create(client, "s", frontend="sound")
    assert (state["dim"], state["frontend"], state["extractor"]) == (384, {"name": "sound"}, None)
    path, wav = "/v1/learners/s/samples", {"Content-Type": "audio/wav"}
    for kind, clips in sounds.items():
        raw = client.post(path, params={"label": kind}, content=clips[0], headers=wav)
        files = [("file", (f"{n}.wav", clip, "audio/wav")) for n, clip in enumerate(clips[1:3])]
        form = client.post(path, data={"label": kind}, files=files)
        body = {"samples": [{"label": kind, "audio_b64": b64(clips[3])}]}
        latent = Sound().latents(clips[3])[0].tobytes()
        same = {"samples": [{"label": kind, "latent_b64": b64(latent), "dtype": "uint8"}]}
        answers = [raw, form, client.post(path, json=body), client.post(path, json=same)]
        assert [answer.status_code for answer in answers] == [201] * 4, answers
    for kind, clips in sounds.items():
        asked = client.post("/v1/learners/s/predict", content=clips[4], headers=wav).json()
        assert asked["predictions"][0]["label"] == kind


def test_series_are_taught_and_known_and_survive_a_kill(servers):
    rng = np.random.default_rng(0)
    server = servers()
    state = create(server.client, "m", **MOVES)
    assert state["frontend"] == {
        "name": "series", "channels": 3, "centre": [0.0] * 3, "scale": [9.81] * 3,
    }  # fmt: skip
    with Client(server.url, learner="m") as client:
        for kind in ("sine", "rest"):
            for _ in range(4):
                client.teach_series(recordings.movement(kind, rng), kind, device="wrist")
        asked = recordings.movement("sine", rng)
        before = client.predict_series(asked)
        assert before.label == "sine"
    server.end(signal.SIGKILL)
    again = servers()
    with Client(again.url, learner="m") as client:
        after = client.predict_series(asked)
        assert (after.label, after.score) == (before.label, before.score)
        assert client.classes() == {"sine": 4, "rest": 4}
        client.teach_series(asked, "sine")


def test_what_is_learned_is_what_python_learns(start):
    """The journal's latents are those of the front end called directly."""
    running = start()
    create(running.client, "m", **MOVES)
    readings = recordings.movement("jerk", np.random.default_rng(4))
    body = {"samples": [{"label": "jerk", "series": readings.tolist()}]}
    assert running.client.post("/v1/learners/m/samples", json=body).status_code == 201
    [row] = list(running.serving.registry.get("m").store.journal.rows())
    assert row.payload == Series(3, scale=9.81).latents(readings).tobytes()


def test_a_repeated_key_is_the_same_sound_and_no_other(start, sounds):
    client = start().client
    create(client, "s", frontend="sound")
    headers = {"Content-Type": "audio/wav", "Idempotency-Key": "k"}
    path = "/v1/learners/s/samples?label=a"
    first = client.post(path, content=sounds["tone"][0], headers=headers)
    again = client.post(path, content=sounds["tone"][0], headers=headers)
    other = client.post(path, content=sounds["noise"][0], headers=headers)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (first.json()["ids"], other.status_code) == (again.json()["ids"], 422)


def test_a_learner_of_sounds_moves_to_another_name(start, sounds, tmp_path):
    running = start()
    create(running.client, "s", frontend="sound")
    with Client(running.url, learner="s") as client:
        client.teach(sounds["tone"][0], "tone")
        client.export(tmp_path / "s")
        assert client.import_learner(tmp_path / "s", "t")["frontend"] == {"name": "sound"}
    with Client(running.url, learner="t") as client:
        assert client.predict(sounds["tone"][1]).label == "tone"


@pytest.mark.parametrize(
    ("members", "status", "said"),
    [
        ({"frontend": "smell"}, 422, "there are sound, series"),
        ({"frontend": "sound", "dim": 4}, 422, "leave `dim` and `extractor` out"),
        ({"frontend": "sound", "frontend_options": {"x": 1}}, 422, "its options: none"),
        ({"frontend": "series", "frontend_options": {"channels": 99}}, 422, "1 to 32"),
        ({"frontend": "series", "frontend_options": {"scale": [[]]}}, 422, "one finite number"),
        ({"dim": 4, "frontend_options": {}}, 422, "come with a `frontend`"),
    ],
)
def test_a_front_end_that_cannot_be(start, members, status, said):
    answer = start().client.post("/v1/learners", json={"name": "x", **members})
    assert answer.status_code == status
    assert said in answer.json()["detail"]


def test_a_recording_of_the_wrong_kind_names_what_is_taken(start, sounds):
    client = start().client
    create(client, "s", frontend="sound")
    create(client, "m", **MOVES)
    create(client, "l", dim=4)
    series, clip = [[1, 2, 3]] * 9, b64(sounds["tone"][0])
    for learner, sample, pointer, said in (
        ("s", {"series": series}, "/samples/0/series", "takes a sound as WAV, or latents"),
        ("s", {"image_b64": b64(b"\xff\xd8\xff")}, "/samples/0/image_b64", "takes a sound as WAV"),
        ("m", {"audio_b64": clip}, "/samples/0/audio_b64", "takes a series of rows"),
        ("l", {"audio_b64": clip}, "/samples/0/audio_b64", "takes latents only"),
        ("m", {"series": [[1, 2]] * 9}, "/samples/0/series", "have 3 channels"),
        ("m", {"series": "1,2,3"}, "/samples/0/series", "a list of rows of numbers"),
        ("m", {"series": [["x", 1, 2]] * 9}, "/samples/0/series", "a list of rows of numbers"),
        ("s", {"audio_b64": b64(b"RIFF")}, "/samples/0/audio_b64", "no WAV file"),
        ("s", {"audio_b64": "%"}, "/samples/0/audio_b64", "no base64"),
    ):
        body = {"samples": [{"label": "a", **sample}]}
        answer = client.post(f"/v1/learners/{learner}/samples", json=body)
        assert answer.status_code == 422
        [error] = answer.json()["errors"]
        assert error["pointer"] == pointer
        assert said in error["detail"]
    long = recordings.wav(np.zeros(16_000 * 11))
    answer = client.post(
        "/v1/learners/s/predict", content=long, headers={"Content-Type": "audio/wav"}
    )
    assert answer.status_code == 413
    assert "at most 10 s" in answer.json()["detail"]
