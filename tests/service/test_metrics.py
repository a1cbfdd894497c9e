"""What a learner says of itself: prequential record and evaluation over HTTP."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from serving_kit import DIM, add_learner, jpeg, latent, lesson

from service.operations import Lesson, decode

SAMPLES = "/v1/learners/l/samples"
METRICS = "/v1/learners/l/metrics"
EVALUATE = "/v1/learners/l/evaluate"


def teach(client, *kinds, seed=0, **notes):
    answer = client.post(SAMPLES, json=lesson(*kinds, seed=seed, **notes))
    assert answer.status_code == 201, answer.text
    return answer.json()


def record(client):
    """The metrics that the journal determines: not how long requests took."""
    content = client.get(METRICS).json()
    return {name: value for name, value in content.items() if name != "latency"}


def test_every_sample_is_a_test_before_it_is_a_lesson(latents):
    client = latents.client
    assert teach(client, 0)["predicted"] == [None]
    assert teach(client, 1)["predicted"] == ["class 0"]
    assert teach(client, 0, 1, seed=5)["predicted"] == ["class 0", "class 1"]
    content = client.get(METRICS).json()
    total = content["since_start"]
    assert (total["samples"], total["correct"], total["unpredicted"]) == (3, 2, 1)
    assert total["accuracy_known"] == 1.0
    assert total["confusion"]["labels"] == ["class 0", "class 1"]
    assert total["confusion"]["matrix"] == [[1, 0], [1, 1]]
    assert content["window"]["accuracy"] == pytest.approx(2 / 3, abs=1e-6)
    assert content["version"] == 3


def test_predictions_of_one_request_know_nothing_of_each_other(latents):
    assert teach(latents.client, 0, 0, 1)["predicted"] == [None, None, None]


def test_a_context_that_is_not_known_yet_leaves_a_sample_without_prediction(start):
    client = start().client
    add_learner(client, strategy="multihead")
    teach(client, 0, 1, context="kitchen")
    assert teach(client, 2, context="garden")["predicted"] == [None]
    assert teach(client, 0, seed=3, context="kitchen")["predicted"][0] is not None


def test_the_record_is_the_same_after_a_restart_from_the_journal(start):
    running = start()
    add_learner(running.client)
    for n in range(12):
        teach(running.client, n % 3, (n + 1) % 3, seed=n)
    before = record(running.client)
    running = start()
    assert record(running.client) == before


def test_the_record_survives_kill_9_with_and_without_a_snapshot(servers, tmp_path):
    server = servers(snapshot_operations=5)
    add_learner(server.client)
    for n in range(13):
        teach(server.client, n % 3, seed=n)
    teach(server.client, 0, seed=99)
    before = record(server.client)
    server.end(signal.SIGKILL)
    assert list((tmp_path / "data" / "learners" / "l" / "snapshots").iterdir())
    server = servers(snapshot_operations=5)
    assert record(server.client) == before
    assert before["since_start"]["samples"] == 13


def test_a_lesson_of_an_older_journal_has_no_predictions():
    header = '{"dtype":"<f4","shape":[2,1],"label":"a","context":null,"device":null,' \
             '"captured_at":null}'  # fmt: skip
    samples = decode("learn", header, bytes(8)).samples
    assert [sample.predicted for sample in samples] == [None, None]
    assert decode("learn", *Lesson(np.zeros((2, 1), np.float32), samples).encode()).samples == (
        samples
    )


def test_evaluating_counts_and_learns_nothing(latents):
    client = latents.client
    teach(client, 0, 1, 2)
    before = client.get("/v1/learners/l").json()
    body = lesson(0, 1, 2, 0, seed=7)
    body["samples"].append({"label": "class 2", "latent": latent(1)})
    answer = client.post(EVALUATE, json=body)
    content = answer.json()
    assert answer.status_code == 200
    assert (content["samples"], content["correct"], content["accuracy"]) == (5, 4, 0.8)
    assert content["predicted"][-1] == "class 1"
    assert content["confusion"]["most_confused"] == [
        {"label": "class 2", "predicted": "class 1", "samples": 1}
    ]
    assert content["model_version"] == 1
    assert client.get("/v1/learners/l").json() == before
    assert client.get(METRICS).json()["since_start"]["samples"] == 0


def test_evaluating_images_and_a_class_that_was_never_taught(start, extractor):
    client = start(extractor).client
    url = "/v1/learners/default"
    for channel, label in enumerate(("red", "green")):
        client.post(f"{url}/samples", params={"label": label}, content=jpeg(channel),
                    headers={"Content-Type": "image/jpeg"})  # fmt: skip
    files = [("file", (f"{n}.jpg", jpeg(n, seed=4))) for n in (0, 1, 1)]
    answer = client.post(
        f"{url}/evaluate", files=files, data={"label": ["red", "green", "chair"]}
    ).json()
    assert (answer["samples"], answer["correct"]) == (3, 2)
    assert [note["label"] for note in answer["per_class"]] == ["red", "green", "chair"]


def test_what_cannot_be_evaluated_is_said(latents):
    client = latents.client
    teach(client, 0)
    missing = client.post(EVALUATE, json={"samples": [{"latent": latent(0)}]})
    assert missing.status_code == 422
    assert missing.json()["errors"][0]["pointer"] == "/samples/0/label"
    wide = client.post(EVALUATE, json={"samples": [{"label": "a", "latent": [0.0] * (DIM + 1)}]})
    assert wide.json()["type"].endswith("invalid-latent")
    assert client.get("/v1/learners/none/metrics").status_code == 404
    assert client.post("/v1/learners/none/evaluate", json=lesson(0)).status_code == 404


def test_an_empty_learner_has_nothing_to_say(latents):
    content = latents.client.get(METRICS).json()
    assert content["since_start"]["accuracy"] is None
    assert content["drift"]["drifting"] is False
    answer = latents.client.post(EVALUATE, json=lesson(0)).json()
    assert (answer["samples"], answer["unpredicted"], answer["accuracy"]) == (0, 1, None)


def test_prometheus_shows_the_record(latents):
    client = latents.client
    teach(client, 0, 1)
    teach(client, 0, 1, seed=3)
    teach(client, 2)
    text = client.get("/metrics").text
    shown = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    metrics = client.get(METRICS).json()
    for over, part in (("start", "since_start"), ("window", "window")):
        name = f'edge_cl_prequential_accuracy{{learner="l",over="{over}"}}'
        assert float(shown[name]) == metrics[part]["accuracy"] == pytest.approx(2 / 3, abs=1e-6)
    assert float(shown['edge_cl_prequential_samples_total{learner="l"}']) == 3
    error = float(shown['edge_cl_calibration_error{learner="l"}'])
    assert error == pytest.approx(metrics["since_start"]["calibration"]["ece"], abs=1e-6)
    assert float(shown['edge_cl_drifting{learner="l"}']) == 0
    assert float(shown['edge_cl_drift_alarms_total{learner="l"}']) == 0
    assert "class 0" not in text


def test_the_record_counts_what_was_called_unknown(latents):
    """Ten of each of two classes, then one of the second and one that is new."""
    client = latents.client
    for n in range(10):
        teach(client, 0, 1, seed=2 * n)
    before = client.get(METRICS).json()["since_start"]
    teach(client, 1, seed=77)
    teach(client, 2, seed=78)
    content = client.get(METRICS).json()["since_start"]
    assert content["known_samples"] == before["known_samples"] + 1
    assert content["false_reject_rate"] <= 0.2
    assert (content["new_samples"], content["false_accept_rate"]) == (1, 0.0)


def test_the_rate_of_unknown_is_a_setting_and_a_parameter(start):
    running = start(false_reject_rate=0)
    add_learner(running.client)
    for n in range(10):
        teach(running.client, 0, 1, seed=2 * n)
    body = {"samples": [{"latent": latent(2, 5)}, {"latent": latent(1, 99)}]}

    def unknown(**query):
        answer = running.client.post("/v1/learners/l/predict", json=body, params=query).json()
        return [one["unknown"] for one in answer["predictions"]]

    assert unknown() == [False, False]
    assert unknown(false_reject_rate=0.05) == [True, False]
    assert unknown(false_reject_rate=0.999) == [True, True]
    refused = running.client.post("/v1/learners/l/predict?false_reject_rate=1", json=body)
    assert refused.status_code == 422


def test_a_renamed_class_keeps_its_record_over_a_restart(start):
    running = start()
    add_learner(running.client)
    teach(running.client, 0, 1)
    teach(running.client, 0, 1, seed=3)
    classes = "/v1/learners/l/classes"
    assert running.client.patch(f"{classes}/class 0", json={"name": "cup"}).is_success
    before = record(running.client)
    assert before["since_start"]["confusion"]["labels"] == ["cup", "class 1"]
    assert running.client.post(f"{classes}/cup/merge", json={"into": "class 1"}).is_success
    before = record(running.client)
    assert before["since_start"]["confusion"]["matrix"] == [[2]]
    assert record(start().client) == before
