"""Split MNIST after van de Ven & Tolias 2019: five tasks of two digits, an MLP 784-400-400.

Every task is shown in shuffled passes until `ITERATIONS` batches of 128 are trained, with
Adam at 1e-3. Two scenarios: class-incremental (which of all digits so far?) and
task-incremental (which of this task's two digits?). A row of `ROWS` names a strategy, its
options, and what was published; any strategy can be a row.

References
----------
G. M. van de Ven and A. S. Tolias, Three scenarios for continual learning,
arXiv:1904.07734, table 4; G. M. van de Ven, T. Tuytelaars and A. S. Tolias, Three types of
incremental learning, Nature Machine Intelligence 4 (2022), table 2.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_cl import strategies
from edge_cl.bench import metrics
from edge_cl.bench.datasets import Dataset, mnist
from edge_cl.generator import GenerativeStrategy
from edge_cl.head import Head
from edge_cl.options import parse_options
from edge_cl.strategy import GradientStrategy, Strategy
from edge_cl.types import Array, Batch, Float32, Int64, LatentSpec

TASKS = 5
DIGITS_A_TASK = 2
ITERATIONS = 2000
BATCH = 128
ALLOWED_BYTES = 1 << 31
COMMON: Mapping[str, Any] = {
    "normalise": "none",
    "hidden": (400, 400),
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "batch_size": BATCH,
}
SCENARIOS: Mapping[str, Mapping[str, Any]] = {
    "class": {"softmax_over": "seen"},
    "task": {"softmax_over": "context"},
}
QUICK: Mapping[str, Any] = {"hidden": (64,), "learning_rate": 5e-3}
QUICK_ITERATIONS = 80
QUICK_SAMPLES = 5000, 1000


@dataclass(frozen=True)
class Row:
    """One line of the published table.

    Parameters
    ----------
    strategy
        Name of the strategy.
    options
        Its options beside `COMMON`.
    published
        Mean accuracy in per cent that the paper gives, or None.
    lowest, highest
        Between which the measured mean must lie to count as reproduced.
    small_start
        Whether hidden layers start as in the reference implementation, weights and biases
        uniform within 1/sqrt(inputs), instead of within He's sqrt(6/inputs) and at zero.
    """

    strategy: str
    options: Mapping[str, Any] = field(default_factory=dict)
    published: float | None = None
    lowest: float = 0.0
    highest: float = 100.0
    small_start: bool = False


EWC = {"variant": "offline", "fisher_samples": 12_000}

PACKNET: Mapping[str, Any] = {
    "planned_contexts": TASKS,
    "retrain_steps": ITERATIONS // 2,
    "replay_batch": BATCH,
    "memory_samples": 13000,
}
GENERATIVE: Mapping[str, Any] = {
    "generator_hidden": (400, 400),
    "generator_code": 100,
    "generator_rate": 1e-3,
    "reconstruction": "bernoulli",
    "replay_batch": BATCH,
    "experience_samples": None,
}
HAT: Mapping[str, Any] = {"anneal_steps": ITERATIONS, "gate_rate": 0.05, "sparsity": 0.75}
HYPERNETWORK: Mapping[str, Any] = {
    "hyper_hidden": (50, 50),
    "chunk_size": 2000,
    "embedding_size": 32,
    "compared_contexts": 1,
}
ROWS: dict[str, Row] = {
    "class/none": Row("naive", {}, 19.9, 18, 22),
    "class/ewc": Row("ewc", EWC | {"strength": 1e9}, 20.01, 18, 22),
    "class/si": Row("si", {"strength": 5000.0}, 19.99, 18, 22),
    "class/lwf": Row("lwf", {"strength": 1.0}, 23.85, 21, 26, small_start=True),
    "class/replay": Row("replay", {"memory_samples": 1000, "replay_batch": 128}, 88.79, 86.79),
    "class/icarl": Row(
        "icarl",
        {"memory_samples": 1000, "window_samples": 13_000, "replay_batch": 128, "window_batch": 0},
        92.49,
        90.49,
    ),
    "class/generative_replay": Row(
        "generative_replay", GENERATIVE, 90.79, 88.79, 92.79, small_start=True
    ),
    "class/joint": Row("joint", {"passes": 20, "train_batch": BATCH}, 97.94, 97.44, 98.44),
    "task/none": Row("naive", {}, 87.2),
    "task/packnet": Row("packnet", PACKNET, None, 97),
    "task/hypernetwork": Row("hypernetwork", HYPERNETWORK, 99.79, 97),
    "task/piggyback": Row("piggyback", {}, None, 97),
    "task/supsup": Row("supsup", {}, None, 97),
    "task/hat": Row("hat", HAT, None, 97),
    "task/ewc": Row("ewc", EWC | {"strength": 1e5}, 98.64, 98),
    "task/si": Row("si", {"strength": 10.0}, 99.09, 98),
    "task/lwf": Row("lwf", {}, 99.57, 98),
    "task/multihead": Row("multihead", {}, 99.57, 97),
    "task/progressive": Row("progressive", {"hidden": (100, 100), "adapter": 50}, 99.57, 97),
}
"""Scenario/method → row. Other modules may add theirs."""


def run(method: str, seed: int, quick: bool = False) -> dict[str, Any]:
    """One row of the table with one seed.

    Parameters
    ----------
    method
        A key of `ROWS`: scenario, slash, method.
    seed
        Of the strategy, the shuffling and (but for 0: natural order) the split into tasks.
    quick
        Seconds instead of minutes: a smaller head, fewer samples and iterations.

    Returns
    -------
    `accuracy` is the mean over tasks after the last one, `forgetting` Chaudhry et al.'s,
    `matrix` the accuracy on every task so far after each task; all as fractions.
    """
    row, digits = ROWS[method], mnist()
    if quick:
        digits = digits.part(*QUICK_SAMPLES)
    rng = np.random.Generator(np.random.PCG64(seed))
    order = np.arange(digits.classes) if seed == 0 else rng.permutation(digits.classes)
    scenario = method.partition("/")[0]
    split = Split(digits, order.reshape(TASKS, -1), knows_task=scenario == "task")
    learner = make_strategy(row, digits.spec, seed, scenario, quick)
    iterations, begun = QUICK_ITERATIONS if quick else ITERATIONS, time.perf_counter()
    matrix = []
    for task in range(TASKS):
        learn_task(learner, split.train(task), iterations, rng)
        matrix.append(split.accuracies(learner, task + 1))
    return {
        "protocol": "van_de_ven",
        "method": method,
        "strategy": row.strategy,
        "options": learner.options.model_dump(mode="json"),
        "seed": seed,
        "quick": quick,
        "accuracy": float(np.mean(matrix[-1])),
        "forgetting": forgetting(matrix),
        "matrix": matrix,
        "state_bytes": sum(learner.ledger().values()),
        "seconds": time.perf_counter() - begun,
    }


@dataclass(frozen=True)
class Split:
    """A data set cut into tasks.

    Parameters
    ----------
    digits
        What is cut.
    tasks
        (T, K) the classes of each task; they are numbered anew in this order.
    knows_task
        Whether a test sample comes with its task's id.
    """

    digits: Dataset
    tasks: Int64
    knows_task: bool

    def train(self, task: int) -> Batch:
        """All training samples of a task."""
        return self._part(self.digits.train, self.digits.train_classes, task)

    def test(self, task: int) -> Batch:
        """All test samples of a task."""
        return self._part(self.digits.test, self.digits.test_classes, task)

    def accuracies(self, learner: Strategy, tasks: int) -> list[float]:
        """Test accuracy on each of the first `tasks` tasks."""
        served, found = learner.publish(), []
        for task in range(tasks):
            test = self.test(task)
            context = task if self.knows_task else None
            scores = served.scores(served.normalise(test.latents), context)
            found.append(float((scores.argmax(axis=1) == test.classes).mean()))
        return found

    def _part(self, rows: Array, classes: Int64, task: int) -> Batch:
        number = np.argsort(self.tasks.ravel())
        kept = np.isin(classes, self.tasks[task])
        return Batch.of(self.digits.spec.to_float(rows[kept]), number[classes[kept]], task)


def make_strategy(
    row: Row, spec: LatentSpec, seed: int, scenario: str, quick: bool = False
) -> Strategy:
    """The row's strategy, with those of the common options that it has."""
    kind = strategies.find(row.strategy)
    common = {**COMMON, **SCENARIOS[scenario], **(QUICK if quick else {})}
    known = kind.options_type.model_fields
    options = {name: value for name, value in common.items() if name in known}
    options |= row.options
    parsed = parse_options(kind.options_type, options, strategy=row.strategy)
    learner = kind(spec, parsed, seed=seed, allowed_bytes=ALLOWED_BYTES)
    if row.small_start:
        assert isinstance(learner, GradientStrategy)
        rng = np.random.Generator(np.random.PCG64(seed))
        start_small(learner.head, learner.weights, rng)
        if isinstance(learner, GenerativeStrategy):
            for network, weights in learner.vae.networks(learner.generator):
                start_small(network, weights, rng)
    return learner


def start_small(head: Head, weights: Float32, rng: np.random.Generator) -> None:
    """Draw the hidden layers anew, uniform within 1/sqrt(inputs); changes `weights`."""
    for (matrix, bias), inputs in zip(head.layers(weights), head.widths, strict=False):
        bound = inputs**-0.5
        matrix[:] = rng.uniform(-bound, bound, matrix.shape)
        bias[:] = rng.uniform(-bound, bound, bias.shape)


def learn_task(
    learner: Strategy, samples: Batch, iterations: int, rng: np.random.Generator
) -> None:
    """Show a task in shuffled passes; its samples are offered to the memory once."""
    learner.grow(int(samples.classes.max()) + 1, int(samples.contexts.max()) + 1, ALLOWED_BYTES)
    for batch, is_first_pass in passes(samples, iterations, rng):
        learner.observe(batch, remember=is_first_pass)
    learner.end_experience()


def passes(
    samples: Batch, iterations: int, rng: np.random.Generator
) -> Iterator[tuple[Batch, bool]]:
    """`iterations` batches in shuffled passes, and whether they belong to the first."""
    done, is_first_pass = 0, True
    while True:
        order = rng.permutation(len(samples))
        for start in range(0, len(order), BATCH):
            if done == iterations:
                return
            yield samples[order[start : start + BATCH]], is_first_pass
            done += 1
        is_first_pass = False


def forgetting(matrix: list[list[float]]) -> float:
    """`metrics.forgetting` of a triangle of accuracies: on the tasks so far, after each."""
    padded = np.zeros((len(matrix), len(matrix)))
    for task, line in enumerate(matrix):
        padded[task, : len(line)] = line
    return metrics.forgetting(padded)
