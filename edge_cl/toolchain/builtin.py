"""From a checkpoint of the training to the model file that ships with the package."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from edge_cl.extractor.extractor import builtin_path
from edge_cl.extractor.manifest import Manifest
from edge_cl.toolchain import graph, quantise
from edge_cl.toolchain.net import LatentNet, normalise
from edge_cl.toolchain.packs import cached_images
from edge_cl.toolchain.pretrain import Recipe, averaged_net
from edge_cl.toolchain.sources import export_torch
from edge_cl.types import UInt8

SIDE_PX = 64
MEAN, DEVIATION = (128.0,) * 3, (128.0,) * 3
CALIBRATION_SAMPLES = 512
STATISTICS_SAMPLES = 4096
TRAINING_DATA = (
    "Tiny-ImageNet (Stanford CS231n), 76,000 of its training images, from github "
    "seshuad/IMagenet@153dbc161ab7942a12c99515e80ef6454dd06693; labels not used"
)
LICENCE = (
    "Apache-2.0 for the weights as far as the authors hold rights; trained on ImageNet-derived "
    "images whose source states non-commercial research use; teachers Apache-2.0 "
    "(google-coral/test_data@104342d2d3480b3e66203073dac24f4e2dbb4c41)"
)


@torch.no_grad()
def settle_statistics(net: LatentNet, images: UInt8) -> None:
    """Estimate the batch normalisation anew, for averaged weights at full resolution.

    The running statistics of the training lag behind, and belong to other weights
    than the average's.
    """
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    net.train()
    for start in range(0, len(images), 128):
        planes = torch.from_numpy(images[start : start + 128]).permute(0, 3, 1, 2)
        net(normalise(planes).contiguous(memory_format=torch.channels_last))
    net.eval()


def export(
    checkpoint: Path, recipe_file: Path, pack: Path, work: Path, out: Path, identity: str
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Write the extractor of a checkpoint; returns the float model and the int8 one.

    Parameters
    ----------
    checkpoint
        Of `pretrain`.
    recipe_file
        The recipe that it was trained with.
    pack, work
        Training images, and the folder where they lie decoded: for calibration.
    out
        The model file to write.
    identity
        Name and version for the manifest.
    """
    recipe = Recipe.read(recipe_file)
    net, effort = averaged_net(checkpoint, recipe)
    images, _ = cached_images(pack, "train", SIDE_PX, work)
    order = np.random.default_rng(recipe.seed).permutation(len(images))
    sample = np.asarray(images[np.sort(order[:STATISTICS_SAMPLES])])
    settle_statistics(net, sample)
    original = export_torch(net, (SIDE_PX, SIDE_PX))
    chosen = sample[:: max(len(sample) // CALIBRATION_SAMPLES, 1)]
    small, scale, zero_point = quantise.to_extractor(original, chosen, MEAN, DEVIATION)
    manifest = Manifest(
        id=identity, input_height=SIDE_PX, input_width=SIDE_PX, dim=recipe.dim,
        scale=float(np.float32(scale)), zero_point=zero_point, input=graph.IMAGE,
        output=graph.CODES, layer="global average of the last block",
        licence=LICENCE, training_data=TRAINING_DATA, recipe=_recipe_text(recipe_file, effort),
    )  # fmt: skip
    graph.write_manifest(small, manifest)
    out.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(small, str(out))
    return original, small


def _recipe_text(recipe_file: Path, effort: dict[str, float]) -> str:
    recipe: dict[str, Any] = json.loads(recipe_file.read_text())
    rounded = {name: round(value, 2) for name, value in effort.items()}
    return json.dumps({"script": "edge_cl.toolchain.pretrain", **recipe, **rounded})


def main() -> None:
    """Export a checkpoint as the built-in extractor."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--id", default="edge-cl-builtin-1")
    parser.add_argument("--out", type=Path, default=builtin_path())
    parser.add_argument("--float-out", type=Path, help="where to keep the float32 model")
    parser.add_argument("--recipe", type=Path, default=Path(__file__).with_name("pretrain.json"))
    args = parser.parse_args()
    original, _ = export(args.checkpoint, args.recipe, args.pack, args.work, args.out, args.id)
    if args.float_out is not None:
        onnx.save(original, str(args.float_out))
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
