"""``edge-cl bench unknown``: what tells samples of classes that were never taught."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from edge_cl import Learner
from edge_cl.bench import datasets
from edge_cl.bench.datasets import Dataset
from edge_cl.bench.report import Report
from edge_cl.bench.unknown_rules import DEFAULT, RULES, Taught
from edge_cl.commands.output import progress_bar
from edge_cl.equations import softmax
from edge_cl.monitoring import Tally
from edge_cl.types import Array, Float32, Float64, Int64
from edge_cl.unknown import FALSE_REJECT_RATE, remembered

CALL = 100
BASELINE = "max_softmax"


@dataclass(frozen=True)
class Trial:
    """What one learner did with one choice of classes.

    Parameters
    ----------
    aurocs
        Per cent, by rule.
    accuracy, error_before, error_after
        Per cent: of known classes, and the expected calibration error without and with the
        temperature.
    temperature
        Of the softmax.
    false_rejects, false_accepts
        Per cent of known samples that were called unknown, and of unknown that were not.
    """

    aurocs: dict[str, float]
    accuracy: float
    error_before: float
    error_after: float
    temperature: float
    false_rejects: float
    false_accepts: float


@click.command("unknown")
@click.option("--pack", default="cifar10", show_default=True, help="Data pack.")
@click.option("--extractor", default=datasets.DEFAULT_MODEL, show_default=True, help="Extractor.")
@click.option("--strategy", default="ar1", show_default=True, help="Strategy of the learner.")
@click.option("--budget", default="1MiB", show_default=True, help="Its memory budget.")
@click.option("--taught", default=5, show_default=True, help="Classes that are taught.")
@click.option("--splits", default=3, show_default=True, help="Choices of these classes.")
@click.option(
    "--samples", multiple=True, type=int, default=(0, 20), show_default=True,
    help="Samples taught of each class; 0 is all there are.",
)  # fmt: skip
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for the report."
)
def unknown(
    pack: str, extractor: str, strategy: str, budget: str, taught: int, splits: int,
    samples: tuple[int, ...], output: Path | None,
) -> None:  # fmt: skip
    """Teach some classes of a pack, two after two, and ask about all of them."""
    dataset = datasets.latents(pack, extractor)
    trials: dict[int, list[Trial]] = {}
    with progress_bar(f"{pack}: splits", splits * len(samples)) as advance:
        for count in samples:
            trials[count] = []
            for split in range(splits):
                learner, known = teach(dataset, strategy, budget, taught, count, split)
                trials[count].append(trial(learner, dataset, known))
                advance(1)
    report = as_report(pack, extractor, strategy, budget, taught, trials)
    click.echo(report.markdown())
    if output is not None:
        report.write(output)


def teach(
    dataset: Dataset, strategy: str, budget: str, taught: int, count: int, split: int
) -> tuple[Learner, Int64]:
    """A learner of some classes, two after two, and which these are."""
    rng = np.random.default_rng(split)
    known = rng.permutation(dataset.classes)[:taught]
    learner = Learner.create(strategy=strategy, spec=dataset.spec, memory_budget=budget, seed=split)
    for start in range(0, taught, 2):
        pool = [
            rng.permutation(np.flatnonzero(dataset.train_classes == c))[: count or None]
            for c in known[start : start + 2]
        ]
        rows = rng.permutation(np.concatenate(pool))
        for first in range(0, len(rows), CALL):
            part = rows[first : first + CALL]
            labels = [dataset.labels[c] for c in dataset.train_classes[part]]
            learner.learn_latents(dataset.train[part], labels, ids=part.tolist())
    return learner, known


def trial(learner: Learner, dataset: Dataset, known: Int64) -> Trial:
    """Ask about all test samples."""
    published = learner.publish()
    strategy, calibration = published.strategy, published.calibration
    taught = Taught(calibration, remembered(learner._strategy))
    is_known = np.isin(dataset.test_classes, known)
    latents = strategy.normalise(dataset.test_latents())
    scores = strategy.scores(latents)
    aurocs = {
        name: auroc(rule(taught, latents, scores), is_known)
        for name, rule in RULES.items()
        if len(taught.exemplars) or name in ("max_softmax", "max_logit", "energy", DEFAULT)
    }
    numbers = {label: number for number, label in enumerate(published.labels)}
    classes = np.array([numbers.get(dataset.labels[c], -1) for c in dataset.test_classes])
    unlike = calibration.typicality(latents, scores) <= FALSE_REJECT_RATE
    own, right = scores[is_known], classes[is_known]
    return Trial(
        aurocs,
        100 * float(np.mean(own.argmax(axis=1) == right)),
        100 * calibration_error(softmax(own), right),
        100 * calibration_error(softmax(own, calibration.temperature), right),
        calibration.temperature,
        100 * float(np.mean(unlike[is_known])),
        100 * float(np.mean(~unlike[~is_known])),
    )


def auroc(values: Float64, positive: Array) -> float:
    """Per cent of pairs in which the positive has the larger value; ties count half."""
    below = np.sort(values[~positive])
    less = np.searchsorted(below, values[positive], side="left")
    equal = np.searchsorted(below, values[positive], side="right") - less
    return 100 * float(np.mean((less + equal / 2) / len(below)))


def calibration_error(probabilities: Float32, classes: Int64) -> float:
    """Expected calibration error, as a learner that serves counts it."""
    tally = Tally()
    for row, cls in zip(probabilities, classes, strict=True):
        tally.add(str(cls), str(row.argmax()), float(row.max()))
    return tally.calibration_error() or 0.0


def as_report(
    pack: str, extractor: str, strategy: str, budget: str, taught: int,
    trials: dict[int, list[Trial]],
) -> Report:  # fmt: skip
    """One row a rule, then one a figure; one column a number of samples."""
    rules = [name for name in RULES if all(name in t.aurocs for ts in trials.values() for t in ts)]
    table: list[list[object]] = [
        [f"AUROC, {name}", *(_spread([t.aurocs[name] for t in ts]) for ts in trials.values())]
        for name in rules
    ]
    gains = [[t.aurocs[DEFAULT] - t.aurocs[BASELINE] for t in ts] for ts in trials.values()]
    table.append([f"{DEFAULT} over {BASELINE}, points", *map(_spread, gains)])
    figures: dict[str, str] = {
        "accuracy": "accuracy on the taught classes, %",
        "error_before": "expected calibration error at temperature 1, %",
        "error_after": "expected calibration error as served, %",
        "temperature": "temperature as served",
        "false_rejects": f"called unknown though taught, %, at a rate of {FALSE_REJECT_RATE:.0%}",
        "false_accepts": "called known though never taught, %",
    }
    for field, title in figures.items():
        table.append([title, *(_spread([getattr(t, field) for t in ts]) for ts in trials.values())])
    return Report(
        command=" ".join(["edge-cl", *sys.argv[1:]]),
        name=f"unknown-{pack}-{strategy}",
        title=f"What was never taught, among {pack} latents of {extractor}",
        columns=["", *(f"{count:,} a class" if count else "all samples" for count in trials)],
        rows=table,
        figures={"trials": _figures(trials)},
        notes=[
            f"Strategy {strategy} within {budget}; {taught} classes are taught, two after two, "
            "each sample once; then all test samples are asked. Mean ± standard deviation over "
            f"{len(next(iter(trials.values())))} choices of the classes. AUROC in per cent, of "
            "taught against never taught classes. "
            f"{DEFAULT} is what learners use (docs/unknown.md).",
        ],
    )


def _figures(trials: dict[int, list[Trial]]) -> dict[str, list[dict[str, Any]]]:
    return {str(count or "all"): [vars(t) for t in ts] for count, ts in trials.items()}


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f} ± {np.std(values):.2f}"
