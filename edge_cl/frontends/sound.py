"""A log-mel spectrogram of a short sound: words, claps, a machine that runs or rattles.

With ``s`` the mono samples in [-1, 1] at ``rate``, a Hann window ``w`` of 25 ms and a step of
10 ms, frame ``t`` has the power spectral density

    P_t(f_k) = c_k |sum_n w_n s_{tH+n} exp(-2 pi i k n / K)|^2 / (rate sum_n w_n^2)

with ``c_k`` = 2 except at 0 Hz and at half the rate, so that sums over k are those over
positive and negative frequencies. Band ``b`` of 24 triangles, whose corners are equally
spaced on the mel scale mel(f) = 2595 log10(1 + f / 700) between 100 and 3,800 Hz, holds

    E_{t,b} = sum_k H_b(f_k) P_t(f_k) rate / K

(H_b rises from its left corner to 1 at its middle one and falls to its right one), a power
that does not depend on the rate. The frames from the first to the last one within 30 dB of
the loudest frame are the sound; they are averaged, in time, into 16 stretches of equal
length, and in decibels relative to the loudest of the 16 x 24 cells

    L_{j,b} = 10 log10(E_{j,b} / max E)       latent = max(0, 1 + L / 60)

A sound is so told by its shape in time and frequency, not by its loudness, its length or the
silence around it. Below -80 dB of full scale there is no sound, and the latent is 0.
"""

from __future__ import annotations

import io
import wave
from functools import lru_cache
from typing import Any

import numpy as np

from edge_cl.errors import InvalidSound, TooLarge
from edge_cl.frontends.frontend import Frontend
from edge_cl.types import Float64, LatentSpec, UInt8

BANDS = 24
STRETCHES = 16
LOWEST_HZ, HIGHEST_HZ = 100.0, 3800.0
WINDOW_S, STEP_S = 0.025, 0.010
EDGE_DB = 30.0
RANGE_DB = 60.0
SILENCE_POWER = 1e-8

FRAMES_AT_ONCE = 64

RATES_HZ = (8_000, 96_000)
LONGEST_S = 10.0
SHORTEST_S = 0.05
MOST_CHANNELS = 8
MOST_BYTES = 8 * 1024 * 1024
STREAMED_BYTES = 0x7FFF_0000
"""A data length from here on is that of a stream whose length was not known."""


class Sound(Frontend):
    """16 stretches of time by 24 mel bands: 384 values a sound."""

    name = "sound"
    takes = "a sound as WAV"
    spec = LatentSpec(STRETCHES * BANDS, 1 / 255, 0)
    options: dict[str, Any] = {}  # noqa: RUF012

    def code(self, recording: bytes) -> UInt8:
        """The codes of one WAV file."""
        samples, rate = read_wav(recording)
        return self.spec.to_codes(self.spectrogram(samples, rate).ravel().astype(np.float32))

    def spectrogram(self, samples: Float64, rate: int) -> Float64:
        """The (16, 24) latent of mono samples in [-1, 1], before it is quantised."""
        energy = band_powers(samples, rate)
        total = energy.sum(axis=1)
        if total.max() < SILENCE_POWER:
            return np.zeros((STRETCHES, BANDS))
        audible = np.flatnonzero(total >= total.max() * 10 ** (-EDGE_DB / 10))
        cells = _stretched(energy[audible[0] : audible[-1] + 1])
        with np.errstate(divide="ignore"):
            levels = 10 * np.log10(cells / cells.max())
        latent: Float64 = np.maximum(0.0, 1 + levels / RANGE_DB)
        return latent


def band_powers(samples: Float64, rate: int) -> Float64:
    """Power in each of the mel bands, one row a frame."""
    length, step = round(WINDOW_S * rate), round(STEP_S * rate)
    size = 1 << (length - 1).bit_length()
    if len(samples) < length:
        samples = np.pad(samples, (0, length - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)[::step]
    # A few at a time: the spectra of a whole sound would take a hundred times its bytes.
    parts = [
        _powers(frames[start : start + FRAMES_AT_ONCE], rate, size)
        for start in range(0, len(frames), FRAMES_AT_ONCE)
    ]
    return np.concatenate(parts)


def _powers(frames: Float64, rate: int, size: int) -> Float64:
    window = np.hanning(frames.shape[1] + 1)[:-1]
    spectrum = np.abs(np.fft.rfft(frames * window, size)) ** 2
    spectrum[:, 1:-1] *= 2
    density = spectrum / (rate * np.sum(window**2))
    powers: Float64 = density @ _triangles(rate, size).T * (rate / size)
    return powers


@lru_cache(maxsize=8)
def _triangles(rate: int, size: int) -> Float64:
    """(bands, frequencies) weights of the mel bands."""
    lowest, highest = (2595 * np.log10(1 + hertz / 700) for hertz in (LOWEST_HZ, HIGHEST_HZ))
    corners = 700 * (10 ** (np.linspace(lowest, highest, BANDS + 2) / 2595) - 1)
    left, middle, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    hertz = np.fft.rfftfreq(size, 1 / rate)[None]
    rising, falling = (hertz - left) / (middle - left), (right - hertz) / (right - middle)
    weights: Float64 = np.maximum(0.0, np.minimum(rising, falling))
    return weights


def _stretched(energy: Float64) -> Float64:
    """Means over `STRETCHES` parts of equal length; short sounds share frames."""
    edges = np.arange(STRETCHES + 1) * len(energy) / STRETCHES
    starts, stops = np.floor(edges[:-1]).astype(int), np.ceil(edges[1:]).astype(int)
    return np.stack([energy[a:b].mean(axis=0) for a, b in zip(starts, stops, strict=True)])


def read_wav(content: bytes) -> tuple[Float64, int]:
    """Mono samples in [-1, 1] of a WAV file of 8, 16, 24 or 32 bit PCM, and its rate.

    Raises
    ------
    InvalidSound
        If it is none, damaged, too short, or of a rate that is not taken.
    TooLarge
        Beyond the limits of length and bytes.
    """
    if len(content) > MOST_BYTES:
        raise TooLarge(f"the sound has {len(content):,} bytes, at most {MOST_BYTES:,} are taken")
    try:
        with wave.open(io.BytesIO(content)) as sound:
            channels, width = sound.getnchannels(), sound.getsampwidth()
            rate, declared = sound.getframerate(), sound.getnframes()
            _check_form(channels, width, rate)
            frame_bytes = channels * width
            if min(declared * frame_bytes, len(content)) > LONGEST_S * rate * frame_bytes + 4096:
                raise _too_long(min(declared, len(content) // frame_bytes) / rate)
            pcm = sound.readframes(declared)
    except (wave.Error, EOFError, ValueError, RuntimeError) as error:
        if isinstance(error, InvalidSound | TooLarge):
            raise
        raise InvalidSound(
            f"no WAV file of PCM samples can be read: {error or 'it ends'}"
        ) from error
    frames = len(pcm) // frame_bytes
    if frames < declared and declared * frame_bytes < STREAMED_BYTES:
        raise InvalidSound(f"the WAV file says {declared:,} frames and ends after {frames:,}")
    if frames > LONGEST_S * rate:
        raise _too_long(frames / rate)
    if frames < SHORTEST_S * rate:
        raise InvalidSound(
            f"the sound lasts {frames / rate:.3f} s, at least {SHORTEST_S:g} s are needed"
        )
    return _mono(pcm[: frames * frame_bytes], channels, width), rate


def _check_form(channels: int, width: int, rate: int) -> None:
    if not RATES_HZ[0] <= rate <= RATES_HZ[1]:
        low, high = RATES_HZ
        raise InvalidSound(
            f"the sound has {rate:,} samples a second, {low:,} to {high:,} are taken"
        )
    if not 1 <= channels <= MOST_CHANNELS:
        raise InvalidSound(f"the sound has {channels} channels, 1 to {MOST_CHANNELS} are taken")
    if width not in (1, 2, 3, 4):
        raise InvalidSound(f"the sound has {8 * width} bits a sample, 8, 16, 24 or 32 are taken")


def _too_long(seconds: float) -> TooLarge:
    return TooLarge(f"the sound lasts {seconds:.1f} s, at most {LONGEST_S:g} s are taken: cut it")


def _mono(pcm: bytes, channels: int, width: int) -> Float64:
    if width == 1:
        # 8 bits are unsigned, all wider samples are signed.
        samples = np.frombuffer(pcm, np.uint8).astype(np.float64) - 128
    elif width == 3:
        # The three bytes become the upper ones of four, which keeps the sign.
        padded = np.zeros((len(pcm) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(pcm, np.uint8).reshape(-1, 3)
        samples = padded.view("<i4").ravel() / 256.0
    else:
        samples = np.frombuffer(pcm, f"<i{width}").astype(np.float64)
    mono: Float64 = samples.reshape(-1, channels).mean(axis=1) / 2.0 ** (8 * width - 1)
    return mono
