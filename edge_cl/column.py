"""A column: an MLP that also reads, through adapters, what frozen columns beside it see.

The building block of progressive networks and of progress & compress. Like `Head` it is
pure functions of one flat float32 vector, body first, then one row per class. With h the
hidden layers of this column and s_l those of its sources at the same depth::

    x_0 = latents        h_l = relu(W_l x_l + b_l)
                         a_l = relu(V_l (scale_l * s_l) + c_l)
    x_{l+1} = [h_l, a_l]             logits = rows [x_L, 1]

so the columns of W_{l+1} and of the rows that read a_l are the lateral weights U.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from edge_cl.head import Forward
from edge_cl.types import Float32


class Layer(NamedTuple):
    """Views of one hidden layer's weights.

    Parameters
    ----------
    matrix, bias
        (out, in) and (out,).
    scale, adapter, adapter_bias
        (sources,), (width, sources * out) and (width,).
    """

    matrix: Float32
    bias: Float32
    scale: Float32
    adapter: Float32
    adapter_bias: Float32


@dataclass(frozen=True)
class ColumnForward(Forward):
    """What a column's forward pass leaves for its backward pass.

    Parameters
    ----------
    lateral
        For every hidden layer, (N, sources, H_l) activations of the sources.
    """

    lateral: tuple[Float32, ...]


@dataclass(frozen=True)
class Column:
    """Architecture of a column.

    Parameters
    ----------
    dim
        Width D of the latents.
    hidden
        Widths of the hidden layers, at least one.
    sources
        Columns that it reads, each of the same `hidden`.
    width
        Outputs of an adapter. Without sources they are zero.
    """

    dim: int
    hidden: tuple[int, ...]
    sources: int
    width: int

    @property
    def row_size(self) -> int:
        """Weights of one class: features, adapter outputs, bias."""
        return self.hidden[-1] + self.width + 1

    @property
    def body_size(self) -> int:
        """Weights below the class rows."""
        return sum(int(np.prod(shape)) for layer in self._shapes() for shape in layer)

    def initial(self, rng: np.random.Generator, scale: float) -> Float32:
        """A fresh body: He-uniform matrices, zero biases, and `scale` before every adapter."""
        body = np.zeros(self.body_size, dtype=np.float32)
        for layer in self.layers(body):
            for matrix in (layer.matrix, layer.adapter):
                bound = np.sqrt(6.0 / max(matrix.shape[1], 1))
                matrix[:] = rng.uniform(-bound, bound, matrix.shape)
            layer.scale[:] = scale
        return body

    def layers(self, weights: Float32) -> list[Layer]:
        """Views of the hidden layers in `weights`."""
        layers, start = [], 0
        for shapes in self._shapes():
            views = []
            for shape in shapes:
                stop = start + int(np.prod(shape))
                views.append(weights[start:stop].reshape(shape))
                start = stop
            layers.append(Layer(*views))
        return layers

    def rows(self, weights: Float32) -> Float32:
        """View (C, row_size) of the class rows in `weights`."""
        return weights[self.body_size :].reshape(-1, self.row_size)

    def hidden_of(self, forward: Forward) -> list[Float32]:
        """Hidden activations, (N, H_l) for every layer: what other columns read."""
        return [x[:, :out] for x, out in zip(forward.inputs[1:], self.hidden, strict=True)]

    def forward(
        self, weights: Float32, latents: Float32, lateral: Sequence[Float32]
    ) -> ColumnForward:
        """Forward pass over (N, D) `latents`.

        Parameters
        ----------
        lateral
            For every hidden layer, (N, sources, H_l) activations of the sources.
        """
        inputs = [latents]
        for layer, read in zip(self.layers(weights), lateral, strict=True):
            own = inputs[-1] @ layer.matrix.T + layer.bias
            scaled = (read * layer.scale[:, None]).reshape(len(latents), -1)
            adapted = scaled @ layer.adapter.T + layer.adapter_bias
            inputs.append(np.maximum(np.hstack([own, adapted]), np.float32(0)))
        rows = self.rows(weights)
        logits = inputs[-1] @ rows[:, :-1].T + rows[:, -1]
        return ColumnForward(tuple(inputs), logits, tuple(lateral))

    def gradient(self, weights: Float32, forward: ColumnForward, by_logits: Float32) -> Float32:
        """Gradient by all weights, flat, summed over the rows of the batch."""
        flat = np.zeros_like(weights)
        rows = self.rows(flat)
        rows[:, :-1] = by_logits.T @ forward.inputs[-1]
        rows[:, -1] = by_logits.sum(axis=0)
        by_inputs = by_logits @ self.rows(weights)[:, :-1]
        layers = list(zip(self.layers(weights), self.layers(flat), strict=True))
        for level in reversed(range(len(layers))):
            layer, slope = layers[level]
            by_outputs = by_inputs * (forward.inputs[level + 1] > 0)
            own, adapted = np.split(by_outputs, [self.hidden[level]], axis=1)
            slope.matrix[:] = own.T @ forward.inputs[level]
            slope.bias[:] = own.sum(axis=0)
            read = forward.lateral[level]
            scaled = (read * layer.scale[:, None]).reshape(len(own), -1)
            slope.adapter[:] = adapted.T @ scaled
            slope.adapter_bias[:] = adapted.sum(axis=0)
            slope.scale[:] = ((adapted @ layer.adapter).reshape(read.shape) * read).sum((0, 2))
            by_inputs = own @ layer.matrix
        return flat

    def _shapes(self) -> list[tuple[tuple[int, ...], ...]]:
        into = self.dim
        shapes: list[tuple[tuple[int, ...], ...]] = []
        for out in self.hidden:
            adapter = (self.width, self.sources * out)
            shapes.append(((out, into), (out,), (self.sources,), adapter, (self.width,)))
            into = out + self.width
        return shapes
