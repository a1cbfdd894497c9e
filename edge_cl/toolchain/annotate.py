"""Writes measured figures into an extractor's manifest; its latents stay what they are."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_cl.errors import ExtractorError
from edge_cl.extractor.extractor import load_extractor
from edge_cl.extractor.onnx import test_pattern
from edge_cl.toolchain.extras import optional


def figures_of(report: Mapping[str, Any]) -> dict[str, float]:
    """Accuracies in per cent, by name, of one model in the results of the benchmark."""
    probes = {f"{name}_probe": round(m["percent"], 2) for name, m in report["probes"].items()}
    episodes = {
        f"{name}_5way_5shot": round(m["percent"], 2) for name, m in report["episodes"].items()
    }
    return {**probes, **episodes}


def annotate(path: Path, accuracy: Mapping[str, float], recipe: str | None = None) -> None:
    """Replace the accuracy (and the recipe) in a model file's manifest.

    Raises
    ------
    ExtractorError
        When the file's latents are not the same afterwards; it is then left alone.
    """
    onnx = optional("onnx", "writing manifests")
    from edge_cl.toolchain import graph

    with load_extractor(path) as before:
        manifest = replace(before.manifest, accuracy=dict(accuracy))
        expected = before.extract(test_pattern(manifest))
    if recipe is not None:
        manifest = replace(manifest, recipe=recipe)
    model = onnx.load(str(path))
    graph.write_manifest(model, manifest)
    draft = path.with_suffix(".draft")
    draft.write_bytes(model.SerializeToString())
    with load_extractor(draft) as after:
        same = (after.extract(test_pattern(manifest)) == expected).all()
    if not same:
        draft.unlink()
        raise ExtractorError(f"{path}: its latents would change; nothing was written")
    draft.replace(path)


def main() -> None:
    """Write the figures of the first model in the benchmark's results into its file."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True, help="extractor.json")
    parser.add_argument("--targets", nargs="*", help="teacher embeddings that were really used")
    args = parser.parse_args()
    report = json.loads(args.results.read_text())["models"][0]
    recipe = None
    if args.targets:
        with load_extractor(args.model) as opened:
            recipe = json.dumps({**json.loads(opened.manifest.recipe), "targets": args.targets})
    annotate(args.model, figures_of(report), recipe)


if __name__ == "__main__":
    main()
