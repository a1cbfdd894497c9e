"""Whether an image is fit to learn from: too dark, too bright, flat, blurred, small."""

from __future__ import annotations

import numpy as np

from edge_cl.types import Float32, UInt8

__all__ = ["flaws"]

DARKEST, BRIGHTEST = 30.0, 225.0
"""Mean of the luma, of 255."""
FLATTEST = 12.0
"""Standard deviation of the luma."""
BLURRED = 30.0
"""Variance of the Laplacian; Pech-Pacheco et al. 2000, "Diatom autofocusing"."""
LUMA: Float32 = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def flaws(pixels: UInt8, shorter_side: int | None = None) -> list[str]:
    """What may be wrong with an image, as an extractor sees it.

    Parameters
    ----------
    pixels
        (H, W, 3) RGB, in the extractor's size.
    shorter_side
        Of the image before it was scaled, if it is known.

    Returns
    -------
    list of str
        Of ``small``, ``dark``, ``bright``, ``flat`` and ``blurred``.
    """
    luma = pixels.astype(np.float32) @ LUMA
    mean, deviation = float(luma.mean()), float(luma.std())
    small = shorter_side is not None and 2 * shorter_side < min(pixels.shape[:2])
    found = {
        "small": small,
        "dark": mean < DARKEST,
        "bright": mean > BRIGHTEST,
        "flat": deviation < FLATTEST,
        # A flat image has no edges to be sharp, an enlarged one cannot have them.
        "blurred": deviation >= FLATTEST and not small and sharpness(luma) < BLURRED,
    }
    return [name for name, is_so in found.items() if is_so]


def sharpness(luma: Float32) -> float:
    """Variance of the Laplacian ``4 y(i,j) - y(i-1,j) - y(i+1,j) - y(i,j-1) - y(i,j+1)``."""
    inner = 4 * luma[1:-1, 1:-1]
    sides = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return float((inner - sides).var())
