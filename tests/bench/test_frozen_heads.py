"""Heads on frozen features: sums do not depend on the order of samples."""

import numpy as np
import pytest

from edge_cl.bench.protocols import frozen_heads
from edge_cl.bench.protocols.frozen_heads import ROWS, run, sample_order

from .synthetic import clusters


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(frozen_heads, "_dataset", lambda quick: clusters(spread=1.5))
    frozen_heads._logistic.cache_clear()
    for method, row in ROWS.items():
        if "width" in row.options:
            small = frozen_heads.Row(row.strategy, {**row.options, "width": 40})
            monkeypatch.setitem(ROWS, method, small)


@pytest.mark.parametrize("method", ["slda-orders", "ranpac-orders"])
def test_any_order_gives_the_same_scores(method):
    result = run(method, seed=0)
    assert result["largest_difference"] < 1e-6
    assert result["accuracy"] > 0.7


@pytest.mark.parametrize("method", ["ncm", "ridge", "ranpac-1000", "logistic"])
def test_every_head_learns(method):
    result = run(method, seed=0)
    assert result["accuracy"] > 0.7
    assert result["largest_difference"] is None


def test_orders():
    classes = np.array([1, 0, 1, 0])
    assert sample_order(classes, "classes", 0).tolist() == [1, 3, 0, 2]
    assert sample_order(classes, "reversed", 0).tolist() == [2, 0, 3, 1]
    assert sorted(sample_order(classes, "shuffled", 0)) == [0, 1, 2, 3]
