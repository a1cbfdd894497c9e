"""The layers above the replay layer in torch, against ONNX Runtime and against autograd."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edge_cl.errors import ExtractorError
from edge_cl.extractor import load_extractor
from edge_cl.tail.net import Moments, Parts, TailNet, folded, moments_of, renormalised

SHARED = Path(os.environ.get("EDGE_CL_SHARED", Path(__file__).parents[3] / "shared"))
MODELS = ("mobilenet_v1_0.25_128_int8", "mobilenet_v1_0.5_160_int8")
RNG = np.random.default_rng(0)


def smooth(extractor, count=6):
    rough = RNG.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return np.stack([extractor.prepare(image) for image in rough])


def cosines(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def assert_whole(source, layer):
    """Tail behind front is the whole extractor, but for the rounding between the layers."""
    with load_extractor(source) as whole, load_extractor(f"{source}@{layer}") as front:
        images = smooth(whole)
        expected = whole.spec.to_float(whole.extract(images))
        latents = front.spec.to_float(front.extract(images))
        net = TailNet(front.spec.tail)
    found = net.features(net.initial(), latents)
    assert net.shape == front.manifest.shape
    assert cosines(found, expected).min() > 0.999
    assert np.abs(found - expected).mean() < whole.spec.scale


@pytest.mark.parametrize("layer", ["residual3", "down3", "residual2", "residual1"])
def test_front_and_tail_are_the_built_in_extractor(layer):
    assert_whole("default", layer)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("layer", ["dw25", "conv24", "conv22"])
def test_front_and_tail_are_the_mobilenet(model, layer):
    path = SHARED / "models" / f"{model}.onnx"
    if not path.is_file():
        pytest.skip(f"{path.name} is not beside the checkout")
    assert_whole(path, layer)


def test_it_keeps_no_weights():
    """They are on the ledger of whoever trains them, and nowhere else."""
    with load_extractor("default@down3") as front:
        tail = front.spec.tail
    TailNet(tail)
    tracemalloc.start()
    net = TailNet(tail)
    kept_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept_bytes < 4 * net.size / 10


def model_of(nodes, shape, outputs, **constants):
    """A model of floats: input x, output y."""
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])
    given = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", *outputs])
    weights = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "tail", [taken], [given], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


node = helper.make_node
CHAINS = {
    "asymmetric, strided, grouped": (
        [node("Conv", ["x", "w", "b"], ["y"], pads=[0, 0, 1, 1], strides=[2, 2], group=2)],
        (4, 6, 6), (4, 3, 3), {"w": normal(4, 2, 3, 3), "b": normal(4)},
    ),
    "dilated, without a bias": (
        [node("Conv", ["x", "w"], ["y"], pads=[2, 2, 2, 2], dilations=[2, 2])],
        (3, 5, 5), (2, 5, 5), {"w": normal(2, 3, 3, 3)},
    ),
    "pools": (
        [
            node("MaxPool", ["x"], ["m"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
            node("AveragePool", ["m"], ["a"], kernel_shape=[2, 2], strides=[1, 1],
                 pads=[1, 1, 1, 1], count_include_pad=1),
            node("GlobalAveragePool", ["a"], ["g"]),
            node("Flatten", ["g"], ["y"], axis=1),
        ],
        (3, 7, 7), (3,), {},
    ),
    "matrices": (
        [
            node("Reshape", ["x", "lengths"], ["flat"]),
            node("Gemm", ["flat", "w", "b"], ["h"], transB=1),
            node("HardSwish", ["h"], ["s"]),
            node("MatMul", ["s", "v"], ["o"]),
            node("Add", ["o", "c"], ["y"]),
        ],
        (2, 2, 2), (3,),
        {"lengths": np.array([0, -1]), "w": normal(5, 8), "b": normal(5), "v": normal(5, 3),
         "c": normal(3)},
    ),
    "branches": (
        [
            node("Conv", ["x", "w"], ["h"], pads=[1, 1, 1, 1]),
            node("BatchNormalization", ["h", "g", "b", "m", "s"], ["n"]),
            node("Clip", ["n", "low", "high"], ["r"]),
            node("Sigmoid", ["r"], ["gate"]),
            node("Mul", ["x", "gate"], ["gated"]),
            node("Concat", ["gated", "r"], ["both"], axis=1),
            node("ReduceMean", ["both"], ["y"], axes=[2, 3], keepdims=0),
        ],
        (3, 4, 4), (6,),
        {"w": normal(3, 3, 3, 3), "g": normal(3), "b": normal(3), "m": normal(3),
         "s": np.abs(normal(3)), "low": np.float32(-0.5), "high": np.float32(0.8)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_operators_compute_what_onnx_runtime_does(name):
    nodes, shape, outputs, constants = CHAINS[name]
    model = model_of(nodes, shape, outputs, **constants)
    latents = normal(5, *shape)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    expected = session.run(None, {"x": latents})[0].reshape(5, -1)
    net = TailNet(model.SerializeToString())
    found = net.features(net.initial(), latents.reshape(5, -1))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_an_operator_that_is_not_known_is_named():
    model = model_of([node("Softmax", ["x"], ["y"], name="odd")], (3,), (3,))
    with pytest.raises(ExtractorError, match=r"operator Softmax \(odd\).*known are Add"):
        TailNet(model.SerializeToString())


def test_quantised_codes_become_their_range():
    nodes = [
        node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    model = model_of(nodes, (4,), (4,), scale=np.float32(0.5), zero=np.uint8(2))
    net = TailNet(model.SerializeToString())
    found = net.features(net.initial(), np.array([[-9, 0.2, 3, 999]], np.float32))
    np.testing.assert_allclose(found, [[-1, 0.2, 3, 126.5]])


def small():
    nodes, shape, outputs, constants = CHAINS["branches"]
    return TailNet(model_of(nodes, shape, outputs, **constants).SerializeToString())


def parts_of(channels):
    return Parts(*(torch.rand(channels) + 0.5 for _ in range(5)))


def test_renormalisation_is_ioffes_algorithm_written_out():
    torch.manual_seed(0)
    u, layer = 3 * torch.randn(4, 3, 2, 2) + 1, parts_of(3)
    found = renormalised(u, layer, moments_of(u), 1.25, 0.5)
    expected = torch.empty_like(u)
    for c in range(3):
        values = u[:, c].flatten()
        mean, deviation = values.mean(), (values.var(correction=0) + 1e-5).sqrt()
        r = min(max(float(deviation / layer.deviation[c]), 1 / 1.25), 1.25)
        d = min(max(float((mean - layer.mean[c]) / layer.deviation[c]), -0.5), 0.5)
        standard = (u[:, c] - mean) / deviation * r + d
        expected[:, c] = layer.gamma[c] * standard + layer.beta[c]
    torch.testing.assert_close(found, expected)


def test_unclipped_it_computes_what_evaluation_does_and_its_gradient_is_not_that():
    """r and d undo the batch; the gradient still goes through its mean and deviation."""
    torch.manual_seed(1)
    u, layer = torch.randn(8, 3, 2, 2, requires_grad=True), parts_of(3)
    free = renormalised(u, layer, moments_of(u), 1e9, 1e9)
    shape = (1, 3, 1, 1)
    fixed = layer.gamma.reshape(shape) * (u - layer.mean.reshape(shape)) / layer.deviation.reshape(
        shape
    ) + layer.beta.reshape(shape)
    torch.testing.assert_close(free, fixed, rtol=1e-3, atol=1e-4)
    slope = torch.autograd.grad(free.sum(), u)[0]
    torch.testing.assert_close(slope, torch.zeros_like(u), atol=1e-4, rtol=0)


def test_training_gradient_is_that_of_the_formula_in_float64():
    nodes, shape, outputs, constants = CHAINS["asymmetric, strided, grouped"]
    net = TailNet(model_of(nodes, shape, outputs, **constants).SerializeToString())
    latents, weights = normal(6, 144), net.initial()
    features, parts, _ = net.training(weights, latents, 1.25, 0.5)
    pull = torch.from_numpy(normal(6, net.dim))
    leaves = [parts[0].matrix, parts[0].beta, parts[0].gamma]
    slopes = torch.autograd.grad((features * pull).sum(), leaves)

    maps = torch.from_numpy(latents).double().reshape(6, 4, 6, 6)
    kernel, beta, gamma = (leaf.detach().double().requires_grad_() for leaf in leaves)
    u = torch.nn.functional.conv2d(
        torch.nn.functional.pad(maps, (0, 1, 0, 1)), kernel, stride=2, groups=2
    )
    mean = u.mean((0, 2, 3), keepdim=True)
    deviation = (u.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    r, d = deviation.detach().clamp(1 / 1.25, 1.25), mean.detach().clamp(-0.5, 0.5)
    column = (1, 4, 1, 1)
    y = gamma.reshape(column) * ((u - mean) / deviation * r + d) + beta.reshape(column)
    loss = (y.reshape(6, -1) * pull.double()).sum()
    for found, expected in zip(
        slopes, torch.autograd.grad(loss, [kernel, beta, gamma]), strict=True
    ):
        torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)


def test_folding_a_layer_gives_what_evaluation_computes():
    net, latents = small(), normal(4, 48)
    weights = net.initial()
    layer = net.layers(weights)[0]
    layer.gamma[:], layer.mean[:], layer.deviation[:] = normal(3), normal(3), np.abs(normal(3)) + 1
    expected = net.features(weights, latents)
    matrix, bias = folded(layer)
    plain = net.initial()
    other = net.layers(plain)[0]
    other.matrix[:], other.beta[:] = matrix, bias
    np.testing.assert_allclose(net.features(plain, latents), expected, rtol=1e-4, atol=1e-5)


def test_moments_are_those_of_the_products():
    net, latents = small(), normal(5, 48)
    weights = net.initial()
    kernel = torch.from_numpy(net.layers(weights)[0].matrix)
    maps = torch.from_numpy(latents).reshape(5, 3, 4, 4)
    u = torch.nn.functional.conv2d(maps, kernel, padding=1)
    means, squares = net.moments(weights, latents)
    np.testing.assert_allclose(means, u.mean((0, 2, 3)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(squares, (u * u).mean((0, 2, 3)), rtol=1e-4, atol=1e-6)
    assert isinstance(moments_of(u), Moments)


def test_quantised_weights_come_back_per_channel():
    codes, scale = RNG.integers(-60, 60, (4, 3), dtype=np.int8), np.abs(normal(4)) + 0.1
    nodes = [
        node("DequantizeLinear", ["codes", "scale", "zero"], ["w"], axis=0),
        node("Gemm", ["x", "w"], ["y"], transB=1),
    ]
    model = model_of(nodes, (3,), (4,), codes=codes, scale=scale, zero=np.zeros(4, np.int8))
    net = TailNet(model.SerializeToString())
    np.testing.assert_allclose(
        net.layers(net.initial())[0].matrix, codes * scale[:, None], rtol=1e-6
    )
    onnx.checker.check_model(model)
