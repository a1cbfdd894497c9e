"""The short form of the kill test; ``make acceptance`` runs the long one."""

import random

import pytest
from kill9 import run


@pytest.mark.slow
def test_what_was_acknowledged_survives_every_kill_once_and_unchanged(tmp_path):
    seed = random.SystemRandom().randrange(10_000)
    report = run(tmp_path, kills=3, seed=seed)
    assert report.passed, f"seed {seed}: {report}"
    assert report.acknowledged > 10
