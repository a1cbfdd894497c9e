"""A failure that is forgotten by itself."""

from __future__ import annotations

import time

__all__ = ["Fading"]


class Fading:
    """Why something failed a moment ago.

    A service that gets no requests because it is not ready could never show that it is
    ready again: so the reason fades without any success.

    Parameters
    ----------
    fade_s
        Seconds after which it is forgotten.
    """

    def __init__(self, fade_s: float) -> None:
        self._fade_s = fade_s
        self._noted: tuple[float, str] = (0.0, "")

    def note(self, reason: str) -> None:
        """It failed now."""
        self._noted = (time.monotonic(), reason)

    def clear(self) -> None:
        """It works again."""
        self._noted = (0.0, "")

    @property
    def failure(self) -> str | None:
        """The reason, while it is fresh."""
        failed_at, reason = self._noted
        return reason if reason and time.monotonic() - failed_at < self._fade_s else None
