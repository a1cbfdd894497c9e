"""Warnings in the answer to a lesson: what looks doubtful is told, and learned."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from serving_kit import jpeg, latent, lesson

from edge_cl.types import LatentSpec
from service.doubts import Recent

SAMPLES = "/v1/learners/l/samples"


def encoded(image, quality=95):
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return content.getvalue()


def scene(seed, side=96, low=0, high=256):
    blocks = np.random.default_rng(seed).integers(low, high, (side // 12, side // 12, 3))
    return Image.fromarray(np.kron(blocks, np.ones((12, 12, 1))).astype(np.uint8))


@pytest.fixture(scope="module")
def teach(tmp_path_factory, extractor):
    from serving_kit import Running, settings_for

    running = Running(settings_for(tmp_path_factory.mktemp("doubts") / "data"), extractor)

    def post(*images, label="thing"):
        files = [("file", (f"{n}.jpg", content)) for n, content in enumerate(images)]
        answer = running.client.post(
            "/v1/learners/default/samples", files=files, data={"label": label}
        )
        assert answer.status_code == 201
        assert answer.json()["accepted"] == len(images)
        return [(one["sample"], one["kind"]) for one in answer.json()["warnings"]]

    yield post
    running.close()


def test_a_good_image_has_no_warning_and_its_copy_has_one(teach):
    image = scene(1)
    assert teach(encoded(image), label="cup") == []
    stripes = Image.fromarray(np.tile(np.arange(96) * 37 % 256, (96, 1)).astype(np.uint8))
    other = encoded(stripes.convert("RGB"))
    assert teach(other, encoded(image, 75), label="cup") == [(1, "near-duplicate")]
    assert teach(encoded(image, 80), label="pen") == [(0, "label-conflict")]


def test_copies_within_one_request_are_found(teach):
    image = scene(3)
    assert (1, "near-duplicate") in teach(encoded(image), encoded(image))


def test_flaws_are_told(teach):
    blurred = scene(4).filter(ImageFilter.GaussianBlur(8))
    kinds = teach(encoded(scene(5, low=0, high=45)), encoded(blurred), jpeg(0, size=16))
    assert {(0, "dark"), (1, "blurred"), (2, "small")} <= set(kinds)


def test_latents_of_clients_warn_only_of_the_same_latent(latents):
    client = latents.client
    assert client.post(SAMPLES, json=lesson(0, 0)).json()["warnings"] == []
    again = client.post(SAMPLES, json=lesson(0)).json()["warnings"]
    assert [one["kind"] for one in again] == ["near-duplicate"]
    body = {"samples": [{"label": "other", "latent": latent(0)}]}
    conflict = client.post(SAMPLES, json=body).json()["warnings"]
    assert [one["kind"] for one in conflict] == ["label-conflict"]
    assert "'class 0'" in conflict[0]["detail"]
    zero = {"samples": [{"label": "zero", "latent": [0.0] * 8}] * 2}
    assert client.post(SAMPLES, json=zero).json()["warnings"] == []


def test_a_repeated_request_is_answered_with_the_same_warnings(latents):
    headers = {"Idempotency-Key": "twice"}
    first = latents.client.post(SAMPLES, json=lesson(3), headers=headers)
    again = latents.client.post(SAMPLES, json=lesson(3), headers=headers)
    assert first.json() == again.json()
    assert first.json()["warnings"] == []


def test_only_the_last_samples_are_compared():
    recent, spec = Recent(), LatentSpec(300)
    basis = np.eye(300, dtype=np.float32)
    assert recent.warnings(basis, ["a"] * 300, spec) == []
    assert recent.warnings(basis[:44], ["a"] * 44, spec) == []
    assert [one.kind for one in recent.warnings(basis[299:], ["b"], spec)] == ["label-conflict"]


def drawn(kind):
    """One of four pictures that have nothing in common."""
    image = Image.new("RGB", (96, 96), ["white", "navy", "khaki", "green"][kind])
    pen = ImageDraw.Draw(image)
    if kind == 0:
        pen.ellipse((15, 15, 80, 80), fill="red", outline="black", width=4)
    elif kind == 1:
        for height in range(0, 96, 14):
            pen.line((0, height, 96, height + 20), fill="white", width=5)
    elif kind == 2:
        pen.polygon([(10, 85), (48, 10), (86, 85)], fill="navy")
    else:
        for left in range(5, 90, 20):
            pen.rectangle((left, left, left + 9, 90), fill="black")
    return image


@pytest.fixture
def remembering(start, extractor):
    """A service with the learner `m`, which remembers; the list of the last samples is empty."""
    running = start(extractor)
    new = {"name": "m", "strategy": "replay", "memory_budget": "512KiB"}
    assert running.client.post("/v1/learners", json=new).status_code == 201
    assert told(running, "cup", drawn(0), drawn(1)) == []
    assert told(running, "pen", drawn(2)) == []
    return start(extractor)


def told(running, label, *images, quality=95):
    files = [("file", (f"{n}", encoded(one, quality))) for n, one in enumerate(images)]
    url = "/v1/learners/m/samples"
    answer = running.client.post(url, files=files, data={"label": label})
    assert answer.status_code == 201
    return [(one["sample"], one["kind"], one["detail"]) for one in answer.json()["warnings"]]


def test_samples_of_long_ago_are_found_in_the_replay_memory(remembering):
    (found,) = told(remembering, "cup", drawn(3), drawn(1), quality=80)
    assert found[:2] == (1, "near-duplicate")
    assert found[2].endswith("the remembered sample 2")
    (conflict,) = told(remembering, "mug", drawn(2))
    assert conflict[1] == "label-conflict"
    assert "the remembered sample 3, which was taught as 'pen'" in conflict[2]


def test_a_sample_is_told_of_once(remembering):
    assert len(told(remembering, "cup", drawn(1))) == 1
    assert len(told(remembering, "cup", drawn(1))) == 1


def test_what_is_forgotten_is_compared_no_more(remembering):
    assert remembering.client.delete("/v1/learners/m/samples/1").status_code == 200
    assert told(remembering, "cup", drawn(0)) == []


def test_while_the_learner_is_changed_the_answer_does_not_wait_to_compare(remembering):
    worker = remembering.serving.registry.get("m").worker
    latents = np.zeros((1, worker._learner.spec.dim), np.uint8)
    with worker._changing:
        assert worker.lookup.most_alike(latents, [{"cup"}]) == [None]
