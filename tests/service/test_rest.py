"""Putting a learner away and waiting for it; a failure that fades."""

from __future__ import annotations

import threading
import time

import pytest

from service.errors import Problem
from service.fading import Fading
from service.rest import Rest


def test_a_failure_fades_and_is_cleared(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    disk = Fading(5)
    assert disk.failure is None
    disk.note("the disk is full")
    now[0] += 4.9
    assert disk.failure == "the disk is full"
    now[0] += 0.2
    assert disk.failure is None
    disk.note("again")
    disk.clear()
    assert disk.failure is None


def test_what_is_used_or_asked_for_is_not_put_away(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    rest, never = Rest(10), Rest(0)
    now[0] += 11
    assert rest.due
    assert not never.due
    rest.used()
    assert not rest.due
    now[0] += 11
    rest.ask()
    assert rest.asked
    assert not rest.due


def test_everybody_who_asked_is_answered():
    rest = Rest(1)
    first, second = rest.ask(), rest.ask()
    answers = iter(["one", "two"])
    waker = threading.Thread(target=rest.wake, args=(lambda: next(answers),))
    waker.start()
    assert [first(), second()] == ["one", "two"]
    waker.join()
    assert not rest.asked
    late = rest.ask()
    rest.refuse(Problem("not-ready", "the learner is being closed"))
    with pytest.raises(Problem, match="closed"):
        late()
