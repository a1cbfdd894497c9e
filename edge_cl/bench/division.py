"""``edge-cl bench division``: how a budget is best divided between statistics and exemplars.

The same bytes, spent on second-order statistics to a growing part and on exemplars for the
rest; and, at part 0, on exemplars alone, which a small head is trained with. Runs are those
of ``edge-cl bench run`` in the class-incremental stream, and as resumable.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from itertools import product
from pathlib import Path
from typing import Any

import click

from edge_cl.bench.bytes_curve import table
from edge_cl.bench.grid import Settings, attempt, command_line
from edge_cl.bench.grid_report import made, page
from edge_cl.bench.plots import COLOURS, panels_in, svg
from edge_cl.bench.scenarios import Source
from edge_cl.bench.stream_options import place_options, sample_options
from edge_cl.bench.summary import Spread, Summary, read_summary
from edge_cl.budget import parse_bytes

BUDGETS = "64KiB", "256KiB", "1MiB", "4MiB"
SHARES = 0.1, 0.25, 0.5, 0.75, 0.9, 0.97
DIVIDED, ALONE = "slda_replay", "latent_replay"
CODEC = "uint4"

Cells = Mapping[tuple[str, str], Mapping[str, Spread]]


def by_share(record: Mapping[str, Any]) -> str:
    """Strategy and per cent of the budget for statistics."""
    share = record["options"].get("statistics_share", 0)
    return f"{record['strategy']} {round(100 * share)}"


@click.command("division")
@click.option("--budget", "budgets", multiple=True, default=BUDGETS, show_default=True,
              help="May be repeated.")  # fmt: skip
@sample_options()
@place_options("division", "division-PACK.md and .html")
def division_command(
    budgets: tuple[str, ...], orders: int, pack: str, train: int, test: int, runs: Path, out: Path
) -> int:
    """A budget divided between statistics and exemplars."""
    source = Source(pack, train=train or None, test=test or None)
    divided = [(DIVIDED, {"statistics_share": share}) for share in SHARES]
    broken = 0
    for order, budget, (name, options) in product(range(orders), budgets, [(ALONE, {}), *divided]):
        settings = Settings(
            name, "class", budget, order, source=source,
            options={"codec": CODEC, **options}, points=5,
        )  # fmt: skip
        broken += not attempt(settings, runs / pack)
    summary = read_summary(runs / pack, by_share)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"division-{pack}.md").write_text(markdown(summary), encoding="utf-8")
    (out / f"division-{pack}.html").write_text(html(summary), encoding="utf-8")
    return 1 if broken else 0


def markdown(summary: Summary) -> str:
    """One line a division, one column a budget."""
    pack, budgets = summary.settings["pack"], sorted(summary.budgets, key=parse_bytes)
    lines = [
        f"# A budget divided between statistics and exemplars, on {pack} latents",
        "",
        f"As a curve: [division-{pack}.html](division-{pack}.html).",
        "",
        made(summary)[0],
        "",
        f"By `{command_line()}`; {summary.machine}.",
        "",
        f"| statistics, % of the budget | strategy | {' | '.join(budgets)} |",
        f"| --: | --- |{' --: |' * len(budgets)}",
    ]
    for (name, share), cells in _in_order(table(summary)):
        found = [str(cells[budget]) if budget in cells else "" for budget in budgets]
        lines.append(f"| {share} | {name} | {' | '.join(found)} |")
    lines += [
        "",
        "Class-incremental, final accuracy. Statistics take at most their part and no more than "
        f"they can use; the rest holds exemplars of 4 bits a value. `{ALONE}` trains its head "
        f"with the exemplars; `{DIVIDED}` predicts by its statistics, and keeps exemplars for "
        "what needs samples: explanations, relabelling, another strategy.",
    ]
    return "\n".join(lines) + "\n"


def _in_order(cells: Cells) -> list[tuple[tuple[str, str], Mapping[str, Spread]]]:
    return sorted(cells.items(), key=lambda item: int(item[0][1]))


def html(summary: Summary) -> str:
    """Accuracy over the part for statistics, one line a budget; a file that needs no other."""
    title = f"A budget divided, on {summary.settings['pack']} latents"
    figure, (panel,) = panels_in(1)
    for k, budget in enumerate(sorted(summary.budgets, key=parse_bytes)):
        points = [
            (int(share), cells[budget].mean)
            for (_, share), cells in _in_order(table(summary))
            if budget in cells
        ]
        panel.plot(*zip(*points, strict=True), marker="o", color=COLOURS[k], label=budget)
    panel.set(xlabel=f"statistics, % of the budget (0: {ALONE})", ylabel="final accuracy, %")
    panel.legend(fontsize=8, frameon=False, loc="lower right")
    shown = f"<h1>{escape(title)}</h1><p>{escape(made(summary)[0])}</p>{svg(figure, 'division')}"
    return page(title, shown)
