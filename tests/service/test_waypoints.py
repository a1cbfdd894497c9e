"""States to undo from: when they are saved, and that an undo is short then."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from serving_kit import add_learner, lesson
from test_recovery import damage, restart_after, scores

from service.operations import Lesson
from service.waypoints import Waypoints

LEARNER = "/v1/learners/l"
SAMPLES = f"{LEARNER}/samples"


class Saver:
    """Writes at once, and tells what was written."""

    def __init__(self, every_s, fails=False):
        self.written = []
        self.fails = fails
        self.pool = ThreadPoolExecutor(1)
        self.waypoints = Waypoints(every_s, self.pool, self.save)

    def save(self, sequence, next_id, body):
        self.written.append((sequence, next_id, body))
        if self.fails:
            raise OSError("no space left on device")

    def passes(self, *seconds):
        for sequence, one in enumerate(seconds, 1):
            self.waypoints.passed(one, sequence, 10 * sequence, lambda: b"state")
            # The next operation comes when this one is written.
            self.pool.submit(lambda: None).result()
        return [sequence for sequence, _, _ in self.written]


@pytest.mark.parametrize(
    ("every_s", "seconds", "expected"),
    [(2, [1] * 7, [2, 4, 6]), (2, [5, 0.1, 5], [1, 3]), (0, [9] * 5, []), (3, [0.5] * 5, [])],
)
def test_a_state_is_saved_after_so_much_learning(every_s, seconds, expected):
    saver = Saver(every_s)
    assert saver.passes(*seconds) == expected
    assert all(next_id == 10 * sequence for sequence, next_id, _ in saver.written)


def test_what_saving_costs_makes_it_rarer(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    saver = Saver(2)
    save = saver.waypoints._save

    def slowly(*saved):
        now[0] += 0.5
        save(*saved)

    saver.waypoints._save = slowly
    assert saver.passes(*[1] * 23) == [2, 12, 22]


def test_a_state_that_cannot_be_written_is_left_out(caplog):
    assert Saver(1, fails=True).passes(1, 1) == [1, 2]
    assert "no space left" in caplog.text


def taught(running, count):
    for number in range(1, count + 1):
        answer = running.client.post(SAMPLES, json=lesson(number % 5, seed=number))
        assert answer.status_code == 201


def test_an_undo_learns_only_what_came_after_the_last_state(start, monkeypatch):
    running = start(undo_learn_s=1e-6)
    add_learner(running.client, strategy="slda")
    taught(running, 60)
    before = scores(running)
    running.client.post(SAMPLES, json=lesson(7))
    store = running.serving.registry.get("l").store
    kept = sorted((store.folder / "waypoints").iterdir())
    assert 1 <= len(kept) <= 2
    learned = []
    apply = Lesson.apply
    monkeypatch.setattr(Lesson, "apply", lambda *call: learned.append(call[2]) or apply(*call))
    assert running.client.post(f"{LEARNER}/undo").json()["to"] == 60
    assert scores(running) == before
    assert len(learned) < 60


def test_a_damaged_state_is_passed_over(start):
    running = start(undo_learn_s=1e-6)
    add_learner(running.client, strategy="slda")
    taught(running, 9)
    before = scores(running)
    running.client.post(SAMPLES, json=lesson(7))
    for path in (running.serving.registry.get("l").store.folder / "waypoints").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert running.client.post(f"{LEARNER}/undo").json()["to"] == 9
    assert scores(running) == before


def test_states_that_know_what_is_lost_are_not_gone_back_to(start, tmp_path):
    running = start(undo_learn_s=1e-6)
    add_learner(running.client)
    taught(running, 8)
    folder = running.serving.registry.get("l").store.folder
    assert list((folder / "waypoints").iterdir())
    running = restart_after(running, start, lambda: damage(folder, 8))
    waypoints = running.serving.registry.get("l").store._waypoints
    assert all(sequence > 8 for sequence in waypoints.sequences())
