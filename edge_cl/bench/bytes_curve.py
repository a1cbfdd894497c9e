"""``edge-cl bench bytes``: accuracy over bytes, replay strategies x codecs x hidden widths.

Runs are those of ``edge-cl bench run`` in the class-incremental stream, one a strategy,
codec, budget and order, and as resumable.
"""

from __future__ import annotations

from collections import defaultdict
from html import escape
from itertools import product
from pathlib import Path
from typing import Any

import click

from edge_cl import codec as codecs
from edge_cl import strategies
from edge_cl.bench.grid import Settings, attempt, command_line
from edge_cl.bench.grid_report import made, page
from edge_cl.bench.plots import COLOURS, panels_in, svg
from edge_cl.bench.scenarios import Source
from edge_cl.bench.stream_options import place_options, sample_options
from edge_cl.bench.summary import Row, Spread, Summary, by_codec, read_summary

BUDGETS = (
    "32KiB", "64KiB", "128KiB", "256KiB", "512KiB", "1MiB", "2MiB", "4MiB", "8MiB",
)  # fmt: skip


def replay_strategies() -> list[str]:
    """Strategies whose options name a codec."""
    return [
        name
        for name in strategies.names()
        if "codec" in strategies.find(name).options_type.model_fields
    ]


@click.command("bytes")
@click.option("--strategy", "names", multiple=True, help="May be repeated.  [all with a codec]")
@click.option("--codec", "chosen", multiple=True, type=click.Choice(codecs.names()),
              help="May be repeated.  [all there are]")  # fmt: skip
@click.option("--hidden", "widths", multiple=True, type=click.IntRange(0, 4096),
              help="Width of one hidden layer of the head; 0 is none.  May be repeated.  "
              "[each strategy's own]")  # fmt: skip
@click.option("--budget", "budgets", multiple=True, default=BUDGETS, show_default=True,
              help="May be repeated.")  # fmt: skip
@sample_options()
@place_options("bytes", "bytes.md and bytes.html")
def bytes_command(
    names: tuple[str, ...], chosen: tuple[str, ...], widths: tuple[int, ...],
    budgets: tuple[str, ...], orders: int, pack: str, train: int, test: int, runs: Path, out: Path,
) -> int:  # fmt: skip
    """Accuracy over bytes of replay strategies under every codec."""
    source = Source(pack, train=train or None, test=test or None)
    broken = 0
    for order, budget, codec, name in product(
        range(orders), budgets, chosen or codecs.names(), names or replay_strategies()
    ):
        for head in heads(name, widths):
            settings = Settings(
                name, "class", budget, order, source=source, options={"codec": codec, **head},
                points=5,
            )  # fmt: skip
            broken += not attempt(settings, runs)
    summary = read_summary(runs, by_codec)
    out.mkdir(parents=True, exist_ok=True)
    (out / "bytes.md").write_text(markdown(summary), encoding="utf-8")
    (out / "bytes.html").write_text(html(summary), encoding="utf-8")
    return 1 if broken else 0


def heads(name: str, widths: tuple[int, ...]) -> list[dict[str, Any]]:
    """Options of the heads to try: of so many hidden units, or the strategy's own."""
    if not widths or "hidden" not in strategies.find(name).options_type.model_fields:
        return [{}]
    return [{"hidden": (width,) if width else ()} for width in widths]


def heading(summary: Summary) -> str:
    """What was measured on what."""
    return f"Accuracy over bytes on {summary.settings['pack']} latents"


def markdown(summary: Summary) -> str:
    """One line a strategy, codec and head, one column a budget."""
    budgets = summary.budgets
    lines = [f"# {heading(summary)}", "", "With curves: [bytes.html](bytes.html).", ""]
    for text in (*made(summary)[:1], f"By `{command_line()}`; {summary.machine}."):
        lines += [text, ""]
    lines += [f"| strategy | codec | hidden | {' | '.join(budgets)} |"]
    lines += [f"| --- | --- | --- |{' --: |' * len(budgets)}"]
    for (name, kept), cells in sorted(table(summary).items()):
        codec, _, hidden = kept.partition(" ")
        found = [str(cells[budget]) if budget in cells else "" for budget in budgets]
        lines.append(f"| {name} | {codec} | {hidden} | {' | '.join(found)} |")
    lines += ["", "Class-incremental, final accuracy; empty where the state does not fit."]
    return "\n".join(lines) + "\n"


def table(summary: Summary) -> dict[tuple[str, str], dict[str, Spread]]:
    """Accuracy by strategy and what the naming says after it, then by budget."""
    found: dict[tuple[str, str], dict[str, Spread]] = defaultdict(dict)
    for row in summary.rows:
        name, _, kept = row.strategy.partition(" ")
        spread = row.spread("accuracy", 100)
        if spread is not None:
            found[name, kept][row.budget] = spread
    return dict(found)


def html(summary: Summary) -> str:
    """The curves as one file that needs nothing else."""
    name = heading(summary)
    shown = f"<h1>{escape(name)}</h1><p>{escape(made(summary)[0])}</p>{plot(summary)}"
    return page(name, shown)


def plot(summary: Summary) -> str:
    """One panel a strategy, one line a codec, accuracy over the bytes that were used."""
    by_name: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in summary.rows:
        name, _, codec = row.strategy.partition(" ")
        if row.runs:
            by_name[name][codec].append(row)
    plots = []
    for name, of_codec in sorted(by_name.items()):
        figure, (panel,) = panels_in(1)
        for k, (codec, rows) in enumerate(sorted(of_codec.items())):
            _draw(panel, codec, rows, k)
        panel.set_xscale("log", base=2)
        panel.set(title=name, xlabel="KiB used", ylabel="final accuracy, %")
        panel.legend(fontsize=7, frameon=False, loc="lower right")
        plots.append(svg(figure, f"accuracy over bytes, {name}"))
    return "\n".join(plots)


def _draw(panel: Any, codec: str, rows: list[Row], index: int) -> None:
    ordered = sorted(rows, key=lambda row: row.most_bytes)
    panel.plot(
        [row.most_bytes / 1024 for row in ordered],
        [100 * row.accuracy for row in ordered],
        marker="os^D"[index // len(COLOURS) % 4], color=COLOURS[index % len(COLOURS)],
        linewidth=1.2, markersize=4, label=codec,
    )  # fmt: skip
