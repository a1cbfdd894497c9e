"""Runs of a grid, brought together: one row for a strategy, scenario and budget."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from edge_cl.budget import parse_bytes
from edge_cl.errors import EdgeCLError

Record = Mapping[str, Any]
Naming = Callable[[Record], str]
"""What a run's row is called, from its settings."""
PERCENTAGES = (
    "accuracy",
    "forgetting",
    "backward_transfer",
    "forward_transfer",
    "any_time",
)
"""Figures that are shown in per cent, in the order of the table."""


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over orders; the latter is None of a single one.

    >>> str(Spread.of([0.5, 0.7], 100))
    '60.0 ± 14.1'
    """

    mean: float
    deviation: float | None

    @staticmethod
    def of(values: Sequence[float], factor: float = 1.0) -> Spread:
        """Of `values` times `factor`."""
        scaled = [factor * value for value in values]
        return Spread(mean(scaled), stdev(scaled) if len(scaled) > 1 else None)

    def __str__(self) -> str:
        centre = f"{self.mean:.1f}"
        return centre if self.deviation is None else f"{centre} ± {self.deviation:.1f}"


@dataclass(frozen=True)
class Row:
    """What one strategy did in one scenario inside one budget.

    Parameters
    ----------
    strategy, scenario, budget
        By name.
    runs
        Records that came to an end, one an order.
    refusals
        Reasons of those that did not.
    """

    strategy: str
    scenario: str
    budget: str
    runs: tuple[Record, ...]
    refusals: tuple[str, ...]

    def spread(self, figure: str, factor: float = 1.0) -> Spread | None:
        """Of one figure over the orders; None where it is not defined."""
        values = [run["outcome"][figure] for run in self.runs]
        known = [value for value in values if value is not None]
        return Spread.of(known, factor) if known else None

    @property
    def accuracy(self) -> float:
        """Mean accuracy, or -1 of a strategy that could not run."""
        found = self.spread("accuracy")
        return -1.0 if found is None else found.mean

    @property
    def most_bytes(self) -> int:
        """Largest sum of the ledger in any run."""
        return max(int(run["outcome"]["most_bytes"]) for run in self.runs)

    def cells(self) -> list[str]:
        """Figures of the table, after the names."""
        shown = [self.spread(figure, 100) for figure in PERCENTAGES]
        return [
            *("" if found is None else str(found) for found in shown),
            f"{self.most_bytes:,}",
            f"{mean(run['outcome']['learn_us'] for run in self.runs):,.0f}",
            str(len(self.runs)),
        ]

    def curve(self) -> tuple[list[float], list[float]]:
        """Share of the stream in per cent and mean accuracy there, for a plot."""
        curves = [run["outcome"]["curve"] for run in self.runs]
        points = min(len(curve["seen"]) for curve in curves)
        return (
            [100 * seen / curves[0]["seen"][-1] for seen in curves[0]["seen"][:points]],
            [100 * mean(curve["accuracy"][k] for curve in curves) for k in range(points)],
        )


COLUMNS = (
    "strategy", "ACC", "forgetting", "BWT", "FWT", "any-time", "bytes", "µs/sample", "orders",
)  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """All rows of a folder of runs.

    Parameters
    ----------
    rows
        Scenario by scenario, budget by budget, best first.
    bounds
        Offline accuracies, if they were measured.
    settings
        Of the samples, shared by all runs.
    dates
        First and last day of a run.
    machine
        What they ran on.
    """

    rows: tuple[Row, ...]
    bounds: Record | None
    settings: Record
    dates: tuple[str, str]
    machine: str

    @property
    def scenarios(self) -> list[str]:
        """In the order of the rows."""
        return list(dict.fromkeys(row.scenario for row in self.rows))

    @property
    def budgets(self) -> list[str]:
        """Smallest first."""
        return sorted({row.budget for row in self.rows}, key=parse_bytes)

    def of(self, scenario: str, budget: str) -> list[Row]:
        """Rows of strategies that ran there, best first."""
        return [r for r in self.rows if (r.scenario, r.budget) == (scenario, budget) and r.runs]

    def refused(self) -> list[Row]:
        """Rows without a single run that came to an end."""
        return [row for row in self.rows if not row.runs]


SCENARIO_ORDER = ("class", "task", "domain", "bursts", "blurry", "iid")


def by_strategy(settings: Record) -> str:
    """The strategy alone."""
    return str(settings["strategy"])


def by_codec(settings: Record) -> str:
    """The strategy with the codec of its memory, and its head's hidden widths, if any."""
    options = settings["options"]
    name, codec, hidden = settings["strategy"], options.get("codec", ""), hidden_widths(options)
    return f"{name} {codec} {hidden}".rstrip()


def hidden_widths(options: Record) -> str:
    """Widths of the head's hidden layers, as in 400x400; nothing without any."""
    return "x".join(map(str, options.get("hidden") or ()))


def read_summary(folder: Path, naming: Naming = by_strategy) -> Summary:
    """The summary of a folder that ``edge-cl bench run`` filled.

    Parameters
    ----------
    folder
        Of the runs.
    naming
        Runs of the same name, scenario and budget are one row.

    Raises
    ------
    EdgeCLError
        If there is no run in it, or runs on different samples.
    """
    records = [json.loads(path.read_text(encoding="utf-8")) for path in _run_files(folder)]
    if not records:
        raise EdgeCLError(f"no runs in {folder}: make some with 'edge-cl bench run --out {folder}'")
    sources = {_source(record) for record in records}
    if len(sources) > 1:
        raise EdgeCLError(f"{folder} has runs on different samples, which one table cannot hold")
    newest = newest_runs(records, naming)
    rows = sorted(_rows(newest, naming), key=_place)
    bounds = [json.loads(path.read_text()) for path in sorted(folder.glob("bound-*.json"))]
    days = sorted(record["date"][:10] for record in newest)
    machines = sorted({", ".join(f"{k} {v}" for k, v in r["machine"].items()) for r in newest})
    return Summary(
        tuple(rows),
        bounds[0] if bounds else None,
        newest[0]["settings"],
        (days[0], days[-1]),
        "; ".join(machines),
    )


def newest_runs(records: Iterable[Record], naming: Naming = by_strategy) -> list[Record]:
    """Of several runs of the same name, scenario, budget and order, the newest.

    A strategy whose defaults have changed has runs under both.
    """
    latest: dict[tuple[Any, ...], Record] = {}
    for record in sorted(records, key=lambda record: str(record["date"])):
        settings = record["settings"]
        key = (naming(settings), *(settings[name] for name in ("scenario", "budget", "order")))
        latest[key] = record
    return list(latest.values())


def _rows(records: Iterable[Record], naming: Naming) -> list[Row]:
    groups: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in records:
        settings = record["settings"]
        groups[naming(settings), settings["scenario"], settings["budget"]].append(record)
    return [
        Row(
            *names,
            tuple(r for r in group if r["outcome"]["status"] == "done"),
            tuple(r["outcome"]["reason"] for r in group if r["outcome"]["status"] != "done"),
        )
        for names, group in groups.items()
    ]


def _place(row: Row) -> tuple[int, int, float, str]:
    return (
        SCENARIO_ORDER.index(row.scenario), parse_bytes(row.budget), -row.accuracy, row.strategy,
    )  # fmt: skip


def _source(record: Record) -> tuple[Any, ...]:
    return tuple(record["settings"][name] for name in ("pack", "extractor", "train", "test"))


def _run_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if not path.name.startswith("bound-"))
