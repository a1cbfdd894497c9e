"""Random replay with fair shares of a fixed memory."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from edge_cl.options import HeadOptions, MemoryOptions, Options
from edge_cl.strategy import GradientStrategy
from edge_cl.types import Batch


class ReplayOptions(HeadOptions, MemoryOptions):
    """Options of random replay."""

    codec: str = Field("float32", description="How an exemplar is stored.")
    selection: str = Field("share", description="Which samples stay in the memory.")


class Replay(GradientStrategy):
    """Every step trains on the new samples together with random exemplars.

    The memory follows the rule h = M / i: after experience i, each experience so far
    owns an equal share of the M exemplars (Pellegrini et al. 2020, algorithm 1, lines
    7 to 12).
    """

    name: ClassVar[str] = "replay"
    paper: ClassVar[str] = "Pellegrini et al. 2020, arXiv:1912.01100, algorithm 1"
    options_type: ClassVar[type[Options]] = ReplayOptions

    def training_batch(self, batch: Batch) -> Batch:
        """The new samples and `replay_batch` exemplars."""
        assert isinstance(self.options, MemoryOptions)
        return Batch.concat([batch, self.rehearse(self.options.replay_batch)])
