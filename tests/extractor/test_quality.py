"""Flaws of images, each against an image that has it and one that has not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from edge_cl.extractor.quality import flaws, sharpness


def scene(low=0, high=256, side=64):
    """Blocks of random colours: edges and contrast."""
    blocks = np.random.default_rng(0).integers(low, high, (side // 8, side // 8, 3))
    return np.kron(blocks, np.ones((8, 8, 1))).astype(np.uint8)


def blurred(pixels, radius):
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


@pytest.mark.parametrize(
    ("pixels", "side", "expected"),
    [
        (scene(), 64, []),
        (scene(), None, []),
        (scene(0, 50), 64, ["dark"]),
        (scene(215, 256), 64, ["bright"]),
        (scene(120, 130), 64, ["flat"]),
        (blurred(scene(), 4), 64, ["blurred"]),
        (scene(), 31, ["small"]),
        (blurred(scene(), 4), 20, ["small"]),
        (np.zeros((64, 64, 3), np.uint8), 64, ["dark", "flat"]),
    ],
)
def test_each_flaw_is_named(pixels, side, expected):
    named = flaws(pixels, side)
    assert [one for one in named if one in expected] == expected
    assert not set(named) - {*expected, "flat"}


def test_sharpness_is_the_variance_of_the_laplacian():
    luma = np.random.default_rng(1).random((9, 7)).astype(np.float32)
    values = [
        4 * luma[i, j] - luma[i - 1, j] - luma[i + 1, j] - luma[i, j - 1] - luma[i, j + 1]
        for i in range(1, 8)
        for j in range(1, 6)
    ]
    assert sharpness(luma) == pytest.approx(np.var(values), rel=1e-4)
