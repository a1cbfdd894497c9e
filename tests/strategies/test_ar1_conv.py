"""AR1* on the layers above the replay layer."""

import subprocess
import sys

import numpy as np
import pytest

from edge_cl import Learner, strategies
from edge_cl.checks import CHECKS, Subject, stream
from edge_cl.errors import InvalidOption, MissingExtra
from edge_cl.options import parse_options
from edge_cl.types import Batch, LatentSpec

PLAIN = LatentSpec(8, scale=0.02)


def test_latents_without_layers_above_are_refused():
    pytest.importorskip("torch", reason="torch is not installed")
    with pytest.raises(InvalidOption, match="default@residual3"):
        Learner.create(strategy="ar1_conv", spec=PLAIN)


@pytest.mark.parametrize("package", ["torch", "onnx"])
def test_without_a_package_the_extra_is_named(monkeypatch, package):
    from edge_cl.strategies import ar1_conv

    monkeypatch.setattr(ar1_conv, "find_spec", lambda name: None if name == package else name)
    with pytest.raises(MissingExtra, match=r"edge-cl\[torch\]"):
        Learner.create(strategy="ar1_conv", spec=LatentSpec(8, 0.02, 0, tail=b"layers"))


def test_describing_it_loads_no_torch():
    script = "import sys; from edge_cl import strategies; strategies.describe('ar1_conv'); "
    script += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")

from tails import tail_spec  # noqa: E402

SPEC = tail_spec()
QUICK = {"calibration_samples": 9, "replay_batch": 6, "batch_size": 4}
SUBJECTS = [
    pytest.param(Subject("ar1_conv", QUICK, SPEC, long_samples=1000), id="free"),
    pytest.param(
        Subject(
            "ar1_conv",
            {
                **QUICK, "strength": 1.0, "momentum": 0.5, "weight_decay": 1e-4, "codec": "uint4",
                "norm": "batch", "features": "l2", "batch_size": 1, "experience_samples": 7,
            },
            SPEC, long_samples=400,
        ),
        id="protected",
    ),
]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("subject", SUBJECTS)
def test_it_conforms(subject, check):
    check(subject)


def made(**options):
    kind = strategies.find("ar1_conv")
    parsed = parse_options(kind.options_type, {**QUICK, **options}, strategy="ar1_conv")
    strategy = kind(SPEC, parsed, seed=3, allowed_bytes=1 << 20)
    strategy.grow(4, 1, 1 << 20)
    return strategy


def batch_of(count, seed=0, classes=4):
    rng = np.random.default_rng(seed)
    latents = SPEC.to_float(rng.integers(0, 256, (count, SPEC.dim), dtype=np.uint8))
    return Batch.of(latents, rng.integers(0, classes, count), 0)


def test_it_begins_as_the_extractor():
    """Against ONNX Runtime on the layers as they are, and the learner's own roots."""
    import onnxruntime

    from edge_cl.equations import power_l2

    strategy, batch = made(), batch_of(20)
    codes = SPEC.to_codes(batch.latents).reshape(-1, 2, 2, 2)
    session = onnxruntime.InferenceSession(SPEC.tail)
    given = session.run(None, {"layer_q": codes})[0].astype(np.float32) * np.float32(0.04)
    found = strategy.head.features(strategy.weights, batch.latents)
    assert np.abs(found - power_l2(given)).max() < 0.03


def test_the_layers_above_rest_until_their_statistics_are_known():
    strategy = made(calibration_samples=16)
    size = strategy.head.body_size
    before = strategy.weights[:size].copy()
    strategy.observe(batch_of(12))
    assert (strategy.weights[:size] == before).all()
    strategy.observe(batch_of(8, seed=1))
    assert strategy.normalises
    strategy.observe(batch_of(4, seed=2))
    marks = strategy.head.matrices()
    assert (strategy.weights[:size][marks] != before[marks]).any()


def test_the_first_statistics_are_those_of_the_products_and_change_nothing():
    strategy = made(calibration_samples=40)
    early, late = batch_of(36), batch_of(4, seed=1)
    strategy.observe(early)
    head, weights = strategy.head, strategy.weights
    probe = batch_of(30, seed=5).latents
    before = head.features(weights, probe)
    strategy.observe(late)
    np.testing.assert_allclose(head.features(strategy.weights, probe), before, atol=2e-6)
    (layer,) = head.net.layers(strategy.weights[: head.body_size])
    latents = torch.from_numpy(np.concatenate([early.latents, late.latents]))
    u = torch.nn.functional.conv2d(
        latents.reshape(-1, 2, 2, 2), torch.from_numpy(layer.matrix), padding=1
    )
    np.testing.assert_allclose(layer.mean, u.mean((0, 2, 3)), rtol=1e-4)
    expected = (u.var((0, 2, 3), correction=0) + 1e-5).sqrt()
    np.testing.assert_allclose(layer.deviation, expected, rtol=1e-4)


def test_a_step_is_the_paper_s_by_autograd():
    """Tail at its own rate, rows at theirs, one cross-entropy over both."""
    strategy = made(tail_learning_rate=0.03, learning_rate=0.7, replay_batch=1)
    strategy.observe(batch_of(30))
    head, net, size = strategy.head, strategy.head.net, strategy.head.body_size
    batch = batch_of(12, seed=7)
    strategy.load_rows(batch.classes)
    before = strategy.weights.copy()

    found, parts, _ = net.training(before[:size], batch.latents, 1.25, 0.5)
    rows = torch.from_numpy(head.rows(before).copy()).requires_grad_()
    roots = found / found.abs().clamp_min(1e-4).sqrt()
    features = roots / roots.norm(dim=1, keepdim=True)
    loss = torch.nn.functional.cross_entropy(features @ rows.T, torch.from_numpy(batch.classes))
    by_kernel, by_rows = torch.autograd.grad(loss, [parts[0].matrix, rows])

    value, gradient = strategy.loss_gradient(batch)
    strategy.update(gradient)
    assert value == pytest.approx(loss.item(), rel=1e-4)
    moved = strategy.weights - before
    (layer,) = net.layers(moved[:size])
    np.testing.assert_allclose(layer.matrix, -0.03 * by_kernel.numpy(), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(head.rows(moved), -0.7 * by_rows.numpy(), rtol=1e-3, atol=1e-6)


def test_a_rate_of_zero_leaves_the_extractor_as_it_is():
    strategy, probe = made(tail_learning_rate=0), batch_of(20, seed=9).latents
    before = strategy.head.features(strategy.weights, probe)
    for seed in range(4):
        strategy.observe(batch_of(10, seed))
    found = strategy.head.features(strategy.weights, probe)
    np.testing.assert_allclose(found, before, atol=2e-6)


def test_importance_is_of_kernels_alone_and_free_keeps_none():
    assert not {"path", "importance", "anchor"} & set(made().slots(4, 1))
    strategy = made(strength=1.0, damping=1e-3)
    for seed in range(4):
        strategy.observe(batch_of(10, seed))
    strategy.end_experience()
    marks = strategy.head.matrices()
    assert strategy.importance[marks].max() > 0
    assert (strategy.importance[~marks] == 0).all()


@pytest.mark.parametrize(("rate", "least", "most"), [(0.0, 0.0, 0.7), (0.3, 0.8, 1.0)])
def test_layers_above_that_are_blind_to_the_classes_learn_to_see_them(rate, least, most):
    """Classes differ in the sign of a difference that the first kernels do not respond to."""
    strategy = made(tail_learning_rate=rate, learning_rate=1.0, calibration_samples=8)
    head = strategy.head
    (layer,) = head.net.layers(strategy.weights[: head.body_size])
    layer.matrix[:] = np.abs(layer.matrix.mean(axis=1, keepdims=True))
    rng = np.random.default_rng(0)

    def drawn(count):
        classes = rng.integers(0, 2, count)
        latents = rng.uniform(0.5, 2.0, (count, 2, 1, 1)) * np.ones((1, 1, 2, 2))
        latents = np.sort(latents, axis=1)
        latents[classes == 1] = latents[classes == 1][:, ::-1]
        return Batch.of(latents.reshape(count, -1).astype(np.float32), classes, 0)

    strategy.observe(drawn(1200))
    test = drawn(300)
    found = strategy.publish().scores(test.latents)[:, :2].argmax(axis=1)
    assert least <= (found == test.classes).mean() <= most


def test_a_loaded_learner_needs_no_extractor_to_go_on_or_begin_anew():
    source = stream(SPEC, 30)
    learner = Learner.create(
        strategy="ar1_conv", spec=SPEC, memory_budget="256KiB", options=QUICK, seed=1
    )
    source.teach(learner, 0, 30)
    loaded = Learner.from_bytes(learner.to_bytes())
    assert loaded.spec.tail == SPEC.tail
    assert loaded.ledger()["tail"] == len(SPEC.tail)
    fresh = loaded.with_strategy("ar1_conv", {**QUICK, "features": "none"})
    assert set(fresh.labels) == set(learner.labels)


def test_the_tail_s_rate_can_change_without_learning_anew():
    source = stream(SPEC, 30)
    learner = Learner.create(
        strategy="ar1_conv", spec=SPEC, memory_budget="256KiB", options=QUICK, seed=1
    )
    source.teach(learner, 0, 30)
    before = learner._strategy.weights.copy()
    learner.change_strategy("ar1_conv", {"tail_learning_rate": 0.5})
    assert (learner._strategy.weights == before).all()
