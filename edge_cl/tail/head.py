"""A head whose body is the tail of an extractor, trained in torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edge_cl.head import Forward
from edge_cl.normalised_head import EPSILON, BatchHead, Layer
from edge_cl.tail.net import Moments, Parts, TailNet
from edge_cl.types import Array, Float32

Scaling: TypeAlias = Literal["none", "l2", "power_l2"]

LEAST_ROOT = 0.01
"""Square roots are taken of magnitudes above the square of this; below it they are linear,
so that the slope is finite at 0."""


@dataclass(frozen=True)
class TailForward(Forward):
    """A forward pass over a batch, with what the backward pass needs."""

    graph: Tensor
    leaves: tuple[Parts, ...]
    moments: tuple[Moments, ...]


@dataclass(frozen=True)
class TailHead(BatchHead):
    """The layers above the replay layer, and class rows on their features.

    Parameters
    ----------
    net
        The layers.
    scaling
        What is done to the features before the rows see them.

    Notes
    -----
    The flat vector is that of the `TailNet`, then the class rows.
    """

    net: TailNet = field(kw_only=True)
    scaling: Scaling = "power_l2"
    momentum: float = 0.01

    @property
    def feature_dim(self) -> int:
        """Width of what the tail gives."""
        return self.net.dim

    @property
    def body_size(self) -> int:
        """Weights of the tail, running statistics included."""
        return self.net.size

    def normalised_layers(self, weights: Float32) -> list[Layer]:
        """Views of the tail's layers with weights."""
        return self.net.layers(weights[: self.body_size])

    def initial(self, classes: int, rng: np.random.Generator) -> Float32:
        """The extractor's own layers, and class rows of zeros."""
        weights = np.zeros(self.size(classes), dtype=np.float32)
        weights[: self.body_size] = self.net.initial()
        return weights

    def forward(self, weights: Float32, latents: Float32) -> Forward:
        """Forward pass in evaluation: normalised by the running statistics."""
        features = self.features(weights, latents)
        return Forward((latents, features), self._last(weights, features))

    def features(self, weights: Float32, latents: Float32) -> Float32:
        """Input of the last layer in evaluation, (N, H)."""
        if not len(latents):
            return np.zeros((0, self.feature_dim), dtype=np.float32)
        found = torch.from_numpy(self.net.features(weights[: self.body_size], latents))
        scaled: Float32 = scaled_rows(found, self.scaling).numpy()
        return scaled

    def training_forward(self, weights: Float32, latents: Float32) -> TailForward:
        """Forward pass normalised by the batch."""
        found, parts, moments = self.net.training(
            weights[: self.body_size], latents, self.largest_ratio, self.largest_shift
        )
        graph = scaled_rows(found, self.scaling)
        features = graph.detach().numpy()
        logits = self._last(weights, features)
        return TailForward((latents, features), logits, graph, tuple(parts), tuple(moments))

    def gradient(self, weights: Float32, forward: Forward, logits_gradient: Float32) -> Float32:
        """Gradient by all weights, flat; by the class rows alone after an evaluation."""
        flat = self._gradient_of_rows(weights, forward, logits_gradient)
        if isinstance(forward, TailForward):
            pull = logits_gradient @ self.rows(weights)[:, : self.feature_dim]
            trained = [leaf for parts in forward.leaves for leaf in parts[:3]]
            slopes = iter(torch.autograd.grad(forward.graph, trained, torch.from_numpy(pull)))
            for layer in self.normalised_layers(flat):
                for part in (layer.matrix, layer.beta, layer.gamma):
                    part[...] = next(slopes).numpy()
        return flat

    def track(self, weights: Float32, forward: Forward) -> None:
        """Move the running statistics in `weights` towards the batch's."""
        if not isinstance(forward, TailForward):
            raise TypeError("a tail tracks the statistics of a training_forward")
        layers = self.normalised_layers(weights)
        for layer, batch in zip(layers, forward.moments, strict=True):
            deviation = np.sqrt(batch.variance.numpy() + EPSILON)
            self._track_layer(layer, batch.mean.numpy(), deviation)

    def recentre(self, weights: Float32, means: Array, squares: Array) -> None:
        """Take running statistics over; gamma and beta follow, so that it computes the same.

        Parameters
        ----------
        weights
            Changed in place.
        means, squares
            (channels,) means of what all layers' products are, and of their squares.
        """
        start = 0
        for layer in self.normalised_layers(weights):
            part = slice(start, start + len(layer.beta))
            mean = means[part].astype(np.float32)
            variance = np.maximum(squares[part] - means[part] ** 2, 0)
            deviation = np.sqrt(variance + float(EPSILON)).astype(np.float32)
            factor = layer.gamma / layer.deviation
            layer.beta[:] += factor * (mean - layer.mean)
            layer.gamma[:] = factor * deviation
            layer.mean[:], layer.deviation[:] = mean, deviation
            start = part.stop


def scaled_rows(features: Tensor, scaling: Scaling) -> Tensor:
    """Rows as they are, of unit length, or their signed square roots of unit length."""
    if scaling == "none":
        return features
    if scaling == "power_l2":
        features = features / features.abs().clamp_min(LEAST_ROOT**2).sqrt()
    return functional.normalize(features, dim=1)
