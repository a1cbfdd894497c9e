import shutil

import numpy as np
import pytest

from edge_cl.extractor import load_extractor
from edge_cl.extractor.extractor import builtin_path
from edge_cl.toolchain.annotate import annotate, figures_of

pytest.importorskip("onnx", reason="writing manifests needs the extra torch")

REPORT = {
    "probes": {"cifar10": {"percent": 81.812, "interval": 0.7}},
    "episodes": {"omniglot_small": {"percent": 92.5, "interval": 0.4}},
}


def test_figures_travel_in_the_file(tmp_path):
    path = tmp_path / "copy.onnx"
    shutil.copy(builtin_path(), path)
    figures = figures_of(REPORT)
    assert figures == {"cifar10_probe": 81.81, "omniglot_small_5way_5shot": 92.5}
    annotate(path, figures, recipe="by hand")
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    with load_extractor() as old, load_extractor(path) as new:
        assert new.manifest.accuracy == figures
        assert new.manifest.recipe == "by hand"
        assert new.manifest.sha256 != old.manifest.sha256
        assert np.array_equal(new.extract(images), old.extract(images))
