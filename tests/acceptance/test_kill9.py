"""The short form of the kill test; ``make acceptance`` runs the long one."""

import random

import pytest
from kill9 import run


@pytest.mark.slow
def test_what_was_acknowledged_survives_every_kill_once_and_unchanged(tmp_path):
    report = run(tmp_path, kills=3, seed=random.SystemRandom().randrange(10_000))
    assert report.passed, report
    assert report.acknowledged > 50
