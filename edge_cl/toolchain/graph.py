"""Surgery on ONNX graphs: find the latent, fuse the input, look at the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from edge_cl.errors import ExtractorError
from edge_cl.extractor.graph import (
    CODES,
    IMAGE,
    Layer,
    add_constant,
    append_codes,
    cut,
    initialisers,
    is_codes,
    layers,
    producers,
    quantisation,
    write_manifest,
)

__all__ = [
    "CODES", "IMAGE", "Layer", "add_constant", "append_codes", "codes_behind", "cut",
    "default_layer", "fuse_input", "initialisers", "input_size", "int8_weights", "is_codes",
    "layers", "pixel_step", "producers", "quantisation", "quantised", "rename_input",
    "takes_uint8_rows", "trailing", "write_manifest",
]  # fmt: skip

_POOLS = ("GlobalAveragePool", "ReduceMean", "QLinearGlobalAveragePool")
_SHAPE_ONLY = ("Flatten", "Reshape", "Squeeze", "DequantizeLinear", "QuantizeLinear", "Identity")


def default_layer(model: onnx.ModelProto) -> str:
    """The last global average, or what the last fully connected layer reads.

    Raises
    ------
    ExtractorError
        When the graph has neither: then the layer must be named.
    """
    found = {layer.name: layer for layer in layers(model)}
    for node in reversed(model.graph.node):
        if node.op_type in _POOLS and node.output[0] in found:
            return str(node.output[0])
    for node in reversed(model.graph.node):
        if node.op_type in ("Gemm", "MatMul") and node.input[0] in found:
            return str(node.input[0])
    raise ExtractorError("the latent layer is not obvious: name one of 'edge-cl extractor layers'")


def codes_behind(model: onnx.ModelProto, tensor: str) -> str:
    """The uint8 codes that a model itself makes of a float tensor, or else the tensor."""
    for node in model.graph.node:
        reads = node.op_type == "QuantizeLinear" and node.input[0] == tensor
        if reads and quantisation(model, node.output[0]) is not None:
            return str(node.output[0])
    return tensor


def quantised(model: onnx.ModelProto) -> bool:
    """Whether a model computes with integers already."""
    return any(
        node.op_type.startswith(("QLinear", "QuantizeLinear", "ConvInteger", "MatMulInteger"))
        for node in model.graph.node
    )


def trailing(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes behind the last layer with weights: they stay in float32.

    Their cost is nothing, and their output has the latent's own scale.
    """
    by_output, name, names = producers(model), model.graph.output[0].name, []
    while (node := by_output.get(name)) is not None and node.op_type in _POOLS + _SHAPE_ONLY:
        names.append(str(node.name))
        name = node.input[0]
    return names


def input_size(model: onnx.ModelProto) -> tuple[int, int] | None:
    """Height and width of the input where the model fixes them."""
    dims = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    if len(dims) != 4:
        raise ExtractorError(f"the model's input has {len(dims)} axes, an image batch has 4")
    height, width = (dims[1], dims[2]) if dims[3] == 3 else (dims[2], dims[3])
    return (height, width) if height and width else None


def takes_uint8_rows(model: onnx.ModelProto) -> bool:
    """Whether the input already is uint8 (N, H, W, 3)."""
    tensor = model.graph.input[0].type.tensor_type
    return bool(
        tensor.elem_type == TensorProto.UINT8
        and len(tensor.shape.dim) == 4
        and tensor.shape.dim[3].dim_value == 3
    )


def pixel_step(mean: Sequence[float], deviation: Sequence[float]) -> tuple[float, int] | None:
    """Scale and zero point that make normalised pixels codes; None where no such pair exists."""
    whole = float(mean[0]).is_integer() and 0 <= mean[0] <= 255
    if len(set(mean)) > 1 or len(set(deviation)) > 1 or not whole:
        return None
    return float(np.float32(1 / deviation[0])), int(mean[0])


def fuse_input(
    model: onnx.ModelProto,
    size: tuple[int, int],
    mean: Sequence[float],
    deviation: Sequence[float],
) -> None:
    """Let a model that takes normalised floats (N, 3, H, W) take uint8 (N, H, W, 3).

    Where the model begins by quantising with the step of a pixel, the pixels are
    its codes already, and no arithmetic is left at all.

    Parameters
    ----------
    model
        Changed in place.
    size
        Height and width.
    mean, deviation
        Per channel, in pixels: the model expects ``(pixel - mean) / deviation``.
    """
    old = model.graph.input[0].name
    planes = helper.make_node(
        "Transpose", [IMAGE], ["fused_planes"], "fused_planes", perm=[0, 3, 1, 2]
    )
    readers = [node for node in model.graph.node if old in node.input]
    first = readers[0]
    step = pixel_step(mean, deviation)
    if len(readers) == 1 and step is not None and quantisation(model, first.output[0]) == step:
        planes.output[0] = first.output[0]
        model.graph.node.remove(first)
        nodes = [planes]
    else:
        nodes = [planes, *_normalising_nodes(model, old, mean, deviation)]
    for place, node in enumerate(nodes):
        model.graph.node.insert(place, node)
    del model.graph.input[:]
    model.graph.input.append(
        helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, ["N", *size, 3])
    )


def _normalising_nodes(
    model: onnx.ModelProto, output: str, mean: Sequence[float], deviation: Sequence[float]
) -> list[Any]:
    def per_channel(values: Any) -> Any:
        return np.asarray(values, np.float32).reshape(1, 3, 1, 1)

    average = add_constant(model, "fused_mean", per_channel(mean))
    factor = add_constant(model, "fused_factor", 1 / per_channel(deviation))
    return [
        helper.make_node(
            "Cast", ["fused_planes"], ["fused_pixels"], "fused_cast", to=TensorProto.FLOAT
        ),
        helper.make_node("Sub", ["fused_pixels", average], ["fused_centred"], "fused_centre"),
        helper.make_node("Mul", ["fused_centred", factor], [output], "fused_scale"),
    ]


def int8_weights(model: onnx.ModelProto) -> dict[str, Any]:
    """Weights stored as int8 that meet uint8 activations, by name: these can saturate."""
    constants = initialisers(model)
    read = set()
    for node in model.graph.node:
        places = {"DequantizeLinear": [0], "QLinearConv": [3], "QLinearMatMul": [3]}
        read |= {node.input[k] for k in places.get(node.op_type, [])}
    return {n: constants[n] for n in read if n in constants and constants[n].dtype == np.int8}


def rename_input(model: onnx.ModelProto) -> None:
    """Call the input what every extractor's input is called."""
    old = model.graph.input[0].name
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == old:
                node.input[place] = IMAGE
    model.graph.input[0].name = IMAGE
