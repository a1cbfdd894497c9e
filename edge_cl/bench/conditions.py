"""Conditions of a camera: what the same scene looks like on another day.

They make the domain-incremental stream of images: the classes stay, the input
changes. Strengths are such that a person still names every image at once.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter


def _plain(image: Image.Image) -> Image.Image:
    return image


def _dark(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(0.35)


def _hazy(image: Image.Image) -> Image.Image:
    return ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(1.4)).enhance(0.4)


def _blurred(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius=max(image.size) / 32))


def _noisy(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image, np.float32)
    # Seeded by the image itself, so that its latent does not depend on what came before it.
    rng = np.random.default_rng(zlib.crc32(pixels.tobytes()))
    noise = rng.normal(0, 20, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


CONDITIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "plain": _plain,
    "dark": _dark,
    "hazy": _hazy,
    "blurred": _blurred,
    "noisy": _noisy,
}
"""Each as a change of an RGB image of any size."""
