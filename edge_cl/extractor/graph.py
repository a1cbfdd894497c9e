"""Reading and cutting ONNX graphs: constants, shapes, codes, the part that computes a tensor.

It needs the package onnx, so nothing imports it before somebody asks for a cut.
"""

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
"""Names of the input and the output of every extractor that is written here."""


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
    part = part_of(model, needed_for(model, layer))
    element = TensorProto.UINT8 if is_codes(model, layer) else TensorProto.FLOAT
    shape: list[str | int | None] = ["N", *found[layer].shape]
    part.graph.output.append(helper.make_tensor_value_info(layer, element, shape))
    return part


def needed_for(model: onnx.ModelProto, output: str, above: str | None = None) -> list[Any]:
    """Nodes that compute a tensor, of the tensor `above` if one is given, in their order."""
    by_output, needed, kept = producers(model), [output], set()
    while needed:
        name = needed.pop()
        node = by_output.get(name)
        if node is None or name == above or id(node) in kept:
            continue
        kept.add(id(node))
        needed.extend(node.input)
    return [node for node in model.graph.node if id(node) in kept]


def part_of(model: onnx.ModelProto, nodes: Sequence[Any]) -> onnx.ModelProto:
    """A model of some nodes of another and the constants that they read, without an output."""
    read = {name for node in nodes for name in node.input}
    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.node[:], part.graph.output[:], part.graph.initializer[:]
    del part.graph.value_info[:], part.metadata_props[:]
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(t for t in model.graph.initializer if t.name in read)
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


def write_manifest(model: onnx.ModelProto, manifest: Manifest) -> None:
    """Replace a model's metadata by a manifest."""
    del model.metadata_props[:]
    helper.set_model_props(model, manifest.to_metadata())
    model.producer_name = "edge_cl"
    model.doc_string = ""


def with_manifest(content: bytes, manifest: Manifest) -> bytes:
    """A model file with a manifest in it."""
    model = onnx.load_model_from_string(content)
    write_manifest(model, manifest)
    return written(model)


def written(model: onnx.ModelProto) -> bytes:
    """A model as a file, the same every time."""
    content: bytes = model.SerializeToString(deterministic=True)
    return content
