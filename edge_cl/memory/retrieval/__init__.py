"""Retrieval policies: which rows come back for rehearsal. One file each.

A policy is a function of a `Pool`, the number of rows, a random generator and,
where it ranks rows, the caller's scores.
"""

from __future__ import annotations

from edge_cl.errors import InvalidOption
from edge_cl.memory.retrieval.base import Hardness, Retrieval
from edge_cl.memory.retrieval.class_balanced import class_balanced
from edge_cl.memory.retrieval.hardest_first import hardest_first
from edge_cl.memory.retrieval.pool import Pool
from edge_cl.memory.retrieval.uniform import uniform

__all__ = ["Hardness", "Pool", "Retrieval", "make_retrieval", "retrievals"]

_RETRIEVALS: dict[str, Retrieval] = {
    "uniform": uniform,
    "class_balanced": class_balanced,
    "hardest_first": hardest_first,
}


def retrievals() -> tuple[str, ...]:
    """Names of all retrieval policies."""
    return tuple(_RETRIEVALS)


def make_retrieval(name: str) -> Retrieval:
    """Make the retrieval policy called `name`.

    Raises
    ------
    InvalidOption
        There is no such policy; the message lists those there are.
    """
    if name not in _RETRIEVALS:
        raise InvalidOption(f"no retrieval is called {name!r}; there are: {', '.join(_RETRIEVALS)}")
    return _RETRIEVALS[name]
