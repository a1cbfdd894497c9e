"""An extractor that is cut at a layer: what can be chosen, and what the part below gives."""

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("onnx", reason="cutting an extractor needs the package onnx")

import onnx

from edge_cl.errors import ExtractorError, MissingExtra
from edge_cl.extractor import load_extractor
from edge_cl.extractor.extractor import builtin_path, split_source
from edge_cl.extractor.replay_layer import layers_of
from edge_cl.toolchain.commands import extractor as command
from edge_cl.toolchain.split import split

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def whole():
    with load_extractor() as extractor:
        yield extractor


def test_the_layers_are_where_everything_passes_through(whole):
    found = {layer.name: layer for layer in layers_of(whole.model(), whole.manifest)}
    assert list(found) == [
        "stem", "residual0", "down1", "residual1", "down2", "residual2", "down3", "residual3",
    ]  # fmt: skip
    assert found["down3"].shape == (256, 4, 4)
    assert found["residual3"].latent_bytes == 4096
    # Above residual3 there is one convolution, 256 to 384 channels, one by one.
    assert found["residual3"].tail_weights == 256 * 384
    inside = {node.output[0] for node in onnx.load(str(builtin_path())).graph.node}
    assert {layer.tensor for layer in found.values()} < inside


def test_the_part_below_gives_the_layers_own_codes(whole):
    """Against ONNX Runtime on the whole model with that tensor as one more output."""
    import onnxruntime

    model = onnx.load(str(builtin_path()))
    tensor = next(
        one.tensor for one in layers_of(whole.model(), whole.manifest) if one.name == "residual2"
    )
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(tensor))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    images = np.stack([whole.prepare(image) for image in IMAGES])
    expected = session.run([tensor], {"image": images})[0].reshape(len(images), -1)
    with load_extractor("default@residual2") as part:
        assert part.manifest.shape == (128, 8, 8)
        assert part.spec.dim == 8192
        assert np.abs(part.extract(images).astype(int) - expected).max() <= 1
        assert part.manifest.id == f"{whole.manifest.id}@residual2"
        assert "non-commercial" in part.manifest.licence


def test_cuts_have_digests_of_their_own_and_load_again(whole):
    digests = set()
    for layer in ("down3", "residual3"):
        with load_extractor(f"default@{layer}") as part:
            digests.add(part.manifest.sha256)
            images = np.stack([part.prepare(image) for image in IMAGES])
            before = part.extract(images)
            part.release()
            assert not part.loaded
            assert np.array_equal(part.extract(images), before)
    assert len(digests | {whole.manifest.sha256}) == 3


def test_a_tensors_whole_name_will_do(whole):
    tensor = layers_of(whole.model(), whole.manifest)[-1].tensor
    with load_extractor(f"default@{tensor}") as part:
        assert part.manifest.layer == "residual3"


def test_an_unknown_layer_names_those_there_are():
    with pytest.raises(ExtractorError, match="'middle'; its layers are stem, residual0"):
        load_extractor("default@middle")


def test_an_extractor_without_codes_inside_says_so(tmp_path):
    from .models import write_tiny

    with pytest.raises(ExtractorError, match="none: it has no uint8 codes inside"):
        load_extractor(f"{write_tiny(tmp_path)}@middle")


def test_without_onnx_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "edge_cl.extractor.replay_layer", None)
    with pytest.raises(MissingExtra, match=r"edge-cl\[onnx\]"):
        load_extractor("default@down3")


def test_a_file_with_the_sign_in_its_name_is_a_file(tmp_path):
    odd = tmp_path / "model@home.onnx"
    odd.touch()
    assert split_source(str(odd)) == (str(odd), None)
    assert split_source(f"{odd}@down3") == (str(odd), "down3")


def test_the_frozen_part_as_a_file_gives_the_same(tmp_path):
    frozen, tail = split("default", "down3", tmp_path)
    assert tail.name == "down3-tail.onnx"
    onnx.checker.check_model(onnx.load(str(tail)))
    with load_extractor("default@down3") as cut, load_extractor(frozen) as file:
        images = np.stack([file.prepare(image) for image in IMAGES])
        assert np.array_equal(cut.extract(images), file.extract(images))
        assert file.manifest.shape == (256, 4, 4)
        assert file.manifest.layer == "down3"


def test_commands(tmp_path):
    listed = CliRunner().invoke(command, ["replay-layers"])
    assert listed.exit_code == 0
    assert "residual3" in listed.output
    assert "4,096" in listed.output
    written = CliRunner().invoke(command, ["split", "residual3", "-o", str(tmp_path)])
    assert written.exit_code == 0
    assert (tmp_path / "residual3.onnx").is_file()
