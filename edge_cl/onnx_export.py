"""A learner as one ONNX model: images in, probabilities out, for any runtime.

What is exported is what is published now: it predicts and does not learn. The model is
compared with the learner before it is given out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from edge_cl import fixed_point
from edge_cl.errors import Conflict, InvalidOption, MissingExtra
from edge_cl.head import Head
from edge_cl.normalised_head import BatchHead, NormalisedHead
from edge_cl.published import Published
from edge_cl.strategies.cumulative import Cumulative
from edge_cl.strategies.cwr import CWR
from edge_cl.strategies.icarl import ICaRL
from edge_cl.strategies.ncm import NCM
from edge_cl.strategies.progress_compress import ProgressCompress
from edge_cl.strategies.ranpac import RanPAC
from edge_cl.strategies.slda import SLDA
from edge_cl.strategies.slda_replay import SLDAReplay
from edge_cl.strategy import GradientStrategy, Strategy
from edge_cl.types import Array, Float32

if TYPE_CHECKING:
    from edge_cl.extractor import Extractor

__all__ = ["TOLERANCE", "to_onnx"]

TOLERANCE = 1e-4
"""Largest difference between a probability of the model and one of the learner."""

OPSET, IR_VERSION = 17, 8
LEAST_OPSET = 13
INPUT = "latents"
OUTPUT = "probabilities"
PREFIX = "learner_"


class Graph:
    """Collects the nodes and the weights of what comes after the extractor."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def constant(self, values: Array) -> str:
        """Keep an array; returns its name."""
        name = f"{PREFIX}w{len(self.weights)}"
        self.weights.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(
        self, kind: str, *inputs: str | Array | float, output: str = "", **options: Any
    ) -> str:
        """Add a node; arrays and numbers become weights. Returns the name of its output."""
        names = [
            one if isinstance(one, str) else self.constant(np.asarray(one, dtype=np.float32))
            for one in inputs
        ]
        output = output or f"{PREFIX}x{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(kind, names, [output], **options))
        return output

    def linear(self, rows: str, weights: Array, bias: Array | None = None) -> str:
        """``rows @ weights.T + bias``, of weights (out, in)."""
        product = self.node("MatMul", rows, weights.T.astype(np.float32))
        return product if bias is None else self.node("Add", product, bias)

    def l2(self, rows: str, width: int) -> str:
        """Rows of unit length; zeros stay zeros."""
        squares = self.node("MatMul", self.node("Mul", rows, rows), np.ones((width, 1)))
        length = self.node("Sqrt", squares)
        return self.node("Div", rows, self.node("Max", length, 1e-30))

    def power_l2(self, rows: str, width: int) -> str:
        """Signed square roots, then unit length."""
        roots = self.node("Sqrt", self.node("Abs", rows))
        return self.l2(self.node("Mul", self.node("Sign", rows), roots), width)


Scores: TypeAlias = Callable[[Graph, Any, str], str]


def to_onnx(
    published: Published, extractor: Extractor | None = None, about: dict[str, Any] | None = None
) -> bytes:
    """The model of what a learner knows.

    Parameters
    ----------
    published
        What it knows.
    extractor
        The one that makes its latents, for a model that takes images; None for a model
        that takes latents.
    about
        What else its metadata is to say.

    Returns
    -------
    bytes
        An ONNX file. Its input is uint8 images (N, H, W, 3) or float32 latents (N, D), its
        output `probabilities` (N, L); the labels are in the metadata, as JSON.

    Raises
    ------
    MissingExtra
        Without the package onnx.
    InvalidOption
        For a strategy that is not one network.
    Conflict
        When nothing was learned, or the model does not answer as the learner does.
    """
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError as error:
        raise MissingExtra("a learner as an ONNX model", "onnx") from error
    if not published.labels:
        raise Conflict("nothing was learned yet: a model without a class predicts nothing")
    scores = _scores_of(published.strategy)
    model = _base(onnx, published, extractor)
    graph = Graph(onnx)
    rows = INPUT if extractor is None else _latents(graph, extractor)
    _probabilities(graph, published, scores, rows)
    model.graph.node.extend(graph.nodes)
    model.graph.initializer.extend(graph.weights)
    width = len(published.labels)
    output = onnx.helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, ["N", width])
    model.graph.output.append(output)
    onnx.helper.set_model_props(model, _metadata(published, extractor, about or {}))
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    _compare(content, published, extractor)
    return content


def _base(onnx: Any, published: Published, extractor: Extractor | None) -> Any:
    """The extractor's graph without an output, or an empty one."""
    if extractor is None:
        shape = ["N", published.spec.dim]
        taken = onnx.helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, shape)
        graph = onnx.helper.make_graph([], "learner", [taken], [])
        opset = [onnx.helper.make_opsetid("", OPSET)]
        return onnx.helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
    model = onnx.load_model_from_string(extractor.model())
    versions = [one.version for one in model.opset_import if one.domain in ("", "ai.onnx")]
    if not versions or versions[0] < LEAST_OPSET:
        raise InvalidOption(
            f"extractor {extractor.manifest.id} is of opset {versions}, at least {LEAST_OPSET} is "
            "needed: convert it with onnx.version_converter and teach anew"
        )
    del model.graph.output[:]
    return model


def _latents(graph: Graph, extractor: Extractor) -> str:
    manifest = extractor.manifest
    codes = graph.node("Cast", manifest.output, to=1)
    return graph.node("Mul", graph.node("Sub", codes, manifest.zero_point), manifest.scale)


def _probabilities(graph: Graph, published: Published, scores: Scores, rows: str) -> None:
    strategy, width = published.strategy, published.spec.dim
    if strategy.options.normalise == "power_l2":
        rows = graph.power_l2(rows, width)
    elif strategy.options.normalise == "l2":
        rows = graph.l2(rows, width)
    raw = scores(graph, strategy, rows)
    labels, classes = published.labels, published.classes
    members = [np.asarray(classes.numbers(label)) for label in labels]
    kept = np.concatenate(members).astype(np.int64)
    chosen = graph.node("Gather", raw, graph.constant(kept), axis=1)
    warm = graph.node("Div", chosen, published.calibration.temperature)
    # Probabilities of classes with one label add up.
    shared = np.repeat(np.eye(len(labels)), [len(one) for one in members], axis=0)
    graph.node("MatMul", graph.node("Softmax", warm, axis=1), shared, output=OUTPUT)


def _scores_of(strategy: Strategy) -> Scores:
    """How to write down the scores of a strategy."""
    for kind, write in TABLE:
        if type(strategy).scores is kind.scores:
            if getattr(strategy.options, "softmax_over", "seen") == "context":
                break
            return write
    raise InvalidOption(
        f"a learner of strategy {strategy.name!r} is not one network that needs no context: "
        "export works for heads over all classes, ncm, slda, slda_replay, ranpac and icarl"
    )


def _head_features(graph: Graph, head: Head, weights: Float32, rows: str) -> str:
    if isinstance(head, BatchHead) and not isinstance(head, NormalisedHead):
        # Only now: it needs torch.
        from edge_cl.tail.export import write_tail

        return write_tail(graph, head, weights, rows)
    layers = head.normalised_layers(weights) if isinstance(head, NormalisedHead) else ()
    for layer in layers:
        scale = layer.gamma / layer.deviation
        bias = layer.beta - scale * layer.mean
        rows = graph.node("Relu", graph.linear(rows, layer.matrix * scale[:, None], bias))
    if not layers:
        for matrix, bias in head.layers(weights):
            rows = graph.node("Relu", graph.linear(rows, matrix, bias))
    return rows


def _head(graph: Graph, head: Head, weights: Float32, rows: str) -> str:
    last = head.rows(weights)
    features = _head_features(graph, head, weights, rows)
    bias = last[:, -1] if head.bias else None
    return graph.linear(features, last[:, : head.feature_dim], bias)


def _trained(graph: Graph, strategy: Any, rows: str) -> str:
    return _head(graph, strategy.head, strategy.weights, rows)


def _served(graph: Graph, strategy: Any, rows: str) -> str:
    return _head(graph, strategy.head, strategy.served, rows)


def _ncm(graph: Graph, strategy: Any, rows: str) -> str:
    mean = strategy.mean
    return graph.linear(rows, mean, np.float32(-0.5) * (mean * mean).sum(axis=1))


def _slda(graph: Graph, strategy: Any, rows: str) -> str:
    return graph.linear(rows, strategy.coefficients, strategy.intercepts)


def _ranpac(graph: Graph, strategy: Any, rows: str) -> str:
    # The structured projection as the matrix that it stands for.
    matrix = strategy.project(np.eye(strategy.spec.dim, dtype=np.float32))
    return graph.linear(graph.node("Relu", graph.linear(rows, matrix.T)), strategy.coefficients)


def _icarl(graph: Graph, strategy: Any, rows: str) -> str:
    features = _head_features(graph, strategy.head, strategy.weights, rows)
    return graph.linear(graph.l2(features, strategy.head.feature_dim), strategy.means)


def _slda_replay(graph: Graph, strategy: Any, rows: str) -> str:
    along = fixed_point.floats(strategy.published_directions(), strategy.steps[:, 1:])
    classes, rank, width = along.shape
    order = np.asarray(strategy.order[:width], dtype=np.int64)
    features = graph.node("Gather", rows, graph.constant(order), axis=1)
    weights = fixed_point.floats(strategy.linear, strategy.steps[:, 0])
    linear = graph.linear(features, weights, -strategy.offsets[:, 0])
    if not rank:
        return linear
    roots = graph.linear(features, along.reshape(-1, width), -strategy.offsets[:, 1:].reshape(-1))
    of_class = np.repeat(np.eye(classes), rank, axis=0)
    squares = graph.node("MatMul", graph.node("Mul", roots, roots), of_class)
    return graph.node("Add", linear, squares)


TABLE: tuple[tuple[type[Strategy], Scores], ...] = (
    (GradientStrategy, _trained),
    (CWR, _served),
    (Cumulative, _served),
    (ProgressCompress, _served),
    (NCM, _ncm),
    (SLDA, _slda),
    (RanPAC, _ranpac),
    (ICaRL, _icarl),
    (SLDAReplay, _slda_replay),
)
"""By the class that defines `scores`: what overrides it is not taken for the same."""


def _metadata(
    published: Published, extractor: Extractor | None, about: dict[str, Any]
) -> dict[str, str]:
    told = {
        **about,
        "labels": list(published.labels),
        "strategy": published.strategy.name,
        "version": published.version,
    }
    if extractor is not None:
        m = extractor.manifest
        told["extractor"] = {"id": m.id, "sha256": m.sha256, "licence": m.licence}
        told["preprocessing"] = {
            "height": m.input_height, "width": m.input_width, "colour": m.colour, "fit": m.fit,
        }  # fmt: skip
    return {name: json.dumps(value) for name, value in told.items()}


def _compare(content: bytes, published: Published, extractor: Extractor | None) -> None:
    """Refuse a model that does not answer as the learner does."""
    from edge_cl.extractor import onnx as runtime

    session = runtime.open_on(content, runtime.CPU, 1)
    rng = np.random.Generator(np.random.PCG64(0))
    if extractor is None:
        spec = published.spec
        latents: Array = rng.standard_normal((8, spec.dim)).astype(np.float32)
        if spec.quantised:
            latents = spec.to_float(rng.integers(0, 256, latents.shape, dtype=np.uint8))
        given = {INPUT: latents}
    else:
        images = runtime.test_pattern(extractor.manifest)
        given, latents = {extractor.manifest.input: images}, extractor.extract(images)
    found = session.run([OUTPUT], given)[0]
    worst = float(np.abs(found - probabilities(published, latents)).max())
    if not worst <= TOLERANCE:
        raise Conflict(
            f"the model's probabilities differ from the learner's by {worst:.2g}, at most "
            f"{TOLERANCE:g} is allowed: it is not given out"
        )


def probabilities(published: Published, latents: Array) -> Float32:
    """(N, L) probabilities of the labels, in their order, as a prediction has them."""
    answers = published.predict_latents(latents, top_k=len(published.labels))
    rows = [[dict(answer.top)[label] for label in published.labels] for answer in answers]
    return np.asarray(rows, dtype=np.float32)
