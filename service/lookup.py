"""Looking for samples in the memory of a learner that another thread teaches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence

from edge_cl.neighbours import Neighbour
from edge_cl.types import Array
from service.changes import Succession
from service.rest import Rest

__all__ = ["Lookup"]

LOOK_LIMIT_S = 0.1


class Lookup:
    """Answers of the learner as it is now, not as it was published.

    Parameters
    ----------
    succession
        Who serves.
    changing
        Held by the writer while it changes the learner.
    rest
        Is told that the learner is used.
    fetch
        Waits until a learner that was put away is back.
    """

    def __init__(
        self,
        succession: Succession,
        changing: threading.Lock,
        rest: Rest,
        fetch: Callable[[], object],
    ) -> None:
        self._succession = succession
        self._changing = changing
        self._rest = rest
        self._fetch = fetch

    def nearest(self, latents: Array, count: int) -> list[list[Neighbour]]:
        """The remembered samples nearest to latents; waits for the change that is being made."""
        while True:
            with self._changing:
                if not self._succession.away:
                    self._rest.used()
                    return self._succession.learner.nearest(latents, count)
            self._fetch()

    def most_alike(
        self, latents: Array, labels: Sequence[Collection[str]]
    ) -> list[Neighbour | None]:
        """As `Learner.most_alike`; nothing while a long change is made or the learner is away."""
        if not self._changing.acquire(timeout=LOOK_LIMIT_S):
            return [None] * len(latents)
        try:
            if self._succession.away:
                return [None] * len(latents)
            return self._succession.learner.most_alike(latents, labels)
        finally:
            self._changing.release()
