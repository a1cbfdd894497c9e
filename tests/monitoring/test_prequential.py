"""The prequential record against the plain formulas over the whole stream."""

from __future__ import annotations

import numpy as np
import pytest

from edge_cl.bench.metrics import prequential_accuracy
from edge_cl.errors import CheckpointError
from edge_cl.monitoring import Monitor, Outcome
from edge_cl.monitoring.prequential import FADING, LEAST_SAMPLES, WINDOW_SAMPLES


def outcomes(count, seed=0, right=0.8, classes=4):
    rng = np.random.default_rng(seed)
    found = []
    for label, hit in zip(rng.integers(classes, size=count), rng.random(count), strict=True):
        guess = label if hit < right else (label + 1) % classes
        found.append(Outcome(f"c{label}", f"c{guess}", float(rng.random())))
    return found


def hits(stream):
    return [one.label == one.predicted for one in stream]


def test_totals_and_window_are_means_of_the_stream():
    stream, monitor = outcomes(2500), Monitor()
    for start in range(0, 2500, 7):
        monitor.observe(stream[start : start + 7])
    report = monitor.report()
    assert report["since_start"]["accuracy"] == pytest.approx(np.mean(hits(stream)), abs=1e-6)
    recent = stream[-WINDOW_SAMPLES:]
    window = report["window"]
    assert window["samples"] == WINDOW_SAMPLES
    assert window["accuracy"] == pytest.approx(np.mean(hits(recent)), abs=1e-6)
    assert monitor.accuracy() == (report["since_start"]["accuracy"], window["accuracy"])
    for note in window["per_class"]:
        of_class = [one for one in recent if one.label == note["label"]]
        assert note["accuracy"] == pytest.approx(np.mean(hits(of_class)), abs=1e-6)


def test_forgetting_is_the_best_faded_accuracy_less_the_present_one():
    good, bad = outcomes(1200, seed=1, right=0.95), outcomes(600, seed=2, right=0.3)
    monitor = Monitor()
    monitor.observe([Outcome(f"c{n}") for n in range(4)])
    monitor.observe(good + bad)
    shares = []
    for note in monitor.report()["since_start"]["per_class"]:
        mine = [one.label == one.predicted for one in good + bad if one.label == note["label"]]
        curve = [
            prequential_accuracy(mine[:end], FADING) for end in range(LEAST_SAMPLES, len(mine) + 1)
        ]
        assert note["forgetting"] == pytest.approx(max(curve) - curve[-1], abs=1e-6)
        assert note["forgetting"] > 0.3
        shares.append(note["forgetting"])
    total = monitor.report()["since_start"]["forgetting"]
    assert total == pytest.approx(np.mean(shares), abs=1e-6)


def test_a_new_class_is_a_miss_but_neither_known_nor_drift():
    monitor = Monitor()
    monitor.observe([Outcome("cup"), Outcome("cup")])
    monitor.observe([Outcome("pen", "cup", 0.9), Outcome("pen", "cup", 0.8)])
    monitor.observe([Outcome("pen", "pen", 0.7)])
    total = monitor.report()["since_start"]
    assert (total["samples"], total["correct"], total["unpredicted"]) == (3, 1, 2)
    assert (total["known_samples"], total["accuracy_known"]) == (1, 1.0)
    assert monitor.report()["drift"]["window_samples"] == 1


def test_a_rise_of_errors_gives_an_alarm_that_fades():
    monitor = Monitor()
    monitor.observe([Outcome(f"c{n}") for n in range(4)])
    assert not monitor.observe(outcomes(1000, seed=3, right=0.95))
    alarms = monitor.observe(outcomes(300, seed=4, right=0.4))
    assert alarms
    assert 1000 < alarms[0].at_sample <= 1300
    assert alarms[0].rise > 0.02
    assert monitor.drifting
    monitor.observe(outcomes(300, seed=5, right=0.4))
    assert monitor.report()["drift"]["alarms"] == monitor.alarms >= 1
    assert not monitor.observe(outcomes(1500, seed=6, right=0.4))
    assert not monitor.drifting


@pytest.mark.parametrize("count", [0, 3, 1234])
def test_a_restored_record_is_the_same_and_goes_on_the_same(count):
    first = Monitor()
    first.observe(outcomes(count, seed=7))
    second = Monitor.from_bytes(first.to_bytes())
    for monitor in (first, second):
        monitor.observe(outcomes(400, seed=8, right=0.2, classes=6))
    assert first.to_bytes() == second.to_bytes()
    assert first.report() == second.report()


def test_how_a_stream_is_cut_into_lessons_does_not_matter_once_classes_are_known():
    stream = outcomes(500, seed=9)
    whole, single = Monitor(), Monitor()
    for monitor in (whole, single):
        monitor.observe(stream[:20])
    whole.observe(stream[20:])
    for one in stream[20:]:
        single.observe([one])
    assert whole.to_bytes() == single.to_bytes()


def test_damage_is_found():
    content = bytearray(Monitor().to_bytes())
    content[-20] ^= 1
    with pytest.raises(CheckpointError):
        Monitor.from_bytes(bytes(content))


def test_any_number_of_classes_stays_bounded():
    monitor = Monitor()
    monitor.observe(outcomes(5000, classes=2000))
    assert monitor.size_bytes < 350_000
    monitor.observe(outcomes(100, classes=2000))
    assert monitor.report()["since_start"]["known_samples"] >= 100


@pytest.mark.parametrize("kept", [True, False])
def test_a_renamed_class_and_a_merged_one_are_counted_under_the_name_they_have_now(kept):
    stream, monitor = outcomes(1300, seed=10), Monitor()
    monitor.observe(stream)
    monitor.rename("c0", "cup")
    monitor.rename("c1", "c2")
    monitor.rename("never taught", "c2")
    if kept:
        monitor = Monitor.from_bytes(monitor.to_bytes())
    now = {"c0": "cup", "c1": "c2"}
    for part, rows in (("since_start", stream), ("window", stream[-WINDOW_SAMPLES:])):
        report = monitor.report()[part]
        assert report["correct"] == sum(hits(rows))
        labels = report["confusion"]["labels"]
        assert set(labels) == {"cup", "c2", "c3"}
        for i, label in enumerate(labels):
            for j, predicted in enumerate(labels):
                count = sum(
                    (now.get(one.label, one.label), now.get(one.predicted, one.predicted))
                    == (label, predicted)
                    for one in rows
                )
                assert report["confusion"]["matrix"][i][j] == count
    monitor.observe([Outcome("c1", "c2", 0.5), Outcome("cup", "cup", 0.5)])
    assert monitor.report()["since_start"]["known_samples"] == 1
