"""``edge-cl bench overview``: the page of all strategies, from their own words and the results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import click

from edge_cl import strategies
from edge_cl.bench.summary import SCENARIO_ORDER, Spread

RESULTS = Path("docs/results/strategies.json")
LAYERS = Path("docs/results/replay_layer.json")
PAGES = Path("docs/strategies")
NEEDS = {
    "boundaries": "ends of experiences",
    "context_to_predict": "the context to predict",
    "second_pass": "a second pass",
    "history": "every sample",
    "hidden_layer": "a hidden layer",
    "torch": "torch",
    "tail": "a replay layer below the last",
}


@click.command("overview")
@click.option("--results", type=click.Path(dir_okay=False, path_type=Path), default=RESULTS,
              show_default=True, help="What 'edge-cl bench report' wrote.")  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=PAGES,
              show_default=True, help="Folder of the strategies' pages.")  # fmt: skip
def overview_command(results: Path, out: Path) -> None:
    """Write the page that lists every strategy with its measured row."""
    found = json.loads(results.read_text(encoding="utf-8"))
    path = out / "README.md"
    path.write_text(overview(found), encoding="utf-8")
    click.echo(path)


def overview(results: Mapping[str, Any]) -> str:
    """The page."""
    rows = results["rows"]
    scenarios = [s for s in SCENARIO_ORDER if any(row["scenario"] == s for row in rows)]
    budgets = list(dict.fromkeys(row["budget"] for row in rows))
    settings = results["settings"]
    lines = ["# Strategies", ""]
    lines += [
        f"Final accuracy in per cent on {settings['pack']} latents "
        f"({settings['train'] or 'all'} samples, each once; mean ± standard deviation over "
        f"orders), at {' / '.join(budgets)}: – is a budget or a stream that the strategy cannot "
        "run in. µs is the processor time of learning one sample. forgets: whether a sample "
        "taken out leaves nothing; not: whether it learns what a sample is not "
        "([correcting](../api.md#correcting)). All figures, and what the "
        "columns mean: [results](../results/strategies.md); of strategies that need a replay "
        "layer below the last, whose latents are others: "
        "[by layer](../results/replay_layer.md). Made by `edge-cl bench overview`.",
        "",
    ]
    lines += [_line(("strategy", "what it does", "needs", "forgets", "not", *scenarios, "µs"))]
    lines += [_line((*["---"] * 5, *["--:"] * (len(scenarios) + 1)))]
    for name in strategies.names():
        lines.append(_line((*_words(name), *_figures(name, rows, scenarios, budgets))))
    return "\n".join(lines) + "\n"


def measured(results: Mapping[str, Any], layers: Mapping[str, Any]) -> set[str]:
    """Names of the strategies with a run that came to an end, here or by replay layer."""
    by_layer = {row["strategy"] for row in layers["rows"] if row["orders"]}
    return by_layer | {row["strategy"] for row in results["rows"] if row["runs"]}


def _words(name: str) -> tuple[str, ...]:
    described = strategies.describe(name)
    needs = ", ".join(NEEDS[need] for need, holds in described["needs"].items() if holds)
    corrections = described["corrections"]
    denials = "yes" if corrections["denials"] else "–"
    summary = described["summary"].replace("|", "/")
    return f"[{name}]({name}.md)", summary, needs or "–", corrections["forgetting"], denials


def _figures(
    name: str, rows: list[dict[str, Any]], scenarios: list[str], budgets: list[str]
) -> list[str]:
    own = {(row["scenario"], row["budget"]): row["runs"] for row in rows if row["strategy"] == name}
    cells = []
    for scenario in scenarios:
        found = [own.get((scenario, budget), []) for budget in budgets]
        shown = [
            str(Spread.of([run["accuracy"] for run in runs], 100)) if runs else "–"
            for runs in found
        ]
        cells.append(" / ".join(shown))
    times = [run["learn_us"] for runs in own.values() for run in runs]
    return [*cells, f"{mean(times):,.0f}" if times else "–"]


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
