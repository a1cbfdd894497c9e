from __future__ import annotations

import numpy as np

from edge_cl import Learner
from edge_cl.bench.endurance import Clusters, endure, reported


def test_a_small_learner_keeps_to_its_bytes_through_a_long_stream():
    learner = Learner.create(strategy="slda_replay", dim=8, memory_budget="24KiB")
    found = endure(learner, Clusters(60, 8, seed=1), samples=5_000)
    assert (found.samples, found.calls_over) == (5_000, 0)
    assert sum(learner.ledger().values()) <= found.most_bytes <= found.budget_bytes == 24 * 1024
    assert found.accuracy > 0.5
    assert min(found.first_us, found.last_us, found.rss_bytes) > 0
    assert "at most 24,576" in reported(found, "slda_replay", 8).markdown()


def test_classes_appear_one_after_the_other_and_then_all_together():
    clusters = Clusters(10, 4, seed=1)
    classes = np.concatenate(list(clusters.stream(1_000)))
    assert classes[:100].tolist() == sorted(classes[:100].tolist())
    assert set(classes[:100]) == set(range(10))
    assert len(set(classes[100:150])) > 5
