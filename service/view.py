"""What everybody but the writer sees of a learner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge_cl.published import Published
from service.changes import Succession

__all__ = ["View", "view_of"]


@dataclass(frozen=True)
class View:
    """A learner as it was published; never changes.

    Parameters
    ----------
    give
        Gives what answers predictions; loads it when it was put away.
    loaded
        Whether that is in memory.
    version
        The last operation that it knows.
    class_counts
        Samples learned by label.
    ledger
        Bytes by part.
    memory_budget
        What their sum may be.
    strategy, options
        What it learns by.
    change
        The strategy that is being built to take its place.
    change_failure
        Why the last change of strategy was given up.
    plan
        What `auto` planned for, and why it chose so.
    """

    give: Callable[[], Published]
    loaded: bool
    version: int
    class_counts: dict[str, int]
    ledger: dict[str, int]
    memory_budget: int
    strategy: str
    options: dict[str, Any]
    change: dict[str, Any] | None = None
    change_failure: str | None = None
    plan: dict[str, Any] | None = None

    @property
    def published(self) -> Published:
        """Answers predictions; waits for the learner when it was put away."""
        return self.give()

    @property
    def reserved_bytes(self) -> int:
        """Of the budget of all learners; both copies count while one is being built."""
        return self.memory_budget * (2 if self.change else 1)


def view_of(succession: Succession, give: Callable[[], Published], version: int) -> View:
    """The learner that serves, as it is at a version."""
    learner = succession.learner
    return View(
        give=give,
        loaded=True,
        version=version,
        class_counts=learner.class_counts,
        ledger=learner.ledger(),
        memory_budget=learner.memory_budget,
        strategy=learner.strategy,
        options=learner.options,
        change=succession.note(),
        change_failure=succession.failure,
        plan=learner.plan,
    )
