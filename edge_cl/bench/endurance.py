"""``edge-cl bench endurance``: a long life in few bytes, at the same cost from day to day.

Classes appear one after the other in the first tenth of the stream; from then on every
sample is of any class. The ledger is read after every call, the processor time and the
resident memory in blocks.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import click
import numpy as np

from edge_cl import Learner, strategies
from edge_cl.bench.process_memory import usage
from edge_cl.bench.report import Report
from edge_cl.budget import parse_bytes
from edge_cl.types import Float32, Int64

CALL_SAMPLES = 50
BLOCKS = 100
WARM_UP = 0.1
"""Part of the stream in which the classes appear, and the memory fills."""


@dataclass(frozen=True)
class Endurance:
    """What a long stream showed.

    Parameters
    ----------
    samples, classes
        Of the stream.
    budget_bytes, most_bytes
        What the learner might take, and the most that it ever took.
    calls_over
        Calls after which it took more than its budget.
    first_us, last_us
        Processor time for a sample: median of the blocks of the first and of the last
        tenth after the warm-up.
    growth
        Cost of a sample late in the stream, as a multiple of the cost early in it: each
        block's as a multiple of a fixed piece of work that is timed beside it, since other
        programs on the machine slow both.
    publish_ms
        Median processor time to settle and publish.
    rss_bytes, rss_slope_bytes
        Resident memory at the end; and how much it grew with every 1,000 samples after
        the warm-up, by least squares.
    accuracy
        On samples that were not learned, at the end.
    """

    samples: int
    classes: int
    budget_bytes: int
    most_bytes: int
    calls_over: int
    first_us: float
    last_us: float
    growth: float
    publish_ms: float
    rss_bytes: int
    rss_slope_bytes: float
    accuracy: float


class Clusters:
    """Synthetic latents: a cluster for each class, from a seed."""

    def __init__(self, classes: int, dim: int, seed: int) -> None:
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self.centres = self._rng.normal(0, 1, (classes, dim)).astype(np.float32)
        self.names = [f"class {c}" for c in range(classes)]

    def draw(self, classes: Int64) -> Float32:
        """One latent of each of `classes`."""
        noise = self._rng.normal(0, 0.5, (len(classes), self.centres.shape[1]))
        return np.asarray(self.centres[classes] + noise, dtype=np.float32)

    def stream(self, samples: int) -> Iterator[Int64]:
        """Classes of the samples of each call."""
        count, warm = len(self.names), int(samples * WARM_UP)
        for start in range(0, samples, CALL_SAMPLES):
            numbers = np.arange(start, min(start + CALL_SAMPLES, samples))
            later = self._rng.integers(0, count, len(numbers))
            yield np.where(numbers < warm, numbers * count // max(warm, 1), later)


def endure(
    learner: Learner, clusters: Clusters, samples: int, minutes: float = math.inf
) -> Endurance:
    """Let `learner` learn a stream, and watch it; the stream is cut after so many minutes."""
    until = time.monotonic() + 60 * minutes
    per_block = max(samples // BLOCKS // CALL_SAMPLES, 1)
    costs_us: list[float] = []
    relative: list[float] = []
    work_us: list[float] = []
    publish_ms: list[float] = []
    rss: list[int] = []
    most = over = block_samples = 0
    spent_s = 0.0
    for number, classes in enumerate(clusters.stream(samples), 1):
        latents, names = clusters.draw(classes), [clusters.names[c] for c in classes]
        begun = time.process_time()
        learner.learn_latents(latents, names)
        spent_s += time.process_time() - begun
        block_samples += len(classes)
        work_us.append(fixed_work_us())
        used = sum(learner.ledger().values())
        most, over = max(most, used), over + (used > learner.memory_budget)
        if number % per_block == 0:
            costs_us.append(1e6 * spent_s / block_samples)
            relative.append(costs_us[-1] / median(work_us))
            work_us.clear()
            rss.append(usage(os.getpid()).rss_bytes)
            begun = time.process_time()
            learner.publish()
            publish_ms.append(1e3 * (time.process_time() - begun))
            spent_s, block_samples = 0.0, 0
            if time.monotonic() > until:
                break
    warm = int(samples // CALL_SAMPLES // per_block * WARM_UP)
    tenth = max((len(costs_us) - warm) // 10, 1)
    thousands = np.arange(len(rss) - warm) * per_block * CALL_SAMPLES / 1000
    asked = np.arange(len(clusters.names))
    found = learner.predict_latents(clusters.draw(asked))
    right = [one.label == name for one, name in zip(found, clusters.names, strict=True)]
    return Endurance(
        samples=learner.samples_seen,
        classes=len(clusters.names),
        budget_bytes=learner.memory_budget,
        most_bytes=most,
        calls_over=over,
        first_us=median(costs_us[warm : warm + tenth]),
        last_us=median(costs_us[-tenth:]),
        growth=median(relative[-tenth:]) / median(relative[warm : warm + tenth]),
        publish_ms=median(publish_ms),
        rss_bytes=rss[-1],
        rss_slope_bytes=float(np.polyfit(thousands, rss[warm:], 1)[0]),
        accuracy=float(np.mean(right)),
    )


def fixed_work_us() -> float:
    """Processor time of a piece of work that is always the same, and like learning."""
    rng, row = np.random.Generator(np.random.PCG64(1)), np.ones(64, dtype=np.float32)
    begun = time.process_time()
    for _ in range(50):
        row = row * np.float32(0.5) + np.float32(rng.integers(4))
    return 1e6 * (time.process_time() - begun)


@click.command("endurance")
@click.option("--samples", type=click.IntRange(min=5_000), default=1_000_000, show_default=True)
@click.option("--classes", type=click.IntRange(1, 60_000), default=1_000, show_default=True)
@click.option("--budget", default="1MiB", show_default=True, help="Memory budget.")
@click.option("--dim", type=click.IntRange(1, 65_536), default=32, show_default=True)
@click.option(
    "--strategy", type=click.Choice(strategies.names()), default="slda_replay", show_default=True
)
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    default=math.inf,
    help="Cut the stream after this time.",
)
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for the report."
)
def endurance(
    samples: int, classes: int, budget: str, dim: int, strategy: str, minutes: float, seed: int,
    output: Path | None,
) -> int:  # fmt: skip
    """Stream samples through a small learner: bytes, cost of a sample, resident memory."""
    learner = Learner.create(
        strategy=strategy, dim=dim, memory_budget=parse_bytes(budget), seed=seed
    )
    found = endure(learner, Clusters(classes, dim, seed), samples, minutes)
    report = reported(found, strategy, dim)
    click.echo(report.markdown())
    if output is not None:
        report.write(output)
    return int(found.calls_over > 0 or found.growth > 1.1)


def reported(found: Endurance, strategy: str, dim: int) -> Report:
    """The report of one run."""
    ratio = f"{found.growth:.3f}"
    return Report(
        name="endurance",
        title=f"{found.samples:,} samples of {found.classes:,} classes through {strategy}",
        columns=["what", "measured", "wanted"],
        rows=[
            ["most bytes ever held", f"{found.most_bytes:,}", f"at most {found.budget_bytes:,}"],
            ["calls after which it was more", found.calls_over, 0],
            ["cost of a sample, first tenth, µs", f"{found.first_us:.1f}", ""],
            ["cost of a sample, last tenth, µs", f"{found.last_us:.1f}", ""],
            ["last over first, beside a fixed piece of work", ratio, "at most 1.1"],
            ["to settle and publish, ms", f"{found.publish_ms:.1f}", ""],
            ["resident memory at the end, MB", f"{found.rss_bytes / 1e6:.1f}", ""],
            ["its growth, bytes for 1,000 samples", f"{found.rss_slope_bytes:.1f}", "about 0"],
            ["accuracy on unseen samples, %", f"{100 * found.accuracy:.1f}", ""],
        ],
        figures={**asdict(found), "strategy": strategy, "dim": dim},
        notes=[
            f"Latents of {dim} values, {CALL_SAMPLES} in a call. All classes appear within the "
            "first tenth of the stream, which counts as warming up. Processor time, medians of "
            "blocks of a hundredth of the stream; for the growth, each block's as a multiple of "
            "a fixed piece of work that is timed in it, since other programs slow both."
        ],
    )
