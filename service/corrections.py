"""Operations that correct what was taught; see `edge_cl.corrections` for what they do.

Each holds all that it needs, latents included: the lesson that it corrects may have been
dropped from the journal when it is replayed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import zstandard

from edge_cl.learner import Learner
from edge_cl.recall import Correction, Recall
from edge_cl.types import Array

__all__ = [
    "CORRECTIONS",
    "Amendment",
    "Deny",
    "Forget",
    "MergeClasses",
    "Relabel",
    "RenameClass",
    "Restore",
    "SaveCheckpoint",
    "compact",
    "decode_correction",
]


def compact(content: Any) -> str:
    """JSON in as few bytes as it takes."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


class Amendment:
    """What all corrections share: they bring no new samples."""

    kind: ClassVar[str]
    status: ClassVar[int] = 200
    samples: tuple[()] = ()

    @property
    def note(self) -> dict[str, Any]:
        """What its receipt says beside what it corrects."""
        return {}


@dataclass(frozen=True)
class Forget(Amendment):
    """Samples, or a whole class, that were never taught.

    Parameters
    ----------
    ids
        Of the samples; not looked at when there is a label.
    label
        The class to forget, or None.
    recall
        What is still known of the samples.
    """

    ids: tuple[int, ...]
    label: str | None
    recall: Recall
    kind = "forget"

    def check(self, learner: Learner) -> Correction:
        """What `apply` would do; raises what it would raise."""
        return learner.check_forget(self._ids, self.label, self.recall)

    def apply(self, learner: Learner, first_id: int) -> None:
        """Let `learner` forget."""
        learner.forget(self._ids, self.label, self.recall)

    @property
    def _ids(self) -> tuple[int, ...] | None:
        return self.ids if self.label is None else None

    def encode(self) -> tuple[str, bytes]:
        """The row's header and its payload."""
        header, payload = _encoded(self.recall)
        return compact({"forget": self.ids, "label": self.label, **header}), payload


@dataclass(frozen=True)
class Relabel(Amendment):
    """Another label for a sample."""

    sample_id: int
    label: str
    recall: Recall
    kind = "relabel"

    def check(self, learner: Learner) -> Correction:
        """What `apply` would do; raises what it would raise."""
        return learner.check_relabel(self.sample_id, self.label, self.recall)

    def apply(self, learner: Learner, first_id: int) -> None:
        """Let `learner` learn the sample under its new label."""
        learner.relabel(self.sample_id, self.label, self.recall)

    def encode(self) -> tuple[str, bytes]:
        """The row's header and its payload."""
        header, payload = _encoded(self.recall)
        return compact({"relabel": self.sample_id, "label": self.label, **header}), payload


@dataclass(frozen=True)
class Deny(Amendment):
    """Latents (N, D) that are not what `labels` say."""

    latents: Array
    labels: tuple[str, ...]
    contexts: tuple[str | None, ...]
    kind = "learn_not"

    def check(self, learner: Learner) -> Correction:
        """What `apply` would do; raises what it would raise."""
        return learner.check_learn_not(self.latents, self.labels, self.contexts)

    def apply(self, learner: Learner, first_id: int) -> None:
        """Let `learner` learn what the latents are not."""
        learner.learn_not(self.latents, self.labels, self.contexts)

    def encode(self) -> tuple[str, bytes]:
        """The row's header and its payload."""
        header, payload = _encoded(Recall((), self.labels, self.contexts, self.latents))
        return compact(header), payload


@dataclass(frozen=True)
class RenameClass(Amendment):
    """Another name for a class."""

    label: str
    name: str
    kind = "rename_class"

    def check(self, learner: Learner) -> Correction:
        """What `apply` would do; raises what it would raise."""
        return learner.check_rename_class(self.label, self.name)

    def apply(self, learner: Learner, first_id: int) -> None:
        """Rename the class."""
        learner.rename_class(self.label, self.name)

    def encode(self) -> tuple[str, bytes]:
        """The row's header and its payload."""
        return compact({"label": self.label, "name": self.name}), b""


@dataclass(frozen=True)
class MergeClasses(Amendment):
    """Two classes that are one."""

    label: str
    into: str
    kind = "merge_classes"

    def check(self, learner: Learner) -> Correction:
        """What `apply` would do; raises what it would raise."""
        return learner.check_merge_classes(self.label, self.into)

    def apply(self, learner: Learner, first_id: int) -> None:
        """Merge the class `label` into the class `into`."""
        learner.merge_classes(self.label, self.into)

    def encode(self) -> tuple[str, bytes]:
        """The row's header and its payload."""
        return compact({"label": self.label, "into": self.into}), b""


@dataclass(frozen=True)
class Restore(Amendment):
    """An earlier version, come back.

    Parameters
    ----------
    to
        The version.
    undone
        The operation that is undone by it; None if that is not what it is for.
    known
        Samples that the learner knew then.
    state
        The learner's bytes, so that a replay needs nothing that came before.
    """

    to: int
    undone: int | None
    known: int
    state: bytes
    kind = "restore"

    def check(self, learner: Learner) -> Correction:
        """That the state can be taken over was seen when it was made."""
        return Correction(self.known, exact=True)

    def apply(self, learner: Learner, first_id: int) -> None:
        """Let `learner` be what it was."""
        learner.revert(self.state)

    @property
    def note(self) -> dict[str, Any]:
        """Where it went, and what that undoes."""
        return {"to": self.to, "undone": self.undone}

    def encode(self) -> tuple[str, bytes]:
        """The row's header and its payload."""
        header = {"to": self.to, "undone": self.undone, "known": self.known}
        return compact(header), zstandard.ZstdCompressor().compress(self.state)


@dataclass(frozen=True)
class SaveCheckpoint(Amendment):
    """A name for a version; the learner does not change.

    Parameters
    ----------
    name
        Of the checkpoint.
    version
        The version that it is of.
    known
        Samples that the learner knows in it.
    """

    name: str
    version: int
    known: int
    kind = "checkpoint"
    status = 201

    def check(self, learner: Learner) -> Correction:
        """Nothing can be wrong with a name that was given."""
        return Correction(self.known, exact=True)

    def apply(self, learner: Learner, first_id: int) -> None:
        """Nothing is learned."""

    @property
    def note(self) -> dict[str, Any]:
        """What was named."""
        return {"name": self.name, "of_version": self.version}

    def encode(self) -> tuple[str, bytes]:
        """The row's header and its payload."""
        content = {"name": self.name, "version": self.version, "known": self.known}
        return compact(content), b""


CORRECTIONS = Forget | Relabel | Deny | RenameClass | MergeClasses | Restore | SaveCheckpoint


def decode_correction(kind: str, header: str, payload: bytes) -> CORRECTIONS | None:
    """Rebuild a correction; None if `kind` is no correction's."""
    if kind == RenameClass.kind:
        return RenameClass(**json.loads(header))
    if kind == MergeClasses.kind:
        return MergeClasses(**json.loads(header))
    if kind == SaveCheckpoint.kind:
        return SaveCheckpoint(**json.loads(header))
    if kind == Restore.kind:
        state = zstandard.ZstdDecompressor().decompress(payload)
        return Restore(**json.loads(header), state=state)
    if kind not in (Forget.kind, Relabel.kind, Deny.kind):
        return None
    content = json.loads(header)
    recall = _decoded(content, payload)
    if kind == Forget.kind:
        return Forget(tuple(content["forget"]), content["label"], recall)
    if kind == Relabel.kind:
        return Relabel(content["relabel"], content["label"], recall)
    assert recall.latents is not None
    return Deny(recall.latents, recall.labels, recall.contexts)


def _encoded(recall: Recall) -> tuple[dict[str, Any], bytes]:
    header: dict[str, Any] = {
        "ids": recall.ids,
        "labels": recall.labels,
        "contexts": recall.contexts,
    }
    if recall.latents is None:
        return header, b""
    latents = np.ascontiguousarray(recall.latents)
    return {**header, "dtype": latents.dtype.str, "shape": latents.shape}, latents.tobytes()


def _decoded(content: dict[str, Any], payload: bytes) -> Recall:
    latents = None
    if "dtype" in content:
        latents = np.frombuffer(payload, dtype=content["dtype"]).reshape(content["shape"])
    ids, labels, contexts = (tuple(content[name]) for name in ("ids", "labels", "contexts"))
    return Recall(ids, labels, contexts, latents)
