"""The range of values that a scalar codec spreads its levels over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_cl.types import Float32

MARGIN = 0.25
"""Room beyond the latents seen, in parts of their span.

Every widening makes the span at least 1.25 times as wide, so the number of
widenings is logarithmic, and the errors of all re-encodings sum to at most
five times that of the last (a geometric series of ratio 1 / 1.25).
"""


@dataclass(frozen=True)
class Span:
    """Lowest and highest value, one pair for all channels or one pair a channel.

    Parameters
    ----------
    low, high
        (1,) or (D,) float32; ``high > low`` everywhere.
    """

    low: Float32
    high: Float32

    def covers(self, latents: Float32) -> bool:
        """Whether every value of `latents`, (N, D), lies within."""
        return bool(np.all(latents >= self.low) and np.all(latents <= self.high))

    def united(self, latents: Float32) -> Span:
        """Return this span stretched to cover `latents`, with a margin on the sides that moved."""
        low, high = _extremes(latents, per_channel=len(self.low) > 1)
        low, high = np.minimum(low, self.low), np.maximum(high, self.high)
        room = MARGIN * (high - low)
        return _proper(
            np.where(low < self.low, low - room, low), np.where(high > self.high, high + room, high)
        )

    @staticmethod
    def of(latents: Float32, *, per_channel: bool) -> Span:
        """Span of `latents`, (N, D), with margin.

        Values that are never negative (after a ReLU) keep 0 as the low end.
        """
        low, high = _extremes(latents, per_channel=per_channel)
        room = MARGIN * (high - low)
        return _proper(np.where(low >= 0, 0, low - room), high + room)


def _extremes(latents: Float32, *, per_channel: bool) -> tuple[Float32, Float32]:
    axis = 0 if per_channel else None
    low = np.atleast_1d(np.min(latents, axis=axis))
    return low, np.atleast_1d(np.max(latents, axis=axis))


def _proper(low: Float32, high: Float32) -> Span:
    """A span whose steps are representable: constant latents get one of their own size."""
    limit = np.float32(np.finfo(np.float32).max / 8)
    low, high = np.clip(low, -limit, limit), np.clip(high, -limit, limit)
    least = np.maximum(np.float32(1e-6), np.float32(1e-3) * np.maximum(np.abs(low), np.abs(high)))
    high = np.maximum(high, low + least)
    return Span(low.astype(np.float32), high.astype(np.float32))
