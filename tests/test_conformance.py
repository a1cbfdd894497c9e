from __future__ import annotations

import pytest

from edge_cl import strategies
from edge_cl.checks import CHECKS, Subject
from edge_cl.types import LatentSpec

SMALL = {"ranpac": {"width": 24, "holdout_samples": 16}}

# A strategy that trains the layers above its latents conforms in its own tests: it needs some.
NAMES = [name for name in strategies.names() if not strategies.find(name).needs.tail]
SUBJECTS = [pytest.param(Subject(name, SMALL.get(name, {})), id=name) for name in NAMES] + [
    pytest.param(Subject(name, options, spec), id=name + "-" + label)
    for name, label, options, spec in [
        ("naive", "mlp-adam", {"hidden": (6, 5), "optimizer": "adam"}, LatentSpec(5)),
        ("naive", "contexts", {"softmax_over": "context"}, LatentSpec(5)),
        ("replay", "batches", {"batch_size": 4, "momentum": 0.9}, LatentSpec(5)),
        ("cwr", "mlp", {"hidden": (6,), "experience_samples": 7, "momentum": 0.5}, LatentSpec(5)),
        ("ar1", "mlp", {"hidden": (6,), "learning_rate": 0.1}, LatentSpec(5)),
        ("ar1", "float32", {"codec": "float32", "selection": "share"}, LatentSpec(3)),
        ("slda", "raw", {"normalise": "none"}, LatentSpec(5)),
    ]
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("subject", SUBJECTS)
def test_strategy_conforms(subject, check):
    if strategies.find(subject.strategy).needs.torch:
        pytest.importorskip("torch", reason="torch is not installed")
    check(subject)
