"""``edge-cl bench memory``: resident memory and ledger of a real service."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from edge_cl.bench.process_memory import MB, Usage, Watch, watch_idle
from edge_cl.bench.report import Report
from edge_cl.client import Client
from edge_cl.commands import exits
from edge_cl.commands.concurrency import bounded_map
from edge_cl.commands.output import print_json, print_table, progress_bar, working
from edge_cl.demo.images import find_images
from edge_cl.local_service import LocalService

IDLE_S = 3.0
LATENT_CLASSES = 20


@dataclass(frozen=True)
class LedgerRun:
    """What the ledger said while latents were taught.

    Parameters
    ----------
    samples
        Latents taught.
    budget_bytes
        What the learner may take.
    most_bytes
        The largest sum that the ledger gave.
    checks
        How often it was asked.
    """

    samples: int
    budget_bytes: int
    most_bytes: int
    checks: int


@click.command("memory")
@click.option("--budget", default="8MiB", show_default=True, help="Memory budget of the learner.")
@click.option("--strategy", default="ar1", show_default=True, help="Strategy of the learner.")
@click.option("--extractor", default="default", show_default=True, help="Extractor.")
@click.option("--images", default=600, show_default=True, help="Images to teach.")
@click.option("--latents", default=20_000, show_default=True, help="Latents to teach.")
@click.option(
    "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for the report."
)
@click.option("--json", "as_json", is_flag=True, help="Write the figures as JSON.")
def memory(
    budget: str,
    strategy: str,
    extractor: str,
    images: int,
    latents: int,
    output: Path | None,
    as_json: bool,
) -> int:
    """Measure the memory of a real service: idle, while learning, and by its own ledger.

    Leaves with exit code 1 if the ledger was ever above the budget.
    """
    settings = {"memory_budget": budget, "strategy": strategy, "extractor": extractor}
    with tempfile.TemporaryDirectory(prefix="edge-cl-memory-") as folder:
        report, ledger = _measure(Path(folder), settings, images, latents)
    if as_json:
        print_json(report.figures)
    else:
        print_table(report.title, report.columns, report.rows)
    if output is not None:
        report.write(output)
    return exits.OK if ledger.most_bytes <= ledger.budget_bytes else exits.PARTLY_FAILED


def _measure(
    folder: Path, settings: Mapping[str, object], images: int, latents: int
) -> tuple[Report, LedgerRun]:
    with working("reading the images"):
        encoded = _images(images)
    phases: dict[str, Usage] = {}
    with LocalService(folder, settings) as service, Client(service.url) as client:
        phases["idle after the start"] = _idle(service.pid)
        client.predict(encoded[0][1])
        phases["idle after one prediction"] = _idle(service.pid)
        with Watch(service.pid) as watch:
            _teach_images(client, encoded)
        phases[f"learning {len(encoded)} images, median"] = watch.median_bytes
        phases[f"learning {len(encoded)} images, most"] = watch.most_bytes
        with Watch(service.pid) as watch:
            ledger = _teach_latents(client, latents)
        phases[f"learning {latents:,} latents, median"] = watch.median_bytes
        phases[f"learning {latents:,} latents, most"] = watch.most_bytes
        phases["idle afterwards"] = _idle(service.pid)
    return _report(settings, phases, ledger), ledger


def _idle(pid: int) -> Usage:
    with working("reading the memory of the idle service"):
        return watch_idle(pid, IDLE_S).median_bytes


def _images(count: int) -> list[tuple[str, bytes]]:
    found = find_images()
    per_class = -(-count // len(found.labels))
    part = found.part(per_class, 0)
    return [(label, image) for label in part.labels for image in part.train[label]][:count]


def _teach_images(client: Client, images: list[tuple[str, bytes]]) -> None:
    with progress_bar("teaching images", len(images)) as advance:
        for _ in bounded_map(lambda one: client.teach(one[1], one[0]), images, at_once=4):
            advance()


def _teach_latents(client: Client, count: int) -> LedgerRun:
    state = client.state()
    budget_bytes, dim = int(state["memory_budget"]), int(state["dim"])
    most_bytes = checks = 0
    with progress_bar("teaching latents", count) as advance:
        for codes, labels in _latent_batches(count, dim):
            client.teach_latents(codes, labels)
            most_bytes = max(most_bytes, sum(client.state()["memory"].values()))
            checks += 1
            advance(len(labels))
    return LedgerRun(count, budget_bytes, most_bytes, checks)


def _latent_batches(
    count: int, dim: int, batch: int = 100
) -> Iterator[tuple[npt.NDArray[np.uint8], list[str]]]:
    """Codes around one centre a class, class after class."""
    rng = np.random.default_rng(0)
    centres = rng.gamma(1.0, 40.0, (LATENT_CLASSES, dim))
    for first in range(0, count, batch):
        rows = np.arange(first, min(first + batch, count))
        classes = rows * LATENT_CLASSES // count
        codes = centres[classes] + rng.normal(0, 20, (len(rows), dim))
        yield np.clip(codes, 0, 255).astype(np.uint8), [f"latent {c}" for c in classes]


def _report(settings: Mapping[str, object], phases: dict[str, Usage], ledger: LedgerRun) -> Report:
    rows: list[tuple[object, ...]] = [
        (phase, f"{used.rss_bytes / MB:.1f} MB", f"{used.pss_bytes / MB:.1f} MB")
        for phase, used in phases.items()
    ]
    notes = [
        f"Over {ledger.samples:,} latents the ledger was read {ledger.checks} times; the largest "
        f"sum was {ledger.most_bytes:,} bytes of a budget of {ledger.budget_bytes:,}."
    ]
    rows.append(("ledger, most", f"{ledger.most_bytes / MB:.3f} MB", ""))
    rows.append(("budget", f"{ledger.budget_bytes / MB:.3f} MB", ""))
    figures = {
        "settings": dict(settings),
        "phases": {phase: vars(used) for phase, used in phases.items()},
        "ledger": vars(ledger),
    }
    return Report("memory", "Memory of the service", ["phase", "RSS", "PSS"], rows, figures, notes)
