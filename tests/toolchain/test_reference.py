"""The runtime of this machine against exact integers."""

import numpy as np
import pytest

from edge_cl.errors import ExtractorError
from edge_cl.extractor import load_extractor
from edge_cl.extractor.extractor import builtin_path
from edge_cl.toolchain.reference import Reference


def scenes(count):
    """Smooth random images in five classes of colour and grain."""
    rng = np.random.default_rng(0)
    images = []
    for k in range(count):
        grain = (2, 4, 8, 16, 32)[k % 5]
        coarse = rng.integers(0, 256, (grain, grain, 3), dtype=np.uint8)
        images.append(coarse.repeat(64 // grain, 0).repeat(64 // grain, 1))
    return np.stack(images)


def test_runtime_agrees_with_exact_integers():
    images = scenes(20)
    with load_extractor() as extractor:
        codes = extractor.extract(images).astype(int)
    expected = Reference(builtin_path()).extract(images).astype(int)
    assert np.abs(codes - expected).max() <= 1
    labels, known = np.arange(20) % 5, 10
    means = np.stack([codes[:known][labels[:known] == c].mean(0) for c in range(5)])
    nearest = [((z[known:, None] - means) ** 2).sum(-1).argmin(1) for z in (codes, expected)]
    assert (nearest[0] == nearest[1]).mean() >= 0.99


def test_other_operators_are_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(builtin_path()))
    model.graph.node.append(onnx.helper.make_node("Relu", ["embedding_q"], ["more"]))
    path = tmp_path / "more.onnx"
    onnx.save(model, str(path))
    with pytest.raises(ExtractorError, match="Relu"):
        Reference(path).extract(scenes(1))
