"""HAT: hard attention to the task."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import numpy as np
from pydantic import Field

from edge_cl.codec.bits import packed_bytes
from edge_cl.isolation import IsolationOptions, IsolationStrategy
from edge_cl.options import Options, Width
from edge_cl.state import Role, Slot
from edge_cl.strategy import Experience
from edge_cl.types import Array, Bool, Float32, UInt8

_LARGEST_EXPONENT = 50.0
_OVERFLOWS = 700.0
_LARGEST_EMBEDDING = 6.0


class HATOptions(IsolationOptions):
    """Options of HAT."""

    hidden: tuple[Width, ...] = Field(
        (128,), min_length=1, description="Widths of hidden layers; their units are gated."
    )
    sharpest: float = Field(400.0, gt=1, description="Largest slope s_max of the gates.")
    anneal_steps: int = Field(
        1000, ge=2, description="Steps over which the slope rises from 1 / s_max to s_max."
    )
    gate_rate: float = Field(0.01, gt=0, le=100, description="Step length of the embeddings.")
    sparsity: float = Field(
        0.1,
        ge=0,
        description="Weight c of the penalty on units that no other context uses; the paper's "
        "0.75 is for thousands of units.",
    )


class HAT(IsolationStrategy):
    """Every context learns which hidden units it uses; their weights are kept for it.

    A unit's gate is the sigmoid of an embedding times a slope that rises while the context
    is learned (Serrà et al. 2018, section 2.4). Gradients of weights between units that
    other contexts use are stopped (2.3), and a penalty keeps contexts small (2.6).
    """

    name: ClassVar[str] = "hat"
    paper: ClassVar[str] = "Serra, Suris, Miron & Karatzoglou 2018, arXiv:1801.01423, section 2"
    options_type: ClassVar[type[Options]] = HATOptions

    gate_bits: UInt8
    embedding: Float32
    annealed: Array

    @property
    def hat_options(self) -> HATOptions:
        """The options, as HAT's."""
        assert isinstance(self.options, HATOptions)
        return self.options

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """The head, a bit a unit and context, and the embedding of the one in training."""
        units = sum(self.head.hidden)
        return {
            **super().slots(classes, contexts),
            "gate_bits": Slot((contexts, packed_bytes(units, 1)), np.uint8, Role.PUBLISHED),
            "embedding": Slot((units,)),
            "annealed": Slot((1,), np.int64),
        }

    def begin(self, experience: Experience) -> None:
        """A random embedding; a context that comes back goes on with the gates it has."""
        context, options = experience.context, self.hat_options
        known = bool(self.membership[context].any())
        self.annealed[0] = options.anneal_steps if known else 0
        self.embedding[:] = (
            np.where(self.gates(context), 1, -1)
            if known
            else self.rng.standard_normal(len(self.embedding))
        )
        self.gate_bits[context] = np.packbits(self.embedding > 0)

    def gates(self, context: int) -> Bool:
        """(U,) whether the context uses each hidden unit, layer after layer."""
        bits = np.unpackbits(self.gate_bits[context], count=sum(self.head.hidden))
        return bits.astype(np.bool_)

    def used_elsewhere(self, context: int) -> Bool:
        """(U,) units that any other context uses: the cumulated attention (2.3)."""
        others = np.delete(self.gate_bits, context, axis=0)
        bits = np.unpackbits(np.bitwise_or.reduce(others, axis=0), count=sum(self.head.hidden))
        return bits.astype(np.bool_)

    @property
    def slope(self) -> float:
        """The gates' slope s now (section 2.4)."""
        options = self.hat_options
        done = min(1.0, int(self.annealed[0]) / (options.anneal_steps - 1))
        return 1 / options.sharpest + (options.sharpest - 1 / options.sharpest) * done

    def gated(self, weights: Float32, gates: Float32) -> Float32:
        """A copy of flat `weights` where a unit's outgoing weights are times its gate."""
        weights = weights.copy()
        for outgoing, part in zip(self._outgoing(weights), self._by_layer(gates), strict=True):
            outgoing *= part
        return weights

    def seen_weights(self, context: int) -> Float32:
        """The weights of the units that the context uses."""
        return self.gated(self.weights, self.gates(context).astype(np.float32))

    def training_weights(self, context: int) -> Float32:
        """The weights with the soft gates of the context in training (2.2)."""
        return self.gated(self.weights, sigmoid(self.slope * self.embedding))

    def learn(self, context: int, gradient: Float32) -> None:
        """Train gates, then the weights that no other context relies on.

        A unit's gate is a factor of its outgoing weights, so that the gradients by both
        follow from the one by their product.
        """
        used = self.used_elsewhere(context)
        gates = sigmoid(self.slope * self.embedding)
        products = zip(self._outgoing(gradient), self._outgoing(self.weights), strict=True)
        by_gates = np.concatenate([(g * w).sum(axis=0) for g, w in products])
        by_gates += self.hat_options.sparsity * ~used / max(int((~used).sum()), 1)
        by_weights = self.gated(gradient, gates)
        self.train_embedding(by_gates)
        self.gate_bits[context] = np.packbits(self.embedding > 0)
        free = np.concatenate([self.free_body(used), self.own_rows(context)])
        self.update_only(free, by_weights)
        self.annealed += 1

    def train_embedding(self, by_gates: Float32) -> None:
        """A compensated step of the embedding (section 2.5), and its clamp."""
        step = self.hat_options.gate_rate * self.embedding_gradient(by_gates)
        limit = _LARGEST_EMBEDDING
        self.embedding[:] = np.clip(self.embedding - step, -limit, limit)

    def embedding_gradient(self, by_gates: Float32) -> Array:
        """Gradient by the embedding, as if the slope were 1, times s_max (2.5)."""
        slope, embedding = self.slope, self.embedding.astype(np.float64)
        sharp = slope * embedding
        # The sigmoid's derivative, a (1 - a), without the cancellation where a is near 1.
        derivative = 0.5 / (np.cosh(np.clip(sharp, -_OVERFLOWS, _OVERFLOWS)) + 1)
        clamped = np.clip(sharp, -_LARGEST_EXPONENT, _LARGEST_EXPONENT)
        compensation = (np.cosh(clamped) + 1) / (np.cosh(embedding) + 1)
        compensated: Array = by_gates * derivative * compensation * self.hat_options.sharpest
        return compensated

    def free_body(self, used: Bool) -> Bool:
        """(body_size,) hidden weights of which not both ends are used elsewhere (2.3).

        The input is no unit, and counts as used; a bias has but one end.
        """
        free = np.ones(self.head.body_size, dtype=np.bool_)
        ends = [np.ones(self.head.dim, dtype=np.bool_), *self._by_layer(used)]
        start = 0
        for before, after in pairwise(ends):
            stop = start + len(after) * len(before)
            free[start:stop] = ~np.logical_and.outer(after, before).ravel()
            free[stop : stop + len(after)] = ~after
            start = stop + len(after)
        return free

    def _outgoing(self, weights: Float32) -> list[Float32]:
        matrices = [matrix for matrix, _ in self.head.layers(weights)][1:]
        return [*matrices, self.head.rows(weights)[:, : self.head.feature_dim]]

    def _by_layer(self, units: Array) -> list[Array]:
        return np.split(units, np.cumsum(self.head.hidden)[:-1])


def sigmoid(values: Array) -> Array:
    """1 / (1 + exp(-values)), stable, of the same type."""
    result: Array = (0.5 * (1 + np.tanh(0.5 * values))).astype(values.dtype)
    return result
