"""The built-in extractor's network: dense 3x3 residual blocks, then a global average.

Dense convolutions train several times faster per CPU-second than depthwise ones
and keep the int8 kernels busy. All resolution is lost in strided convolutions,
so every block boundary is a place where the net can be split.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn


def convolution(channels_in: int, channels_out: int, kernel: int, stride: int) -> nn.Sequential:
    """A convolution with batch normalisation and no activation."""
    layer = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(layer, nn.BatchNorm2d(channels_out))


class Convolution(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.layer = convolution(channels_in, channels_out, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Activations of the next block."""
        return torch.relu(self.layer(x))


class Residual(nn.Module):
    """Two 3x3 convolutions around a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels, 3, 1)
        self.second = convolution(channels, channels, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Activations of the next block."""
        return torch.relu(x + self.second(torch.relu(self.first(x))))


class LatentNet(nn.Module):
    """Normalised RGB (N, 3, S, S) to latents (N, dim), S a multiple of 16.

    Parameters
    ----------
    width
        Channels after the first block; doubled by each of three later stages.
    dim
        Width of the latent.
    """

    def __init__(self, width: int = 32, dim: int = 384) -> None:
        super().__init__()
        self.width, self.dim = width, dim
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        blocks["stem"] = Convolution(3, width, 3, 2)
        blocks["residual0"] = Residual(width)
        for stage in (1, 2, 3):
            blocks[f"down{stage}"] = Convolution(width, 2 * width, 3, 2)
            blocks[f"residual{stage}"] = Residual(2 * width)
            width *= 2
        blocks["expand"] = Convolution(width, dim, 1, 1)
        self.blocks = nn.Sequential(blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Latents: averages over the image of non-negative activations."""
        latents: Tensor = self.blocks(x).mean((2, 3))
        return latents


def normalise(pixels: Tensor) -> Tensor:
    """Pixels 0..255 as float in [-1, 1): the input of the net."""
    return (pixels.float() - 128.0) * (1.0 / 128.0)
