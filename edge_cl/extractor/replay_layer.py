"""Where in an extractor the latent is taken: the replay layer, and the network cut there.

What lies below stays frozen and gives uint8 codes, as a whole extractor does; what lies
above, the tail, can be trained further by a strategy that can (``ar1_conv``). It needs
the package onnx.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import onnx
from onnx import TensorProto, helper

from edge_cl.errors import ExtractorError
from edge_cl.extractor import graph
from edge_cl.extractor.manifest import Manifest

WEIGHTED = ("Conv", "Gemm", "MatMul")
"""Operators with weights that can be trained."""

_APPENDED = ("_QuantizeLinear_Output", "_quantized", "_output_0", "_q")
"""What exporting and quantising append to the name of a tensor."""


@dataclass(frozen=True)
class ReplayLayer:
    """A tensor of uint8 codes through which everything that the latent depends on passes.

    Parameters
    ----------
    name
        The first part of the tensor's path that no other one has.
    tensor
        Its name in the graph.
    shape
        Without the batch axis.
    scale, zero_point
        Its value is ``(code - zero_point) * scale``.
    tail_weights
        Weights of the layers above it.
    """

    name: str
    tensor: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int
    tail_weights: int

    @property
    def latent_bytes(self) -> int:
        """Bytes of one latent."""
        return prod(self.shape)

    def described(self) -> dict[str, Any]:
        """What a user needs to choose one, for JSON."""
        return {
            "layer": self.name,
            "shape": list(self.shape),
            "latent_bytes": self.latent_bytes,
            "tail_weights": self.tail_weights,
        }


@dataclass(frozen=True)
class Cut:
    """An extractor in two parts.

    Parameters
    ----------
    manifest
        Of the part below.
    front
        The part below as an ONNX model: images in, codes of the replay layer out.
    tail
        The layers above as an ONNX model: codes of the replay layer in, those of the
        extractor's latent out.
    """

    manifest: Manifest
    front: bytes
    tail: bytes


def replay_layers(model: onnx.ModelProto, output: str) -> list[ReplayLayer]:
    """Every layer at which an extractor can be cut, in the order of computation.

    Parameters
    ----------
    model
        The extractor.
    output
        Name of its latent codes.
    """
    shapes = {layer.name: layer.shape for layer in graph.layers(model)}
    images = {one.name for one in model.graph.input}
    constants = {t.name: prod(t.dims) for t in model.graph.initializer}
    all_weights = _weights(model, model.graph.node, constants)
    found = []
    for node in model.graph.node:
        tensor = node.output[0]
        if tensor not in shapes or not graph.is_codes(model, tensor):
            continue
        above = graph.needed_for(model, output, tensor)
        weights = _weights(model, above, constants)
        read = {name for one in above for name in one.input}
        step = graph.quantisation(model, tensor)
        if 0 < weights < all_weights and not read & images and tensor in read and step is not None:
            found.append(ReplayLayer(tensor, tensor, shapes[tensor], *step, weights))
    names = _short_names([layer.tensor for layer in found])
    return [replace(layer, name=name) for layer, name in zip(found, names, strict=True)]


def layers_of(content: bytes, manifest: Manifest) -> list[ReplayLayer]:
    """The `replay_layers` of a model file."""
    return replay_layers(onnx.load_model_from_string(content), manifest.output)


def find_layer(layers: Sequence[ReplayLayer], name: str, whole: str) -> ReplayLayer:
    """The layer of this name, or of this tensor.

    Raises
    ------
    ExtractorError
        With those there are.
    """
    for layer in layers:
        if name in (layer.name, layer.tensor):
            return layer
    known = ", ".join(layer.name for layer in layers) or "none: it has no uint8 codes inside"
    raise ExtractorError(f"extractor {whole} cannot be cut at {name!r}; its layers are {known}")


def cut(content: bytes, manifest: Manifest, name: str) -> Cut:
    """An extractor cut at one of its `replay_layers`.

    Parameters
    ----------
    content
        The model file.
    manifest
        Of it.
    name
        Of the layer.

    Raises
    ------
    ExtractorError
        When there is no such layer.
    """
    model = onnx.load_model_from_string(content)
    layer = find_layer(replay_layers(model, manifest.output), name, manifest.id)
    front = graph.cut(model, layer.tensor)
    graph.append_codes(front, layer.scale, layer.zero_point)
    # Not of the part's bytes: another version of the package may write them otherwise.
    digest = hashlib.sha256(f"{manifest.sha256}@{layer.tensor}".encode()).hexdigest()
    described = replace(
        manifest, id=f"{manifest.id}@{layer.name}", dim=layer.latent_bytes, scale=layer.scale,
        zero_point=layer.zero_point, sha256=digest, output=graph.CODES, layer=layer.name,
        shape=layer.shape, accuracy={},
    )  # fmt: skip
    tail = _tail(model, layer, manifest)
    return Cut(described, graph.written(front), graph.written(tail))


def _tail(model: onnx.ModelProto, layer: ReplayLayer, manifest: Manifest) -> onnx.ModelProto:
    part = graph.part_of(model, graph.needed_for(model, manifest.output, layer.tensor))
    del part.graph.input[:]
    codes = TensorProto.UINT8
    taken = helper.make_tensor_value_info(layer.tensor, codes, ["N", *layer.shape])
    given = helper.make_tensor_value_info(manifest.output, codes, ["N", manifest.dim])
    part.graph.input.append(taken)
    part.graph.output.append(given)
    return part


def _weights(model: onnx.ModelProto, nodes: Sequence[Any], constants: dict[str, int]) -> int:
    """How many values the matrices and kernels of these nodes have."""
    by_output, total = graph.producers(model), 0
    for node in nodes:
        if node.op_type in WEIGHTED:
            made_by = by_output.get(node.input[1])
            total += constants.get(node.input[1] if made_by is None else made_by.input[0], 0)
    return total


def _short_names(tensors: Sequence[str]) -> list[str]:
    paths = [_path(tensor) for tensor in tensors]
    names = []
    for tensor, path in zip(tensors, paths, strict=True):
        others = {part for other in paths if other is not path for part in other}
        own = (part for part in path if part not in others)
        names.append(next(own, tensor))
    return names


def _path(tensor: str) -> tuple[str, ...]:
    for appended in _APPENDED:
        tensor = tensor.removesuffix(appended)
    return tuple(_parts(tensor))


def _parts(name: str) -> Iterator[str]:
    yield from (part for part in name.split("/") if part)
