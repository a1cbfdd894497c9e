"""Plain fine-tuning: the lower bound of every comparison."""

from __future__ import annotations

from typing import ClassVar

from edge_cl.strategy import GradientStrategy


class Naive(GradientStrategy):
    """Gradient steps on the incoming samples alone; forgets what it is not shown again."""

    name: ClassVar[str] = "naive"
    paper: ClassVar[str] = "baseline (fine-tuning); McCloskey & Cohen 1989 describe its forgetting"
