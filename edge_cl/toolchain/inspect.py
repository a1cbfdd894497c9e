"""``edge-cl extractor check``: what a model file promises, tested."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge_cl.errors import MissingExtra
from edge_cl.extractor.extractor import BUILTIN, Extractor, builtin_path, load_extractor
from edge_cl.extractor.manifest import Manifest

SEVEN_BITS = 64
"""Largest magnitude of an int8 weight whose products with uint8 cannot saturate in pairs."""

DESCRIPTIONS = ("licence", "training_data", "recipe")


@dataclass
class Examination:
    """What was measured, and what is wrong.

    Parameters
    ----------
    figures
        By name.
    faults
        Sentences; empty when all is well.
    """

    figures: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def examine(source: str | Path) -> Examination:
    """Load an extractor (which runs its self-test) and test what else it promises."""
    found = Examination()
    with load_extractor(source) as extractor:
        manifest = extractor.manifest
        found.figures = {
            "id": manifest.id, "sha256": manifest.sha256, "file_bytes": manifest.file_bytes,
            "provider": extractor.provider,
            "input": f"{manifest.input_height} x {manifest.input_width}", "dim": manifest.dim,
            "batch_steps": batch_steps(extractor), "cpu_ms": round(cpu_ms(extractor), 3),
        }  # fmt: skip
    if found.figures["batch_steps"] > 1:
        found.faults.append("latents depend on what else is in the batch")
    found.faults += [f"the manifest does not say: {name}" for name in unknown(manifest)]
    path = builtin_path() if source == BUILTIN else Path(source)
    try:
        found.faults += saturating(path)
        found.figures["weights"] = "examined"
    except MissingExtra as missing:
        found.figures["weights"] = f"not examined: {missing}"
    return found


def unknown(manifest: Manifest) -> list[str]:
    """Descriptions that a manifest leaves open."""
    return [name for name in DESCRIPTIONS if getattr(manifest, name) == "unknown"]


def batch_steps(extractor: Extractor, count: int = 20) -> int:
    """Largest difference, in steps, between latents of images alone and together."""
    manifest = extractor.manifest
    shape = (count, manifest.input_height, manifest.input_width, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    together = extractor.extract(images).astype(int)
    alone = np.concatenate([extractor.extract(image[None]) for image in images]).astype(int)
    return int(np.abs(together - alone).max())


def cpu_ms(extractor: Extractor, rounds: int = 30) -> float:
    """Median CPU milliseconds of one image."""
    manifest = extractor.manifest
    image = np.zeros((1, manifest.input_height, manifest.input_width, 3), np.uint8)
    spent = []
    for _ in range(rounds):
        start = time.process_time()
        extractor.extract(image)
        spent.append(1000 * (time.process_time() - start))
    return float(np.median(spent))


def saturating(path: Path) -> list[str]:
    """Weights of a model file that saturate the 16-bit sums of CPUs without VNNI."""
    from edge_cl.toolchain.extras import optional

    onnx = optional("onnx", "examining weights")
    from edge_cl.toolchain import graph

    weights = graph.int8_weights(onnx.load(str(path)))
    wide = [name for name, codes in weights.items() if np.abs(codes.astype(int)).max() > SEVEN_BITS]
    return [
        f"weights {name} use more than seven bits: wrong sums on CPUs without VNNI" for name in wide
    ]
