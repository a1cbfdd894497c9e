"""A head whose hidden layers are normalised over the batch, with or without renormalisation.

For a hidden layer with u = W x, over the batch's mean m and deviation s::

    z = (u - m) / s * r + d        h = relu(gamma z + beta)

Batch normalisation (Ioffe & Szegedy 2015) has r = 1 and d = 0. Batch renormalisation
(Ioffe 2017, algorithm 1) has r = s / running s and d = (m - running m) / running s, both
clipped and taken as constants by the gradient: what training computes then equals what
evaluation will, up to the clipping, even where a batch is small or of one class.
Evaluation uses the running m and s.

The running statistics lie in the flat weight vector, with a gradient of zero, so that
whatever is copied or published with the weights has them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from edge_cl.head import Forward, Head
from edge_cl.types import Bool, Float32

EPSILON = np.float32(1e-5)
VECTORS = 4
"""Beside its matrix a layer has beta, gamma, running mean and running deviation."""


class Layer(NamedTuple):
    """Views of one hidden layer: (out, in), and four of (out,)."""

    matrix: Float32
    beta: Float32
    gamma: Float32
    mean: Float32
    deviation: Float32


class Normalised(NamedTuple):
    """What one layer's normalisation leaves for the backward pass.

    Parameters
    ----------
    mean, deviation
        (out,) of the batch.
    standard
        (N, out): (u - m) / s.
    ratio
        (out,): r.
    shifted
        (N, out): z.
    """

    mean: Float32
    deviation: Float32
    standard: Float32
    ratio: Float32
    shifted: Float32


@dataclass(frozen=True)
class TrainingForward(Forward):
    """A forward pass over a batch that was normalised by its own statistics."""

    normalised: tuple[Normalised, ...]


@dataclass(frozen=True)
class BatchHead(Head, ABC):
    """A head whose body is normalised over the batch in training.

    Its running statistics lie among the weights of the body.

    Parameters
    ----------
    largest_ratio, largest_shift
        Clip r to [1 / largest_ratio, largest_ratio] and d to +- largest_shift; 1 and 0 are
        batch normalisation.
    momentum
        Share of a batch's statistics that goes into the running ones.
    """

    largest_ratio: float = 1.25
    largest_shift: float = 0.5
    momentum: float = 0.05

    @abstractmethod
    def normalised_layers(self, weights: Float32) -> list[Layer]:
        """Views of the normalised layers in `weights`."""

    @abstractmethod
    def training_forward(self, weights: Float32, latents: Float32) -> Forward:
        """Forward pass normalised by the batch."""

    @abstractmethod
    def track(self, weights: Float32, forward: Forward) -> None:
        """Move the running statistics in `weights` towards those of a `training_forward`."""

    def matrices(self) -> Bool:
        """(body_size,): which weights of the body belong to a matrix or kernel."""
        marks = np.zeros(self.body_size, dtype=np.float32)
        for layer in self.normalised_layers(marks):
            layer.matrix[...] = 1
        return marks > 0

    def statistics(self) -> Bool:
        """(body_size,): which of them are running statistics, that no step may move."""
        marks = np.zeros(self.body_size, dtype=np.float32)
        for layer in self.normalised_layers(marks):
            layer.mean[:] = layer.deviation[:] = 1
        return marks > 0

    def _last(self, weights: Float32, features: Float32) -> Float32:
        """Logits (N, C) of the class rows on features (N, H)."""
        rows = self.rows(weights)
        logits = features @ rows[:, : self.feature_dim].T
        return logits + rows[:, -1] if self.bias else logits

    def _gradient_of_rows(
        self, weights: Float32, forward: Forward, logits_gradient: Float32
    ) -> Float32:
        """Gradient by all weights, flat, with that of the class rows; 0 for the body."""
        flat = np.zeros_like(weights)
        rows = self.rows(flat)
        rows[:, : self.feature_dim] = logits_gradient.T @ forward.features
        if self.bias:
            rows[:, -1] = logits_gradient.sum(axis=0)
        return flat

    def _track_layer(self, layer: Layer, mean: Float32, deviation: Float32) -> None:
        share = np.float32(self.momentum)
        layer.mean[:] += share * (mean - layer.mean)
        layer.deviation[:] += share * (deviation - layer.deviation)


@dataclass(frozen=True)
class NormalisedHead(BatchHead):
    """A `Head` with normalised hidden layers."""

    @property
    def body_size(self) -> int:
        """Weights below the last layer, running statistics included."""
        pairs = zip(self.widths, self.hidden, strict=False)
        return sum(out * (into + VECTORS) for into, out in pairs)

    def normalised_layers(self, weights: Float32) -> list[Layer]:
        """Views of the hidden layers in `weights`."""
        layers, start = [], 0
        for into, out in zip(self.widths, self.hidden, strict=False):
            stop = start + out * into
            matrix = weights[start:stop].reshape(out, into)
            start, stop = stop, stop + out * VECTORS
            layers.append(Layer(matrix, *weights[start:stop].reshape(VECTORS, out)))
            start = stop
        return layers

    def layers(self, weights: Float32) -> list[tuple[Float32, Float32]]:
        """Views (matrix, beta) of the hidden layers in `weights`."""
        return [(layer.matrix, layer.beta) for layer in self.normalised_layers(weights)]

    def initial(self, classes: int, rng: np.random.Generator) -> Float32:
        """As `Head.initial`, with gamma and running deviation of one."""
        weights = super().initial(classes, rng)
        for layer in self.normalised_layers(weights):
            layer.gamma[:] = 1
            layer.deviation[:] = 1
        return weights

    def forward(self, weights: Float32, latents: Float32) -> Forward:
        """Forward pass in evaluation: normalised by the running statistics."""
        inputs = [latents]
        for layer in self.normalised_layers(weights):
            shifted = (inputs[-1] @ layer.matrix.T - layer.mean) / layer.deviation
            inputs.append(np.maximum(layer.gamma * shifted + layer.beta, np.float32(0)))
        return Forward(tuple(inputs), self._last(weights, inputs[-1]))

    def features(self, weights: Float32, latents: Float32) -> Float32:
        """Input of the last layer in evaluation, (N, H)."""
        return self.forward(weights, latents).features

    def training_forward(self, weights: Float32, latents: Float32) -> TrainingForward:
        """Forward pass normalised by the batch."""
        inputs, normalised = [latents], []
        for layer in self.normalised_layers(weights):
            norm = self._normalise(layer, inputs[-1] @ layer.matrix.T)
            normalised.append(norm)
            inputs.append(np.maximum(layer.gamma * norm.shifted + layer.beta, np.float32(0)))
        logits = self._last(weights, inputs[-1])
        return TrainingForward(tuple(inputs), logits, tuple(normalised))

    def gradient(self, weights: Float32, forward: Forward, logits_gradient: Float32) -> Float32:
        """Gradient by all weights, through the batch's statistics; 0 for the running ones.

        Raises
        ------
        TypeError
            For the forward pass of an evaluation.
        """
        trained = _of_training(forward)
        flat = self._gradient_of_rows(weights, forward, logits_gradient)
        by_inputs = logits_gradient @ self.rows(weights)[:, : self.feature_dim]
        layers = self.normalised_layers(weights)
        slopes = self.normalised_layers(flat)
        for level in reversed(range(len(layers))):
            norm = trained.normalised[level]
            by_outputs = by_inputs * (forward.inputs[level + 1] > 0)
            slopes[level].beta[:] = by_outputs.sum(axis=0)
            slopes[level].gamma[:] = (by_outputs * norm.shifted).sum(axis=0)
            by_u = _through_batch(by_outputs * layers[level].gamma * norm.ratio, norm)
            slopes[level].matrix[:] = by_u.T @ forward.inputs[level]
            by_inputs = by_u @ layers[level].matrix
        return flat

    def track(self, weights: Float32, forward: Forward) -> None:
        """Move the running statistics in `weights` towards the batch's."""
        layers = self.normalised_layers(weights)
        for layer, norm in zip(layers, _of_training(forward).normalised, strict=True):
            self._track_layer(layer, norm.mean, norm.deviation)

    def _normalise(self, layer: Layer, u: Float32) -> Normalised:
        mean = u.mean(axis=0)
        deviation: Float32 = np.sqrt(u.var(axis=0) + EPSILON)
        standard = (u - mean) / deviation
        most = np.float32(self.largest_ratio)
        ratio: Float32 = np.clip(deviation / layer.deviation, 1 / most, most)
        limit = np.float32(self.largest_shift)
        shift = np.clip((mean - layer.mean) / layer.deviation, -limit, limit)
        return Normalised(mean, deviation, standard, ratio, standard * ratio + shift)


def _of_training(forward: Forward) -> TrainingForward:
    if not isinstance(forward, TrainingForward):
        raise TypeError("a normalised head needs a training_forward for that")
    return forward


def _through_batch(by_standard: Float32, norm: Normalised) -> Float32:
    """Gradient by u from that by (u - m) / s, both (N, out)."""
    centred = by_standard - by_standard.mean(axis=0)
    along = norm.standard * (by_standard * norm.standard).mean(axis=0)
    by_u: Float32 = (centred - along) / norm.deviation
    return by_u
