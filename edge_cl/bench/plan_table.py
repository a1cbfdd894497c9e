"""``edge-cl bench plan-table``: the planner's table, from the committed results."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import mean, median
from typing import Any

import click

from edge_cl import strategies
from edge_cl.bench import datasets
from edge_cl.bench.summary import hidden_widths
from edge_cl.budget import parse_bytes
from edge_cl.errors import InvalidOption

TABLE = Path("edge_cl/plan_table.json")
RESULTS = Path("docs/results")
CLASSES = {"cifar10": 10, "cifar100": 100}
DIM = 512
"""Width of the latents of the extractor that the results are made with."""


@click.command("plan-table")
@click.option("--results", type=click.Path(file_okay=False, path_type=Path), default=RESULTS,
              show_default=True, help="Folder of bytes.md and strategies.json.")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=TABLE,
              show_default=True, help="The table.")  # fmt: skip
def plan_table_command(results: Path, out: Path) -> None:
    """Make the planner's table from what 'bench bytes' and 'bench report' wrote."""
    table = made_from(
        json.loads((results / "strategies.json").read_text(encoding="utf-8")),
        (results / "bytes.md").read_text(encoding="utf-8"),
    )
    rows = ",\n  ".join(json.dumps(row) for row in table.pop("rows"))
    head = json.dumps(table)[:-1]
    out.write_text(f'{head}, "rows": [\n  {rows}\n]}}\n', encoding="utf-8")
    click.echo(out)


def made_from(report: Mapping[str, Any], page: str) -> dict[str, Any]:
    """The table, of a report of strategies and a page of accuracy over bytes.

    Parameters
    ----------
    report
        What ``strategies.json`` holds: accuracy at some budgets, and the time of a sample.
    page
        ``bytes.md``: accuracy by codec, which wins where both have it.
    """
    pack, extractor = report["settings"]["pack"], report["settings"]["extractor"]
    if extractor != datasets.DEFAULT_MODEL:
        raise InvalidOption(f"the results are of {extractor}, not of {datasets.DEFAULT_MODEL}")
    accuracy: dict[tuple[str, str, str], dict[int, float]] = defaultdict(dict)
    times_ms: dict[str, list[float]] = defaultdict(list)
    for row in report["rows"]:
        if row["scenario"] == "class" and row["runs"] and is_general(row["strategy"]):
            options, runs = row["options"], row["runs"]
            head = hidden_widths(options)
            found = 100 * mean(run["accuracy"] for run in runs)
            accuracy[row["strategy"], options.get("codec", ""), head][
                parse_bytes(row["budget"])
            ] = found
            times_ms[row["strategy"]] += [run["learn_us"] / 1000 for run in runs]
    for name, codec, head, budget, found in cells(page):
        if is_general(name):
            accuracy[name, codec, head][parse_bytes(budget)] = found
    rows = [
        {
            "strategy": name,
            "options": _options(name, codec, head),
            "accuracy": [[b, round(points[b], 2)] for b in sorted(points)],
            "update_ms": round(median(times_ms[name]), 3) if times_ms[name] else None,
        }
        for (name, codec, head), points in sorted(accuracy.items())
    ]
    return {"pack": pack, "extractor": extractor, "dim": DIM, "classes": CLASSES[pack],
            "rows": rows}  # fmt: skip


def is_general(name: str) -> bool:
    """Whether a strategy can serve anybody: no contexts, no torch, no growing memory."""
    if name not in strategies.names():
        return False
    needs = strategies.find(name).needs
    return not (needs.context_to_predict or needs.history or needs.torch)


def _options(name: str, codec: str, head: str) -> dict[str, Any]:
    """What differs from the strategy's own defaults in its head, and the codec always."""
    fields = strategies.find(name).options_type.model_fields
    found: dict[str, Any] = {"codec": codec} if codec else {}
    hidden = [int(width) for width in head.split("x") if width]
    if "hidden" in fields and hidden != list(fields["hidden"].default):
        found["hidden"] = hidden
    return found


def cells(page: str) -> Iterator[tuple[str, str, str, str, float]]:
    """Strategy, codec, hidden widths, budget and accuracy of every cell of the page's table."""
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("|")]
    budgets = lines[0][3:] if lines else []
    for name, codec, head, *found in lines[2:]:
        for budget, text in zip(budgets, found, strict=False):
            number = re.match(r"\s*(\d+(?:\.\d+)?)", text)
            if number:
                yield name, codec, head, budget, float(number[1])
