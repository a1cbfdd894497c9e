"""Split MNIST in small: who forgets, who does not, and who only with task ids."""

import numpy as np
import pytest

from edge_cl.bench.datasets import mnist
from edge_cl.bench.protocols import van_de_ven
from edge_cl.bench.protocols.van_de_ven import BATCH, ROWS, Row, passes, run
from edge_cl.errors import EdgeCLError
from edge_cl.types import Batch


@pytest.fixture(scope="module", autouse=True)
def digits():
    try:
        read = mnist()
    except (EdgeCLError, OSError) as reason:
        pytest.skip(f"no MNIST pack here: {reason}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(van_de_ven, "mnist", lambda: read)
        yield


@pytest.mark.parametrize("method", ["none", "ewc", "si"])
def test_penalties_do_not_help_without_task_ids(method):
    found = run(f"class/{method}", 0, quick=True)
    assert found["accuracy"] < 0.25
    assert found["forgetting"] > 0.6


@pytest.mark.parametrize("method", ["replay", "icarl"])
def test_exemplars_do(method):
    assert run(f"class/{method}", 0, quick=True)["accuracy"] > 0.75


def test_a_teacher_helps_more_than_nothing():
    taught, untaught = (run(f"class/{method}", 0, quick=True) for method in ("lwf", "none"))
    assert taught["accuracy"] > untaught["accuracy"]


@pytest.mark.parametrize("method", ["ewc", "si", "lwf"])
def test_with_task_ids_penalties_and_teachers_remember(method):
    assert run(f"task/{method}", 0, quick=True)["accuracy"] > 0.95


@pytest.mark.parametrize("method", ["multihead", "progressive"])
def test_heads_and_columns_forget_exactly_nothing(method, monkeypatch):
    row = ROWS[f"task/{method}"]
    small = {**row.options, "hidden": (32,)}
    monkeypatch.setitem(ROWS, f"task/{method}", Row(row.strategy, small))
    found = run(f"task/{method}", 0, quick=True)
    assert found["forgetting"] == 0.0
    assert found["accuracy"] > 0.85


def test_a_pass_shows_every_sample_once():
    samples = Batch.of(np.zeros((300, 1), np.float32), np.arange(300))
    shown = list(passes(samples, 5, np.random.default_rng(0)))
    assert [len(batch) for batch, _ in shown] == [BATCH, BATCH, 44, BATCH, BATCH]
    assert [first for _, first in shown] == [True] * 3 + [False] * 2
    first = np.concatenate([batch.classes for batch, is_first in shown if is_first])
    assert sorted(first) == list(range(300))
