"""Latent replay with quantised latents."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from edge_cl.options import Options
from edge_cl.strategies.replay import Replay, ReplayOptions


class LatentReplayOptions(ReplayOptions):
    """Options of latent replay."""

    codec: str = Field("uint8", description="How an exemplar is stored.")


class LatentReplay(Replay):
    """Random replay of quantised activations of the frozen extractor.

    What is stored is the quantised network's own code, one byte a value, so that the
    memory holds four times the exemplars of float32 and a stored latent equals a new one
    (Ravaglia et al. 2021, section III). The extractor below never changes, so stored
    latents do not age.
    """

    name: ClassVar[str] = "latent_replay"
    paper: ClassVar[str] = (
        "Pellegrini et al. 2020, arXiv:1912.01100; quantised: Ravaglia et al. 2021, "
        "arXiv:2110.10486"
    )
    options_type: ClassVar[type[Options]] = LatentReplayOptions
