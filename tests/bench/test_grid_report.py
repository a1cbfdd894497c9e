"""The report: means over orders, newest runs, refusals in the open, one whole HTML file."""

import json
import re

import pytest
from click.testing import CliRunner

from edge_cl.bench import grid
from edge_cl.bench.scenarios import Source
from edge_cl.bench.summary import Spread, newest_runs, read_summary
from edge_cl.cli import cli
from edge_cl.errors import EdgeCLError

from .synthetic import clusters


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of two strategies in two orders, one of which does not fit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Source, "dataset", lambda self: clusters(spread=1.0))
        made = tmp_path_factory.mktemp("runs")
        for settings in grid.grid(("ncm", "naive"), ("class", "bursts"), ("4KiB", "64KiB"), 2):
            grid.run(settings, made)
        for settings in grid.grid(("slda",), ("class",), ("600B",), 1):
            grid.run(settings, made)
    (made / "bound-x.json").write_text('{"logistic": 0.9, "head": 0.8}')
    return made


def test_rows_are_means_over_orders_best_first(folder):
    summary = read_summary(folder)
    rows = summary.of("class", "64KiB")
    assert [row.strategy for row in rows] == ["ncm", "naive"]
    assert all(len(row.runs) == 2 for row in rows)
    accuracies = [run["outcome"]["accuracy"] for run in rows[0].runs]
    assert rows[0].accuracy == pytest.approx(sum(accuracies) / 2)
    assert summary.scenarios == ["class", "bursts"]
    assert summary.budgets == ["600B", "4KiB", "64KiB"]


def test_refusals_are_listed(folder):
    assert [row.strategy for row in read_summary(folder).refused()] == ["slda"]


def test_the_newest_of_equal_runs_counts(folder):
    record = json.loads(next(folder.glob("ncm-*.json")).read_text())
    older = {**record, "date": "2020-01-01", "outcome": {"status": "refused"}}
    assert newest_runs([record, older]) == [record]


def test_files(folder, tmp_path):
    ran = CliRunner().invoke(cli, ["bench", "report", str(folder), "--out", str(tmp_path)])
    assert ran.exit_code == 0, ran.output
    page = (tmp_path / "strategies.md").read_text()
    assert re.search(r"\| class \| 64KiB \| ncm \| \d+\.\d ± \d+\.\d \|", page)
    assert "| class | 600B | slda |" in page
    assert "logistic regression 90.0" in page
    html = (tmp_path / "strategies.html").read_text()
    assert html.count("<svg") == 3
    assert not re.search(r'(src|href)="(?!#)', html.replace("xlink:href", "href"))
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids)), "ids of two plots meet"
    rows = json.loads((tmp_path / "strategies.json").read_text())["rows"]
    assert rows[-1]["runs"][0]["curve"]["seen"]


def test_no_runs_no_report(tmp_path):
    with pytest.raises(EdgeCLError, match="edge-cl bench run"):
        read_summary(tmp_path)


def test_spreads():
    assert str(Spread.of([0.5, 0.7], 100)) == "60.0 ± 14.1"
    assert str(Spread.of([0.5], 100)) == "50.0"
