"""Plots of a summary as inline SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

from edge_cl.bench.summary import Row, Summary
from edge_cl.errors import MissingExtra

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee8866", "#44bb99")
"""Told apart also with colour-blind eyes (after P. Tol)."""
OTHERS = "#c8c8c8"


def highlighted(summary: Summary) -> dict[str, str]:
    """Colours of the strategies that are best most often, the same in every plot."""
    points: dict[str, float] = {}
    for scenario in summary.scenarios:
        for budget in summary.budgets:
            for rank, row in enumerate(summary.of(scenario, budget)):
                points[row.strategy] = points.get(row.strategy, 0) + 1 / (1 + rank)
    best = sorted(points, key=lambda name: -points[name])[: len(COLOURS)]
    return dict(zip(best, COLOURS, strict=False))


def curves_plot(summary: Summary, scenario: str) -> str:
    """Accuracy on what was met so far over the stream, one panel a budget."""
    colours = highlighted(summary)
    figure, panels = panels_in(len(summary.budgets))
    for panel, budget in zip(panels, summary.budgets, strict=True):
        rows = summary.of(scenario, budget)
        for row in sorted(rows, key=lambda row: row.strategy in colours):
            _draw_curve(panel, row, colours)
        _bound(panel, summary)
        panel.set(title=f"{scenario}, {budget}", xlabel="% of the stream", ylim=(0, 100))
        _legend(panel)
    panels[0].set_ylabel("accuracy on what was met, %")
    return svg(figure, f"curves, {scenario}")


def bytes_plot(summary: Summary) -> str:
    """Final accuracy over the bytes that were used, one panel a scenario."""
    colours = highlighted(summary)
    figure, panels = panels_in(len(summary.scenarios))
    for panel, scenario in zip(panels, summary.scenarios, strict=True):
        found = [row for row in summary.rows if row.scenario == scenario and row.runs]
        for name in sorted({row.strategy for row in found}, key=lambda name: name in colours):
            own = sorted((r for r in found if r.strategy == name), key=lambda r: r.most_bytes)
            _draw_bytes(panel, name, own, colours)
        _bound(panel, summary)
        panel.set_xscale("log", base=2)
        panel.set(title=scenario, xlabel="KiB used", ylim=(0, 100))
        _legend(panel)
    panels[0].set_ylabel("final accuracy, %")
    return svg(figure, "accuracy over bytes")


def _draw_curve(panel: Any, row: Row, colours: dict[str, str]) -> None:
    x, y = row.curve()
    known = row.strategy in colours
    panel.plot(
        x, y, color=colours.get(row.strategy, OTHERS), linewidth=1.8 if known else 0.8,
        label=row.strategy if known else None,
    )  # fmt: skip


def _draw_bytes(panel: Any, name: str, rows: Sequence[Row], colours: dict[str, str]) -> None:
    used_kib = [row.most_bytes / 1024 for row in rows]
    accuracies = [100 * row.accuracy for row in rows]
    known = name in colours
    panel.plot(
        used_kib, accuracies, marker="o", markersize=5 if known else 3, linewidth=1,
        color=colours.get(name, OTHERS), label=name if known else None,
    )  # fmt: skip


def _bound(panel: Any, summary: Summary) -> None:
    if summary.bounds is not None:
        panel.axhline(
            100 * summary.bounds["logistic"], color="#555", linestyle=":", label="offline"
        )


def _legend(panel: Any) -> None:
    if panel.get_legend_handles_labels()[0]:
        panel.legend(fontsize=7, frameon=False, loc="lower right")


def panels_in(count: int) -> tuple[Any, list[Any]]:
    """A figure of so many panels side by side that share the y axis."""
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtra("the plots (matplotlib)", "bench") from error
    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, count, figsize=(max(7.0, 4.2 * count), 4.2), sharey=True, squeeze=False
    )
    for panel in panels[0]:
        panel.grid(color="#eee")
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    return figure, list(panels[0])


def svg(figure: Any, label: str) -> str:
    """The figure as an <svg> element: no date, and ids that do not meet another plot's."""
    import matplotlib
    from matplotlib import pyplot

    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": label, "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    element = file.getvalue()[file.getvalue().index("<svg") :]
    prefix = re.sub(r"\W+", "-", label)
    element = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{prefix}-", element)
    return element.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
