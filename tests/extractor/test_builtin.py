"""The model file that ships, and the public ones where they are at hand."""

import os
from pathlib import Path

import numpy as np
import pytest

from edge_cl.extractor import load_extractor
from edge_cl.extractor.extractor import builtin_path

SHARED = Path(os.environ.get("EDGE_CL_SHARED", Path(__file__).parents[3] / "shared"))
PUBLIC = sorted(SHARED.glob("models/*.onnx"))


@pytest.fixture(scope="module")
def builtin():
    with load_extractor() as extractor:
        yield extractor


def test_file_is_small():
    assert builtin_path().stat().st_size <= 3_000_000


def test_manifest_is_complete(builtin):
    manifest = builtin.manifest
    assert len(manifest.sha256) == 64
    assert manifest.file_bytes == builtin_path().stat().st_size
    for name in ("licence", "training_data", "recipe", "layer"):
        assert len(getattr(manifest, name)) > 8, name
    assert "153dbc161ab7942a12c99515e80ef6454dd06693" in manifest.training_data
    assert "non-commercial" in manifest.licence
    assert manifest.accuracy["cifar10_probe"] > 75


def test_latents_do_not_depend_on_the_batch(builtin):
    images = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    alone = np.concatenate([builtin.extract(image[None]) for image in images])
    assert np.abs(alone.astype(int) - builtin.extract(images).astype(int)).max() <= 1


def test_latents_tell_images_apart(builtin):
    row, column = np.mgrid[0:64, 0:64]
    scenes = [row * 4, column * 4, (row + column) * 2, (row // 8 + column // 8) % 2 * 255]
    pixels = np.stack([np.stack([s, s, 255 - s], -1) for s in scenes]).astype(np.uint8)
    latents = builtin.spec.to_float(builtin.extract(pixels))
    unit = latents / np.linalg.norm(latents, axis=1, keepdims=True)
    likeness = unit @ unit.T - np.eye(4)
    assert likeness.max() < 0.98


def test_weights_cannot_saturate():
    pytest.importorskip("onnx", reason="reading weights needs the extra torch")
    from edge_cl.toolchain.inspect import saturating

    assert saturating(builtin_path()) == []


@pytest.mark.parametrize("path", PUBLIC, ids=lambda path: path.stem)
def test_public_models_work_as_they_are(path):
    with load_extractor(path) as extractor:
        manifest = extractor.manifest
        shape = (3, manifest.input_height, manifest.input_width, 3)
        images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        together = extractor.extract(images)
        alone = np.concatenate([extractor.extract(image[None]) for image in images])
    assert np.abs(together.astype(int) - alone.astype(int)).max() <= 1
    assert manifest.licence == "Apache-2.0"


@pytest.mark.skipif(not PUBLIC, reason=f"no public models in {SHARED / 'models'}")
def test_public_models_are_three():
    assert len(PUBLIC) == 3
