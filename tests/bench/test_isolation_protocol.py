"""Split MNIST in small for masks, gates, packed contexts, made heads and dreams."""

import pytest

from edge_cl.bench.datasets import mnist
from edge_cl.bench.protocols import van_de_ven
from edge_cl.bench.protocols.van_de_ven import ROWS, Row, run
from edge_cl.errors import EdgeCLError


@pytest.fixture(scope="module", autouse=True)
def digits():
    try:
        read = mnist()
    except (EdgeCLError, OSError) as reason:
        pytest.skip(f"no MNIST pack here: {reason}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(van_de_ven, "mnist", lambda: read)
        yield


@pytest.mark.parametrize("method", ["packnet", "piggyback", "supsup", "hat"])
def test_isolated_contexts_forget_exactly_nothing(method, monkeypatch):
    row = ROWS[f"task/{method}"]
    options = {**row.options, **({"anneal_steps": 40} if method == "hat" else {})}
    monkeypatch.setitem(ROWS, f"task/{method}", Row(row.strategy, options))
    found = run(f"task/{method}", 0, quick=True)
    assert found["forgetting"] == 0.0
    assert found["accuracy"] > 0.9


def test_a_hypernetwork_remembers_heads(monkeypatch):
    row = ROWS["task/hypernetwork"]
    options = {**row.options, "chunk_size": 500, "learning_rate": 5e-3}
    monkeypatch.setitem(ROWS, "task/hypernetwork", Row(row.strategy, options))
    found = run("task/hypernetwork", 0, quick=True)
    assert found["accuracy"] > 0.9
    assert found["forgetting"] < 0.05


def test_dreams_keep_what_fine_tuning_forgets(monkeypatch):
    small = {**ROWS["class/generative_replay"].options, "generator_hidden": (100,)}
    small |= {"generator_code": 20, "generator_rate": 3e-3}
    monkeypatch.setitem(ROWS, "class/generative_replay", Row("generative_replay", small))
    # Fine-tuning ends at the last task's digits: a fifth at most.
    assert run("class/generative_replay", 0, quick=True)["accuracy"] > 0.3
