"""How much is done at once, and how often it is saved."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Pace"]


@dataclass(frozen=True)
class Pace:
    """How much a worker does at once, and how often it saves.

    Parameters
    ----------
    group_requests
        Most requests in one commit.
    snapshot_operations, snapshot_interval_s
        A snapshot is due after so many operations, or after that time.
    undo_learn_s
        Seconds of learning after which a state to undo from is saved; 0 for none.
    idle_unload_s
        The learner is put away when it was not used for so long; 0 for never.
    """

    group_requests: int = 64
    snapshot_operations: int = 1000
    snapshot_interval_s: float = 300.0
    undo_learn_s: float = 2.0
    idle_unload_s: float = 0.0
