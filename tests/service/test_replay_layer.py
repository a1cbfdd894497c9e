"""A service whose extractor, or a learner's, is cut at a layer."""

from __future__ import annotations

import pytest
from serving_kit import jpeg

pytest.importorskip("onnx", reason="cutting an extractor needs the package onnx")

from edge_cl.extractor import load_extractor

JPEG = {"Content-Type": "image/jpeg"}


def test_a_service_runs_a_cut_extractor_and_starts_again_with_it(start):
    part = load_extractor("default@residual3")
    client = start(part, strategy="ncm", memory_budget="1MiB").client
    for channel in range(3):
        taught = client.post(
            f"/v1/learners/default/samples?label=colour{channel}", content=jpeg(channel),
            headers=JPEG,
        )  # fmt: skip
        assert taught.status_code == 201, taught.text
    learner = client.get("/v1/learners/default").json()
    assert (learner["extractor"], learner["dim"]) == ("edge-cl-builtin-1@residual3", 4096)
    asked = {"content": jpeg(1, seed=5), "headers": JPEG}
    before = client.post("/v1/learners/default/predict", **asked).json()["predictions"][0]
    assert before["label"] == "colour1"
    client = start(part, strategy="ncm").client
    after = client.post("/v1/learners/default/predict", **asked).json()["predictions"][0]
    assert after["top"] == before["top"]
