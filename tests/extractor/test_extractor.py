import logging
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from edge_cl.errors import ExtractorError, ExtractorMismatch, InvalidInput
from edge_cl.extractor import load_extractor

pytest.importorskip("onnx", reason="writing test models needs the extra torch")

import onnx
from onnx import TensorProto, helper

from .models import DIM, SIDE, tiny, write_tiny


def images(count, side=SIDE, seed=0):
    shape = (count, side, side, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_codes_are_what_the_graph_says(tiny_path):
    with load_extractor(tiny_path) as extractor:
        weights = np.random.default_rng(0).uniform(0, 1, (3, DIM)).astype(np.float32) / 3
        batch = images(7)
        expected = np.rint(batch.mean((1, 2)) @ weights / 0.5 + 3).clip(0, 255)
        codes = extractor.extract(batch)
        assert np.abs(codes.astype(int) - expected.astype(int)).max() <= 1
        assert extractor.spec.dim == DIM
        assert extractor.spec.scale == 0.5
        assert extractor.provider == "CPUExecutionProvider"


def test_chunks_do_not_show(tiny_path):
    extractor = load_extractor(tiny_path)
    batch = images(37)
    alone = np.concatenate([extractor.extract(image[None]) for image in batch])
    assert np.array_equal(extractor.extract(batch), alone)
    assert extractor.extract(batch[:0]).shape == (0, DIM)
    assert np.array_equal(extractor.extract(batch[::2]), alone[::2])


def test_prepare_fits_what_extract_wants(tiny_path):
    extractor = load_extractor(tiny_path)
    for image in (Image.new("RGB", (31, 17)), images(1, side=20)[0]):
        prepared = extractor.prepare(image)
        assert prepared.shape == (SIDE, SIDE, 3)
        assert extractor.extract(prepared[None]).shape == (1, DIM)


@pytest.mark.parametrize(
    "bad", [np.zeros((1, 9, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8), images(1) / 255.0]
)
def test_images_of_the_wrong_shape_or_type(tiny_path, bad):
    with pytest.raises(InvalidInput, match="uint8"):
        load_extractor(tiny_path).extract(bad)


def test_threads_share_one_session(tiny_path):
    extractor = load_extractor(tiny_path, threads=2)
    batch = images(20)
    expected, results = extractor.extract(batch), []
    threads = [
        threading.Thread(target=lambda: results.append(extractor.extract(batch))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(codes, expected) for codes in results)


def test_release_is_undone_by_the_next_image(tiny_path):
    extractor = load_extractor(tiny_path)
    before = extractor.extract(images(3))
    extractor.release()
    assert not extractor.loaded
    assert np.array_equal(extractor.extract(images(3)), before)
    assert extractor.loaded


def test_close_is_for_good(tiny_path):
    extractor = load_extractor(tiny_path)
    extractor.close()
    with pytest.raises(ExtractorError, match="closed"):
        extractor.extract(images(1))


def test_file_replaced_while_released(tiny_path):
    extractor = load_extractor(tiny_path)
    extractor.release()
    onnx.save(tiny(scale=0.25), str(tiny_path))
    with pytest.raises(ExtractorMismatch, match="replaced"):
        extractor.extract(images(1))


def test_missing_provider_falls_back_loudly(tiny_path, caplog):
    with caplog.at_level(logging.WARNING):
        extractor = load_extractor(tiny_path, providers=("tensorrt", "cuda", "cpu"))
    if extractor.provider == "CPUExecutionProvider":
        assert "TensorrtExecutionProvider cannot be used" in caplog.text
        assert "runs on CPUExecutionProvider instead of" in caplog.text
    assert extractor.extract(images(2)).shape == (2, DIM)


def test_missing_file(tmp_path):
    with pytest.raises(ExtractorError, match="No such file"):
        load_extractor(tmp_path / "absent.onnx")
    with pytest.raises(ExtractorError, match="directory"):
        load_extractor(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n", b"\xff" * 64, b"\x0a\xff\xff"])
def test_files_that_are_not_onnx(tmp_path, content):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(ExtractorError):
        load_extractor(path)


def test_truncated_at_any_place(tiny_path):
    whole = tiny_path.read_bytes()
    for length in range(1, len(whole), 7):
        tiny_path.write_bytes(whole[:length])
        with pytest.raises(ExtractorError):
            load_extractor(tiny_path)


def test_external_data_is_refused(tmp_path):
    path = tmp_path / "outside.onnx"
    onnx.save(
        tiny(), str(path), save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    with pytest.raises(ExtractorError, match="another file"):
        load_extractor(path)


def test_external_data_in_a_subgraph_is_refused(tmp_path):
    tensor = TensorProto(name="secret", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    model = tiny()
    model.graph.node.append(helper.make_node("Constant", [], ["secret"], value=tensor))
    path = tmp_path / "secret.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ExtractorError, match="another file"):
        load_extractor(path)


def test_foreign_models_name_the_command(tmp_path):
    no_scale = write_tiny(tmp_path, metadata={})
    with pytest.raises(ExtractorError, match="edge-cl extractor build"):
        load_extractor(no_scale)
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    floats = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 3, 8, 8]) for n in "xy"]
    graph = helper.make_graph(nodes, "floats", floats[:1], floats[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path / "floats.onnx"
    onnx.save(model, str(path))
    with pytest.raises(ExtractorError, match="edge-cl extractor build"):
        load_extractor(path)


def test_self_test_finds_a_dead_model(tmp_path):
    path = write_tiny(tmp_path, scale=1e9)
    with pytest.raises(ExtractorError, match="same code everywhere"):
        load_extractor(path)


def test_threads_must_be_positive(tiny_path):
    with pytest.raises(InvalidInput):
        load_extractor(tiny_path, threads=0)


def test_path_with_spaces_and_umlauts(tiny_path, tmp_path):
    path = tmp_path / "mein schönes Modell.onnx"
    shutil.copy(tiny_path, path)
    assert load_extractor(str(path)).manifest.id == path.name


def test_neither_torch_nor_onnx_is_imported():
    script = (
        "import sys; from edge_cl.extractor import load_extractor; load_extractor();"
        "assert not {'torch', 'onnx', 'sklearn', 'matplotlib'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_every_thread_may_have_its_own_session():
    with load_extractor(session_per_thread=True) as extractor, load_extractor() as shared:
        image = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(1, 64, 64, 3)
        used = {}

        def use(name):
            codes = extractor.extract(image)
            used[name] = (extractor._session_here(), extractor._session_here(), codes)

        threads = [threading.Thread(target=use, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert used["a"][0] is used["a"][1]
        assert used["a"][0] is not used["b"][0]
        for _, _, codes in used.values():
            np.testing.assert_array_equal(codes, shared.extract(image))
        before = extractor._session_here()
        extractor.release()
        assert extractor._session_here() is not before
