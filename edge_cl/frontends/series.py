"""Statistics and spectrum of a window of sensor readings: movements, vibrations, currents.

A window has rows (moments, equally spaced) and channels. Readings become ``z = (x - centre) /
scale`` with declared constants, so that the same reading gives the same latent on every device
and in every year; they are not learned from the stream. With N rows, per channel of ``z``:

==== =======================================================================================
6    mean; standard deviation; smallest; largest; root mean square of the N - 1 differences;
     share of the N - 1 steps at which z - mean changes its sign
8    means over eight parts of the window of equal length
8    B_k = log10(10^-6 + sum of 2 |F_j|^2 / (N sum w^2) over the j with
     2^-(k+1) < j / N <= 2^-k) / 3 + 1, for k = 1 to 8, with F the Fourier transform of
     w (z - mean) and w a Hann window: power by octaves of frequency, from half a
     cycle a row downwards
==== =======================================================================================

22 values a channel, each squashed by ``tanh(v / 2)``: one wild reading cannot drown the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_cl.errors import InvalidOption, InvalidSeries, TooLarge
from edge_cl.frontends.frontend import Frontend
from edge_cl.types import Float64, LatentSpec, UInt8

PARTS = 8
OCTAVES = 8
FEATURES = 6 + PARTS + OCTAVES
LEAST_POWER = 1e-6

ROWS = (8, 4096)
MOST_CHANNELS = 32
LARGEST_READING = 1e9


class Series(Frontend):
    """22 values a channel of a window.

    Parameters
    ----------
    channels
        Readings in one row.
    centre
        What a sensor reads at rest: one number, or one a channel.
    scale
        Readings that make one unit, such as 9.81 for accelerations in m/s²: the same.
    """

    name = "series"
    takes = "a series of rows of readings"

    def __init__(
        self,
        channels: int = 1,
        centre: float | Sequence[float] = 0.0,
        scale: float | Sequence[float] = 1.0,
    ) -> None:
        if type(channels) is not int or not 1 <= channels <= MOST_CHANNELS:
            raise InvalidOption(f"channels is {channels!r:.80}, 1 to {MOST_CHANNELS} can be used")
        self.channels = channels
        self._centre = _constants("centre", centre, channels)
        self._scale = _constants("scale", scale, channels)
        if not (self._scale > 0).all():
            raise InvalidOption(f"scale is {scale!r:.80}, every number must be above 0")

    @property
    def spec(self) -> LatentSpec:
        """Width and quantisation of its latents."""
        return LatentSpec(FEATURES * self.channels, 1 / 127, 128)

    @property
    def options(self) -> dict[str, Any]:
        """What makes the same front end again."""
        constants = {"centre": self._centre.tolist(), "scale": self._scale.tolist()}
        return {"channels": self.channels, **constants}

    def code(self, recording: npt.ArrayLike) -> UInt8:
        """The codes of one window: rows of readings, or a list of readings of one channel."""
        latent = np.tanh(self.features(self._checked(recording)) / 2)
        return self.spec.to_codes(latent.ravel().astype(np.float32))

    def features(self, readings: Float64) -> Float64:
        """(channels, 22) values of (N, channels) readings, before they are squashed."""
        z = ((readings - self._centre) / self._scale).T
        mean = z.mean(axis=1, keepdims=True)
        centred, steps = z - mean, np.diff(z, axis=1)
        signs = centred >= 0
        statistics = [
            mean[:, 0],
            z.std(axis=1),
            z.min(axis=1),
            z.max(axis=1),
            np.sqrt((steps**2).mean(axis=1)),
            (signs[:, 1:] != signs[:, :-1]).mean(axis=1),
        ]
        parts = [part.mean(axis=1) for part in np.array_split(z, PARTS, axis=1)]
        return np.stack([*statistics, *parts, *_octaves(centred)], axis=1)

    def _checked(self, recording: npt.ArrayLike) -> Float64:
        readings = _numbers(recording)
        if readings is None:
            raise InvalidSeries("a series is a list of rows of numbers, all equally long")
        if readings.ndim == 1 and self.channels == 1:
            readings = readings[:, None]
        if readings.ndim != 2 or readings.shape[1] != self.channels:
            raise InvalidSeries(
                f"the series has the shape {readings.shape}, this learner's have "
                f"{self.channels} channels: (rows, {self.channels})"
            )
        if len(readings) > ROWS[1]:
            raise TooLarge(f"the series has {len(readings):,} rows, at most {ROWS[1]:,} are taken")
        if len(readings) < ROWS[0]:
            raise InvalidSeries(
                f"the series has {len(readings)} rows, at least {ROWS[0]} are needed"
            )
        bad = ~(np.abs(readings) <= LARGEST_READING)
        if bad.any():
            row, channel = (int(index) for index in np.argwhere(bad)[0])
            raise InvalidSeries(
                f"row {row}, channel {channel} is {readings[row, channel]}: readings must be "
                f"finite and at most {LARGEST_READING:g} in magnitude"
            )
        return readings


def windows(readings: npt.ArrayLike, rows: int, step: int) -> list[Float64]:
    """Windows of `rows` rows of a long recording, a new one every `step` rows."""
    whole = np.asarray(readings, dtype=np.float64)
    starts = range(0, len(whole) - rows + 1, step)
    return [whole[start : start + rows] for start in starts]


def _octaves(centred: Float64) -> list[Float64]:
    """Logarithms of the power in each octave, fastest first."""
    rows = centred.shape[1]
    window = np.hanning(rows + 1)[:-1]
    power = 2 * np.abs(np.fft.rfft(centred * window)) ** 2 / (rows * np.sum(window**2))
    cycles = np.arange(power.shape[1]) / rows
    bands = [(2.0 ** -(k + 1) < cycles) & (cycles <= 2.0**-k) for k in range(1, OCTAVES + 1)]
    sums = [power[:, band].sum(axis=1) for band in bands]
    return [np.log10(LEAST_POWER + one) / 3 + 1 for one in sums]


def _constants(name: str, given: Any, channels: int) -> Float64:
    numbers = _numbers(given)
    if numbers is None or numbers.shape not in ((), (channels,)) or not np.isfinite(numbers).all():
        raise InvalidOption(
            f"{name} is {given!r:.80}: one finite number is needed, or one for each of "
            f"{channels} channels"
        )
    return np.broadcast_to(numbers, channels).copy()


def _numbers(given: Any) -> Float64 | None:
    """An array of numbers, or None for what is none, such as text that looks like a number."""
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    return array.astype(np.float64) if array.dtype.kind in "fiu" else None
