"""Whatever a client sends: a documented answer, nothing stored, the service stays up."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib

import pytest
from PIL import Image
from serving_kit import DIM, Running, add_learner, jpeg, latent, lesson, settings_for

IMAGES = "/v1/learners/default/samples"
LATENTS = "/v1/learners/l/samples"
JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(scope="module")
def running(tmp_path_factory, extractor):
    folder = tmp_path_factory.mktemp("bad") / "data"
    one = Running(settings_for(folder, max_batch_samples=20, max_body_bytes="1MiB"), extractor)
    add_learner(one.client)
    yield one
    one.close()


@pytest.fixture(autouse=True)
def nothing_is_stored(running):
    yield
    assert running.client.get("/readyz").status_code == 200
    for name in ("default", "l"):
        assert running.client.get(f"/v1/learners/{name}/samples").json()["total"] == 0


def refused(answer, status, name, pointer=None):
    content = answer.json()
    assert (answer.status_code, content["type"]) == (status, f"urn:edge-cl:problem:{name}"), content
    if pointer is not None:
        assert pointer in [error["pointer"] for error in content["errors"]], content


def png_header(width, height):
    """A PNG that declares a size and has no pixels."""

    def chunk(kind, content):
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "status", "name"),
    [
        (b"", 422, "invalid-image"),
        (b"this is no image", 422, "invalid-image"),
        (jpeg(0)[:500], 422, "invalid-image"),
        (png_header(10_000, 10_000), 413, "too-large"),
        (b"x" * (1 << 20) + b"y", 413, "too-large"),
    ],
    ids=["empty", "not an image", "truncated", "100 megapixels", "1 MiB and a byte"],
)
@pytest.mark.parametrize("path", [IMAGES + "?label=a", "/v1/learners/default/predict"])
def test_bodies_that_are_no_image(running, path, content, status, name):
    answer = running.client.post(path, content=content, headers=JPEG)
    refused(answer, status, name)


def test_a_real_image_of_too_many_pixels(running):
    encoded = io.BytesIO()
    Image.new("L", (10_000, 10_000)).save(encoded, "PNG", compress_level=9)
    refused(
        running.client.post(IMAGES + "?label=a", content=encoded.getvalue(), headers=JPEG),
        413, "too-large",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content_type", "content", "status", "name"),
    [
        ("", b"x", 415, "media-type"),
        ("text/html", b"<html>", 415, "media-type"),
        ("image/gif", b"GIF89a", 415, "media-type"),
        ("application/json", b"", 400, "malformed"),
        ("application/json", b"{", 400, "malformed"),
        ("application/json", b"\xff\xfe", 400, "malformed"),
        ("application/json", b"[" * 100_000, 400, "malformed"),
        ("application/json", b"[]", 422, "invalid"),
        ("application/json", b'{"samples": {}}', 422, "invalid"),
        ("application/json", b'{"samples": []}', 400, "malformed"),
        ("application/json", b'{"samples": [3]}', 422, "invalid"),
        ("application/json", b'{"samples": [{}], "x": 1}', 422, "invalid"),
        ("application/x-ndjson", b"", 400, "malformed"),
        ("application/x-ndjson", b'{"label": "a"}\n{', 400, "malformed"),
        ("multipart/form-data", b"x", 400, "malformed"),
        ("multipart/form-data; boundary=b", b"x", 400, "malformed"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx", 400, "malformed"),
        ("multipart/form-data; boundary=b", b"--b--\r\n", 400, "malformed"),
        ("multipart/form-data; boundary=" + "b" * 500, b"x", 400, "malformed"),
    ],
)
def test_bodies_of_no_known_form(running, content_type, content, status, name):
    headers = {"Content-Type": content_type}
    refused(running.client.post(LATENTS, content=content, headers=headers), status, name)


def test_a_compressed_body_is_not_read(running):
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    refused(running.client.post(LATENTS, content=b"x", headers=headers), 415, "media-type")


@pytest.mark.parametrize(
    ("label", "pointer"),
    [
        (None, "/samples/0/label"),
        (7, "/samples/0/label"),
        (["a"], "/samples/0/label"),
        ("", "/samples/0/label"),
        ("  ", "/samples/0/label"),
        ("a\nb", "/samples/0/label"),
        ("\0", "/samples/0/label"),
        ("\ud800", "/samples/0/label"),
        ("ü" * 65, "/samples/0/label"),
    ],
)
def test_labels_that_cannot_be_used(running, label, pointer):
    body = json.dumps({"samples": [{"label": label, "latent": latent(0)}]})
    answer = running.client.post(
        LATENTS, content=body, headers={"Content-Type": "application/json"}
    )
    refused(answer, 422, "invalid-label", pointer)


@pytest.mark.parametrize(
    "values",
    [
        latent(0)[:-1],
        [*latent(0), 0.0],
        [],
        [float("nan")] * DIM,
        [float("inf")] * DIM,
        [1e300] * DIM,
        [10**400] * DIM,
        ["1"] * DIM,
        [True] * DIM,
        [None] * DIM,
        [[0.0]] * DIM,
        "text",
        {"a": 1},
    ],
    ids=str,
)
def test_latents_that_cannot_be_used(running, values):
    body = json.dumps({"samples": [{"label": "a", "latent": values}]})
    answer = running.client.post(
        LATENTS, content=body, headers={"Content-Type": "application/json"}
    )
    refused(answer, 422, "invalid-latent", "/samples/0/latent")


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"latent_b64": "?"}, "invalid"),
        ({"latent_b64": 3}, "invalid"),
        ({"latent_b64": base64.b64encode(b"123").decode()}, "invalid-latent"),
        ({"latent_b64": base64.b64encode(bytes(DIM)).decode()}, "invalid-latent"),
        ({"latent_b64": base64.b64encode(b"\xff" * 4 * DIM).decode()}, "invalid-latent"),
        (
            {"latent_b64": base64.b64encode(bytes(4 * DIM)).decode(), "dtype": "f8"},
            "invalid-latent",
        ),
        ({"latent_b64": base64.b64encode(bytes(4 * DIM)).decode(), "dtype": []}, "invalid-latent"),
        ({"image_b64": base64.b64encode(jpeg(0)).decode()}, "invalid"),
        ({"image_b64": "!"}, "invalid"),
        ({}, "invalid"),
        ({"latent": latent(0), "latent_b64": ""}, "invalid"),
        ({"latent": latent(0), "lable": "typo"}, "invalid"),
        ({"latent": latent(0), "context": 3}, "invalid-label"),
        ({"latent": latent(0), "device": "x" * 200}, "invalid-label"),
    ],
)
def test_samples_that_cannot_be_used(running, fields, name):
    body = {"samples": [{"label": "a", **fields}]}
    refused(running.client.post(LATENTS, json=body), 422, name)


def test_one_bad_sample_refuses_all_and_each_is_named(running):
    body = lesson(0, 1, 2, 3)
    body["samples"][1]["latent"] = [1.0]
    body["samples"][3]["latent"][0] = "x"
    answer = running.client.post(LATENTS, json=body)
    refused(answer, 422, "invalid-latent", "/samples/3/latent")
    assert len(answer.json()["errors"]) == 2


def test_one_bad_file_refuses_all(running):
    files = [("file", ("a", jpeg(0))), ("file", ("b", b"no image"))]
    answer = running.client.post(IMAGES, files=files, data={"label": "a"})
    refused(answer, 422, "invalid-image", "/file/1")


def test_as_many_labels_as_files(running):
    files = [("file", (str(n), jpeg(0))) for n in range(3)]
    answer = running.client.post(IMAGES, files=files, data={"label": ["a", "b"]})
    refused(answer, 422, "invalid", "/label")


def test_more_samples_than_allowed(running):
    refused(running.client.post(LATENTS, json=lesson(*[0] * 21)), 413, "too-large")
    lines = "\n".join(json.dumps(sample) for sample in lesson(*[0] * 21)["samples"])
    headers = {"Content-Type": "application/x-ndjson"}
    refused(running.client.post(LATENTS, content=lines, headers=headers), 413, "too-large")
    files = [("file", (str(n), jpeg(0, size=8))) for n in range(21)]
    answer = running.client.post(IMAGES, files=files, data={"label": "a"})
    refused(answer, 413, "too-large")


@pytest.mark.parametrize("path", ["samples", "predict", "experience/end"])
def test_unknown_learners(running, path):
    refused(running.client.post(f"/v1/learners/nobody/{path}", json=lesson(0)), 404, "not-found")


@pytest.mark.parametrize(
    "query", ["mode=later", "mode=", "top_k=0", "top_k=x", "top_k=1e9", "top_k=" + "9" * 5000]
)
def test_bad_queries(running, query):
    path = "/v1/learners/l/" + ("samples" if "mode" in query else "predict")
    refused(running.client.post(f"{path}?{query}", json=lesson(0)), 422, "invalid")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/learners/l/samples/0", 422),
        ("/v1/learners/l/samples/x", 422),
        (f"/v1/learners/l/samples/{2**63}", 422),
        (f"/v1/learners/l/samples/{2**63 - 1}", 404),
        ("/v1/learners/l/samples?cursor=x", 422),
        ("/v1/learners/l/samples?limit=0", 422),
        ("/v1/learners/l/samples/", 404),
        ("/v1/strategies/nobody", 404),
        ("/v1/learners/%00", 404),
        ("/v1/learners/..%2f..%2fetc", 404),
        ("/nothing", 404),
    ],
)
def test_bad_paths(running, path, status):
    assert running.client.get(path).status_code == status


def test_a_method_that_is_not_there(running):
    answer = running.client.put("/v1/learners")
    refused(answer, 405, "method")
    assert answer.headers["Allow"] == "GET, POST"


@pytest.mark.parametrize(
    ("members", "status", "name"),
    [
        ({"name": "x", "strategy": "nobody"}, 422, "unknown-strategy"),
        ({"name": "x", "strategy": 3}, 422, "invalid"),
        ({"name": "x", "options": {"nothing": 1}}, 422, "invalid-option"),
        ({"name": "x", "strategy": "ar1", "options": {"epochs": -1}}, 422, "invalid-option"),
        ({"name": "x", "options": []}, 422, "invalid"),
        ({"name": "x", "memory_budget": "1 byte"}, 422, "invalid"),
        ({"name": "x", "memory_budget": "lots"}, 422, "invalid"),
        ({"name": "x", "memory_budget": -1}, 422, "invalid"),
        ({"name": "x", "memory_budget": "1GiB"}, 507, "budget"),
        ({"name": "x", "memory_budget": 100, "strategy": "slda"}, 507, "budget"),
        ({"name": "x", "dim": 0}, 422, "invalid"),
        ({"name": "x", "dim": 8, "extractor": "default"}, 422, "invalid"),
        ({"name": "x", "extractor": "/etc/passwd"}, 422, "invalid"),
        ({"name": "x", "seed": -1}, 422, "invalid"),
        ({"name": "l"}, 409, "conflict"),
        ({"name": "../x"}, 422, "invalid"),
        ({"name": ".x"}, 422, "invalid"),
        ({"name": ""}, 422, "invalid"),
        ({"name": "x" * 65}, 422, "invalid"),
        ({"name": "x\n"}, 422, "invalid"),
        ({}, 422, "invalid"),
        ({"name": "x", "nmae": 1}, 422, "invalid"),
    ],
)
def test_learners_that_cannot_be(running, members, status, name):
    refused(running.client.post("/v1/learners", json=members), status, name)


def test_learner_bodies_that_are_no_json(running):
    headers = {"Content-Type": "application/json"}
    answer = running.client.post("/v1/learners", content=b"{", headers=headers)
    refused(answer, 400, "malformed")
    refused(running.client.post("/v1/learners", content=b"{}"), 415, "media-type")
    large = b'{"name": "' + b"x" * (1 << 20) + b'"}'
    refused(running.client.post("/v1/learners", content=large, headers=headers), 413, "too-large")


@pytest.mark.parametrize("key", ["", "x" * 256, "ü"])
def test_idempotency_keys_that_are_none(running, key):
    headers = {"Idempotency-Key": key.encode("latin-1")}
    refused(running.client.post(LATENTS, json=lesson(0), headers=headers), 422, "invalid")


def test_a_request_id_comes_back_unless_it_is_unusable(running):
    answer = running.client.get("/v1/learners/none", headers={"X-Request-ID": "abc-1"})
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"] == "abc-1"
    answer = running.client.get("/v1/learners/none", headers={"X-Request-ID": "a b<script>"})
    assert answer.headers["X-Request-ID"] != "a b<script>"


def test_a_context_that_was_never_taught(latents):
    latents.client.post(LATENTS, json=lesson(0, context="a"))
    answer = latents.client.post("/v1/learners/l/predict?context=b", json=lesson(0))
    refused(answer, 404, "not-found")
    latents.client.delete("/v1/learners/l")
