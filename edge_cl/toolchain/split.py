"""The built-in net in two parts: frozen integers up to a block, float weights of the rest.

Learning with an intermediate replay layer stores the codes of a block's output
and trains what follows. Both parts come from the shipped model file alone: its
integer weights are turned back into floats.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_cl.errors import ExtractorError
from edge_cl.extractor.extractor import load_extractor
from edge_cl.toolchain.extras import optional

if TYPE_CHECKING:
    import onnx
    import torch

    from edge_cl.toolchain.net import LatentNet

BLOCKS = (
    "stem", "residual0", "down1", "residual1", "down2", "residual2", "down3", "residual3",
)  # fmt: skip
"""Blocks after which the net can be cut; the last one, ``expand``, has nothing behind it."""


def split(source: Path, block: str, out: Path) -> tuple[Path, Path]:
    """Write the frozen part up to and including `block`, and the weights behind it.

    Parameters
    ----------
    source
        The built-in extractor, or another one trained by `edge_cl.toolchain.pretrain`.
    block
        One of `BLOCKS`.
    out
        Folder for ``<block>.onnx`` and ``<block>-rest.safetensors``.

    Returns
    -------
    frozen, rest
        The two files. The frozen part is an extractor like any other: its latents
        are the block's output, flattened from (channels, height, width).
    """
    optional("onnx", "splitting extractors")
    import onnx
    from safetensors.numpy import save_file

    from edge_cl.toolchain import graph

    if block not in BLOCKS:
        raise ExtractorError(f"there is no block {block!r}; the blocks are {', '.join(BLOCKS)}")
    model = onnx.load(str(source))
    boundary = _boundary(model, block)
    shape = next(layer.shape for layer in graph.layers(model) if layer.name == boundary)
    frozen_file, rest_file = out / f"{block}.onnx", out / f"{block}-rest.safetensors"
    out.mkdir(parents=True, exist_ok=True)
    _write_frozen(model, boundary, block, source, frozen_file)
    header = {"block": block, "shape": json.dumps(shape), "source": source.name}
    save_file(_weights_behind(model, block), str(rest_file), metadata=header)
    return frozen_file, rest_file


def _prefix(block: str) -> str:
    return f"/blocks/{block}/"


def _boundary(model: onnx.ModelProto, block: str) -> str:
    names = [
        node.output[0]
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0].startswith(_prefix(block))
    ]
    if not names:
        raise ExtractorError(
            f"the model has no block {block!r}: only the built-in net can be split"
        )
    return str(names[-1])


def _write_frozen(
    model: onnx.ModelProto, boundary: str, block: str, source: Path, out: Path
) -> None:
    from edge_cl.toolchain import graph

    part = graph.cut(model, boundary)
    step = graph.quantisation(part, boundary)
    if step is None:
        raise ExtractorError(f"block {block} does not end in uint8 codes")
    graph.append_codes(part, *step)
    dim = part.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    with load_extractor(source) as whole:
        manifest = replace(
            whole.manifest, id=f"{whole.manifest.id}-{block}", dim=dim, scale=step[0],
            zero_point=step[1], layer=block, accuracy={},
        )  # fmt: skip
    graph.write_manifest(part, manifest)
    out.write_bytes(part.SerializeToString())


def _module_path(node_name: str) -> str:
    """``/blocks/down3/layer/layer.0/Conv`` names the module ``blocks.down3.layer.0``."""
    parts = node_name.strip("/").split("/")[:-1]
    return ".".join([*parts[:-2], parts[-1]])


def _weights_behind(model: onnx.ModelProto, block: str) -> dict[str, Any]:
    from edge_cl.toolchain import graph

    later = ("expand", *BLOCKS[BLOCKS.index(block) + 1 :])
    constants, made_by = graph.initialisers(model), graph.producers(model)
    weights = {}
    for node in model.graph.node:
        if node.op_type == "Conv" and node.name.startswith(tuple(map(_prefix, later))):
            path = _module_path(node.name)
            for name, tensor in zip(("weight", "bias"), node.input[1:], strict=True):
                codes, step, zero = (constants[n] for n in made_by[tensor].input)
                axis = (-1,) + (1,) * (codes.ndim - 1)
                centred = codes.astype(np.float64) - zero.reshape(axis)
                weights[f"{path}.{name}"] = (centred * step.reshape(axis)).astype(np.float32)
    return weights


def rest_module(file: Path, net: LatentNet) -> torch.nn.Module:
    """A trainable module that continues behind the frozen part.

    Parameters
    ----------
    file
        Written by `split`.
    net
        A net of the same sizes, for the structure; its weights are replaced.

    Returns
    -------
    Module
        (N, channels, height, width) float in, latents (N, dim) out. Batch
        normalisation is folded into the convolutions, which have biases instead.
    """
    from safetensors.torch import load_file
    from torch import nn

    class Average(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3))

    for module in net.modules():
        if isinstance(module, nn.Sequential) and isinstance(module[0], nn.Conv2d):
            old = module[0]
            kernel, stride = int(old.kernel_size[0]), int(old.stride[0])
            module[0] = nn.Conv2d(
                old.in_channels, old.out_channels, kernel, stride, padding=kernel // 2
            )
            module[1] = nn.Identity()
    weights = load_file(file)
    later = [name for name, _ in net.blocks.named_children() if _has(weights, name)]
    rest = nn.Sequential(*(net.blocks.get_submodule(name) for name in later), Average())
    missing = net.load_state_dict(weights, strict=False)
    if missing.unexpected_keys or any(
        key.startswith(tuple(f"blocks.{name}." for name in later)) for key in missing.missing_keys
    ):
        raise ExtractorError(f"{file} does not fit a net of width {net.width} and dim {net.dim}")
    return rest


def _has(weights: dict[str, Any], block: str) -> bool:
    return any(key.startswith(f"blocks.{block}.") for key in weights)
