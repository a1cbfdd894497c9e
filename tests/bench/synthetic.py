"""A small dataset of well-separated clusters, for tests of the bench."""

import numpy as np

from edge_cl.bench.datasets import Dataset
from edge_cl.types import LatentSpec


def clusters(classes=4, per_class=30, tests=10, dim=8, spread=0.3):
    rng = np.random.default_rng(0)
    centres = rng.uniform(0, 4, (classes, dim))

    def drawn(count):
        numbers = rng.permutation(np.repeat(np.arange(classes), count))
        rows = np.maximum(centres[numbers] + rng.normal(0, spread, (len(numbers), dim)), 0)
        return rows.astype(np.float32), numbers

    spec = LatentSpec(dim)
    labels = tuple(f"c{k}" for k in range(classes))
    return Dataset("clusters", spec, labels, *drawn(per_class), *drawn(tests))
