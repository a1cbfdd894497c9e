import csv
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import zstandard
from PIL import Image

from edge_cl.extractor import load_extractor
from edge_cl.toolchain import builtin, pretrain
from edge_cl.toolchain.augment import Augmentation, augment, place
from edge_cl.toolchain.net import LatentNet
from edge_cl.toolchain.pretrain import Recipe, Targets, Training
from edge_cl.toolchain.teachers import targets, view_of

RECIPE = Path(pretrain.__file__).with_name("pretrain.json")
COUNT = 640


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A pack of random images and the embeddings of a teacher that sees their mean colour."""
    folder = tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(0)
    rows, members = ["path,split,label"], {}
    colours = rng.integers(0, 256, (COUNT, 3), dtype=np.uint8)
    for k, colour in enumerate(colours):
        target = io.BytesIO()
        Image.new("RGB", (64, 64), tuple(int(c) for c in colour)).save(target, "PNG")
        members[f"{k}.png"] = target.getvalue()
        rows.append(f"{k}.png,train,{k % 4}")
    with (
        zstandard.ZstdCompressor().stream_writer((folder / "p.tar.zst").open("wb")) as packed,
        tarfile.open(fileobj=packed, mode="w|") as archive,
    ):
        for name, content in {"index.csv": "\n".join(rows).encode(), **members}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    mixing = rng.normal(size=(3, 256))
    codes = np.clip((colours / 128 - 1) @ mixing * 30, 0, 255).astype(np.uint8)
    np.save(folder / "seen_v1_0.25_whole_only-whole.npy", codes)
    return folder


def recipe(tmp_path, **changes):
    fields = json.loads(RECIPE.read_text())
    fields |= {
        "width": 16, "dim": 32, "part_samples": 16, "parts": 2, "held_out_samples": 64,
        "teachers": ["seen_v1_0.25_whole_only"], "views": ["whole"],
        "sides_px": [[0.0, 32]], "learning_rate": 0.1, **changes,
    }  # fmt: skip
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(fields))
    return path


def test_the_committed_recipe_is_readable():
    read = Recipe.read(RECIPE)
    assert read.side_px(0.0) == 32
    assert read.side_px(1.0) == 64
    assert read.rate(1.0) == 0.0
    assert read.rate(read.warm_up) == pytest.approx(read.learning_rate)


class Clock:
    """A clock by which every step takes 20 ms, on a busy machine as on an idle one."""

    def __init__(self):
        self.now_s = 0.0

    def monotonic(self):
        self.now_s += 0.02
        return self.now_s

    process_time = monotonic


def test_training_learns_resumes_and_exports(work, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "CHECKPOINT_EVERY_S", 0.25)
    monkeypatch.setattr(pretrain, "time", Clock())
    path, out = recipe(tmp_path), tmp_path / "run"

    def training(budget_s):
        return Training(Recipe.read(path), work, out, budget_s, work / "p.tar.zst", 2)

    first = training(0.6)
    first.targets.refresh()
    before = first.held_out_loss()
    first.run()
    second = training(0.9)
    second.run()
    assert second.steps > first.steps
    assert second.held_out_loss() < before - 0.05
    lines = list(csv.DictReader((out / "curve.csv").read_text().splitlines()))
    assert [float(line["elapsed_s"]) for line in lines] == sorted(
        float(line["elapsed_s"]) for line in lines
    )
    model = tmp_path / "made.onnx"
    builtin.export(out / "checkpoint.pt", path, work / "p.tar.zst", work, model, "tiny-1")
    with load_extractor(model) as extractor:
        assert extractor.manifest.dim == 32
        assert json.loads(extractor.manifest.recipe)["epochs"] > 0


def test_targets_join_when_they_are_complete(work, tmp_path):
    found = Targets(tmp_path, Recipe.read(recipe(tmp_path)))
    found.refresh()
    assert found.teachers_of("whole") == []
    codes = np.load(work / "seen_v1_0.25_whole_only-whole.npy")
    np.save(tmp_path / "seen_v1_0.25_whole_only-whole.npy", codes)
    found.refresh()
    assert found.teachers_of("whole") == ["seen_v1_0.25_whole_only"]
    rows = found.of("seen_v1_0.25_whole_only", "whole", np.arange(5))
    assert torch.allclose(rows.norm(dim=1), torch.ones(5), atol=1e-5)


def test_targets_are_centred_unit_rows():
    codes = np.random.default_rng(0).integers(0, 256, (50, 8), dtype=np.uint8)
    rows = targets(codes)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)


def test_views_repeat_and_stay_inside():
    boxes = view_of("crop", 1000, 64, 3).boxes
    assert np.array_equal(boxes, view_of("crop", 1000, 64, 3).boxes)
    assert boxes.min() >= 0
    assert (boxes[:, 0] + boxes[:, 2]).max() <= 64
    assert (boxes[:, 1] + boxes[:, 2]).max() <= 64


def test_augmentation_keeps_range_and_repeats():
    pixels = torch.randint(0, 256, (24, 3, 64, 64), dtype=torch.uint8)
    boxes = torch.from_numpy(view_of("crop", 24, 64, 0).boxes)
    both = [
        augment(pixels, boxes, 48, Augmentation(), torch.Generator().manual_seed(1))
        for _ in range(2)
    ]
    assert torch.equal(*both)
    assert both[0].shape == (24, 3, 48, 48)
    assert both[0].min() >= 0
    assert both[0].max() <= 255


def test_crops_come_from_the_box():
    pixels = torch.zeros(8, 3, 64, 64)
    pixels[:, :, :32, :32] = 100
    boxes = torch.tensor([[0, 0, 32]] * 8)
    placed = place(pixels, boxes, Augmentation(min_area=0.8), torch.Generator().manual_seed(0))
    assert placed[:, :, 4:-4, 4:-4].mean() > 95


def test_net_has_the_stated_cost():
    net = LatentNet()
    multiplications = []

    def count(layer, _, output):
        per_pixel = layer.weight[0].numel()
        multiplications.append(output.numel() * per_pixel)

    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    assert net.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 384)
    assert sum(multiplications) <= 100e6
    assert sum(p.numel() for p in net.parameters()) <= 3e6
