"""What every front end is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from edge_cl.types import LatentSpec, UInt8


class Frontend(ABC):
    """A fixed formula from one recording to one latent of `spec.dim` codes."""

    name: ClassVar[str]
    """As learners are created with it."""

    takes: ClassVar[str]
    """What a recording is, for messages."""

    @property
    @abstractmethod
    def spec(self) -> LatentSpec:
        """Width and quantisation of its latents."""

    @property
    @abstractmethod
    def options(self) -> dict[str, Any]:
        """What makes the same front end again, as JSON."""

    @abstractmethod
    def code(self, recording: Any) -> UInt8:
        """The (dim,) codes of one recording.

        Raises
        ------
        InvalidInput, TooLarge
            If it cannot be used.
        """

    def latents(self, recordings: Any) -> UInt8:
        """The (N, dim) codes of one recording, or of a list of recordings."""
        several: Sequence[Any] = recordings if isinstance(recordings, list) else [recordings]
        return np.stack([self.code(one) for one in several])
