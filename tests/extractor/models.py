"""Tiny ONNX models, written with the onnx package, for tests only."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, DIM = 8, 5


def tiny(metadata: dict[str, str] | None = None, scale: float = 0.5, side: int = SIDE):
    """An extractor of 8 x 8 images: average colour, mixed to five uint8 codes."""
    weights = np.random.default_rng(0).uniform(0, 1, (3, DIM)).astype(np.float32) / 3
    constants = {
        "pixel_step": np.float32(1),
        "pixel_zero": np.uint8(0),
        "weights": weights,
        "step": np.float32(scale),
        "zero": np.uint8(3),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["image", "pixel_step", "pixel_zero"], ["pixels"]),
        helper.make_node("ReduceMean", ["pixels"], ["colour"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["colour", "weights"], ["latent"]),
        helper.make_node("QuantizeLinear", ["latent", "step", "zero"], ["embedding_q"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", side, side, 3])],
        [helper.make_tensor_value_info("embedding_q", TensorProto.UINT8, ["N", DIM])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    if metadata is None:
        metadata = {"embedding_q_scale": str(scale), "embedding_q_zero_point": "3"}
    helper.set_model_props(model, metadata)
    return model


def write_tiny(folder: Path, **arguments) -> Path:
    """The path of a tiny extractor."""
    path = folder / "tiny.onnx"
    onnx.save(tiny(**arguments), str(path))
    return path
