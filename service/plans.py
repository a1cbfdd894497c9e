"""Corrections that need what is stored: made into operations once it is their turn."""

from __future__ import annotations

from collections.abc import Callable

from service.corrections import Forget, Relabel, Restore, SaveCheckpoint
from service.errors import Problem
from service.jobs import Plan
from service.operations import Operation
from service.store import Store

__all__ = [
    "forget_class",
    "forget_sample",
    "relabel",
    "roll_back",
    "save_checkpoint",
    "undo",
    "unknown_sample",
]

BudgetCheck = Callable[[int], None]
"""Raises a Problem when the learner may not have this memory budget."""


def forget_sample(sample_id: int) -> Plan:
    """Forget one sample."""

    def plan(store: Store) -> Operation:
        recall = store.recall([sample_id], latents=store.learner.wants_latents)
        if not recall.ids and not store.learner.remembers(sample_id):
            raise unknown_sample(sample_id)
        return Forget((sample_id,), None, recall)

    return plan


def forget_class(label: str) -> Plan:
    """Forget everything about a class."""

    def plan(store: Store) -> Operation:
        if not store.learner.wants_latents_of_classes:
            return Forget((), label, store.recall([], latents=False))
        return Forget((), label, store.recall_class(label))

    return plan


def relabel(sample_id: int, label: str) -> Plan:
    """Give a sample another label."""

    def plan(store: Store) -> Operation:
        recall = store.recall([sample_id], latents=True)
        if not recall.ids and not store.learner.remembers(sample_id):
            raise unknown_sample(sample_id)
        return Relabel(sample_id, label, recall)

    return plan


def undo(check_budget: BudgetCheck) -> Plan:
    """Go back before the last operation that is not undone yet."""

    def plan(store: Store) -> Operation:
        store.succession.refuse_while_changing()
        with store.journal.reading():
            undone = store.history.undoable()
            learner = store.history.at(undone - 1)
        check_budget(learner.memory_budget)
        return Restore(undone - 1, undone, learner.samples_seen, learner.to_bytes())

    return plan


def roll_back(to: int | str, check_budget: BudgetCheck) -> Plan:
    """Go back to a version, or to a checkpoint by its name."""

    def plan(store: Store) -> Operation:
        store.succession.refuse_while_changing()
        version = store.checkpoints.find(to).version if isinstance(to, str) else to
        with store.journal.reading():
            learner = store.history.at(version)
        check_budget(learner.memory_budget)
        return Restore(version, None, learner.samples_seen, learner.to_bytes())

    return plan


def save_checkpoint(name: str) -> Plan:
    """Keep the present state under a name."""

    def plan(store: Store) -> Operation:
        store.succession.refuse_while_changing()
        journal, learner = store.journal, store.learner
        version = journal.last_sequence
        store.checkpoints.write(name, version, journal.next_id, learner.to_bytes())
        return SaveCheckpoint(name, version, learner.samples_seen)

    return plan


def unknown_sample(sample_id: int) -> Problem:
    """The problem of a sample that is not listed."""
    detail = f"sample {sample_id} was never acknowledged, was forgotten, or was retired"
    return Problem("not-found", detail)
