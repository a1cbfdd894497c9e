"""The network above the replay layer, run in torch from one flat vector of weights.

Behind every operator with weights stands a batch renormalisation, in place of its bias::

    u = W * x        y = gamma (u - m) / s + beta

with the running mean m and deviation s in evaluation, and as `renormalised` says in
training. Extractors come with batch normalisation folded into their weights: whatever m
and s are, ``gamma = s`` and ``beta = bias + m`` give the function that the extractor has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional

from edge_cl.errors import ExtractorError
from edge_cl.normalised_head import EPSILON, VECTORS, Layer
from edge_cl.tail.operators import Function, attributes, conv_padding, function_of, unsupported
from edge_cl.types import Array, Float32

Product = Callable[[Tensor, Tensor], Tensor]
"""From inputs and weights to outputs without a bias."""


class Parts(NamedTuple):
    """Tensors of one layer with weights, as `Layer` has them in arrays."""

    matrix: Tensor
    beta: Tensor
    gamma: Tensor
    mean: Tensor
    deviation: Tensor


class Moments(NamedTuple):
    """Mean and variance of what one layer gives before it is normalised, (out,) each."""

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class Weighted:
    """An operator with weights.

    Parameters
    ----------
    shape
        Of its matrix or kernel: (out, ...).
    product
        What it computes.
    """

    shape: tuple[int, ...]
    product: Product

    @property
    def channels(self) -> int:
        """What it gives for every place."""
        return self.shape[0]

    @property
    def matrix_size(self) -> int:
        """Values of its matrix."""
        return prod(self.shape)

    @property
    def size(self) -> int:
        """Values of the flat vector that are its own."""
        return self.matrix_size + VECTORS * self.channels


class Origin(NamedTuple):
    """An operator with weights, and what these are in the extractor: (out, ...) and (out,)."""

    layer: Weighted
    matrix: Float32
    bias: Float32


@dataclass(frozen=True)
class Step:
    """One node of the graph: a function, or the number of a layer with weights."""

    node: Any
    reads: tuple[str, ...]
    gives: str
    work: Function | int


Normalise = Callable[[int, Tensor, Parts], Tensor]
"""From a layer's number, its product and its tensors to its output."""


class TailNet:
    """The layers above a replay layer.

    Parameters
    ----------
    content
        The ONNX model, as `edge_cl.extractor.replay_layer.cut` writes it.

    Raises
    ------
    ExtractorError
        If it has an operator that cannot be trained.

    Notes
    -----
    It keeps no weights, neither those of the model nor any of its own: whoever trains it
    answers for their bytes.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        model = onnx.load_model_from_string(content)
        self.source: str = model.graph.input[0].name
        self.target: str = model.graph.output[0].name
        self.shape = _sizes(model.graph.input[0])
        self.dim = prod(_sizes(model.graph.output[0]))
        self.weighted: list[Weighted] = []
        self.steps: list[Step] = []
        constants: dict[str, Array] = {}
        for node, constants in _computed(model):
            self._add(node, constants)
        read = {name for step in self.steps for name in step.reads}
        # Copies: views would keep the whole model alive.
        self.constants = {n: np.array(constants[n]) for n in sorted(read & constants.keys())}
        self._tensors = {
            name: torch.from_numpy(np.array(values, dtype=np.float32))
            for name, values in self.constants.items()
        }
        self.size = sum(one.size for one in self.weighted)

    def _add(self, node: Any, constants: dict[str, Array]) -> None:
        reads, work = tuple(filter(None, node.input)), None
        if node.op_type in WEIGHTED:
            if node.input[1] not in constants:
                raise unsupported(node, "with weights that are computed")
            self.weighted.append(WEIGHTED[node.op_type](node, constants).layer)
            reads, work = (node.input[0],), len(self.weighted) - 1
        self.steps.append(
            Step(
                _copied(node), reads, node.output[0],
                function_of(node, constants) if work is None else work,
            )
        )  # fmt: skip

    def initial(self) -> Float32:
        """The flat vector with which it is what the extractor's own layers are."""
        weights = np.zeros(self.size, dtype=np.float32)
        layers = iter(self.layers(weights))
        for node, constants in _computed(onnx.load_model_from_string(self._content)):
            if node.op_type in WEIGHTED:
                layer, found = next(layers), WEIGHTED[node.op_type](node, constants)
                layer.matrix[:], layer.beta[:] = found.matrix, found.bias
                layer.gamma[:] = layer.deviation[:] = 1
        return weights

    def layers(self, weights: Float32) -> list[Layer]:
        """Views of the layers with weights in a flat vector."""
        return [Layer(*views) for views in self._views(weights)]

    def features(self, weights: Float32, latents: Float32) -> Float32:
        """What comes out of (N, D) latents in evaluation, (N, dim)."""
        with torch.inference_mode():
            found = self._run(latents, self._parts(weights), _evaluated)
        features: Float32 = found.numpy()
        return features

    def moments(self, weights: Float32, latents: Float32) -> tuple[Array, Array]:
        """Means of all layers' products and of their squares in evaluation, (channels,) each."""
        seen: list[Moments] = []

        def noted(number: int, u: Tensor, parts: Parts) -> Tensor:
            seen.append(moments_of(u))
            return _evaluated(number, u, parts)

        with torch.inference_mode():
            self._run(latents, self._parts(weights), noted)
        means = np.concatenate([one.mean.double().numpy() for one in seen])
        variances = np.concatenate([one.variance.double().numpy() for one in seen])
        return means, variances + means * means

    def training(
        self, weights: Float32, latents: Float32, largest_ratio: float, largest_shift: float
    ) -> tuple[Tensor, list[Parts], list[Moments]]:
        """Features (N, dim) with a graph behind them, its leaves, and the batch's moments."""
        parts = [
            layer._replace(
                matrix=layer.matrix.clone().requires_grad_(),
                beta=layer.beta.clone().requires_grad_(),
                gamma=layer.gamma.clone().requires_grad_(),
            )
            for layer in self._parts(weights)
        ]
        seen: list[Moments] = []

        def noted(number: int, u: Tensor, layer: Parts) -> Tensor:
            found = moments_of(u)
            seen.append(Moments(found.mean.detach(), found.variance.detach()))
            return renormalised(u, layer, found, largest_ratio, largest_shift)

        return self._run(latents, parts, noted), parts, seen

    def _run(self, latents: Float32, parts: Sequence[Parts], normalise: Normalise) -> Tensor:
        rows = np.ascontiguousarray(latents, dtype=np.float32)
        known = {**self._tensors, self.source: torch.from_numpy(rows).reshape(-1, *self.shape)}
        for step in self.steps:
            read = [known[name] for name in step.reads]
            if isinstance(step.work, int):
                layer, product = parts[step.work], self.weighted[step.work].product
                found = normalise(step.work, product(read[0], layer.matrix), layer)
            else:
                found = step.work(*read)
            known[step.gives] = found
        return known[self.target].reshape(len(latents), self.dim)

    def _parts(self, weights: Float32) -> list[Parts]:
        return [Parts(*map(torch.from_numpy, views)) for views in self._views(weights)]

    def _views(self, weights: Float32) -> Iterator[tuple[Float32, ...]]:
        start = 0
        for one in self.weighted:
            middle, stop = start + one.matrix_size, start + one.size
            vectors = weights[middle:stop].reshape(VECTORS, one.channels)
            yield (weights[start:middle].reshape(one.shape), *vectors)
            start = stop


def moments_of(u: Tensor) -> Moments:
    """Over the batch and the places of an image, for every channel."""
    axes = [axis for axis in range(u.ndim) if axis != 1]
    variance, mean = torch.var_mean(u, axes, correction=0)
    return Moments(mean, variance)


def renormalised(
    u: Tensor, layer: Parts, batch: Moments, largest_ratio: float, largest_shift: float
) -> Tensor:
    """A batch renormalised (Ioffe 2017, algorithm 1); r and d are constants to the gradient."""
    deviation = torch.sqrt(batch.variance + float(EPSILON))
    ratio = (deviation.detach() / layer.deviation).clamp(1 / largest_ratio, largest_ratio)
    shift = (batch.mean.detach() - layer.mean) / layer.deviation
    shift = shift.clamp(-largest_shift, largest_shift)
    factor = layer.gamma * ratio / deviation
    return _affine(u, factor, layer.beta + layer.gamma * shift - factor * batch.mean)


def folded(layer: Layer) -> tuple[Float32, Float32]:
    """Matrix and bias of a layer in evaluation, its normalisation folded into them."""
    factor = layer.gamma / layer.deviation
    matrix = layer.matrix * factor.reshape(-1, *[1] * (layer.matrix.ndim - 1))
    return matrix, layer.beta - factor * layer.mean


def _evaluated(number: int, u: Tensor, layer: Parts) -> Tensor:
    factor = layer.gamma / layer.deviation
    return _affine(u, factor, layer.beta - factor * layer.mean)


def _affine(u: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
    shape = (1, -1, *[1] * (u.ndim - 2))
    return u * factor.reshape(shape) + shift.reshape(shape)


def _sizes(value: Any) -> tuple[int, ...]:
    return tuple(d.dim_value for d in value.type.tensor_type.shape.dim[1:])


def _computed(model: onnx.ModelProto) -> Iterator[tuple[Any, dict[str, Array]]]:
    """The nodes that depend on the latents, each with all constants known before it."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if not _folded(node, constants):
            yield node, constants


def _copied(node: Any) -> Any:
    """A node that does not keep the memory of its whole model alive."""
    copied = onnx.NodeProto()
    copied.CopyFrom(node)
    return copied


def _folded(node: Any, constants: dict[str, Array]) -> bool:
    """Compute what depends on constants alone; whether the node did."""
    if node.op_type == "Constant":
        constants[node.output[0]] = numpy_helper.to_array(attributes(node)["value"])
    elif all(name in constants for name in node.input if name):
        if node.op_type not in ("DequantizeLinear", "Identity"):
            raise unsupported(node, "of constants")
        constants[node.output[0]] = _dequantised(node, constants)
    return node.output[0] in constants


def _dequantised(node: Any, constants: dict[str, Array]) -> Array:
    codes = constants[node.input[0]]
    if node.op_type == "Identity":
        return codes
    scale = constants[node.input[1]]
    zero = constants[node.input[2]] if len(node.input) > 2 else np.zeros_like(scale, np.int32)
    if scale.size > 1:
        axis = attributes(node).get("axis", 1)
        shape = [-1 if place == axis % codes.ndim else 1 for place in range(codes.ndim)]
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    values = (codes.astype(np.float64) - zero.astype(np.float64)) * scale
    return values.astype(np.float32)


def _convolution(node: Any, constants: dict[str, Array]) -> Origin:
    given, padding = attributes(node), conv_padding(node)
    matrix = np.array(constants[node.input[1]], dtype=np.float32)
    stride, dilation = list(given.get("strides", [1, 1])), list(given.get("dilations", [1, 1]))
    groups, (left, right, top, bottom) = int(given.get("group", 1)), padding

    def product(x: Tensor, kernel: Tensor) -> Tensor:
        if (left, top) != (right, bottom):
            x = functional.pad(x, padding)
            return functional.conv2d(x, kernel, None, stride, 0, dilation, groups)
        return functional.conv2d(x, kernel, None, stride, (top, left), dilation, groups)

    layer = Weighted(matrix.shape, product)
    return Origin(layer, matrix, _bias(node, constants, len(matrix)))


def _matrix(node: Any, constants: dict[str, Array]) -> Origin:
    given, matrix = attributes(node), np.array(constants[node.input[1]], dtype=np.float32)
    if given.get("transA", 0) or matrix.ndim != 2:
        raise unsupported(node, "of that form")
    rows = matrix if given.get("transB", 0) else np.ascontiguousarray(matrix.T)
    rows = rows * np.float32(given.get("alpha", 1.0))
    bias = _bias(node, constants, len(rows)) * np.float32(given.get("beta", 1.0))
    return Origin(Weighted(rows.shape, _flat_product), rows, bias)


def _flat_product(x: Tensor, rows: Tensor) -> Tensor:
    if x.ndim != 2:
        raise ExtractorError(f"a matrix above the replay layer meets {x.ndim} axes, two are known")
    return x @ rows.T


def _bias(node: Any, constants: dict[str, Array], outputs: int) -> Float32:
    if len(node.input) < 3 or not node.input[2]:
        return np.zeros(outputs, dtype=np.float32)
    bias = np.broadcast_to(constants[node.input[2]].reshape(-1), outputs)
    return np.array(bias, dtype=np.float32)


WEIGHTED: dict[str, Callable[[Any, dict[str, Array]], Origin]] = {
    "Conv": _convolution,
    "Gemm": _matrix,
    "MatMul": _matrix,
}
