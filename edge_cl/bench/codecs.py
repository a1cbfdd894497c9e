"""``edge-cl bench codecs``: accuracy of exemplars at equal number and at equal bytes."""

from __future__ import annotations

import sys
import timeit
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from edge_cl.bench import datasets
from edge_cl.bench.datasets import Dataset
from edge_cl.bench.report import Report
from edge_cl.budget import format_bytes, parse_bytes
from edge_cl.codec import make_codec, names
from edge_cl.codec.chunks import pack_chunks
from edge_cl.commands.output import progress_bar
from edge_cl.equations import one_hot, power_l2
from edge_cl.memory import ReplayMemory
from edge_cl.types import Batch, Float32, Float64, Int64

RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
HELD_OUT = 2000
BATCH = 64
CHUNKED = 2048


@dataclass(frozen=True)
class Trial:
    """What one codec did.

    Parameters
    ----------
    codec
        Its name.
    size
        ``"2,000 rows"`` or a budget.
    exemplars
        Rows that were kept.
    percents
        Test accuracy in per cent, one for each order.
    error
        Root mean square error of a value, in parts of that of the latents.
    """

    codec: str
    size: str
    exemplars: int
    percents: tuple[float, ...]
    error: float

    def __str__(self) -> str:
        return f"{np.mean(self.percents):.2f} ± {np.std(self.percents):.2f}"


@click.command("codecs")
@click.option("--pack", default="cifar10", show_default=True, help="Data pack.")
@click.option("--extractor", default=datasets.DEFAULT_MODEL, show_default=True, help="Extractor.")
@click.option("--rows", default=2000, show_default=True, help="Exemplars, where these are equal.")
@click.option("--budget", "budgets", multiple=True, default=("64KiB", "256KiB", "1MiB"))
@click.option("--orders", default=3, show_default=True, help="Random orders of the stream.")
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for the report."
)
def codecs(
    pack: str, extractor: str, rows: int, budgets: tuple[str, ...], orders: int, output: Path | None
) -> None:
    """Keep exemplars in every codec, decode them, and fit a ridge regression to them."""
    dataset = datasets.latents(pack, extractor)
    sizes = {f"{rows:,} rows": rows, **{text: parse_bytes(text) for text in budgets}}
    trials = []
    with progress_bar(f"{pack}: codecs", len(names()) * len(sizes)) as advance:
        for size, amount in sizes.items():
            for name in names():
                fixed = size.endswith("rows")
                kept = amount if fixed else affordable(name, dataset, amount)
                trials.append(trial(name, size, kept, dataset, orders))
                advance(1)
    report = as_report(pack, extractor, trials, list(sizes), dataset)
    click.echo(report.markdown())
    if output is not None:
        report.write(output)


def affordable(name: str, dataset: Dataset, budget_bytes: int) -> int:
    """Exemplars that fit into `budget_bytes`, beside what the codec itself keeps."""
    codec = make_codec(name, dataset.spec)
    room = budget_bytes - codec.ledger_bytes()
    capacity = ReplayMemory.capacity_for(room, codec.row_bytes, "reservoir")
    return min(capacity, len(dataset.train) - HELD_OUT)


def trial(name: str, size: str, kept: int, dataset: Dataset, orders: int) -> Trial:
    """Accuracy of `kept` exemplars of a class-balanced random stream, in several orders."""
    percents, errors = [], []
    for order in range(orders if kept else 0):
        rng = np.random.default_rng(order)
        held_out, stream = np.split(rng.permutation(len(dataset.train)), [HELD_OUT])
        rows = stream[:kept]
        mem = ReplayMemory(make_codec(name, dataset.spec), kept)
        for start in range(0, kept, BATCH):
            part = rows[start : start + BATCH]
            latents = datasets.floats(dataset.train[part], dataset.spec)
            mem.add(Batch.of(latents, dataset.train_classes[part]), rng)
        exemplars = mem.all()
        latents = datasets.floats(dataset.train[rows], dataset.spec)
        errors.append(
            float(np.sqrt(np.mean((exemplars.latents - latents) ** 2) / np.mean(latents**2)))
        )
        choice = datasets.floats(dataset.train[held_out], dataset.spec)
        percents.append(
            ridge_percent(
                exemplars,
                (choice, dataset.train_classes[held_out]),
                (dataset.test_latents(), dataset.test_classes),
            )
        )
    return Trial(name, size, kept, tuple(percents), float(np.mean(errors or [np.nan])))


def ridge_percent(
    exemplars: Batch, choice: tuple[Float32, Int64], test: tuple[Float32, Int64]
) -> float:
    """Test accuracy of a ridge regression on power-normalised latents; strength by `choice`."""
    latents = power_l2(exemplars.latents).astype(np.float64)
    targets = one_hot(exemplars.classes, int(max(test[1].max(), exemplars.classes.max())) + 1)
    centre, level = latents.mean(axis=0), targets.mean(axis=0)
    values, axes = np.linalg.eigh((latents - centre).T @ (latents - centre))
    moment = axes.T @ ((latents - centre).T @ (targets - level))
    fits = [axes @ (moment / (values + ridge)[:, None]) for ridge in RIDGES]

    def percent(weights: Float64, latents: Float32, classes: Int64) -> float:
        scores = power_l2(latents) @ weights + (level - centre @ weights)
        return 100 * float(np.mean(scores.argmax(axis=1) == classes))

    return percent(max(fits, key=lambda weights: percent(weights, *choice)), *test)


def costs(name: str, dataset: Dataset) -> tuple[int, float]:
    """Bytes a latent in compressed chunks, and microseconds to decode one of a batch of 64."""
    rows = np.random.default_rng(0).permutation(len(dataset.train))[:CHUNKED]
    latents = datasets.floats(dataset.train[rows], dataset.spec)
    codec = make_codec(name, dataset.spec)
    if not codec.fitted:
        codec = codec.widened(latents)
    codes = codec.encode(latents)
    decode_s = min(timeit.repeat(lambda: codec.decode(codes[:BATCH]), repeat=200, number=1))
    return round(len(pack_chunks(codes)) / len(codes)), 1e6 * decode_s / BATCH


def as_report(
    pack: str, extractor: str, trials: list[Trial], sizes: list[str], dataset: Dataset
) -> Report:
    """One row a codec, one column a size."""
    table = []
    for name in names():
        codec = make_codec(name, dataset.spec)
        own = [t for t in trials if t.codec == name]
        cells: list[object] = [name, codec.row_bytes, format_bytes(codec.ledger_bytes())]
        chunked, decode_us = costs(name, dataset)
        cells += [chunked, f"{decode_us:.1f}", f"{100 * own[0].error:.1f} %"]
        cells += [f"{t} ({t.exemplars:,})" if t.percents else "does not fit" for t in own]
        table.append(cells)
    return Report(
        command=" ".join(["python -m edge_cl.bench.codecs", *sys.argv[1:]]),
        name=f"codecs-{pack}",
        title=f"Codecs on {pack} latents of {extractor}",
        columns=[
            "codec",
            "bytes a latent",
            "bytes of the codec",
            "in chunks",
            "decode, µs",
            "error",
            *sizes,
        ],
        rows=table,
        figures={"trials": [vars(t) for t in trials]},
        notes=[
            "Test accuracy in per cent, mean ± standard deviation over orders, of a ridge "
            "regression on the decoded exemplars (their number in brackets); error is the root "
            "mean square error of a value relative to that of the latents; in chunks: bytes a "
            "latent of 256 rows, column by column, under Zstandard level 3; decode: shortest "
            "time of one latent of a batch of 64.",
        ],
    )


if __name__ == "__main__":
    codecs()
