"""The measurement of codecs, on clusters that are easy to tell apart."""

import numpy as np
import pytest

from edge_cl.bench import codecs, tiers
from edge_cl.bench.codecs import affordable, as_report, ridge_percent, trial
from edge_cl.codec import names
from edge_cl.types import Batch

from .synthetic import clusters


@pytest.fixture
def dataset(monkeypatch):
    monkeypatch.setattr(codecs, "HELD_OUT", 40)
    return clusters(per_class=120)


def test_well_separated_exemplars_are_enough_in_every_codec(dataset):
    trials = [trial(name, "60 rows", 60, dataset, orders=2) for name in names()]
    by_name = {t.codec: t for t in trials}
    assert min(by_name["float32"].percents) > 95
    assert by_name["float32"].error == 0 < by_name["uint4"].error < by_name["uint2"].error
    table = as_report("clusters", "none", trials, ["60 rows"], dataset).markdown()
    assert all(f"| {name} |" in table for name in names())


def test_fewer_bits_afford_more_exemplars_and_never_more_than_there_are(dataset):
    counts = [affordable(name, dataset, 2000) for name in ("float32", "uint8", "uint4", "uint2")]
    assert counts == sorted(counts)
    assert affordable("pq", dataset, 2000) == 0
    assert affordable("uint2", dataset, 1 << 20) == len(dataset.train) - 40


def test_ridge_chooses_its_strength_without_the_test_set():
    data = clusters()
    train = Batch.of(data.train, data.train_classes)
    wrong = (data.test, (data.test_classes + 1) % 4)
    assert ridge_percent(train, (data.test, data.test_classes), wrong) < 10


def test_a_memory_of_two_tiers_is_compared_with_one_of_the_same_bytes():
    row = tiers.compare("float16", "8KiB", clusters(per_class=200, dim=32))
    assert row[0] == "float16, 8KiB"
    assert row[1] == pytest.approx(8192 / (64 + 18), rel=0.05)
    assert np.all(np.array(row[4:], dtype=float) >= 0)
