"""The small trainable head: a linear classifier or an MLP over one flat weight vector.

All weights of a head lie in one float32 vector: the body (hidden layers) first,
then one row per class. A new class therefore appends to the end, and everything
that has one value per weight (momentum, importance, anchor, mask) grows in step.
The methods are pure functions of the weights, so that a strategy may ask for the
logits or the gradient at any point of weight space: a teacher, a virtual step, an
anchor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_cl.types import Float32


@dataclass(frozen=True)
class Forward:
    """What a forward pass leaves for the backward pass.

    Parameters
    ----------
    inputs
        Input of every layer, first to last, each (N, width) float32.
    logits
        (N, C) float32.
    """

    inputs: tuple[Float32, ...]
    logits: Float32

    @property
    def features(self) -> Float32:
        """Input of the last layer, (N, H)."""
        return self.inputs[-1]


@dataclass(frozen=True)
class Head:
    """Architecture of a linear (`hidden` empty) or ReLU MLP head.

    Parameters
    ----------
    dim
        Width D of the latents.
    hidden
        Widths of the hidden layers.
    bias
        Whether the last layer has a bias (CWR* wants none).

    Notes
    -----
    Layout of the flat vector: for every hidden layer its (width, inputs) matrix and
    its bias; then (C, H + bias) class rows, the bias last in each row.
    """

    dim: int
    hidden: tuple[int, ...] = ()
    bias: bool = True

    @property
    def widths(self) -> tuple[int, ...]:
        """Input width of every layer, first to last."""
        return (self.dim, *self.hidden)

    @property
    def feature_dim(self) -> int:
        """Width H of the last layer's input."""
        return self.widths[-1]

    @property
    def body_size(self) -> int:
        """Weights below the last layer."""
        return sum(out * (into + 1) for into, out in zip(self.widths, self.hidden, strict=False))

    @property
    def row_size(self) -> int:
        """Weights of one class in the last layer."""
        return self.feature_dim + self.bias

    def size(self, classes: int) -> int:
        """Weights of a head for `classes` classes."""
        return self.body_size + classes * self.row_size

    def classes(self, weights: Float32) -> int:
        """Number of classes that `weights` has rows for."""
        return (len(weights) - self.body_size) // self.row_size

    def initial(self, classes: int, rng: np.random.Generator) -> Float32:
        """Fresh weights: He-uniform hidden layers, class rows of zeros.

        Zero rows keep a class that was never trained neutral, and make its anchor
        in weight space (EWC, SI) well defined.
        """
        weights = np.zeros(self.size(classes), dtype=np.float32)
        for (matrix, _), into in zip(self.layers(weights), self.widths, strict=False):
            bound = np.sqrt(6.0 / into)
            matrix[:] = rng.uniform(-bound, bound, matrix.shape)
        return weights

    def layers(self, weights: Float32) -> list[tuple[Float32, Float32]]:
        """Views (matrix, bias) of the hidden layers in `weights`."""
        views, start = [], 0
        for into, out in zip(self.widths, self.hidden, strict=False):
            stop = start + out * into
            views.append((weights[start:stop].reshape(out, into), weights[stop : stop + out]))
            start = stop + out
        return views

    def rows(self, weights: Float32) -> Float32:
        """View (C, row_size) of the class rows in `weights`."""
        return weights[self.body_size :].reshape(-1, self.row_size)

    def forward(self, weights: Float32, latents: Float32) -> Forward:
        """Forward pass over (N, D) `latents`."""
        inputs = [latents]
        for matrix, bias in self.layers(weights):
            inputs.append(np.maximum(inputs[-1] @ matrix.T + bias, np.float32(0)))
        rows = self.rows(weights)
        logits = inputs[-1] @ rows[:, : self.feature_dim].T
        if self.bias:
            logits += rows[:, -1]
        return Forward(tuple(inputs), logits)

    def logits(self, weights: Float32, latents: Float32) -> Float32:
        """Logits (N, C) of (N, D) `latents`."""
        return self.forward(weights, latents).logits

    def features(self, weights: Float32, latents: Float32) -> Float32:
        """Input of the last layer, (N, H); the latents themselves if there is no body."""
        for matrix, bias in self.layers(weights):
            latents = np.maximum(latents @ matrix.T + bias, np.float32(0))
        return latents

    def deltas(self, weights: Float32, forward: Forward, logits_gradient: Float32) -> list[Float32]:
        """Loss gradient at every layer's output before its nonlinearity, first to last.

        Parameters
        ----------
        logits_gradient
            (N, C): gradient of the loss by the logits.
        """
        deltas = [logits_gradient]
        above = self.rows(weights)[:, : self.feature_dim]
        for (matrix, _), active in zip(
            reversed(self.layers(weights)), reversed(forward.inputs[1:]), strict=True
        ):
            deltas.append((deltas[-1] @ above) * (active > 0))
            above = matrix
        return deltas[::-1]

    def gradient(self, weights: Float32, forward: Forward, logits_gradient: Float32) -> Float32:
        """Gradient by all weights, flat, summed over the rows of the batch."""
        return self._assemble(
            self.deltas(weights, forward, logits_gradient), forward.inputs, len(weights)
        )

    def gradients(
        self, weights: Float32, forward: Forward, logits_gradient: Float32
    ) -> tuple[Float32, Float32]:
        """Gradient by all weights, as `gradient`, and by the latents, (N, D)."""
        deltas = self.deltas(weights, forward, logits_gradient)
        layers = self.layers(weights)
        first = layers[0][0] if layers else self.rows(weights)[:, : self.feature_dim]
        return self._assemble(deltas, forward.inputs, len(weights)), deltas[0] @ first

    def squared_gradient(
        self, weights: Float32, forward: Forward, logits_gradient: Float32
    ) -> Float32:
        """Sum over the batch of each sample's squared gradient, flat.

        A sample's gradient of a matrix is the outer product of its delta and its
        input, so its square is the outer product of their squares: exact, without
        one backward pass a sample.
        """
        deltas = [d * d for d in self.deltas(weights, forward, logits_gradient)]
        return self._assemble(deltas, tuple(a * a for a in forward.inputs), len(weights))

    def _assemble(self, deltas: list[Float32], inputs: tuple[Float32, ...], size: int) -> Float32:
        flat = np.empty(size, dtype=np.float32)
        for (matrix, bias), delta, into in zip(self.layers(flat), deltas, inputs, strict=False):
            np.matmul(delta.T, into, out=matrix)
            delta.sum(axis=0, out=bias)
        rows = self.rows(flat)
        rows[:, : self.feature_dim] = deltas[-1].T @ inputs[-1]
        if self.bias:
            rows[:, -1] = deltas[-1].sum(axis=0)
        return flat
