"""Synaptic intelligence: importance is what a weight's path took off the loss."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from edge_cl.equations import path_importance
from edge_cl.options import HeadOptions, Options
from edge_cl.state import Slot
from edge_cl.strategy import Experience, GradientStrategy, Needs
from edge_cl.types import Float32


class SIOptions(HeadOptions):
    """Options of SI."""

    optimizer: Literal["sgd", "adam"] = Field("adam", description="Update rule.")
    learning_rate: float = Field(1e-2, gt=0, le=100, description="Step length.")
    strength: float = Field(1.0, ge=0, description="The paper's c.")
    damping: float = Field(
        0.1, gt=0, description="The paper's xi: keeps weights that barely moved from exploding."
    )


class SI(GradientStrategy):
    """A quadratic penalty holds every weight by how much its moves lowered old losses.

    Each step adds minus gradient times change to a weight's path; when an experience ends
    the path, over the squared distance gone, becomes importance (Zenke et al. 2017, eq. 3
    to 5). The gradient is that of the loss alone, the change is the actual one.
    """

    name: ClassVar[str] = "si"
    paper: ClassVar[str] = "Zenke, Poole & Ganguli 2017, arXiv:1703.04200, eq. 3 to 5"
    needs: ClassVar[Needs] = Needs(boundaries=True)
    options_type: ClassVar[type[Options]] = SIOptions

    path: Float32
    importance: Float32
    anchor: Float32

    def slots(self, classes: int, contexts: int) -> dict[str, Slot]:
        """The head's state; path, importance and anchor of every weight."""
        each = Slot((self.head.size(classes),))
        slots = super().slots(classes, contexts)
        return {**slots, "path": each, "importance": each, "anchor": each}

    def initialise(self) -> None:
        """The first anchor is where the weights begin; that of a later class's row is zero."""
        super().initialise()
        self.anchor[:] = self.weights

    def update(self, gradient: Float32) -> None:
        """Step down loss and penalty (eq. 4); add the loss's share of the move to the path."""
        before = self.weights.copy()
        pull = np.float32(2 * self.si_options.strength) * self.importance
        super().update(gradient + pull * (before - self.anchor))
        self.path -= gradient * (self.weights - before)

    def end(self, experience: Experience) -> None:
        """Add the experience's importance (eq. 5), and move the anchor here."""
        self.importance += path_importance(
            self.path, self.weights, self.anchor, self.si_options.damping
        )
        self.anchor[:] = self.weights
        self.path[:] = 0

    @property
    def si_options(self) -> SIOptions:
        """The options, as those of SI."""
        assert isinstance(self.options, SIOptions)
        return self.options
