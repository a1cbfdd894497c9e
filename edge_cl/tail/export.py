"""A trained tail as ONNX nodes: what it computes in evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edge_cl.head import Head
from edge_cl.normalised_head import Layer
from edge_cl.tail.head import LEAST_ROOT, TailHead
from edge_cl.tail.net import Step, folded
from edge_cl.tail.operators import attributes, code_range

if TYPE_CHECKING:
    from edge_cl.types import Array, Float32


class Nodes(Protocol):
    """What nodes are added to."""

    def constant(self, values: Array) -> str:
        """Keep an array; returns its name."""

    def node(
        self, kind: str, *inputs: str | Array | float, output: str = "", **options: Any
    ) -> str:
        """Add a node; returns the name of its output."""

    def linear(self, rows: str, weights: Array, bias: Array | None = None) -> str:
        """``rows @ weights.T + bias``."""

    def l2(self, rows: str, width: int) -> str:
        """Rows of unit length."""


def write_tail(graph: Nodes, head: Head, weights: Float32, rows: str) -> str:
    """Add the layers of a `TailHead`; returns the name of its scaled features.

    Parameters
    ----------
    graph
        Where to.
    head
        A `TailHead`.
    weights
        Its flat vector.
    rows
        Name of the latents (N, D).
    """
    assert isinstance(head, TailHead)
    net = head.net
    layers = head.normalised_layers(weights)
    shape = graph.constant(np.array([-1, *net.shape], dtype=np.int64))
    names = {net.source: graph.node("Reshape", rows, shape)}
    for step in net.steps:
        if isinstance(step.work, int):
            found = _weighted(graph, step, layers[step.work], names[step.reads[0]])
        else:
            found = _plain(graph, step, names, net.constants)
        names[step.gives] = found
    flat = graph.constant(np.array([-1, net.dim], dtype=np.int64))
    return _scaled(graph, head, graph.node("Reshape", names[net.target], flat))


def _weighted(graph: Nodes, step: Step, layer: Layer, x: str) -> str:
    matrix, bias = folded(layer)
    if step.node.op_type == "Conv":
        return graph.node("Conv", x, matrix, bias, **attributes(step.node))
    return graph.linear(x, matrix, bias)


def _plain(graph: Nodes, step: Step, names: dict[str, str], constants: dict[str, Array]) -> str:
    node, x = step.node, names.get(step.reads[0], "")
    if node.op_type == "DequantizeLinear":
        return x
    if node.op_type == "QuantizeLinear":
        return graph.node("Clip", x, *code_range(node, constants))
    for name in set(step.reads) - names.keys():
        names[name] = graph.constant(constants[name])
    # An input that is left out has an empty name.
    inputs = [names[name] if name else "" for name in node.input]
    return graph.node(node.op_type, *inputs, **attributes(node))


def _scaled(graph: Nodes, head: TailHead, rows: str) -> str:
    if head.scaling == "none":
        return rows
    if head.scaling == "power_l2":
        magnitude = graph.node("Max", graph.node("Abs", rows), LEAST_ROOT**2)
        rows = graph.node("Div", rows, graph.node("Sqrt", magnitude))
    return graph.l2(rows, head.feature_dim)
