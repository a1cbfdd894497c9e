"""Synthetic sounds and movements, and WAV files of them."""

import io
import wave

import numpy as np

SOUNDS = ("tone", "rising", "falling", "noise", "pulses")
MOVEMENTS = ("sine", "step", "jerk", "rest")


def wav(samples, rate=16_000, width=2, channels=1):
    """A WAV file of mono samples in [-1, 1], the same on every channel."""
    levels = np.clip(np.rint(np.asarray(samples) * 2 ** (8 * width - 1)), *_range(width))
    levels = np.repeat(levels.astype(np.int64), channels)
    if width == 1:
        pcm = (levels + 128).astype(np.uint8).tobytes()
    else:
        pcm = levels.astype("<i8").view(np.uint8).reshape(-1, 8)[:, :width].tobytes()
    encoded = io.BytesIO()
    with wave.open(encoded, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(pcm)
    return encoded.getvalue()


def _range(width):
    return -(2 ** (8 * width - 1)), 2 ** (8 * width - 1) - 1


def sound(kind, rng, rate=16_000):
    """One of `SOUNDS`: another pitch, length, loudness, place and background each time."""
    seconds = rng.uniform(0.3, 0.8)
    t = np.arange(int(seconds * rate)) / rate
    low, high = rng.uniform(300, 600), rng.uniform(1500, 3000)
    sweep = low * t + (high - low) / seconds * t**2 / 2
    shapes = {
        "tone": lambda: np.sin(2 * np.pi * rng.uniform(400, 2500) * t),
        "rising": lambda: np.sin(2 * np.pi * sweep),
        "falling": lambda: np.sin(2 * np.pi * sweep[::-1]),
        "noise": lambda: rng.normal(0, 0.4, len(t)),
        "pulses": lambda: rng.normal(0, 0.5, len(t)) * (np.sin(2 * np.pi * 8 * t) > 0.6),
    }
    silence = [np.zeros(int(rng.uniform(0.05, 0.4) * rate)) for _ in range(2)]
    whole = np.concatenate([silence[0], shapes[kind]() * rng.uniform(0.1, 0.9), silence[1]])
    return wav(whole + rng.normal(0, 0.003, len(whole)), rate)


def movement(kind, rng, rows=128):
    """One of `MOVEMENTS` of a three-axis accelerometer in m/s², lying any way round."""
    t, at = np.arange(rows), rng.integers(30, rows - 30)
    amplitude = rng.uniform(2, 6)
    shapes = {
        "sine": amplitude * np.sin(2 * np.pi * t / rng.uniform(12, 24) + rng.uniform(0, 6)),
        "step": amplitude * (t > at),
        "jerk": 2 * amplitude * np.exp(-0.5 * ((t - at) / 2.0) ** 2),
        "rest": np.zeros(rows),
    }
    towards, gravity = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, 3)))
    noise = rng.normal(0, 0.15, (rows, 3))
    return shapes[kind][:, None] * towards + 9.81 * gravity + noise
