"""``edge-cl bench report``: a folder of runs as Markdown, as one HTML file, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import click

from edge_cl.bench.grid import OWN_EXPERIENCE_SAMPLES, command_line
from edge_cl.bench.plots import bytes_plot, curves_plot
from edge_cl.bench.summary import COLUMNS, Row, Summary, read_summary
from edge_cl.bench.trial import CALL_SAMPLES

DEFINITIONS = (
    "ACC is the mean accuracy over test sets at the end of the stream; forgetting the mean drop "
    "from the best accuracy on a test set to its last (Chaudhry et al. 2018); BWT and FWT as in "
    "Lopez-Paz & Ranzato 2017, divided by T - 1, where an untrained learner names no class "
    "(b = 0), so that FWT can differ from 0 only in domain-incremental streams; any-time is the "
    "area under the accuracy on what was met so far, over the samples (Koh et al. 2022). The "
    "formulas are in `edge_cl/bench/metrics.py`.",
    "class: two classes after two; task: the same with the context known in learning and "
    "predicting, and the softmax over its classes; domain: the same ten classes under five "
    "conditions of the camera; bursts: two classes of 500, then bursts of 300 of one class; "
    "blurry: class-incremental with linear transitions half an experience to either side. The "
    "end of an experience is announced in all but the last, where a strategy that needs it "
    f"closes one every {OWN_EXPERIENCE_SAMPLES} samples. Every sample comes once.",
    "bytes: the largest sum of the ledger at any time, published copy included. µs/sample: "
    f"median processor time of learning one sample in calls of {CALL_SAMPLES}, one thread. "
    "Options are each strategy's defaults; nothing was tuned for this table.",
)

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto;
       padding: 0 1rem; color: #1a1a1a; background: #fff; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #e4e4e4; }
th { position: sticky; top: 0; background: #fff; } th:first-child, td:first-child
{ text-align: left; } svg { max-width: 100%; height: auto; } p { max-width: 50rem; }
summary { cursor: pointer; } .scroll { overflow-x: auto; }
"""


@click.command("report")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path),
              default=Path("docs/results"), show_default=True, help="Where to write.")  # fmt: skip
@click.option("--name", default="strategies", show_default=True, help="Stem of the files.")
def report_command(folder: Path, out: Path, name: str) -> None:
    """Write the runs in FOLDER as NAME.md, NAME.html and NAME.json."""
    summary = read_summary(folder)
    out.mkdir(parents=True, exist_ok=True)
    pages = {
        "md": markdown(summary, name),
        "html": html(summary),
        "json": json.dumps(as_json(summary), indent=1) + "\n",
    }
    for suffix, text in pages.items():
        path = out / f"{name}.{suffix}"
        path.write_text(text, encoding="utf-8")
        click.echo(path)


def title(summary: Summary) -> str:
    """What was measured on what."""
    settings = summary.settings
    return f"Strategies on {settings['pack']} latents"


def made(summary: Summary) -> list[str]:
    """How the figures came about, and the bound."""
    s = summary.settings
    first, last = summary.dates
    pools = [f"{s[pool]:,}" if s[pool] else "all" for pool in ("train", "test")]
    command = (
        f"edge-cl bench run --pack {s['pack']} --train {s['train'] or 0} --test {s['test'] or 0}"
    )
    lines = [
        f"{pools[0]} training and {pools[1]} test images of {s['pack']} under the extractor "
        f"`{s['extractor']}`; per cent, mean ± standard deviation over orders of the stream.",
        f"Runs by `{command}`, this page by `{command_line()}`; {first} to {last}; "
        f"{summary.machine}.",
    ]
    if summary.bounds is not None:
        lines.append(
            f"Offline, on all training samples at once: logistic regression "
            f"{100 * summary.bounds['logistic']:.1f}, the learners' own linear head "
            f"{100 * summary.bounds['head']:.1f}."
        )
    return lines


def markdown(summary: Summary, name: str = "strategies") -> str:
    """The summary as one Markdown table, and what could not run as another."""
    lines = [f"# {title(summary)}", ""]
    for text in (*made(summary), f"With curves: [{name}.html]({name}.html)."):
        lines += [text, ""]
    head = ("scenario", "budget", *COLUMNS)
    lines += [_line(head), _line(["---"] * 3 + ["--:"] * (len(head) - 3))]
    for row in summary.rows:
        if row.runs:
            lines.append(_line([row.scenario, row.budget, row.strategy, *row.cells()]))
    for text in DEFINITIONS:
        lines += ["", text]
    return "\n".join([*lines, *_refusals(summary)]) + "\n"


def _refusals(summary: Summary) -> Iterator[str]:
    if not summary.refused():
        return
    yield from ("", "## What could not run", "", "| scenario | budget | strategy | reason |")
    yield "| --- | --- | --- | --- |"
    for row in summary.refused():
        yield _line([row.scenario, row.budget, row.strategy, short(row)])


def short(row: Row) -> str:
    """The reason of a refusal, without the advice after it."""
    return row.refusals[0].partition(";")[0].replace("|", "/")


def html(summary: Summary) -> str:
    """The summary as one file that needs nothing else."""
    parts = [f"<h1>{escape(title(summary))}</h1>"]
    parts += [f"<p>{escape(text)}</p>" for text in made(summary)]
    parts += ["<h2>Accuracy over bytes</h2>", bytes_plot(summary)]
    for scenario in summary.scenarios:
        parts += [f"<h2>{escape(scenario)}</h2>", curves_plot(summary, scenario)]
        for budget in summary.budgets:
            parts.append(_table(f"{scenario}, {budget}", summary.of(scenario, budget)))
    parts += [f"<p>{escape(text)}</p>" for text in DEFINITIONS]
    parts.append(_refusal_list(summary))
    return page(title(summary), "\n".join(parts))


def page(name: str, body: str) -> str:
    """A whole HTML file of this title around a body."""
    head = f'<meta charset="utf-8"><title>{escape(name)}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _table(heading: str, rows: list[Row]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in COLUMNS)
    lines = [
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in [row.strategy, *row.cells()])
        for row in rows
    ]
    return (
        f'<h3>{escape(heading)}</h3><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _refusal_list(summary: Summary) -> str:
    items = "".join(
        f"<li>{escape(f'{row.strategy}, {row.scenario}, {row.budget}: {short(row)}')}</li>"
        for row in summary.refused()
    )
    return f"<details><summary>What could not run</summary><ul>{items}</ul></details>"


def as_json(summary: Summary) -> dict[str, Any]:
    """All rows with every run's figures, without matrices."""
    return {
        "settings": {k: summary.settings[k] for k in ("pack", "extractor", "train", "test")},
        "command": command_line(),
        "dates": summary.dates,
        "machine": summary.machine,
        "bounds": summary.bounds,
        "rows": [_row_json(row) for row in summary.rows],
    }


def _row_json(row: Row) -> dict[str, Any]:
    left_out = ("matrix", "status")
    runs = [
        {
            "order": run["settings"]["order"],
            "date": run["date"],
            **{k: v for k, v in run["outcome"].items() if k not in left_out},
        }
        for run in row.runs
    ]
    options = row.runs[0]["settings"]["options"] if row.runs else None
    return {
        "strategy": row.strategy,
        "scenario": row.scenario,
        "budget": row.budget,
        "options": options,
        "runs": runs,
        "refusals": row.refusals,
    }


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
