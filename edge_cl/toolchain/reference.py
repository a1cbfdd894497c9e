"""What an int8 extractor computes, in exact integers and without ONNX Runtime.

Sums of products are exact here, and every rounding is the one that the model
file prescribes: to the nearest, ties to even. A runtime on another kind of CPU
that follows the file can differ only where its own float rounding of a factor
falls on the other side of a tie, so comparing with this tells whether a machine
computes the latents that all others compute, with nothing but NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_cl.errors import ExtractorError
from edge_cl.toolchain.extras import optional
from edge_cl.types import UInt8


@dataclass(frozen=True)
class Scaled:
    """Integers with a scale: ``value = steps * scale``; the zero point is taken off already."""

    steps: Any
    scale: Any

    @property
    def values(self) -> Any:
        """float32, as an element-wise operator sees them."""
        return self.steps.astype(np.float32) * self.scale


class Reference:
    """A QDQ graph, interpreted.

    Parameters
    ----------
    path
        An extractor of convolutions, additions and averages, like the built-in one.
    """

    def __init__(self, path: Path) -> None:
        onnx = optional("onnx", "the exact reference")
        from edge_cl.toolchain import graph

        self._model = onnx.load(str(path))
        self._constants = graph.initialisers(self._model)

    def extract(self, images: UInt8) -> UInt8:
        """Codes (N, dim) of prepared images (N, H, W, 3)."""
        known: dict[str, Any] = dict(self._constants)
        known[self._model.graph.input[0].name] = images
        for node in self._model.graph.node:
            operator = _OPERATORS.get(node.op_type)
            if operator is None:
                raise ExtractorError(f"the exact reference does not know {node.op_type}")
            inputs = [known[name] for name in node.input]
            attributes = {a.name: list(a.ints) or a.i for a in node.attribute}
            known[node.output[0]] = operator(attributes, *inputs)
        codes: UInt8 = known[self._model.graph.output[0].name]
        return codes


def _dequantise(attributes: dict[str, Any], codes: Any, scale: Any, zero: Any) -> Scaled:
    # Only weights and biases have a scale per channel, and their channels come first.
    axes = (-1,) + (1,) * (codes.ndim - 1) if np.size(scale) > 1 else ()
    offset = np.reshape(zero, axes) if axes else zero
    factor = np.reshape(scale, axes) if axes else scale
    return Scaled(codes.astype(np.int64) - np.int64(offset), np.float32(factor))


def _quantise(attributes: dict[str, Any], value: Any, scale: Any, zero: Any) -> UInt8:
    if isinstance(value, Scaled):
        # One factor, as integer kernels have it, instead of a product and a division.
        steps = value.steps.astype(np.float32) * (value.scale / np.float32(scale))
    else:
        steps = value / np.float32(scale)
    codes: UInt8 = np.clip(np.rint(steps) + np.float32(zero), 0, 255).astype(np.uint8)
    return codes


def _convolve(attributes: dict[str, Any], x: Scaled, weights: Scaled, bias: Scaled) -> Scaled:
    if attributes.get("group", 1) != 1 or set(attributes.get("dilations", [1])) != {1}:
        raise ExtractorError("the exact reference knows dense convolutions only")
    (high, wide), stride = weights.steps.shape[2:], attributes["strides"][0]
    top, left, bottom, right = attributes["pads"]
    padded = np.pad(x.steps, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (high, wide), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride].transpose(0, 2, 3, 1, 4, 5)
    rows = windows.reshape(*windows.shape[:3], -1).astype(np.float64)
    kernel = weights.steps.reshape(len(weights.steps), -1).T.astype(np.float64)
    # Products of float64 are exact below 2**53, and fast.
    sums = (rows @ kernel).astype(np.int64) + bias.steps
    scale = (x.scale * weights.scale.reshape(-1)).astype(np.float32)
    return Scaled(sums.transpose(0, 3, 1, 2), scale.reshape(1, -1, 1, 1))


def _add(attributes: dict[str, Any], a: Scaled, b: Scaled) -> Any:
    return a.values + b.values


def _average(attributes: dict[str, Any], x: Scaled) -> Any:
    axes = tuple(attributes["axes"])
    count = np.prod([x.steps.shape[axis] for axis in axes])
    return (x.steps.sum(axes) * np.float64(x.scale) / count).astype(np.float32)


def _transpose(attributes: dict[str, Any], x: Any) -> Any:
    return x.transpose(attributes["perm"])


def _flatten(attributes: dict[str, Any], x: Any) -> Any:
    return x.reshape(len(x), -1)


_OPERATORS: dict[str, Any] = {
    "DequantizeLinear": _dequantise,
    "QuantizeLinear": _quantise,
    "Conv": _convolve,
    "Add": _add,
    "ReduceMean": _average,
    "Transpose": _transpose,
    "Flatten": _flatten,
}
