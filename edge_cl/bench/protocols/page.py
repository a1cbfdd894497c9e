"""A protocol's runs as one Markdown page: measured beside published."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from statistics import mean, stdev
from types import ModuleType
from typing import Any

from edge_cl.bench.protocols.van_de_ven import Row

COLUMNS = ("row", "strategy", "published", "must be", "measured", "runs", "forgetting", "bytes")


def write_page(folder: Path, protocol: str, module: ModuleType) -> Path | None:
    """Write ``folder/protocol.md`` from the runs in ``folder/protocol``; None without any.

    Parameters
    ----------
    folder
        Where the protocol's folder of JSON files is.
    protocol, module
        Its name and the module, whose docstring and `ROWS` the page repeats.
    """
    runs = [json.loads(path.read_text()) for path in sorted((folder / protocol).glob("*-*.json"))]
    if not runs:
        return None
    path = folder / f"{protocol}.md"
    path.write_text(page(protocol, module, runs), encoding="utf-8")
    return path


def page(protocol: str, module: ModuleType, runs: list[dict[str, Any]]) -> str:
    """The page of these `runs`, of which each JSON file holds one."""
    about = (inspect.getdoc(module) or "").partition("\n\nReferences")
    title, _, text = about[0].partition("\n\n")
    lines = [f"# {title.rstrip('.')}", "", text, "", _line(COLUMNS), _line(["---"] * len(COLUMNS))]
    for method, row in module.ROWS.items():
        own = [run for run in runs if run["method"] == method]
        lines += [_line(cells(method, row, own))] if own else []
    dates = sorted({str(run["date"]) for run in runs})
    machines = sorted({", ".join(f"{k} {v}" for k, v in run["machine"].items()) for run in runs})
    lines += [
        "",
        "Accuracies in per cent, mean ± standard deviation over the runs, one a seed.",
        f"Made by `python -m edge_cl.bench.protocols {protocol}` ({', '.join(dates)}); every",
        f"run's own command is in its JSON file in [{protocol}/]({protocol}/).",
        f"On: {'; '.join(machines)}.",
        "",
        "References: " + " ".join(about[2].replace("-" * 10, "").split()),
    ]
    return "\n".join(lines) + "\n"


def cells(method: str, row: Row, runs: list[dict[str, Any]]) -> list[str]:
    """One line of the table: a row of the protocol and all its runs."""
    accuracies = [100 * float(run["accuracy"]) for run in runs]
    asked = (row.lowest, row.highest) != (0.0, 100.0)
    is_met = row.lowest <= mean(accuracies) <= row.highest
    lost = [100 * float(run["forgetting"]) for run in runs if "forgetting" in run]
    return [
        method,
        row.strategy,
        f"{row.published:g}" if row.published is not None else "",
        f"{row.lowest:g} to {row.highest:g}" if asked else "",
        _spread(accuracies) + (" ✓" if asked and is_met else " ✗" if asked else ""),
        str(len(runs)),
        _spread(lost) if lost else "",
        f"{max(int(run['state_bytes']) for run in runs):,}",
    ]


def _spread(values: list[float]) -> str:
    return f"{mean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
