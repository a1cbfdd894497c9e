"""``edge-cl demo``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from edge_cl.bench.percentiles import percentile
from edge_cl.budget import format_bytes
from edge_cl.commands import exits
from edge_cl.commands.output import print_json, print_table, working
from edge_cl.demo.images import find_images
from edge_cl.demo.story import Outcome, tell
from edge_cl.demo.view import view_of


@click.command()
@click.option(
    "--images",
    "pack",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A pack of images; else CIFAR-10 if it is at hand, else handwritten digits.",
)
@click.option("--per-class", default=90, show_default=True, help="Images to teach of each class.")
@click.option("--test-per-class", default=30, show_default=True, help="Images to test with.")
@click.option("--budget", default="1MiB", show_default=True, help="Memory budget of the learner.")
@click.option("--strategy", default="auto", show_default=True, help="Strategy of the learner.")
@click.option("--extractor", default="default", show_default=True, help="Extractor.")
@click.option("--json", "as_json", is_flag=True, help="Write the outcome as JSON too.")
def demo(
    pack: Path | None,
    per_class: int,
    test_per_class: int,
    budget: str,
    strategy: str,
    extractor: str,
    as_json: bool,
) -> int:
    """Watch three simulated devices teach a real service, class after class.

    Half-way the service is killed with kill -9 and started again; at the end
    every acknowledged sample must still be there.
    """
    with working("reading the images"):
        images = find_images(pack).part(per_class, test_per_class)
    settings: dict[str, object] = {
        "memory_budget": budget,
        "strategy": strategy,
        "extractor": extractor,
    }
    with tempfile.TemporaryDirectory(prefix="edge-cl-demo-") as folder:
        outcome = tell(images, Path(folder), settings, view_of(images.labels))
    _print(outcome)
    if as_json:
        print_json({**vars(outcome), "mean_accuracy": outcome.mean_accuracy})
    whole = outcome.lost == 0 and outcome.stored == outcome.acknowledged
    return exits.OK if whole else exits.FAILED


def _print(outcome: Outcome) -> None:
    rows = [
        ("accuracy, mean over the classes", f"{outcome.mean_accuracy:.3f}"),
        ("samples acknowledged", outcome.acknowledged),
        ("samples in the service", outcome.stored),
        ("acknowledged samples lost", outcome.lost),
        ("kill -9 until ready again", f"{outcome.restart_s:.1f} s"),
        ("teach, p50 / p99", _percentiles(outcome.teach_ms)),
        ("predict, p50 / p99", _percentiles(outcome.predict_ms)),
        ("bytes used / budget", _used(outcome)),
        ("whole demo", f"{outcome.seconds:.0f} s"),
    ]
    print_table("what came out", ["", "figure"], rows)
    parts = sorted(outcome.bytes_by_part.items(), key=lambda item: -item[1])
    rows_of_parts = [(part, part_bytes) for part, part_bytes in parts if part_bytes]
    print_table("memory of the learner", ["part", "bytes"], rows_of_parts)


def _percentiles(waits_ms: list[float]) -> str:
    return f"{percentile(waits_ms, 50):.0f} / {percentile(waits_ms, 99):.0f} ms"


def _used(outcome: Outcome) -> str:
    used = sum(outcome.bytes_by_part.values())
    return f"{format_bytes(used)} / {format_bytes(outcome.budget_bytes)}"
