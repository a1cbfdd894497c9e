"""Corrections that need what is stored: made into operations once it is their turn."""

from __future__ import annotations

from service.corrections import Forget, Relabel
from service.errors import Problem
from service.jobs import Plan
from service.operations import Operation
from service.store import Store

__all__ = ["forget_class", "forget_sample", "relabel", "unknown_sample"]


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


def unknown_sample(sample_id: int) -> Problem:
    """The problem of a sample that is not listed."""
    detail = f"sample {sample_id} was never acknowledged, was forgotten, or was retired"
    return Problem("not-found", detail)
