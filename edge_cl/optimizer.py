"""Optimisers over one flat weight vector, their state as named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edge_cl.state import Slot
from edge_cl.types import Array, Float32


class Optimizer(Protocol):
    """A rule that turns a gradient into a change of the weights."""

    def slots(self, size: int) -> dict[str, Slot]:
        """Its state arrays for `size` weights."""

    def update(self, weights: Float32, gradient: Float32, state: Mapping[str, Array]) -> None:
        """Change `weights` and `state` in place by one step down `gradient`."""


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with heavy-ball momentum.

    Parameters
    ----------
    learning_rate
        Step length.
    momentum
        Share of the last step that is kept; 0 needs no state.
    weight_decay
        Added to the gradient as ``weight_decay * weights``.
    """

    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0

    def slots(self, size: int) -> dict[str, Slot]:
        """`velocity`, one value a weight, if there is momentum."""
        return {"velocity": Slot((size,))} if self.momentum else {}

    def update(self, weights: Float32, gradient: Float32, state: Mapping[str, Array]) -> None:
        """Change `weights` and `state` in place by one step down `gradient`."""
        if self.weight_decay:
            gradient = gradient + np.float32(self.weight_decay) * weights
        if self.momentum:
            velocity = state["velocity"]
            velocity *= np.float32(self.momentum)
            velocity += gradient
            gradient = velocity
        weights -= np.float32(self.learning_rate) * gradient


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1).

    Weights that a new class adds share the step count of the old ones: their first
    steps are shorter than a fresh optimiser's, for 8 bytes of state instead of 4 a
    weight.
    """

    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def slots(self, size: int) -> dict[str, Slot]:
        """First and second moment of every weight, and the number of steps."""
        return {
            "first_moment": Slot((size,)),
            "second_moment": Slot((size,)),
            "steps": Slot((1,), np.int64),
        }

    def update(self, weights: Float32, gradient: Float32, state: Mapping[str, Array]) -> None:
        """Change `weights` and `state` in place by one step down `gradient`."""
        first, second, steps = (state[k] for k in ("first_moment", "second_moment", "steps"))
        steps += 1
        first += np.float32(1 - self.beta1) * (gradient - first)
        second += np.float32(1 - self.beta2) * (gradient * gradient - second)
        count = int(steps[0])
        step_length = self.learning_rate / (1 - self.beta1**count)
        scale = np.float32(1 / np.sqrt(1 - self.beta2**count))
        weights -= (
            np.float32(step_length) * first / (np.sqrt(second) * scale + np.float32(self.epsilon))
        )


@dataclass(frozen=True)
class SlowPart:
    """Another rule, whose moves of the first weights are scaled.

    Parameters
    ----------
    rule
        The other one.
    size
        How many weights, from the first on.
    ratio
        Of their step length to that of the others.
    """

    rule: Optimizer
    size: int
    ratio: float

    def slots(self, size: int) -> dict[str, Slot]:
        """Those of the other rule."""
        return self.rule.slots(size)

    def update(self, weights: Float32, gradient: Float32, state: Mapping[str, Array]) -> None:
        """Change `weights` and `state` in place by one step down `gradient`."""
        slow = weights[: self.size]
        before = slow.copy()
        self.rule.update(weights, gradient, state)
        slow -= before
        slow *= np.float32(self.ratio)
        slow += before
