import numpy as np
import pytest
import torch

from edge_cl.errors import ExtractorError
from edge_cl.extractor import load_extractor
from edge_cl.extractor.extractor import builtin_path
from edge_cl.toolchain.net import LatentNet
from edge_cl.toolchain.split import rest_module, split

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize(("block", "shape"), [("residual1", (64, 16, 16)), ("down3", (256, 4, 4))])
def test_both_parts_together_give_the_latents(tmp_path, block, shape):
    frozen, rest_file = split(builtin_path(), block, tmp_path)
    with load_extractor() as whole, load_extractor(frozen) as part:
        images = np.stack([whole.prepare(image) for image in IMAGES])
        expected = whole.spec.to_float(whole.extract(images))
        maps = part.spec.to_float(part.extract(images)).reshape(-1, *shape)
        rest = rest_module(rest_file, LatentNet(32, whole.manifest.dim))
    latents = rest(torch.from_numpy(maps)).detach().numpy()
    cosine = (latents * expected).sum(1) / np.linalg.norm(latents, axis=1)
    assert (cosine / np.linalg.norm(expected, axis=1)).min() > 0.99


def test_frozen_part_says_what_it_is(tmp_path):
    frozen, _ = split(builtin_path(), "residual2", tmp_path)
    with load_extractor(frozen) as part:
        assert part.manifest.layer == "residual2"
        assert part.manifest.dim == 128 * 8 * 8
        assert "non-commercial" in part.manifest.licence


def test_rest_is_trainable(tmp_path):
    _, rest_file = split(builtin_path(), "down3", tmp_path)
    rest = rest_module(rest_file, LatentNet(32, 384))
    rest(torch.rand(2, 256, 4, 4)).sum().backward()
    assert all(p.grad is not None for p in rest.parameters())


def test_unknown_block(tmp_path):
    with pytest.raises(ExtractorError, match="the blocks are stem"):
        split(builtin_path(), "middle", tmp_path)


def test_rest_of_another_size(tmp_path):
    _, rest_file = split(builtin_path(), "down3", tmp_path)
    with pytest.raises((ExtractorError, RuntimeError)):
        rest_module(rest_file, LatentNet(16, 384))
