"""Surgery on ONNX graphs: list the layers, cut at one, fuse the input, append the codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_cl.errors import ExtractorError
from edge_cl.extractor.manifest import Manifest

IMAGE, CODES = "image", "embedding_q"
"""Names of the input and the output of every extractor that the toolchain writes."""

_POOLS = ("GlobalAveragePool", "ReduceMean", "QLinearGlobalAveragePool")
_SHAPE_ONLY = ("Flatten", "Reshape", "Squeeze", "DequantizeLinear", "QuantizeLinear", "Identity")


@dataclass(frozen=True)
class Layer:
    """A tensor that can be the latent.

    Parameters
    ----------
    name
        Of the tensor.
    made_by
        Operator that computes it.
    shape
        Without the batch axis.
    """

    name: str
    made_by: str
    shape: tuple[int, ...]

    @property
    def latent_bytes(self) -> int:
        """Bytes of one latent as uint8 codes."""
        return prod(self.shape)


def _shape(value: Any) -> tuple[int, ...] | None:
    dims = value.type.tensor_type.shape.dim
    sizes = tuple(d.dim_value for d in dims[1:])
    return sizes if sizes and all(sizes) else None


def initialisers(model: onnx.ModelProto) -> dict[str, Any]:
    """Constant tensors as arrays, by name."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return constants


def producers(model: onnx.ModelProto) -> dict[str, Any]:
    """The node that computes each tensor, by the tensor's name."""
    return {output: node for node in model.graph.node for output in node.output}


def layers(model: onnx.ModelProto) -> list[Layer]:
    """Tensors with a batch axis and a known shape, in the order of computation."""
    inferred = onnx.shape_inference.infer_shapes(model)
    known = [*inferred.graph.value_info, *inferred.graph.output]
    shapes = {v.name: _shape(v) for v in known}
    constants = initialisers(model)
    found = []
    for node in model.graph.node:
        shape = shapes.get(node.output[0])
        depends = any(name and name not in constants for name in node.input)
        if shape is not None and depends and node.op_type not in ("Shape", "Constant"):
            found.append(Layer(node.output[0], node.op_type, shape))
    return found


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


def cut(model: onnx.ModelProto, layer: str) -> onnx.ModelProto:
    """The part of a model that computes one tensor, with that tensor as only output.

    Raises
    ------
    ExtractorError
        When there is no such tensor, or its shape is not known.
    """
    found = {known.name: known for known in layers(model)}
    if layer not in found:
        names = ", ".join(list(found)[-8:])
        raise ExtractorError(f"there is no layer {layer!r}; the last ones are {names}")
    by_output, needed, keep = producers(model), [layer], set()
    while needed:
        node = by_output.get(needed.pop())
        if node is not None and id(node) not in keep:
            keep.add(id(node))
            needed.extend(node.input)
    nodes = [node for node in model.graph.node if id(node) in keep]
    read = {name for node in nodes for name in node.input}
    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.node[:], part.graph.output[:], part.graph.initializer[:]
    del part.graph.value_info[:], part.metadata_props[:]
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(t for t in model.graph.initializer if t.name in read)
    element = TensorProto.UINT8 if is_codes(model, layer) else TensorProto.FLOAT
    shape: list[str | int | None] = ["N", *found[layer].shape]
    part.graph.output.append(helper.make_tensor_value_info(layer, element, shape))
    return part


def is_codes(model: onnx.ModelProto, tensor: str) -> bool:
    """Whether a tensor holds uint8 codes rather than floats."""
    node = producers(model)[tensor]
    if node.op_type in ("Flatten", "Reshape", "Squeeze", "MaxPool", "Transpose"):
        return node.input[0] in producers(model) and is_codes(model, node.input[0])
    quantises = node.op_type == "QuantizeLinear" or node.op_type.startswith("QLinear")
    return quantises and quantisation(model, tensor) is not None


def quantisation(model: onnx.ModelProto, tensor: str) -> tuple[float, int] | None:
    """Scale and zero point of a tensor of uint8 codes; None when it has none."""
    node, constants = producers(model).get(tensor), initialisers(model)
    if node is None:
        return None
    if node.op_type in ("Flatten", "Reshape", "Squeeze", "MaxPool", "Transpose"):
        return quantisation(model, node.input[0])
    if node.op_type == "QuantizeLinear" or node.op_type.startswith("QLinear"):
        last_two = [constants.get(n) for n in node.input[-2:]]
        scale, zero_point = last_two
        if scale is None or zero_point is None or scale.size != 1 or zero_point.dtype != np.uint8:
            return None
        return float(scale.reshape(-1)[0]), int(zero_point.reshape(-1)[0])
    return None


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


def add_constant(model: onnx.ModelProto, name: str, values: Any) -> str:
    """Add an initialiser and return its name."""
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    return name


def append_codes(model: onnx.ModelProto, scale: float, zero_point: int) -> None:
    """Make uint8 codes (N, D) the only output of a model, whatever it gave before."""
    output = model.graph.output[0]
    shape = _shape(output) or ()
    name, is_float = output.name, output.type.tensor_type.elem_type == TensorProto.FLOAT
    nodes = []
    if is_float:
        constants = [
            add_constant(model, "latent_scale", np.float32(scale)),
            add_constant(model, "latent_zero_point", np.uint8(zero_point)),
        ]
        wires = [name, *constants]
        nodes.append(helper.make_node("QuantizeLinear", wires, ["latent_codes"], "latent_quantise"))
        name = "latent_codes"
    nodes.append(helper.make_node("Flatten", [name], [CODES], name="latent_flatten", axis=1))
    model.graph.node.extend(nodes)
    del model.graph.output[:]
    model.graph.output.append(
        helper.make_tensor_value_info(CODES, TensorProto.UINT8, ["N", prod(shape)])
    )


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


def write_manifest(model: onnx.ModelProto, manifest: Manifest) -> None:
    """Replace a model's metadata by a manifest."""
    del model.metadata_props[:]
    helper.set_model_props(model, manifest.to_metadata())
    model.producer_name = "edge_cl"
    model.doc_string = ""


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
