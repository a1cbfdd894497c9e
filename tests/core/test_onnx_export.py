"""Learners as ONNX models: another runtime gives the same answers."""

import builtins
import json

import numpy as np
import pytest

from edge_cl import Learner
from edge_cl.errors import Conflict, InvalidOption, MissingExtra
from edge_cl.types import LatentSpec

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install '.[onnx]'")
ort = pytest.importorskip("onnxruntime")

from edge_cl import onnx_export  # noqa: E402

DIM = 12
HIDDEN = {"hidden": (10, 7)}
EXPORTED = [
    ("naive", {}),
    ("naive", HIDDEN),
    ("replay", {"normalise": "l2"}),
    ("ewc", HIDDEN),
    ("derpp", HIDDEN),
    ("gdumb", {}),
    ("joint", {}),
    ("cumulative", HIDDEN),
    ("cwr", HIDDEN),
    ("ar1", {}),
    ("ar1", {**HIDDEN, "normalise": "power_l2"}),
    ("ncm", {}),
    ("slda", {"normalise": "power_l2"}),
    ("ranpac", {"width": 40}),
    ("icarl", HIDDEN),
    ("progress_compress", HIDDEN),
    ("slda_replay", {}),
    ("slda_replay", {"rank": 0}),
    ("slda_replay", {"width": 5}),
]
REFUSED = ["ensemble", "multihead", "progressive", "packnet", "hat", "supsup"]


def taught(strategy, options, **more):
    rng = np.random.default_rng(3)
    centres = rng.uniform(0, 3, (4, DIM))
    learner = Learner.create(
        strategy=strategy, options=options, memory_budget="256KiB", **{"dim": DIM, **more}
    )
    kinds = np.repeat(np.arange(4), 12)
    latents = np.maximum(centres[kinds] + rng.normal(0, 0.4, (48, DIM)), 0).astype(np.float32)
    for start in range(0, 48, 6):
        rows = slice(start, start + 6)
        labels = [f"class {kind}" for kind in kinds[rows]]
        learner.learn_latents(latents[rows], labels, [f"context {kinds[start] // 2}"] * 6)
    return learner, latents


def answers(content, latents):
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
    (given,) = session.get_inputs()
    return labels, session.run(["probabilities"], {given.name: latents})[0]


def agrees(learner, content, latents):
    labels, found = answers(content, latents)
    predictions = learner.predict_latents(latents, top_k=99)
    assert labels == list(learner.publish().labels)
    expected = np.array([[dict(one.top)[label] for label in labels] for one in predictions])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert [labels[best] for best in found.argmax(axis=1)] == [one.label for one in predictions]


@pytest.mark.parametrize(("strategy", "options"), EXPORTED, ids=lambda one: str(one))
def test_the_same_labels_and_probabilities(strategy, options):
    learner, latents = taught(strategy, options)
    agrees(learner, onnx_export.to_onnx(learner.publish()), latents)


@pytest.mark.parametrize("norm", ["batch", "batch_renorm"])
def test_a_normalised_head(norm):
    learner, latents = taught("ar1", {**HIDDEN, "norm": norm})
    agrees(learner, onnx_export.to_onnx(learner.publish()), latents)


def test_merged_and_forgotten_classes():
    learner, latents = taught("slda", {})
    learner.merge_classes("class 1", "class 2")
    learner.forget(label="class 3")
    labels, _ = answers(onnx_export.to_onnx(learner.publish()), latents)
    assert labels == ["class 0", "class 2"]
    agrees(learner, onnx_export.to_onnx(learner.publish()), latents)


@pytest.mark.parametrize("strategy", REFUSED)
def test_what_is_not_one_network_is_refused(strategy):
    learner, _ = taught(strategy, {})
    with pytest.raises(InvalidOption, match="not one network"):
        onnx_export.to_onnx(learner.publish())


def test_a_head_that_needs_a_context_is_refused():
    learner, _ = taught("naive", {"softmax_over": "context"})
    with pytest.raises(InvalidOption, match="not one network"):
        onnx_export.to_onnx(learner.publish())


def test_nothing_to_export():
    with pytest.raises(Conflict, match="nothing was learned"):
        onnx_export.to_onnx(Learner.create(strategy="ncm", dim=4).publish())


def test_without_the_package_the_extra_is_named(monkeypatch):
    learner, _ = taught("ncm", {})
    real = builtins.__import__

    def without(name, *rest):
        if name == "onnx":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"edge-cl\[onnx\]"):
        onnx_export.to_onnx(learner.publish())


def test_a_model_that_answers_otherwise_is_not_given_out(monkeypatch):
    learner, _ = taught("ncm", {})

    def halved(graph, strategy, rows):
        return graph.linear(rows, strategy.mean / 2)

    table = tuple((k, halved if k.__name__ == "NCM" else w) for k, w in onnx_export.TABLE)
    monkeypatch.setattr(onnx_export, "TABLE", table)
    with pytest.raises(Conflict, match="differ"):
        onnx_export.to_onnx(learner.publish())


def test_codes_of_an_extractor_without_the_extractor():
    spec = LatentSpec(DIM, scale=0.02, zero_point=7)
    learner, latents = taught("slda", {}, dim=None, spec=spec)
    agrees(learner, onnx_export.to_onnx(learner.publish()), latents)


def test_images_through_the_built_in_extractor():
    learner = Learner.create(strategy="slda", extractor="default", memory_budget="1MiB")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    images[::2, :, :, 0] = 255
    learner.learn(list(images), list("abcabc"))
    content = onnx_export.to_onnx(learner.publish(), learner.extractor, {"learner": "pets"})
    labels, found = answers(content, images)
    predictions = learner.predict(list(images), top_k=3)
    expected = [[dict(one.top)[label] for label in labels] for one in predictions]
    np.testing.assert_allclose(found, np.array(expected), atol=1e-4)
    metadata = onnx.load_model_from_string(content).metadata_props
    told = {one.key: json.loads(one.value) for one in metadata}
    assert told["learner"] == "pets"
    assert told["preprocessing"] == {"height": 64, "width": 64, "colour": "RGB", "fit": "squash"}
    assert told["extractor"]["sha256"] == learner.extractor.manifest.sha256
