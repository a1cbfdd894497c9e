"""The Open Inference Protocol, as its stock client and as raw requests."""

from __future__ import annotations

import json

import httpx
import numpy as np
import pytest
from serving_kit import DIM, add_learner, jpeg, latent, lesson

MODEL = "/v2/models/l"
HEAD = "Inference-Header-Content-Length"


@pytest.fixture
def taught(latents):
    latents.client.post("/v1/learners/l/samples", json=lesson(0, 1, 2))
    return latents


@pytest.fixture
def triton(taught):
    http = pytest.importorskip("tritonclient.http", reason="tritonclient is not installed")
    with http.InferenceServerClient(f"127.0.0.1:{taught.port}") as client:
        yield http, client


def rows(*kinds):
    return np.array([latent(kind, 5) for kind in kinds], np.float32)


def v1_tops(running, values):
    samples = [{"latent": row.tolist()} for row in values]
    answer = running.client.post("/v1/learners/l/predict?top_k=3", json={"samples": samples})
    return [{c["label"]: c["score"] for c in one["top"]} for one in answer.json()["predictions"]]


def asked(values, **members):
    tensor = {"name": "latent", "shape": list(values.shape), "datatype": "FP32"}
    return {"inputs": [{**tensor, "data": values.tolist()}], **members}


def test_stock_client_finds_server_and_model(triton):
    _, client = triton
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("l")
    assert client.is_model_ready("l", "1")
    assert not client.is_model_ready("l", "2")
    assert not client.is_model_ready("nobody")
    assert "classification" in client.get_server_metadata()["extensions"]
    model = client.get_model_metadata("l")
    assert model["versions"] == ["1"]
    assert {"name": "latent", "datatype": "FP32", "shape": [-1, DIM]} in model["inputs"]
    assert [one["name"] for one in client.get_model_repository_index()] == ["l"]


@pytest.mark.parametrize("binary", [True, False])
def test_stock_client_gets_what_v1_answers(triton, taught, binary):
    http, client = triton
    values = rows(2, 0)
    tensor = http.InferInput("latent", values.shape, "FP32")
    tensor.set_data_from_numpy(values, binary_data=binary)
    outputs = [
        http.InferRequestedOutput(name, binary_data=binary)
        for name in ("label", "score", "unknown", "probabilities")
    ]
    result = client.infer("l", [tensor], outputs=outputs, request_id="r-1")
    labels = [text.decode() if binary else text for text in result.as_numpy("label")]
    assert labels == ["class 2", "class 0"]
    assert result.get_response()["id"] == "r-1"
    assert result.get_response()["model_version"] == "1"
    assert result.as_numpy("unknown").dtype == np.bool_
    expected = v1_tops(taught, values)
    probabilities = result.as_numpy("probabilities")
    assert probabilities.dtype == np.float32
    for row, top in enumerate(expected):
        by_number = [top[f"class {c}"] for c in range(3)]
        np.testing.assert_allclose(probabilities[row], by_number, rtol=1e-6)
        np.testing.assert_allclose(result.as_numpy("score")[row], max(by_number), rtol=1e-6)


def test_stock_client_asks_for_classes(triton, taught):
    http, client = triton
    values = rows(1)
    tensor = http.InferInput("latent", values.shape, "FP32").set_data_from_numpy(values)
    for binary in (True, False):
        wish = http.InferRequestedOutput("probabilities", binary_data=binary, class_count=2)
        found = client.infer("l", [tensor], outputs=[wish]).as_numpy("probabilities")
        assert found.shape == (1, 2)
        texts = [t.decode() if isinstance(t, bytes) else t for t in found[0]]
        score, number, label = texts[0].split(":")
        assert (number, label) == ("1", "class 1")
        assert float(score) == pytest.approx(v1_tops(taught, values)[0]["class 1"], abs=1e-6)
        assert float(texts[1].split(":")[0]) <= float(score)


def test_stock_client_without_wishes_gets_all_outputs_as_bytes(triton):
    http, client = triton
    values = rows(1)
    tensor = http.InferInput("latent", values.shape, "FP32").set_data_from_numpy(values)
    result = client.infer("l", [tensor], model_version="1")
    assert result.as_numpy("label")[0] == b"class 1"
    assert result.as_numpy("probabilities").shape == (1, 3)


def test_stock_client_reads_the_form_of_errors(triton):
    http, client = triton
    utils = pytest.importorskip("tritonclient.utils")
    wrong = np.zeros((1, DIM + 1), np.float32)
    tensor = http.InferInput("latent", wrong.shape, "FP32").set_data_from_numpy(wrong)
    with pytest.raises(utils.InferenceServerException, match=r"\[-1, 8\]") as refused:
        client.infer("l", [tensor])
    assert refused.value.status() == "422"
    with pytest.raises(utils.InferenceServerException, match="no learner is named"):
        client.get_model_metadata("nobody")


def test_images_as_files_and_as_pixels(start, extractor):
    running = start(extractor)
    for label, channel in (("red", 0), ("blue", 2)):
        running.client.post(
            "/v1/learners/default/samples", params={"label": label}, content=jpeg(channel),
            headers={"Content-Type": "image/jpeg"},
        )  # fmt: skip
    http = pytest.importorskip("tritonclient.http", reason="tritonclient is not installed")
    files = np.array([[jpeg(0, 1)], [jpeg(2, 1)]], dtype=object)
    pixels = np.random.default_rng(1).integers(0, 60, (2, 64, 64, 3), dtype=np.uint8)
    pixels[0, ..., 0] += 150
    pixels[1, ..., 2] += 150
    with http.InferenceServerClient(f"127.0.0.1:{running.port}") as client:
        for name, kind, values in (("image", "BYTES", files), ("pixels", "UINT8", pixels)):
            tensor = http.InferInput(name, values.shape, kind).set_data_from_numpy(values)
            found = client.infer("default", [tensor]).as_numpy("label").tolist()
            assert found == [b"red", b"blue"], name
        tensor = http.InferInput("image", [1], "BYTES")
        tensor.set_data_from_numpy(np.array([b"no image"], dtype=object))
        answer = _status(client, tensor)
        assert answer == "422"


def _status(client, tensor):
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException) as refused:
        client.infer("default", [tensor])
    return refused.value.status()


def test_an_empty_model_knows_nothing(latents):
    outputs = latents.client.post(f"{MODEL}/infer", json=asked(rows(1))).json()["outputs"]
    found = {one["name"]: one for one in outputs}
    assert found["unknown"]["data"] == [True]
    assert found["label"]["data"] == [""]
    assert found["probabilities"]["shape"] == [1, 0]


def test_codes_are_taken_as_bytes(latents):
    """Little-endian float16 after the head, without any client library."""
    values = rows(1).astype("<f2")
    latents.client.post("/v1/learners/l/samples", json=lesson(0, 1))
    tensor = {"name": "latent", "shape": [1, DIM], "datatype": "FP16"}
    head = json.dumps(
        {"inputs": [{**tensor, "parameters": {"binary_data_size": values.nbytes}}],
         "outputs": [{"name": "label"}]}
    ).encode()  # fmt: skip
    answer = latents.client.post(
        f"{MODEL}/infer", content=head + values.tobytes(), headers={HEAD: str(len(head))}
    )
    assert answer.json()["outputs"][0] == {
        "name": "label", "datatype": "BYTES", "shape": [1], "data": ["class 1"],
    }  # fmt: skip


ONE = {"name": "latent", "shape": [1, DIM], "datatype": "FP32"}
GOOD = {**ONE, "data": [0.0] * DIM}
BAD = {
    "no JSON": (b"{", {}),
    "no object": (b"[1]", {}),
    "no inputs": ({}, {}),
    "two inputs": ({"inputs": [GOOD, GOOD]}, {}),
    "another input": ({"inputs": [{**GOOD, "name": "voice"}]}, {}),
    "no data": ({"inputs": [ONE]}, {}),
    "data of text": ({"inputs": [{**ONE, "data": ["x"] * DIM}]}, {}),
    "too little data": ({"inputs": [{**ONE, "data": [0.0]}]}, {}),
    "a shape below zero": ({"inputs": [{**GOOD, "shape": [-1, DIM]}]}, {}),
    "a huge shape": ({"inputs": [{**GOOD, "shape": [2**31 - 1] * 8}]}, {}),
    "no shape": ({"inputs": [{**GOOD, "shape": [], "data": [1.0]}]}, {}),
    "no samples": ({"inputs": [{**GOOD, "shape": [0, DIM], "data": []}]}, {}),
    "an unknown datatype": ({"inputs": [{**GOOD, "datatype": "FP8"}]}, {}),
    "another datatype": ({"inputs": [{**GOOD, "datatype": "INT32", "data": [0] * DIM}]}, {}),
    "values beyond": (
        {"inputs": [{**GOOD, "datatype": "UINT8", "data": [256] * DIM}]}, {},
    ),
    "infinite": ({"inputs": [{**ONE, "data": [1e300] * DIM}]}, {}),
    "images for a latent learner": (
        {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["AA=="]}]}, {},
    ),
    "no base64": (
        {"inputs": [{"name": "latent", "shape": [1], "datatype": "BYTES", "data": ["*"]}]}, {},
    ),
    "an unknown output": ({"inputs": [GOOD], "outputs": [{"name": "x"}]}, {}),
    "classes of labels": (
        {"inputs": [GOOD], "outputs": [{"name": "label", "parameters": {"classification": 1}}]},
        {},
    ),
    "a negative count": (
        {"inputs": [GOOD],
         "outputs": [{"name": "probabilities", "parameters": {"classification": -1}}]},
        {},
    ),
    "a flag that is none": ({"inputs": [GOOD], "parameters": {"binary_data_output": 1}}, {}),
    "a context that is no text": ({"inputs": [GOOD], "parameters": {"context": 1}}, {}),
    "a head beyond the body": (b"{}", {HEAD: "99"}),
    "a head of no number": (b"{}", {HEAD: "-1"}),
    "bytes of no input": (json.dumps({"inputs": [GOOD]}).encode() + b"xx", {HEAD: "81"}),
    "more bytes than there are": (
        {"inputs": [{**ONE, "parameters": {"binary_data_size": 32}}]}, {},
    ),
    "a size that is no number": (
        {"inputs": [{**ONE, "parameters": {"binary_data_size": "32"}}]}, {},
    ),
    "compressed": ({"inputs": [GOOD]}, {"Content-Encoding": "gzip"}),
}  # fmt: skip


def test_wrong_requests_are_refused_in_the_form_of_the_protocol(taught):
    for name, (body, headers) in BAD.items():
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = taught.client.post(f"{MODEL}/infer", content=content, headers=headers)
        assert 400 <= answer.status_code < 500, (name, answer.text)
        assert list(answer.json()) == ["error"], name
        assert len(answer.json()["error"]) > 10, name


def test_a_string_that_ends_too_late(start, extractor):
    running = start(extractor)
    for tail in (b"\xff\xff\xff\x7fabc", b"\x01"):
        size = {"binary_data_size": len(tail)}
        tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": size}
        head = json.dumps({"inputs": [tensor]}).encode()
        answer = httpx.post(
            f"{running.url}/v2/models/default/infer", content=head + tail,
            headers={HEAD: str(len(head))},
        )  # fmt: skip
        assert answer.status_code == 400
        assert "ends beyond" in answer.json()["error"]


def test_too_many_samples(start):
    running = start(max_batch_samples=2)
    add_learner(running.client)
    answer = httpx.post(f"{running.url}{MODEL}/infer", json=asked(rows(0, 1, 2)))
    assert answer.status_code == 413
    assert "at most 2" in answer.json()["error"]


def test_every_error_below_v2_has_its_form(start):
    running = start(api_key="a long secret")
    for path, status in (("/v2/models/l", 401), ("/v2/nothing", 401), ("/v2/health/live", 200)):
        answer = httpx.get(running.url + path)
        assert answer.status_code == status
        if status != 200:
            assert list(answer.json()) == ["error"]
    key = {"X-API-Key": "a long secret"}
    assert list(httpx.get(f"{running.url}/v2/nothing", headers=key).json()) == ["error"]
    wrong = httpx.put(f"{running.url}/v2", headers=key)
    assert (wrong.status_code, list(wrong.json())) == (405, ["error"])


def test_a_context_is_a_parameter(start):
    running = start()
    add_learner(running.client, strategy="multihead")
    running.client.post("/v1/learners/l/samples", json=lesson(0, 1, context="a"))
    url = f"{running.url}{MODEL}/infer"
    found = httpx.post(url, json=asked(rows(1), parameters={"context": "a"})).json()
    assert found["outputs"][0]["data"] == ["class 1"]
