"""The ONNX operators of convolutional networks without weights, as torch functions.

Integers are values here: a tensor of codes is the floats that the codes stand for, so
that ``QuantizeLinear`` clips to the range of its codes, and ``DequantizeLinear`` does
nothing. The clipping matters: quantisers leave a ReLU to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from onnx import helper
from torch import Tensor
from torch.nn import functional

from edge_cl.errors import ExtractorError
from edge_cl.types import Array

Function: TypeAlias = Callable[..., Tensor]
"""From the tensors that an operator reads to the one that it gives."""
Constants: TypeAlias = Mapping[str, Array]


def attributes(node: Any) -> dict[str, Any]:
    """Attributes of a node by name."""
    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def function_of(node: Any, constants: Constants) -> Function:
    """What an operator without weights computes.

    Parameters
    ----------
    node
        Of the ONNX graph.
    constants
        Arrays of the graph by name, dequantised.

    Raises
    ------
    ExtractorError
        For an operator that is not known, or used in a way that is not.
    """
    if node.op_type in PLAIN:
        return PLAIN[node.op_type]
    if node.op_type in BUILT:
        return BUILT[node.op_type](node, constants)
    raise unsupported(node)


def unsupported(node: Any, why: str = "") -> ExtractorError:
    """The refusal of a node."""
    known = ", ".join(sorted({"Conv", "Gemm", "MatMul", *PLAIN, *BUILT}))
    reason = f" {why}" if why else ""
    return ExtractorError(
        f"operator {node.op_type}{reason} ({node.name or node.output[0]}) above the replay layer "
        f"cannot be trained; known are {known}: choose a layer above it"
    )


def conv_padding(node: Any) -> tuple[int, int, int, int]:
    """Padding of a two-dimensional window: left, right, top, bottom."""
    given = attributes(node)
    if given.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise unsupported(node, "with auto_pad")
    pads = given.get("pads", [0, 0, 0, 0])
    if len(pads) != 4:
        raise unsupported(node, f"over {len(pads) // 2} axes instead of two")
    top, left, bottom, right = pads
    return left, right, top, bottom


def code_range(node: Any, constants: Constants) -> tuple[float, float]:
    """The least and the largest value that the codes of a QuantizeLinear stand for."""
    scale, zero = (constants[name] for name in node.input[1:3])
    if scale.size != 1:
        raise unsupported(node, "with a scale for every channel")
    step, centre = float(scale.reshape(-1)[0]), int(zero.reshape(-1)[0])
    limits = np.iinfo(zero.dtype)
    return step * (int(limits.min) - centre), step * (int(limits.max) - centre)


def _quantise(node: Any, constants: Constants) -> Function:
    low, high = code_range(node, constants)
    return lambda x, *_: x.clamp(low, high)


def _clip(node: Any, constants: Constants) -> Function:
    given = attributes(node)
    ends = [given.get("min"), given.get("max")]
    for place, name in enumerate(node.input[1:3]):
        if name:
            ends[place] = float(constants[name])
    low, high = ends
    return lambda x, *_: x.clamp(low, high)


def _batch_norm(node: Any, constants: Constants) -> Function:
    gamma, beta, mean, variance = (constants[name] for name in node.input[1:5])
    epsilon = attributes(node).get("epsilon", 1e-5)
    factor = (gamma / np.sqrt(variance + epsilon)).astype(np.float32)
    scale = torch.from_numpy(factor).reshape(1, -1, 1, 1)
    shift = torch.from_numpy((beta - mean * factor).astype(np.float32)).reshape(1, -1, 1, 1)
    return lambda x, *_: x * scale + shift


def _max_pool(node: Any, constants: Constants) -> Function:
    kernel, stride, padding = _window(node)
    return lambda x: functional.max_pool2d(
        functional.pad(x, padding, value=-torch.inf), kernel, stride
    )


def _average_pool(node: Any, constants: Constants) -> Function:
    kernel, stride, (left, right, top, bottom) = _window(node)
    if (left, top) != (right, bottom):
        raise unsupported(node, "with unequal pads")
    whole = bool(attributes(node).get("count_include_pad", 0))
    return lambda x: functional.avg_pool2d(x, kernel, stride, (top, left), count_include_pad=whole)


def _window(node: Any) -> tuple[list[int], list[int], tuple[int, int, int, int]]:
    given = attributes(node)
    kernel = list(given["kernel_shape"])
    if given.get("ceil_mode", 0) or any(d != 1 for d in given.get("dilations", [1])):
        raise unsupported(node, "with ceil_mode or dilations")
    return kernel, list(given.get("strides", [1, 1])), conv_padding(node)


def _reduce_mean(node: Any, constants: Constants) -> Function:
    given = attributes(node)
    axes = given.get("axes")
    if axes is None and len(node.input) > 1:
        axes = constants[node.input[1]].tolist()
    if axes is None:
        raise unsupported(node, "over all axes")
    kept = bool(given.get("keepdims", 1))
    return lambda x, *_: x.mean(tuple(axes), keepdim=kept)


def _flatten(node: Any, constants: Constants) -> Function:
    if attributes(node).get("axis", 1) != 1:
        raise unsupported(node, "at another axis than 1")
    return lambda x: x.flatten(1)


def _reshape(node: Any, constants: Constants) -> Function:
    shape = [int(length) for length in constants[node.input[1]]]
    return lambda x, *_: x.reshape(
        [x.shape[axis] if length == 0 else length for axis, length in enumerate(shape)]
    )


def _squeeze(node: Any, constants: Constants) -> Function:
    axes = attributes(node).get("axes")
    if axes is None and len(node.input) > 1:
        axes = constants[node.input[1]].tolist()
    if axes is None:
        raise unsupported(node, "without axes")
    return lambda x, *_: x.squeeze(tuple(axes))


def _transpose(node: Any, constants: Constants) -> Function:
    order = list(attributes(node)["perm"])
    return lambda x: x.permute(order)


def _concat(node: Any, constants: Constants) -> Function:
    axis = int(attributes(node)["axis"])
    return lambda *parts: torch.cat(_tensors(parts), axis)


def _leaky_relu(node: Any, constants: Constants) -> Function:
    slope = float(attributes(node).get("alpha", 0.01))
    return lambda x: functional.leaky_relu(x, slope)


def _hard_sigmoid(node: Any, constants: Constants) -> Function:
    given = attributes(node)
    alpha, beta = float(given.get("alpha", 0.2)), float(given.get("beta", 0.5))
    return lambda x: (alpha * x + beta).clamp(0, 1)


def _tensors(parts: Sequence[Tensor]) -> list[Tensor]:
    return list(parts)


def _same(x: Tensor, *_: Tensor) -> Tensor:
    return x


PLAIN: dict[str, Function] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": torch.div,
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "HardSwish": functional.hardswish,
    "GlobalAveragePool": lambda x: x.mean((2, 3), keepdim=True),
    "Identity": _same,
    "Dropout": _same,
    "DequantizeLinear": _same,
}
BUILT: dict[str, Callable[[Any, Constants], Function]] = {
    "QuantizeLinear": _quantise,
    "Clip": _clip,
    "BatchNormalization": _batch_norm,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "ReduceMean": _reduce_mean,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Concat": _concat,
    "LeakyRelu": _leaky_relu,
    "HardSigmoid": _hard_sigmoid,
}
