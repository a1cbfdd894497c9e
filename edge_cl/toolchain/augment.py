"""Augmentation of a batch on the CPU: place, resolution, colour.

Everything is batched tensor arithmetic, a few per cent of a training step. The
random resolution matters most: images on devices are often small ones enlarged,
and a net that only saw sharp images does badly on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """Strengths of the augmentation.

    Parameters
    ----------
    min_area
        Smallest part of the view that a random crop keeps.
    aspect
        Largest factor between width and height of a crop.
    min_side_px
        Smallest resolution that an image is reduced to before it is enlarged again.
    blurred
        Part of the images whose resolution is reduced.
    colour
        Strength of random brightness, contrast and saturation.
    grey
        Part of the images that become greyscale.
    """

    min_area: float = 0.6
    aspect: float = 1.2
    min_side_px: int = 20
    blurred: float = 0.75
    colour: float = 0.25
    grey: float = 0.1


def _uniform(count: int, low: float, high: float, rng: torch.Generator) -> Tensor:
    return torch.rand(count, generator=rng) * (high - low) + low


def place(pixels: Tensor, boxes: Tensor, how: Augmentation, rng: torch.Generator) -> Tensor:
    """Random crops inside `boxes` (left, top, side), half of them mirrored.

    Parameters
    ----------
    pixels
        (N, 3, S, S) float.
    boxes
        (N, 3) in pixels: the view that the target belongs to.
    how
        Strengths.
    rng
        Source of the randomness.
    """
    count, side = len(pixels), pixels.shape[-1]
    area = _uniform(count, how.min_area, 1.0, rng)
    aspect = torch.exp(_uniform(count, -1.0, 1.0, rng) * torch.log(torch.tensor(how.aspect)))
    scale_x = (area * aspect).sqrt().clamp(max=1.0)
    scale_y = (area / aspect).sqrt().clamp(max=1.0)
    shift_x = (1 - scale_x) * _uniform(count, -1.0, 1.0, rng)
    shift_y = (1 - scale_y) * _uniform(count, -1.0, 1.0, rng)
    half = boxes[:, 2].float() / side
    middle_x = (2 * boxes[:, 0].float() + boxes[:, 2].float()) / side - 1
    middle_y = (2 * boxes[:, 1].float() + boxes[:, 2].float()) / side - 1
    mirror = torch.where(_uniform(count, 0.0, 1.0, rng) < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = mirror * scale_x * half, scale_y * half
    theta[:, 0, 2], theta[:, 1, 2] = middle_x + shift_x * half, middle_y + shift_y * half
    grid = functional.affine_grid(theta, list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


def change_resolution(
    pixels: Tensor, side_px: int, how: Augmentation, rng: torch.Generator, groups: int = 8
) -> Tensor:
    """Images of `side_px`; each of `groups` parts of the batch loses other detail first."""
    parts = []
    for part in pixels.chunk(groups):
        draw, reduced = torch.rand(2, generator=rng).tolist()
        if draw < how.blurred:
            small = round(how.min_side_px + reduced * (pixels.shape[-1] - how.min_side_px))
            part = _resize(part, small)
        parts.append(_resize(part, side_px))
    return torch.cat(parts)


def _resize(pixels: Tensor, side_px: int) -> Tensor:
    if pixels.shape[-1] == side_px:
        return pixels
    return functional.interpolate(
        pixels, size=(side_px, side_px), mode="bilinear", antialias=True, align_corners=False
    )


def change_colour(pixels: Tensor, how: Augmentation, rng: torch.Generator) -> Tensor:
    """Random brightness, contrast and saturation per image; some images become grey."""
    count = len(pixels)
    brightness = _uniform(count, -how.colour, how.colour, rng) * 64
    contrast = 1 + _uniform(count, -how.colour, how.colour, rng)
    saturation = 1 + _uniform(count, -how.colour, how.colour, rng)
    saturation[_uniform(count, 0.0, 1.0, rng) < how.grey] = 0.0
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    grey = (pixels * weights).sum(1, keepdim=True)
    pixels = grey + (pixels - grey) * saturation.view(-1, 1, 1, 1)
    mean = grey.mean((2, 3), keepdim=True)
    pixels = mean + (pixels - mean) * contrast.view(-1, 1, 1, 1)
    return (pixels + brightness.view(-1, 1, 1, 1)).clamp(0, 255)


def augment(
    pixels: Tensor, boxes: Tensor, side_px: int, how: Augmentation, rng: torch.Generator
) -> Tensor:
    """Augmented images of `side_px`, values 0..255, from (N, 3, S, S) uint8."""
    placed = place(pixels.float(), boxes, how, rng)
    return change_colour(change_resolution(placed, side_px, how, rng), how, rng)
