"""A service whose extractor, or a learner's, is cut at a layer."""

from __future__ import annotations

import time

import pytest
from serving_kit import jpeg

pytest.importorskip("onnx", reason="cutting an extractor needs the package onnx")

from edge_cl import strategies
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


def create(client, **members):
    wanted = {"name": "l", "strategy": "ncm", "memory_budget": "4MiB", **members}
    return client.post("/v1/learners", json=wanted)


def teach(client, channel, seed=0, label=None):
    path = f"/v1/learners/l/samples?label={label or f'colour{channel}'}"
    taught = client.post(path, content=jpeg(channel, seed), headers=JPEG)
    assert taught.status_code == 201, taught.text


def asked(client, channel=1):
    answer = client.post(
        "/v1/learners/l/predict?top_k=9", content=jpeg(channel, seed=77), headers=JPEG
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"][0]["top"]


def test_the_layers_that_can_be_chosen_are_listed(start, extractor):
    client = start(extractor).client
    listed = client.get("/v1/extractor/layers").json()
    assert listed["extractor"] == extractor.manifest.id
    assert listed["layers"][-1] == {
        "layer": "residual3", "shape": [256, 4, 4], "latent_bytes": 4096, "tail_weights": 98304,
    }  # fmt: skip
    assert client.get("/v1/info").json()["extractor"]["layers"] == "/v1/extractor/layers"
    assert start().client.get("/v1/extractor/layers").json() == {"extractor": None, "layers": []}


def test_learners_at_several_layers_live_side_by_side(start, extractor):
    client = start(extractor).client
    for name, layer in (("a", "@residual3"), ("b", "@down3"), ("c", "")):
        answer = create(client, name=name, extractor=f"default{layer}")
        assert answer.status_code == 201, answer.text
        assert answer.json()["extractor"] == f"{extractor.manifest.id}{layer}"
        path = f"/v1/learners/{name}/samples?label=x"
        assert client.post(path, content=jpeg(0), headers=JPEG).status_code == 201
    dims = [client.get(f"/v1/learners/{name}").json()["dim"] for name in "abc"]
    assert dims == [4096, 4096, 384]


@pytest.mark.parametrize("wanted", ["default@middle", "default@", "other@residual3", "other"])
def test_what_cannot_be_cut_is_refused_with_a_pointer(start, extractor, wanted):
    answer = create(start(extractor).client, extractor=wanted)
    assert answer.status_code == 422
    assert [one["pointer"] for one in answer.json()["errors"]] == ["/extractor"]
    if wanted == "default@middle":
        assert "its layers are stem" in answer.json()["detail"]


def test_the_layers_above_want_a_layer(start, extractor):
    pytest.importorskip("torch", reason="torch is not installed")
    answer = create(start(extractor).client, strategy="ar1_conv")
    assert answer.status_code == 422
    assert "default@residual3" in answer.json()["detail"]


def test_without_torch_the_extra_is_named(start, extractor, monkeypatch):
    from edge_cl.strategies import ar1_conv

    monkeypatch.setattr(ar1_conv, "find_spec", lambda name: None)
    client = start(extractor).client
    answer = create(client, strategy="ar1_conv", extractor="default@residual3")
    assert answer.status_code == 422
    assert answer.json()["type"].endswith("missing-extra")
    assert "edge-cl[torch]" in answer.json()["detail"]
    monkeypatch.setattr(strategies, "find_spec", lambda name: None)
    listed = client.get("/v1/strategies").json()["strategies"]
    assert "ar1_conv" not in {one["name"] for one in listed}
    # The service goes on, without the learner.
    assert client.get("/v1/learners/l").status_code == 404


def test_the_layers_above_learn_and_a_restart_changes_nothing(start, extractor):
    pytest.importorskip("torch", reason="torch is not installed")
    client = start(extractor).client
    options = {"calibration_samples": 6, "first_steps": 4, "replay_batch": 4}
    made = create(client, strategy="ar1_conv", extractor="default@residual3", options=options)
    assert made.status_code == 201, made.text
    for seed in range(4):
        for channel in range(3):
            teach(client, channel, seed)
    state = client.get("/v1/learners/l").json()
    assert state["memory_used"] <= state["memory_budget"]
    assert state["memory"]["tail"] > 98304
    before = asked(client)
    assert before[0]["label"] == "colour1"
    client = start(extractor).client
    assert asked(client) == before
    teach(client, 0, 9)
    after = asked(client)
    assert client.post("/v1/learners/l/undo").status_code == 200
    assert asked(client) == before
    teach(client, 0, 9)
    assert asked(client) == after


def test_a_budget_that_is_too_small_names_the_bytes(start, extractor):
    pytest.importorskip("torch", reason="torch is not installed")
    answer = create(
        start(extractor).client, strategy="ar1_conv", extractor="default@residual3",
        memory_budget="512KiB",
    )  # fmt: skip
    assert answer.status_code == 507
    assert "bytes are needed" in answer.json()["detail"]


def test_another_strategy_takes_the_layers_above_after_a_restart(start, extractor):
    pytest.importorskip("torch", reason="torch is not installed")
    client = start(extractor).client
    assert create(client, strategy="latent_replay", extractor="default@residual3").is_success
    for channel in range(3):
        teach(client, channel)
    client = start(extractor).client
    changed = client.patch(
        "/v1/learners/l", json={"strategy": "ar1_conv", "options": {"first_steps": 3}}
    )
    assert changed.status_code == 202, changed.text
    for _ in range(200):
        state = client.get("/v1/learners/l").json()
        if state["change"] is None:
            break
        time.sleep(0.05)
    assert (state["strategy"], state["change_failure"]) == ("ar1_conv", None)
    assert {one["label"] for one in asked(client)} == {"colour0", "colour1", "colour2"}


def test_it_moves_as_an_archive(start, extractor, tmp_path):
    client = start(extractor).client
    assert create(client, extractor="default@residual3").is_success
    teach(client, 1)
    before = asked(client)
    archive = client.get("/v1/learners/l/export").content
    sent = client.post("/v1/learners/import?name=moved", content=archive)
    assert sent.status_code == 201, sent.text
    assert sent.json()["extractor"] == f"{extractor.manifest.id}@residual3"
    answer = client.post(
        "/v1/learners/moved/predict?top_k=9", content=jpeg(1, seed=77), headers=JPEG
    )
    assert answer.json()["predictions"][0]["top"] == before
