import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

from edge_cl.errors import ExtractorError, MissingExtra
from edge_cl.extractor import load_extractor
from edge_cl.extractor.replay_layer import layers_of
from edge_cl.tail.net import TailNet
from edge_cl.toolchain import graph, quantise
from edge_cl.toolchain.build import Order, build
from edge_cl.toolchain.commands import extractor as command
from edge_cl.toolchain.parity import Parity, ridge_percent
from edge_cl.toolchain.sources import export_torch, load_network

SIDE = 16


class Small(nn.Module):
    """Convolutions with batch normalisation, a skip connection, a pool and a classifier."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classify = nn.Linear(8, 4)

    def forward(self, x):
        x = self.first(x)
        return self.classify(self.pool(torch.relu(x + self.second(x))).flatten(1))


def small() -> Small:
    torch.manual_seed(0)
    return Small()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of 64 smooth images in two classes."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for k in range(64):
        place = folder / f"class{k % 2}"
        place.mkdir(exist_ok=True)
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        coarse[..., k % 2] //= 4
        Image.fromarray(coarse).resize((24, 24)).save(place / f"{k}.png")
    return folder


def order(photos, out, source=f"{__name__}:small", **more):
    return Order(source=source, out=out, samples=photos, size=(SIDE, SIDE), **more)


def test_torch_module_becomes_an_extractor(photos, tmp_path):
    out = tmp_path / "small.onnx"
    parity = build(order(photos, out, licence="MIT"), 0.97, 5.0)
    assert parity.cosine_mean > 0.99
    assert parity.batch_steps <= 1
    with load_extractor(out) as extractor:
        assert extractor.manifest.dim == 8
        assert extractor.manifest.licence == "MIT"
        assert extractor.manifest.accuracy["cosine_mean"] > 0.99
        assert extractor.prepare(Image.new("RGB", (40, 30))).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("mean", [(128.0,) * 3, (120.0, 115.0, 100.0)])
def test_float_onnx_with_both_kinds_of_normalisation(photos, tmp_path, mean):
    source = tmp_path / "float.onnx"
    onnx.save(export_torch(small(), (SIDE, SIDE)), str(source))
    out = tmp_path / "made.onnx"
    parity = build(order(photos, out, str(source), mean=mean, deviation=(128.0,) * 3), 0.97, 5.0)
    assert parity.cosine_mean > 0.99
    operators = [node.op_type for node in onnx.load(str(out)).graph.node]
    assert ("Cast" in operators) == (len(set(mean)) > 1)


def test_quantised_model_is_imported_bit_for_bit(photos, tmp_path):
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    build(order(photos, first), 0.97, 5.0)
    parity = build(order(photos, second, str(first), id="again"), 0.97, 5.0)
    assert parity.cosine_min > 0.9999
    images = np.random.default_rng(0).integers(0, 256, (9, SIDE, SIDE, 3), dtype=np.uint8)
    with load_extractor(first) as one, load_extractor(second) as two:
        assert np.array_equal(one.extract(images), two.extract(images))
        assert two.manifest.id == "again"
        assert two.manifest.scale == one.manifest.scale


def test_earlier_layer_gives_a_map(photos, tmp_path):
    source = tmp_path / "float.onnx"
    onnx.save(export_torch(small(), (SIDE, SIDE)), str(source))
    found = graph.layers(onnx.load(str(source)))
    early = next(layer for layer in found if layer.made_by == "Relu")
    assert early.shape == (8, 8, 8)
    assert early.latent_bytes == 512
    out = tmp_path / "early.onnx"
    build(order(photos, out, str(source), layer=early.name), 0.97, 5.0)
    with load_extractor(out) as extractor:
        assert extractor.manifest.dim == 512
        assert extractor.manifest.layer == early.name


def test_what_was_built_of_floats_can_be_cut_and_trained_further(photos, tmp_path):
    source, out = tmp_path / "float.onnx", tmp_path / "mine.onnx"
    onnx.save(export_torch(small(), (SIDE, SIDE)), str(source))
    build(order(photos, out, str(source)), 0.97, 5.0)
    images = np.random.default_rng(0).integers(0, 256, (9, SIDE, SIDE, 3), dtype=np.uint8)
    with load_extractor(out) as whole:
        expected = whole.spec.to_float(whole.extract(images))
        (layer,) = layers_of(whole.model(), whole.manifest)
    assert (layer.shape, layer.tail_weights) == ((8, 8, 8), 8 * 8 * 9)
    with load_extractor(f"{out}@{layer.name}") as front:
        net = TailNet(front.spec.tail)
        found = net.features(net.initial(), front.spec.to_float(front.extract(images)))
    assert np.abs(found - expected).max() < 3 * whole.spec.scale


def test_unknown_layer_names_those_there_are(photos, tmp_path):
    with pytest.raises(ExtractorError, match="the last ones are"):
        build(order(photos, tmp_path / "x.onnx", layer="nowhere"), 0.97, 5.0)


def test_bad_result_is_refused_and_not_written(photos, tmp_path):
    out = tmp_path / "bad.onnx"
    with pytest.raises(ExtractorError, match="refused"):
        build(order(photos, out), 1.01, 5.0)
    assert list(tmp_path.iterdir()) == []


def test_parity_bars():
    good = Parity(0.999, 0.99, 1, 1.0, 2.0, 0.26, 80.0, 80.3)
    good.require()
    for bad in (
        Parity(0.9, 0.5, 0, 1, 2, 0.3),
        Parity(0.999, 0.9, 0, 1, 2, 0.3, 70.0, 80.0),
        Parity(0.999, 0.9, 2, 1, 2, 0.3),
        Parity(float("nan"), 0.9, 0, 1, 2, 0.3),
    ):
        with pytest.raises(ExtractorError, match="refused"):
            bad.require()


def test_ridge_separates_what_is_separable():
    labels = np.arange(400) % 4
    latents = np.eye(6, dtype=np.float32)[labels] + np.float32(0.1)
    assert ridge_percent(latents, labels) == 100.0


def test_weights_keep_seven_bits(photos, tmp_path):
    out = tmp_path / "small.onnx"
    build(order(photos, out), 0.97, 5.0)
    weights = graph.int8_weights(onnx.load(str(out)))
    assert len(weights) >= 2
    assert max(np.abs(codes.astype(int)).max() for codes in weights.values()) <= 64


def test_latent_step_covers_nearly_all_values():
    latents = np.abs(np.random.default_rng(0).normal(size=(1000, 16))).astype(np.float32)
    latents[0, 0] = 1000.0
    scale, zero_point = quantise.latent_step(latents)
    assert zero_point == 0
    assert 3 < 255 * scale < 6
    scale, zero_point = quantise.latent_step(latents[1:] - 1)
    assert 0 < zero_point < 255


@pytest.mark.parametrize("source", ["nonsense", "no.such.package:name", "os:no_such_name"])
def test_unusable_sources(source):
    with pytest.raises(ExtractorError):
        load_network(source, (SIDE, SIDE))


def test_zoo_that_is_not_installed_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(MissingExtra, match=r"edge-cl\[torch\]"):
        load_network("timm:anything", (SIDE, SIDE))


def test_weights_file_is_used(tmp_path):
    from safetensors.torch import save_file

    module = small()
    with torch.no_grad():
        module.classify.bias.fill_(7.0)
    save_file(module.state_dict(), str(tmp_path / "w.safetensors"))
    torch.save(module.state_dict(), tmp_path / "w.pt")
    for name in ("w.safetensors", "w.pt"):
        model = load_network(f"{__name__}:small", (SIDE, SIDE), weights=tmp_path / name)
        biases = [v for v in graph.initialisers(model).values() if v.shape == (4,)]
        assert any((v == 7.0).all() for v in biases)
    (tmp_path / "broken.pt").write_bytes(b"no weights")
    with pytest.raises(ExtractorError, match="weights"):
        load_network(f"{__name__}:small", (SIDE, SIDE), weights=tmp_path / "broken.pt")


def test_commands(photos, tmp_path):
    out, run = tmp_path / "made.onnx", CliRunner().invoke
    arguments = [f"{__name__}:small", "-o", str(out), "--samples", str(photos), "--size", "16"]
    told = ["--licence", "MIT", "--training-data", "none", "--recipe", "random weights"]
    made = run(command, ["build", *arguments, *told, "--max-probe-drop", "5"])
    assert made.exit_code == 0, made.output
    assert run(command, ["check", str(out)]).exit_code == 0
    shown = run(command, ["show", str(out), "--json"])
    assert '"licence": "MIT"' in shown.output
    listed = run(command, ["layers", f"{__name__}:small", "--size", "16"])
    assert "bytes a latent" in listed.output


def test_check_finds_an_incomplete_manifest(photos, tmp_path):
    out = tmp_path / "made.onnx"
    build(order(photos, out), 0.97, 5.0)
    checked = CliRunner().invoke(command, ["check", str(out)])
    assert checked.exit_code == 1
    assert "does not say: licence" in checked.output


@pytest.mark.parametrize("size", ["wide", "x", "3x"])
def test_sizes_that_are_none(size, photos, tmp_path):
    arguments = ["build", "a:b", "-o", str(tmp_path / "x"), "--samples", str(photos)]
    assert CliRunner().invoke(command, [*arguments, "--size", size]).exit_code == 2
