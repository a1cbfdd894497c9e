"""Corrections and history, described as the other requests are."""

from __future__ import annotations

from urllib.parse import quote

from edge_cl.client.answers import Json, as_json, nothing
from edge_cl.client.calls import Call

__all__ = [
    "checkpoint",
    "delete_checkpoint",
    "forget",
    "forget_class",
    "merge_classes",
    "relabel",
    "rename_class",
    "rollback",
    "undo",
    "versions",
]


def relabel(
    learner: str, sample_id: int, label: str, *, idempotency_key: str | None = None
) -> Call[Json]:
    """Give a sample another label; the member `exact` says how far that goes."""
    path = f"{_path(learner)}/samples/{sample_id}"
    return Call("PATCH", path, as_json, json={"label": label}).once(idempotency_key)


def forget(learner: str, sample_id: int, *, idempotency_key: str | None = None) -> Call[Json]:
    """Forget a sample; the member `exact` says whether it is as if it had never been taught."""
    return Call("DELETE", f"{_path(learner)}/samples/{sample_id}", as_json).once(idempotency_key)


def rename_class(
    learner: str, label: str, name: str, *, idempotency_key: str | None = None
) -> Call[Json]:
    """Give a class another name."""
    return Call("PATCH", _class(learner, label), as_json, json={"name": name}).once(idempotency_key)


def merge_classes(
    learner: str, label: str, into: str, *, idempotency_key: str | None = None
) -> Call[Json]:
    """Let the class `label` be the class `into` from now on."""
    path = f"{_class(learner, label)}/merge"
    return Call("POST", path, as_json, json={"into": into}).once(idempotency_key)


def forget_class(learner: str, label: str, *, idempotency_key: str | None = None) -> Call[Json]:
    """Forget a class and all samples of it."""
    return Call("DELETE", _class(learner, label), as_json).once(idempotency_key)


def undo(learner: str, *, idempotency_key: str | None = None) -> Call[Json]:
    """Undo the last change that is not undone yet."""
    return Call("POST", f"{_path(learner)}/undo", as_json).once(idempotency_key)


def rollback(learner: str, to: int | str, *, idempotency_key: str | None = None) -> Call[Json]:
    """Go back to a version, or to a checkpoint by its name."""
    return Call("POST", f"{_path(learner)}/rollback", as_json, json={"to": to}).once(
        idempotency_key
    )


def checkpoint(learner: str, name: str, *, idempotency_key: str | None = None) -> Call[Json]:
    """Keep the present version under a name."""
    path = f"{_path(learner)}/checkpoints"
    return Call("POST", path, as_json, json={"name": name}).once(idempotency_key)


def delete_checkpoint(learner: str, name: str) -> Call[None]:
    """Delete a checkpoint; the learner does not change."""
    path = f"{_path(learner)}/checkpoints/{quote(name, safe='')}"
    return Call("DELETE", path, nothing, repeatable=False)


def versions(learner: str, *, before: int | None = None, limit: int = 100) -> Call[Json]:
    """What changed the learner, the newest first, and its checkpoints."""
    params = {"limit": str(limit), **({} if before is None else {"before": str(before)})}
    return Call("GET", f"{_path(learner)}/versions", as_json, params)


def _path(learner: str) -> str:
    return f"/v1/learners/{learner}"


def _class(learner: str, label: str) -> str:
    return f"{_path(learner)}/classes/{quote(label, safe='')}"
