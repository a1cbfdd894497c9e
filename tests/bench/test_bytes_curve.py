"""Accuracy over bytes: every codec its own row."""

from click.testing import CliRunner

from edge_cl.bench.bytes_curve import replay_strategies
from edge_cl.bench.plan_table import cells
from edge_cl.bench.scenarios import Source
from edge_cl.cli import cli

from .synthetic import clusters


def test_replay_strategies_are_those_with_a_codec():
    found = replay_strategies()
    assert {"replay", "latent_replay", "gdumb", "ar1"} <= set(found)
    assert "naive" not in found


def test_files(tmp_path, monkeypatch):
    monkeypatch.setattr(Source, "dataset", lambda self: clusters())
    words = ["bench", "bytes", "--strategy", "gdumb", "--codec", "uint8", "--codec", "uint4"]
    words += ["--budget", "1KiB", "--budget", "8KiB", "--budget", "16KiB", "--orders", "2"]
    words += ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path)]
    ran = CliRunner().invoke(cli, words)
    assert ran.exit_code == 0, ran.output
    page = (tmp_path / "bytes.md").read_text()
    assert "| strategy | codec | hidden | 1KiB | 8KiB | 16KiB |" in page
    assert "| gdumb | uint4 |  |" in page
    assert "±" in page
    assert (tmp_path / "bytes.html").read_text().count("<svg") == 1
    assert len(list((tmp_path / "runs").iterdir())) == 12


def test_heads_of_hidden_widths_have_rows_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(Source, "dataset", lambda self: clusters())
    words = ["bench", "bytes", "--strategy", "gdumb", "--strategy", "slda_replay"]
    words += ["--codec", "uint4", "--hidden", "0", "--hidden", "8", "--budget", "16KiB"]
    words += ["--orders", "1", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path)]
    ran = CliRunner().invoke(cli, words)
    assert ran.exit_code == 0, ran.output
    page = (tmp_path / "bytes.md").read_text()
    found = [(name, codec, head) for name, codec, head, _, _ in cells(page)]
    assert found == [("gdumb", "uint4", ""), ("gdumb", "uint4", "8"), ("slda_replay", "uint4", "")]
