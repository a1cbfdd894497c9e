"""``python -m edge_cl.bench.tiers``: what compressed chunks gain, and what they cost."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
import numpy as np

from edge_cl.bench import datasets
from edge_cl.bench.datasets import Dataset
from edge_cl.bench.report import Report
from edge_cl.budget import parse_bytes
from edge_cl.codec import make_codec
from edge_cl.memory import ReplayMemory, TieredMemory
from edge_cl.types import Batch

BATCH = 64
DRAWS = 50


@click.command("tiers")
@click.option("--pack", default="cifar10", show_default=True, help="Data pack.")
@click.option("--extractor", default=datasets.DEFAULT_MODEL, show_default=True, help="Extractor.")
@click.option("--budget", "budgets", multiple=True, default=("64KiB", "256KiB", "1MiB"))
@click.option("--codec", "names", multiple=True, default=("uint8", "uint4", "uint2"))
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for the report."
)
def tiers(
    pack: str, extractor: str, budgets: tuple[str, ...], names: tuple[str, ...], output: Path | None
) -> None:
    """Stream latents through a flat and a two-tier memory of the same bytes."""
    dataset = datasets.latents(pack, extractor, train=20_000)
    rows = [compare(name, budget, dataset) for budget in budgets for name in names]
    report = Report(
        command=" ".join(["python -m edge_cl.bench.tiers", *sys.argv[1:]]),
        name=f"tiers-{pack}",
        title=f"One tier or two, on {pack} latents of {extractor}",
        columns=["memory", "flat rows", "tiered rows", "gain", *_times()],
        rows=rows,
        figures={"rows": rows},
        notes=["Processor time; a draw is of 64 exemplars, decoded."],
    )
    click.echo(report.markdown())
    if output is not None:
        report.write(output)


def compare(name: str, budget: str, dataset: Dataset) -> list[object]:
    """One row of the table."""
    codec, allowed = make_codec(name, dataset.spec), parse_bytes(budget)
    capacity = ReplayMemory.capacity_for(allowed, codec.row_bytes, "reservoir")
    flat, tiered = ReplayMemory(codec, capacity), TieredMemory(codec, allowed)
    times = [*measured(flat, dataset), *measured(tiered, dataset)]
    gain = f"{100 * (len(tiered) / len(flat) - 1):.0f} %"
    return [f"{name}, {budget}", len(flat), len(tiered), gain, *(f"{t:.1f}" for t in times)]


def measured(memory: ReplayMemory | TieredMemory, dataset: Dataset) -> tuple[float, float]:
    """Microseconds to offer a sample to a full memory, milliseconds for a draw."""
    rng = np.random.default_rng(0)
    order, started = rng.permutation(len(dataset.train)), 0.0
    for start in range(0, len(order), BATCH):
        if start >= len(order) // 2 and not started:
            started = time.process_time()
        part = order[start : start + BATCH]
        latents = datasets.floats(dataset.train[part], dataset.spec)
        memory.add(Batch.of(latents, dataset.train_classes[part]), rng)
    offered = time.process_time()
    for _ in range(DRAWS):
        memory.sample(BATCH, rng)
    drawn = time.process_time()
    return 2e6 * (offered - started) / len(order), 1e3 * (drawn - offered) / DRAWS


def _times() -> list[str]:
    return [f"{tier}: {what}" for tier in ("flat", "tiered") for what in ("offer, µs", "draw, ms")]


if __name__ == "__main__":
    tiers()
