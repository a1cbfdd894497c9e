"""A tiny network above a tiny replay layer, written with the onnx package."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edge_cl.types import LatentSpec

SHAPE, DIM = (2, 2, 2), 8


def small_tail(channels=4, seed=0):
    """Codes (N, 2, 2, 2) to codes (N, channels): a convolution, clipped at 0, and averaged."""
    rng = np.random.default_rng(seed)
    constants = {
        "scale": np.float32(0.02),
        "zero": np.uint8(0),
        "kernel": rng.integers(-90, 90, (channels, 2, 3, 3), dtype=np.int8),
        "kernel_scale": np.float32(0.01),
        "kernel_zero": np.int8(0),
        "bias": rng.normal(0.5, 0.2, channels).astype(np.float32),
        "wide": np.float32(0.04),
    }
    node = helper.make_node
    nodes = [
        node("DequantizeLinear", ["layer_q", "scale", "zero"], ["layer"]),
        node("DequantizeLinear", ["kernel", "kernel_scale", "kernel_zero"], ["weight"]),
        node("Conv", ["layer", "weight", "bias"], ["map"], "conv", pads=[1, 1, 1, 1]),
        node("QuantizeLinear", ["map", "wide", "zero"], ["map_q"]),
        node("DequantizeLinear", ["map_q", "wide", "zero"], ["clipped"]),
        node("GlobalAveragePool", ["clipped"], ["mean"]),
        node("QuantizeLinear", ["mean", "wide", "zero"], ["mean_q"]),
        node("Flatten", ["mean_q"], ["embedding_q"], axis=1),
    ]
    codes = TensorProto.UINT8
    graph = helper.make_graph(
        nodes,
        "tail",
        [helper.make_tensor_value_info("layer_q", codes, ["N", *SHAPE])],
        [helper.make_tensor_value_info("embedding_q", codes, ["N", channels])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    opset = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def tail_spec(**changes):
    """Latents of the tiny replay layer."""
    return LatentSpec(DIM, scale=0.02, zero_point=0, tail=small_tail(**changes))
