"""An extractor in two files: the frozen part below a replay layer, and the tail above it.

The service cuts for itself (``NAME@LAYER``), with the package onnx. The frozen part as a
file of its own serves where that package is missing, to learners that train no tail.
"""

from __future__ import annotations

from pathlib import Path

from edge_cl.extractor.extractor import load_extractor
from edge_cl.toolchain.extras import optional


def split(source: str | Path, layer: str, out: Path) -> tuple[Path, Path]:
    """Write the two parts of an extractor.

    Parameters
    ----------
    source
        ``"default"``, or a model file.
    layer
        One of `edge_cl.extractor.replay_layer.replay_layers`.
    out
        Folder for ``<layer>.onnx`` and ``<layer>-tail.onnx``.

    Returns
    -------
    frozen, tail
        The two files. The frozen part is an extractor like any other: its latents are
        the layer's codes, flattened from (channels, height, width).

    Raises
    ------
    ExtractorError
        If there is no such layer.
    """
    optional("onnx", "splitting extractors")
    from edge_cl.extractor import graph
    from edge_cl.extractor.replay_layer import cut

    with load_extractor(source) as whole:
        parts = cut(whole.model(), whole.manifest, layer)
    frozen_file = out / f"{parts.manifest.layer}.onnx"
    tail_file = out / f"{parts.manifest.layer}-tail.onnx"
    out.mkdir(parents=True, exist_ok=True)
    frozen_file.write_bytes(graph.with_manifest(parts.front, parts.manifest))
    tail_file.write_bytes(parts.tail)
    return frozen_file, tail_file
