"""Latents that say which extractor made them."""

from __future__ import annotations

import pytest
from serving_kit import add_learner, jpeg, latent

SAMPLES = "/v1/learners/l/samples"


def body(extractor, kind=0, count=1):
    return {
        "samples": [
            {"label": "a", "latent": latent(kind, n), "extractor": extractor} for n in range(count)
        ]
    }


@pytest.mark.parametrize("path", ["samples", "predict", "evaluate"])
def test_latents_of_another_extractor_are_refused_whole(start, path):
    client = start().client
    add_learner(client, extractor="camera-net-7")
    assert client.get("/v1/learners/l").json()["extractor"] == "camera-net-7"
    assert client.post(SAMPLES, json=body("camera-net-7")).status_code == 201
    assert client.post(f"/v1/learners/l/{path}", json=body("camera-net-7")).is_success
    mixed = body("camera-net-7", count=3)
    mixed["samples"][1]["extractor"] = "camera-net-8"
    refused = client.post(f"/v1/learners/l/{path}", json=mixed)
    assert refused.status_code == 422
    problem = refused.json()
    assert problem["type"].endswith("extractor-mismatch")
    assert [one["pointer"] for one in problem["errors"]] == ["/samples/1/extractor"]
    assert "camera-net-7" in problem["detail"]
    for odd in (7, ["camera-net-7"], {}):
        assert client.post(f"/v1/learners/l/{path}", json=body(odd)).status_code == 422


def test_a_learner_of_its_own_latents_takes_no_images_and_survives_a_restart(start, extractor):
    client = start(extractor).client
    add_learner(client, extractor="camera-net-7")
    headers = {"Content-Type": "image/jpeg"}
    image = client.post(f"{SAMPLES}?label=a", content=jpeg(0), headers=headers)
    assert image.status_code == 422
    assert client.post(SAMPLES, json=body("camera-net-7")).status_code == 201
    client = start(extractor).client
    assert client.post(SAMPLES, json=body("camera-net-7", 1)).status_code == 201
    assert client.post(SAMPLES, json=body("camera-net-8")).status_code == 422


def test_a_learner_without_an_extractor_cannot_vouch_for_one(latents):
    answer = latents.client.post(SAMPLES, json=body("camera-net-7"))
    assert answer.json()["type"].endswith("extractor-mismatch")
    assert latents.client.get(SAMPLES).json()["total"] == 0


def test_the_digest_of_the_service_s_extractor_will_do(start, extractor):
    client = start(extractor).client
    manifest = extractor.manifest
    for name in (manifest.id, manifest.sha256):
        sample = {"label": "a", "latent": [0.5] * manifest.dim, "extractor": name}
        answer = client.post("/v1/learners/default/samples", json={"samples": [sample]})
        assert answer.status_code == 201
