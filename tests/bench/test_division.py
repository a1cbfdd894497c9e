"""A budget divided between statistics and exemplars."""

from click.testing import CliRunner

from edge_cl.bench.division import SHARES
from edge_cl.bench.scenarios import Source
from edge_cl.cli import cli

from .synthetic import clusters


def test_files(tmp_path, monkeypatch):
    monkeypatch.setattr(Source, "dataset", lambda self: clusters())
    words = ["bench", "division", "--budget", "16KiB", "--budget", "8KiB", "--orders", "1"]
    words += ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path)]
    ran = CliRunner().invoke(cli, words)
    assert ran.exit_code == 0, ran.output
    page = (tmp_path / "division-cifar10.md").read_text()
    assert "| statistics, % of the budget | strategy | 8KiB | 16KiB |" in page
    rows = [line.split("|")[1:3] for line in page.splitlines() if "_replay |" in line]
    parts = [0, *(round(100 * share) for share in SHARES)]
    assert [int(part) for part, _ in rows] == parts
    assert (tmp_path / "division-cifar10.html").read_text().count("<svg") == 1
