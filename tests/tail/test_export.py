"""A learner with a trained tail as one ONNX model: another runtime gives the same answers."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edge_cl import Learner
from edge_cl.extractor import load_extractor
from edge_cl.onnx_export import INPUT, OUTPUT, probabilities, to_onnx
from edge_cl.types import LatentSpec

QUICK = {"calibration_samples": 6, "first_steps": 3, "replay_batch": 6}


def tail():
    """Every kind of step: a kernel, a gate, a pool, a matrix, and something to reshape."""
    rng = np.random.default_rng(0)
    constants = {
        "scale": np.float32(0.02), "zero": np.uint8(0), "wide": np.float32(0.05),
        "kernel": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "low": np.float32(0), "high": np.float32(6), "lengths": np.array([0, -1]),
        "matrix": rng.normal(size=(5, 16)).astype(np.float32),
        "bias": rng.normal(size=5).astype(np.float32),
        "half": np.float32(0.5),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        node("DequantizeLinear", ["layer_q", "scale", "zero"], ["x"]),
        node("Conv", ["x", "kernel"], ["u"], pads=[0, 0, 1, 1], strides=[2, 2]),
        node("Clip", ["u", "low", "high"], ["r"]),
        node("Mul", ["r", "half"], ["h"]),
        node("QuantizeLinear", ["h", "scale", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        node("Reshape", ["d", "lengths"], ["flat"]),
        node("Gemm", ["flat", "matrix", "bias"], ["g"], transB=1),
        node("Relu", ["g"], ["a"]),
        node("QuantizeLinear", ["a", "wide", "zero"], ["embedding_q"]),
    ]
    codes = TensorProto.UINT8
    graph = helper.make_graph(
        nodes, "tail",
        [helper.make_tensor_value_info("layer_q", codes, ["N", 3, 4, 4])],
        [helper.make_tensor_value_info("embedding_q", codes, ["N", 5])],
        [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


@pytest.mark.parametrize("features", ["none", "l2", "power_l2"])
def test_a_model_of_latents_gives_the_learners_probabilities(features):
    spec = LatentSpec(48, 0.02, 0, tail())
    rng = np.random.default_rng(1)
    learner = Learner.create(
        strategy="ar1_conv", spec=spec, memory_budget="256KiB",
        options={**QUICK, "features": features, "learning_rate": 0.3, "tail_learning_rate": 0.05},
    )  # fmt: skip
    codes = rng.integers(0, 256, (30, 48), dtype=np.uint8)
    learner.learn_latents(codes, [f"class {n % 3}" for n in range(30)])
    content = to_onnx(learner.publish())
    session = onnxruntime.InferenceSession(content)
    latents = spec.to_float(rng.integers(0, 256, (9, 48), dtype=np.uint8))
    found = session.run([OUTPUT], {INPUT: latents})[0]
    np.testing.assert_allclose(found, probabilities(learner.publish(), latents), atol=1e-4)


def test_a_model_of_images_has_front_tail_and_head():
    with load_extractor("default@residual3") as extractor:
        learner = Learner.create(
            strategy="ar1_conv", extractor=extractor, memory_budget="4MiB", options=QUICK
        )
        images = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), dtype=np.uint8)
        images[::2] //= 3
        learner.learn(list(images), ["dark", "bright"] * 6)
        content = to_onnx(learner.publish(), extractor)
        session = onnxruntime.InferenceSession(content)
        found = session.run([OUTPUT], {"image": images})[0]
        expected = probabilities(learner.publish(), extractor.extract(images))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    model = onnx.load_model_from_string(content)
    told = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert told["extractor"]["id"].endswith("@residual3")
