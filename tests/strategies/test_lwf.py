"""Learning without forgetting: what the teacher says, to whom, and how much it counts."""

import numpy as np
import pytest
from clusters import QUICK_CHECKS, conforms, draw, make, teach


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def two_experiences(rng, **options):
    lwf = make("lwf", hidden=(4,), learning_rate=0.3, **options)
    teach(lwf, draw(rng, (0, 1), 40, context=0))
    lwf.end_experience()
    frozen = lwf.weights.copy()
    teach(lwf, draw(rng, (2, 3), 40, context=1))
    return lwf, frozen


def softened(logits, temperature=2.0):
    powers = np.exp(logits.astype(np.float64) / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def cross_entropy(logits, classes):
    return -np.log(softened(logits, 1.0)[np.arange(len(classes)), classes]).mean()


def test_the_teacher_is_the_head_before_the_first_update(rng):
    lwf, frozen = two_experiences(rng)
    np.testing.assert_array_equal(lwf.teacher[: len(frozen)], frozen)
    assert lwf.taught.tolist() == [[True, True, False, False]]


@pytest.mark.parametrize("over", ["old", "seen"])
def test_the_loss_in_the_second_experience(rng, over):
    lwf, frozen = two_experiences(rng, distil_over=over)
    batch = draw(rng, (2, 3), 12, context=1)
    forward = lwf.head.forward(lwf.weights, batch.latents)
    targets = softened(lwf.head.logits(frozen, batch.latents))
    asked = slice(0, 2) if over == "old" else slice(0, 4)
    student = np.log(softened(forward.logits[:, asked]))[:, :2]
    distillation = -(targets * student).sum(axis=1).mean()
    expected = 0.5 * cross_entropy(forward.logits, batch.classes) + 0.5 * distillation
    assert lwf.loss(batch, forward)[0] == pytest.approx(expected, rel=1e-5)


def test_every_old_context_is_an_output_of_its_own(rng):
    lwf, _ = two_experiences(rng, softmax_over="context", strength=1.0)
    lwf.end_experience()
    teach(lwf, draw(rng, (4, 5), 40, context=2))
    batch = draw(rng, (4, 5), 12, context=2)
    forward = lwf.head.forward(lwf.weights, batch.latents)
    answers = lwf.head.logits(lwf.teacher, batch.latents)
    expected = cross_entropy(forward.logits[:, 4:], batch.classes - 4)
    for own in (slice(0, 2), slice(2, 4)):
        student = np.log(softened(forward.logits[:, own]))
        expected += -(softened(answers[:, own]) * student).sum(axis=1).mean() / 2
    assert lwf.loss(batch, forward)[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "options",
    [{}, {"distil_over": "old"}, {"softmax_over": "context"}, {"strength": 2.0}],
)
def test_the_gradient_is_the_losss(rng, options):
    lwf, _ = two_experiences(rng, **options)
    batch = draw(rng, (2, 3), 6, context=1)
    forward = lwf.head.forward(lwf.weights, batch.latents)
    gradient = lwf.loss(batch, forward)[1]
    for n, c in np.ndindex(gradient.shape):
        values = []
        for step in (1e-2, -1e-2):
            logits = forward.logits.copy()
            logits[n, c] += step
            values.append(lwf.loss(batch, type(forward)(forward.inputs, logits))[0])
        assert gradient[n, c] == pytest.approx((values[0] - values[1]) / 2e-2, abs=2e-4)


def test_new_loss_counts_one_in_t(rng):
    lwf, _ = two_experiences(rng)
    assert lwf.loss_weights() == (1 / 2, 1 / 2)
    lwf.end_experience()
    teach(lwf, draw(rng, (4, 5), 4, context=2))
    assert lwf.loss_weights() == pytest.approx((1 / 3, 2 / 3))


def test_old_answers_change_less_than_without_a_teacher():
    ways = []
    for strength in (0.0, 1.0):
        rng = np.random.default_rng(1)
        options = {"hidden": (4,), "learning_rate": 0.05, "softmax_over": "context"}
        lwf = make("lwf", strength=strength, **options)
        probe = draw(rng, (0, 1), 200, context=0, noise=1.0)
        teach(lwf, probe)
        lwf.end_experience()
        before = softened(lwf.head.logits(lwf.weights, probe.latents), 1.0)
        teach(lwf, draw(rng, (2, 3), 300, context=1, noise=1.0))
        after = softened(lwf.head.logits(lwf.weights, probe.latents)[:, :2], 1.0)
        ways.append(np.abs(after - before).mean())
    assert ways[1] < 0.5 * ways[0]


@pytest.mark.parametrize("check", QUICK_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("options", [{"hidden": (6,)}, {"softmax_over": "context"}])
def test_conforms(check, options):
    conforms("lwf", check, **options)
