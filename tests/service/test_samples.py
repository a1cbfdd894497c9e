"""Teaching and asking: the four kinds of body, both modes, listings."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from serving_kit import DIM, add_learner, jpeg, latent, lesson

SAMPLES = "/v1/learners/l/samples"


@pytest.fixture
def images(start, extractor):
    return start(extractor)


def test_the_learner_default_exists_from_the_first_start(images):
    state = images.client.get("/v1/learners/default").json()
    assert state["extractor"] == images.serving.extractor.manifest.id
    assert state["version"] == 0


def test_raw_images_are_learned(images):
    for channel, label in enumerate(["red", "green", "blue"]):
        answer = images.client.post(
            "/v1/learners/default/samples",
            params={"label": label},
            content=jpeg(channel),
            headers={"Content-Type": "image/jpeg"},
        )
        assert answer.status_code == 201
        assert answer.json()["ids"] == [channel + 1]
        assert answer.headers["Location"] == f"/v1/learners/default/samples/{channel + 1}"
    answer = images.client.post(
        "/v1/learners/default/predict?top_k=2",
        content=jpeg(1, seed=9),
        headers={"Content-Type": "image/jpeg"},
    )
    content = answer.json()
    assert content["model_version"] == 3
    assert content["predictions"][0]["label"] == "green"
    assert len(content["predictions"][0]["top"]) == 2


def test_a_form_pairs_files_with_labels_in_order(images):
    files = [("file", ("a.jpg", jpeg(0))), ("file", ("b.jpg", jpeg(2)))]
    labels = {"label": ["red", "blue"], "context": "kitchen"}
    answer = images.client.post("/v1/learners/default/samples", files=files, data=labels)
    assert answer.json()["accepted"] == 2
    items = images.client.get("/v1/learners/default/samples").json()["items"]
    assert [(i["label"], i["context"]) for i in items] == [("red", "kitchen"), ("blue", "kitchen")]
    answer = images.client.post("/v1/learners/default/predict", files=[("file", ("x", jpeg(2, 5)))])
    assert answer.json()["predictions"][0]["label"] == "blue"


def test_json_images_equal_raw_images(images):
    body = {"samples": [{"label": "red", "image_b64": base64.b64encode(jpeg(0)).decode()}]}
    assert images.client.post("/v1/learners/default/samples", json=body).status_code == 201
    codes = images.serving.registry.get("default").store.journal.rows()
    expected = images.serving.extractor.extract(images.serving.extractor.prepare(jpeg(0))[None])
    assert next(iter(codes)).payload == expected.tobytes()


def test_latents_are_taken_as_numbers_and_as_bytes_of_each_type(latents):
    values = np.array(latent(1), dtype="<f4")
    for encoded in (values.tobytes(), values.astype("<f2").tobytes()):
        sample = {"label": "b", "latent_b64": base64.b64encode(encoded).decode()}
        assert latents.client.post(SAMPLES, json={"samples": [sample]}).status_code == 201
    assert latents.client.post(SAMPLES, json=lesson(0)).status_code == 201
    answer = latents.client.post(
        "/v1/learners/l/predict", json={"samples": [{"latent": latent(1)}]}
    )
    assert answer.json()["predictions"][0]["label"] == "b"


def test_codes_and_numbers_may_come_together(images):
    codes = np.arange(images.serving.extractor.spec.dim, dtype=np.uint8)
    floats = images.serving.extractor.spec.to_float(codes)
    body = {
        "samples": [
            {"label": "a", "latent_b64": base64.b64encode(codes.tobytes()).decode()},
            {"label": "a", "latent": floats.tolist()},
        ]
    }
    assert images.client.post("/v1/learners/default/samples", json=body).status_code == 201
    row = next(iter(images.serving.registry.get("default").store.journal.rows()))
    first, second = np.frombuffer(row.payload, "<f4").reshape(2, -1)
    assert (first == second).all()


def test_lines_are_learned_as_one_lesson(latents):
    lines = "\n".join(json.dumps(sample) for sample in lesson(0, 1, 2)["samples"])
    answer = latents.client.post(
        SAMPLES, content=lines + "\n\n", headers={"Content-Type": "application/x-ndjson"}
    )
    assert answer.json()["ids"] == [1, 2, 3]
    assert answer.json()["version"] == 1


def test_async_answers_when_durable(latents):
    answer = latents.client.post(SAMPLES, params={"mode": "async"}, json=lesson(0, 1))
    assert answer.status_code == 202
    assert answer.json()["learned"] is False
    assert latents.client.post("/v1/learners/l/experience/end").status_code == 200
    classes = latents.client.get("/v1/learners/l/classes").json()
    assert [c["samples"] for c in classes["classes"]] == [1, 1]


def test_nothing_is_known_before_the_first_sample(latents):
    body = {"samples": [{"latent": latent(0)}]}
    found = latents.client.post("/v1/learners/l/predict", json=body).json()["predictions"][0]
    assert (found["label"], found["score"], found["unknown"]) == ("", 0.0, True)


def test_an_answer_of_a_version_knows_every_sample_up_to_it(latents):
    version = latents.client.post(SAMPLES, json=lesson(3)).json()["version"]
    body = {"samples": [{"latent": latent(3)}]}
    answer = latents.client.post("/v1/learners/l/predict", json=body).json()
    assert answer["model_version"] >= version
    assert answer["predictions"][0]["label"] == "class 3"


def test_listings_have_pages_and_filters(latents):
    latents.client.post(SAMPLES, json=lesson(*[0, 1] * 5, device="door", captured_at="noon"))
    page = latents.client.get(SAMPLES, params={"limit": 4}).json()
    assert [item["id"] for item in page["items"]] == [1, 2, 3, 4]
    follow = latents.client.get(SAMPLES, params={"limit": 4})
    assert 'rel="next"' in follow.headers["Link"]
    page = latents.client.get(SAMPLES, params={"cursor": page["next_cursor"], "limit": 6}).json()
    assert [item["id"] for item in page["items"]] == [5, 6, 7, 8, 9, 10]
    assert page["next_cursor"] is None
    only = latents.client.get(SAMPLES, params={"label": "class 1", "device": "door"}).json()
    assert [item["id"] for item in only["items"]] == [2, 4, 6, 8, 10]
    assert latents.client.get(f"{SAMPLES}/7").json()["captured_at"] == "noon"


def test_the_device_may_be_a_header(latents):
    latents.client.post(SAMPLES, json=lesson(0), headers={"X-Device-ID": "cam 1"})
    assert latents.client.get(f"{SAMPLES}/1").json()["device"] == "cam 1"


def test_contexts_select_the_prediction_of_each_sample(latents):
    latents.client.post(SAMPLES, json=lesson(0, context="a"))
    latents.client.post(SAMPLES, json=lesson(1, context="b"))
    samples = [{"latent": latent(0), "context": "a"}, {"latent": latent(1), "context": "b"}]
    answer = latents.client.post("/v1/learners/l/predict", json={"samples": samples}).json()
    assert [one["label"] for one in answer["predictions"]] == ["class 0", "class 1"]


def test_learners_are_created_shown_and_deleted(latents):
    client = latents.client
    assert add_learner(client, "other", strategy="slda").headers["Location"].endswith("/other")
    state = client.get("/v1/learners/other")
    assert state.json()["strategy"] == "slda"
    assert state.headers["ETag"] == '"v0"'
    assert {one["name"] for one in client.get("/v1/learners").json()["learners"]} == {"l", "other"}
    assert client.patch("/v1/learners/other", json={"strategy": "slda"}).status_code == 200
    assert client.patch("/v1/learners/other", json={"extractor": "x"}).status_code == 409
    assert client.delete("/v1/learners/other").status_code == 204
    assert client.get("/v1/learners/other").status_code == 404
    assert not any(
        ".gone" in path.name for path in (latents.serving.settings.folder / "learners").iterdir()
    )


def test_everything_is_still_there_after_a_restart(start):
    running = start()
    add_learner(running.client)
    running.client.post(SAMPLES, json=lesson(0, 1, 2))
    body = {"samples": [{"latent": latent(kind, 7)} for kind in range(DIM)]}
    before = running.client.post("/v1/learners/l/predict?top_k=3", json=body).json()
    running = start()
    after = running.client.post("/v1/learners/l/predict?top_k=3", json=body).json()
    for content in (before, after):
        for one in content["predictions"]:
            del one["prediction_id"]
    assert before == after
    assert running.client.post(SAMPLES, json=lesson(3)).json()["ids"] == [4]
