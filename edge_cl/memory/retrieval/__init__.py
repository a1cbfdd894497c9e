"""Retrieval policies: which rows come back for rehearsal. One file each.

A policy is a function of a `Pool`, the number of rows and a random generator.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge_cl.errors import InvalidOption
from edge_cl.memory.retrieval.class_balanced import class_balanced
from edge_cl.memory.retrieval.pool import Pool
from edge_cl.memory.retrieval.uniform import uniform
from edge_cl.types import Array

__all__ = ["Pool", "Retrieval", "make_retrieval", "retrievals"]

Retrieval = Callable[[Pool, int, np.random.Generator], Array]

_RETRIEVALS: dict[str, Retrieval] = {"uniform": uniform, "class_balanced": class_balanced}


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
