"""Bursts of one class in small: replay remembers what bursts alone do not."""

import pytest

from edge_cl.bench.protocols.bursts import ROWS, run_on

from .synthetic import clusters


@pytest.fixture(scope="module")
def found():
    dataset = clusters(classes=5, per_class=200, tests=40, dim=16, spread=1.2)
    return {method: run_on(dataset, method, 0, quick=True) for method in ROWS}


def test_replay_beats_fine_tuning(found):
    for method in ("replay", "cwr_replay", "ar1"):
        assert found[method]["accuracy"] > found["naive"]["accuracy"] + 0.2, method


def test_batch_norms_learn_too(found):
    for norm in ("batch_norm", "batch_renorm"):
        assert found[f"ar1_{norm}"]["accuracy"] > 0.6, norm


def test_the_curve_ends_with_the_stream(found):
    for result in found.values():
        assert result["curve"][-1] == [result["bursts"], result["accuracy"]]
