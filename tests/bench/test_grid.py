"""The grid: resumable, and nothing is hidden."""

import json

import pytest
from click.testing import CliRunner

from edge_cl.bench import grid, scenarios
from edge_cl.bench.bounds import head_accuracy, logistic_accuracy
from edge_cl.bench.scenarios import Source
from edge_cl.cli import cli
from edge_cl.errors import InvalidOption

from .synthetic import clusters


@pytest.fixture(autouse=True)
def _synthetic(monkeypatch):
    monkeypatch.setattr(Source, "dataset", lambda self: clusters(spread=1.0))
    monkeypatch.setattr(Source, "domains", lambda self: (clusters(), clusters(spread=1.0)))


def settings(strategy="ncm", scenario="class", budget="64KiB", order=0, **others):
    return grid.Settings(strategy, scenario, budget, order, **others)


@pytest.mark.parametrize("scenario", scenarios.SCENARIOS)
def test_every_scenario_runs(tmp_path, scenario):
    record = grid.run(settings(scenario=scenario), tmp_path)
    assert record["outcome"]["status"] == "done"
    assert record["outcome"]["accuracy"] > 0.5


def test_a_run_that_is_there_is_not_repeated(tmp_path, monkeypatch):
    first = grid.run(settings(), tmp_path)
    monkeypatch.setattr(grid, "_outcome", lambda settings: pytest.fail("ran again"))
    assert grid.run(settings(), tmp_path) == first
    assert len(list(tmp_path.iterdir())) == 1


def test_other_settings_are_other_runs(tmp_path):
    grid.run(settings(), tmp_path)
    grid.run(settings(order=1), tmp_path)
    grid.run(settings(options={"normalise": "none"}), tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_records_say_everything(tmp_path):
    record = grid.run(settings(), tmp_path)
    assert record["settings"]["options"]["normalise"] == "power_l2"
    assert record["settings"]["call_samples"] == 50
    assert record["edge_cl"]
    assert record["date"].endswith("+00:00")
    outcome = record["outcome"]
    assert outcome["most_bytes"] == sum(outcome["ledger"].values()) <= 64 * 1024
    assert outcome["curve"]["seen"][-1] == 120
    assert json.loads(next(tmp_path.iterdir()).read_text()) == record


def test_what_cannot_run_is_recorded_with_the_reason(tmp_path):
    outcome = grid.run(settings(budget="100B"), tmp_path)["outcome"]
    assert outcome["status"] == "refused"
    assert outcome["error"] == "BudgetExceeded"
    assert "raise memory_budget" in outcome["reason"]
    late = grid.run(settings(limit_s=0.0), tmp_path)["outcome"]
    assert late["status"] == "out of time"


def test_options_follow_the_scenario():
    assert settings("naive", "task").all_options()["softmax_over"] == "context"
    assert settings("naive", "class").all_options()["softmax_over"] == "seen"
    assert settings("ar1", "class").all_options()["experience_samples"] is None
    assert settings("ar1", "blurry").all_options()["experience_samples"] == 500


def test_options_are_read_as_json_where_they_can_be():
    found = grid.parse_pairs(["hidden=[4, 4]", "codec=uint4", "momentum=0.5"])
    assert found == {"hidden": [4, 4], "codec": "uint4", "momentum": 0.5}
    with pytest.raises(InvalidOption):
        grid.parse_pairs(["codec"])


def test_unknown_scenarios_are_named():
    with pytest.raises(InvalidOption, match="bursts"):
        scenarios.make_stream("sideways", Source(), 0)


def test_the_command(tmp_path):
    words = ["bench", "run", "--strategy", "ncm", "--scenario", "class", "--budget", "64KiB"]
    ran = CliRunner().invoke(cli, [*words, "--orders", "2", "--out", str(tmp_path)])
    assert ran.exit_code == 0, ran.output
    assert ran.output.count("ncm class 64KiB") == 2
    assert sorted(path.name[:5] for path in tmp_path.iterdir()) == ["bound", "ncm-c", "ncm-c"]


def test_bounds_are_above_the_streams():
    source = clusters(spread=1.5)
    assert 0.7 < logistic_accuracy(source) <= 1
    assert abs(head_accuracy(source) - logistic_accuracy(source)) < 0.1
