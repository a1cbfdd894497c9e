"""The measurements, small."""

import json
import os
import time

import numpy as np
import pytest

from edge_cl import cli
from edge_cl.bench.percentiles import percentile
from edge_cl.bench.process_memory import Watch, usage
from edge_cl.bench.report import Report
from edge_cl.demo.images import shared_folder
from edge_cl.errors import BudgetExceeded
from edge_cl.learner import Learner
from edge_cl.planner import make_plan
from edge_cl.types import LatentSpec

CIFAR = shared_folder() and (shared_folder() / "data" / "cifar10.tar.zst").is_file()
MODEL = shared_folder() and shared_folder() / "models" / "mobilenet_v1_0.5_160_int8.onnx"


def test_memory_of_a_real_service(capsys, tmp_path):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: it has the digits")
    words = ["bench", "memory", "--images", "20", "--latents", "300", "--budget", "256KiB"]
    code = cli.run([*words, "--json", "--output", str(tmp_path)])
    figures = json.loads(capsys.readouterr().out)
    assert code == 0
    assert figures["ledger"]["most_bytes"] <= figures["ledger"]["budget_bytes"] == 256 * 1024
    assert figures["ledger"]["samples"] == 300
    assert all(phase["rss_bytes"] >= phase["pss_bytes"] for phase in figures["phases"].values())
    assert json.loads((tmp_path / "memory.json").read_text())["machine"]["cores"]
    assert "| phase | RSS | PSS |" in (tmp_path / "memory.md").read_text()


@pytest.mark.skipif(not CIFAR, reason="the CIFAR-10 pack is not beside the checkout")
def test_cifar_through_http_beats_naive(capsys):
    extractor = str(MODEL) if MODEL and MODEL.is_file() else "default"
    words = ["bench", "http-cifar", "--train", "400", "--test", "200", "--orders", "1", "--json"]
    assert cli.run([*words, "--extractor", extractor]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    reached = {result["strategy"]: result["accuracies"][0] for result in results}
    assert reached["auto"] > reached["naive"] + 0.15
    assert all(result["ledger_bytes"] <= 2**20 for result in results)


def test_a_watch_reads_this_process():
    now = usage(os.getpid())
    assert now.rss_bytes >= now.pss_bytes > 1_000_000
    with Watch(os.getpid()) as watch:
        time.sleep(0.25)
    assert len(watch.readings) >= 2
    assert watch.most_bytes.rss_bytes >= watch.median_bytes.rss_bytes


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (25, 1), (50, 2), (99, 4), (100, 4)])
def test_percentiles(percent, expected):
    assert percentile([4, 2, 1, 3], percent) == expected


def test_a_report_says_how_it_was_made(tmp_path):
    report = Report("x", "An x", ["part", "bytes"], [("a", 1200)], {"a": 1200}, command="edge-cl x")
    report.write(tmp_path)
    page = (tmp_path / "x.md").read_text()
    assert "`edge-cl x`" in page
    assert "| a | 1,200 |" in page
    assert json.loads((tmp_path / "x.json").read_text())["command"] == "edge-cl x"


@pytest.mark.parametrize("strategy", ["ar1", "gdumb", "ncm", "slda", "naive"])
def test_a_plan_is_what_the_learner_keeps(strategy):
    spec = LatentSpec(16, scale=0.5)
    plan = make_plan(strategy, "64KiB", classes=3, spec=spec, options={}, label_bytes=16)
    assert plan.total_bytes <= plan.budget_bytes == 65536
    learner = Learner.create(strategy=strategy, spec=spec, memory_budget="64KiB")
    rng = np.random.default_rng(0)
    labels = [f"{n % 3:016d}" for n in range(60)]
    codes = rng.integers(0, 255, (60, 16)).astype("uint8")
    learner.learn_latents(codes, labels, "here")
    assert learner.ledger().keys() == plan.ledger.keys()


def test_a_plan_that_does_not_fit_says_what_is_needed():
    with pytest.raises(BudgetExceeded) as refused:
        make_plan("slda", "10KiB", classes=10, spec=LatentSpec(512), options={})
    assert refused.value.asked_bytes > refused.value.allowed_bytes


def test_plan_prints_parts(capsys):
    given = ["--budget", "1MiB", "--classes", "5", "--strategy", "ar1", "--codec", "uint4"]
    assert cli.run(["plan", *given]) == 0
    assert "exemplars" in capsys.readouterr().out
    assert cli.run(["plan", "--strategy", "ncm", "--codec", "uint4"]) == 2
    assert "keeps no exemplars" in capsys.readouterr().err
