"""Embeddings of the training images by frozen teachers, computed once.

A student that imitates embeddings needs them for the very pixels it sees. Two
views of every image are embedded: the whole image, and one square crop whose
place follows from the seed, so that the training can repeat it exactly.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image

from edge_cl.toolchain.packs import cached_images
from edge_cl.types import Float32, Int64, UInt8

CROP_SIDES_PX = (32, 49)
"""Half-open range of the crop view's side, in pixels of a 64 pixel image."""


@dataclass(frozen=True)
class View:
    """Which part of every image is looked at.

    Parameters
    ----------
    name
        ``whole`` or ``crop``.
    boxes
        (N, 3) int64: left, top and side of a square in each image.
    """

    name: str
    boxes: Int64


def view_of(name: str, count: int, side_px: int, seed: int) -> View:
    """The boxes of a view for `count` square images; the same for the same seed."""
    if name == "whole":
        boxes = np.tile(np.array([0, 0, side_px], np.int64), (count, 1))
        return View(name, boxes)
    rng = np.random.default_rng(seed)
    sides = rng.integers(*CROP_SIDES_PX, size=count)
    corners = np.floor(rng.random((count, 2)) * (side_px - sides + 1)[:, None]).astype(np.int64)
    return View(name, np.column_stack([corners, sides]))


def crop_and_resize(image: UInt8, box: Int64, side_px: int) -> UInt8:
    """The pixels of `box`, resized bilinearly to a square of `side_px`."""
    left, top, side = (int(v) for v in box)
    resized = Image.fromarray(image).resize(
        (side_px, side_px), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
    )
    return np.asarray(resized, np.uint8)


def embed(model: Path, images: UInt8, view: View, out: Path, batch: int = 16) -> None:
    """Write the teacher's uint8 embedding codes of a view of all images to `out`.

    The file appears under its final name only when it is complete.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    side_px, dim = session.get_inputs()[0].shape[1], session.get_outputs()[1].shape[1]
    part = out.with_suffix(".part.npy")
    codes = np.lib.format.open_memmap(part, "w+", np.uint8, (len(images), dim))
    for start in range(0, len(images), batch):
        rows = range(start, min(start + batch, len(images)))
        pixels = np.stack([crop_and_resize(images[i], view.boxes[i], side_px) for i in rows])
        codes[rows.start : rows.stop] = session.run(["embedding_q"], {"image": pixels})[0]
    codes.flush()
    part.rename(out)


def targets(codes: UInt8) -> Float32:
    """Centred square roots of embedding codes, each row of length one.

    The square root tames the few large activations that otherwise dominate a
    cosine; centring removes the direction that all images share.
    """
    roots: Float32 = np.sqrt(codes.astype(np.float32))
    roots -= roots.mean(0)
    roots /= np.linalg.norm(roots, axis=1, keepdims=True) + 1e-6
    return roots


def main() -> None:
    """Embed one view with one teacher; run once per view and teacher."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--view", choices=["whole", "crop"], required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    images, _ = cached_images(args.pack, "train", 64, args.work)
    view = view_of(args.view, len(images), 64, args.seed)
    embed(args.model, images, view, args.work / f"{args.model.stem}-{args.view}.npy")


if __name__ == "__main__":
    main()
