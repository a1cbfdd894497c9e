"""Selection policies: what stays in a memory that cannot hold all. One file each."""

from __future__ import annotations

from edge_cl.errors import InvalidOption
from edge_cl.memory.selection.base import DROP, Selection
from edge_cl.memory.selection.class_balanced import ClassBalanced
from edge_cl.memory.selection.class_reservoir import ClassReservoir
from edge_cl.memory.selection.herding import Herding
from edge_cl.memory.selection.keep_all import KeepAll
from edge_cl.memory.selection.reservoir import Reservoir
from edge_cl.memory.selection.ring import Ring
from edge_cl.memory.selection.share import Share
from edge_cl.memory.selection.weighted import Weighted

__all__ = ["DROP", "Selection", "make_selection", "selection_bytes", "selections"]

_SELECTIONS: dict[str, type[Selection]] = {
    policy.name: policy
    for policy in (
        Reservoir,
        ClassBalanced,
        ClassReservoir,
        Ring,
        Share,
        Herding,
        Weighted,
        KeepAll,
    )
}


def selections() -> tuple[str, ...]:
    """Names of all selection policies."""
    return tuple(_SELECTIONS)


def make_selection(name: str, capacity: int) -> Selection:
    """Make the selection policy called `name` for a memory of `capacity` rows.

    Raises
    ------
    InvalidOption
        There is no such policy; the message lists those there are.
    """
    return _policy(name)(capacity)


def selection_bytes(name: str, capacity: int) -> int:
    """Bytes that the policy called `name` keeps beside the rows."""
    return _policy(name).bytes_for(capacity)


def _policy(name: str) -> type[Selection]:
    if name not in _SELECTIONS:
        raise InvalidOption(f"no selection is called {name!r}; there are: {', '.join(_SELECTIONS)}")
    return _SELECTIONS[name]
