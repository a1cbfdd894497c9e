"""What a journal row says: one request that changed a learner, with its grouping.

Replaying the same operations in the same order on the same learner gives the
same bits, so an operation holds exactly one call of the learner and nothing
that depends on the clock.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_cl.learner import Learner
from edge_cl.monitoring import Outcome
from edge_cl.types import Array
from service.corrections import CORRECTIONS, compact, decode_correction

if TYPE_CHECKING:
    from service.doubts import Warned

__all__ = [
    "ChangeStrategy", "EndExperience", "FinishChange", "Lesson", "Operation", "Sample",
    "SetBudget", "decode",
]  # fmt: skip

COLUMNS = (
    "label", "context", "device", "captured_at", "predicted", "confidence", "unknown", "metadata",
)  # fmt: skip
"""Of a lesson's header; a row of before a column came is read without it."""


@dataclass(frozen=True)
class Sample:
    """What is known of one sample beside its latent.

    Parameters
    ----------
    label
        The class, as the client named it.
    context
        The stretch of the stream that it belongs to, if the client says so.
    device
        Who sent it.
    captured_at
        The client's own time, as it was sent.
    predicted, confidence
        What was predicted before it was learned, and how sure; None if nothing could be.
    unknown
        Whether it was called unknown then.
    metadata
        What the client keeps beside it, as JSON text.
    """

    label: str
    context: str | None = None
    device: str | None = None
    captured_at: str | None = None
    predicted: str | None = None
    confidence: float | None = None
    unknown: bool | None = None
    metadata: str | None = None

    @property
    def outcome(self) -> Outcome:
        """The sample as a test of what was known before it."""
        return Outcome(self.label, self.predicted, self.confidence or 0.0, bool(self.unknown))


@dataclass(frozen=True)
class Lesson:
    """Labelled latents that are learned in one call.

    Parameters
    ----------
    latents
        (N, D), uint8 codes or float32.
    samples
        One for each row.
    warnings
        Doubts that the answer tells; not stored.
    thumbnails
        Pictures by row, which are kept apart from the journal, if they are kept.
    """

    latents: Array
    samples: tuple[Sample, ...]
    warnings: tuple[Warned, ...] = field(default=(), compare=False)
    thumbnails: Mapping[int, bytes] = field(default_factory=dict, compare=False)
    kind = "learn"

    @property
    def labels(self) -> list[str]:
        """The label of each row."""
        return [sample.label for sample in self.samples]

    @property
    def contexts(self) -> list[str | None]:
        """The context of each row."""
        return [sample.context for sample in self.samples]

    def check(self, learner: Learner) -> None:
        """Raise what `apply` would raise, and change nothing."""
        learner.check_latents(self.latents, self.labels, self.contexts)

    def apply(self, learner: Learner, first_id: int) -> None:
        """Teach `learner`; the rows get the ids from `first_id` on."""
        ids = range(first_id, first_id + len(self.samples))
        learner.learn_latents(self.latents, self.labels, self.contexts, ids)

    def encode(self) -> tuple[str, bytes]:
        """The row's header and its payload."""
        columns = {
            name: _shortened([getattr(sample, name) for sample in self.samples]) for name in COLUMNS
        }
        header = {"dtype": self.latents.dtype.str, "shape": self.latents.shape, **columns}
        return compact(header), np.ascontiguousarray(self.latents).tobytes()


@dataclass(frozen=True)
class EndExperience:
    """A boundary that the client announced."""

    samples: tuple[Sample, ...] = field(default=())
    kind = "end_experience"

    def check(self, learner: Learner) -> None:
        """Nothing can be wrong with a boundary."""

    def apply(self, learner: Learner, first_id: int) -> None:
        """Close the learner's present experience."""
        learner.end_experience()

    def encode(self) -> tuple[str, bytes]:
        """The row's header and its payload."""
        return "{}", b""


@dataclass(frozen=True)
class SetBudget:
    """Another memory budget.

    Parameters
    ----------
    memory_budget
        In bytes.
    """

    memory_budget: int
    samples: tuple[Sample, ...] = field(default=())
    kind = "set_budget"

    def check(self, learner: Learner) -> None:
        """Raise what `apply` would raise, and change nothing."""
        learner.check_budget(self.memory_budget)

    def apply(self, learner: Learner, first_id: int) -> None:
        """Shrink or raise the learner's budget."""
        learner.set_budget(self.memory_budget)

    def encode(self) -> tuple[str, bytes]:
        """The row's header and its payload."""
        return compact({"memory_budget": self.memory_budget}), b""


@dataclass(frozen=True)
class ChangeStrategy:
    """Another strategy begins to be built, from what the learner has kept up to here.

    Parameters
    ----------
    strategy, options
        All options, so that what is built does not depend on the defaults of a version.
    plan
        What `auto` plans for and why it chose this, if it did.
    """

    strategy: str
    options: dict[str, Any]
    plan: dict[str, Any] | None = None
    samples: tuple[Sample, ...] = field(default=())
    kind = "change_strategy"

    def check(self, learner: Learner) -> None:
        """Raise what building it would raise, and change nothing."""
        learner.check_strategy(self.strategy, self.options)

    def apply(self, learner: Learner, first_id: int) -> None:
        """The learner that serves stays as it is: see `service.changes`."""

    def encode(self) -> tuple[str, bytes]:
        """The row's header and its payload."""
        header = {"strategy": self.strategy, "options": self.options}
        return compact(header if self.plan is None else {**header, "plan": self.plan}), b""


@dataclass(frozen=True)
class FinishChange:
    """The learner that was built has learned all that came meanwhile: it serves from here.

    Parameters
    ----------
    begun
        Number of the `ChangeStrategy` that began it.
    """

    begun: int
    samples: tuple[Sample, ...] = field(default=())
    kind = "finish_change"

    def check(self, learner: Learner) -> None:
        """The writer alone makes it."""

    def apply(self, learner: Learner, first_id: int) -> None:
        """Another learner takes the place of this one: see `service.changes`."""

    def encode(self) -> tuple[str, bytes]:
        """The row's header and its payload."""
        return compact({"begun": self.begun}), b""


Operation = Lesson | EndExperience | SetBudget | ChangeStrategy | FinishChange | CORRECTIONS
_SMALL: dict[str, type[EndExperience | SetBudget | ChangeStrategy | FinishChange]] = {
    one.kind: one for one in (EndExperience, SetBudget, ChangeStrategy, FinishChange)
}


def decode(kind: str, header: str, payload: bytes) -> Operation:
    """Rebuild the operation of one row; the inverse of ``encode``."""
    if kind in _SMALL:
        return _SMALL[kind](**json.loads(header))
    correction = decode_correction(kind, header, payload)
    if correction is not None:
        return correction
    if kind != Lesson.kind:
        raise ValueError(f"operation {kind!r} is not known: the journal is of a newer version")
    columns = json.loads(header)
    count = columns["shape"][0]
    latents = np.frombuffer(payload, dtype=columns["dtype"]).reshape(columns["shape"])
    rows = zip(
        *(_full(columns.get(name), count) for name in COLUMNS),
        strict=True,
    )
    return Lesson(latents, tuple(Sample(*row) for row in rows))


def fingerprint(kind: str, parts: Sequence[Sequence[str | bytes | None]]) -> bytes:
    """Digest of what a request asks for, whatever its encoding.

    Two multipart bodies with the same files differ in their boundary: what
    counts for a repeated Idempotency-Key is the content.
    """
    digest = hashlib.sha256(kind.encode())
    for part in parts:
        for value in part:
            encoded = value.encode() if isinstance(value, str) else value
            digest.update(b"-" if encoded is None else b"%d:" % len(encoded) + encoded)
        digest.update(b";")
    return digest.digest()


def _shortened(column: list[Any]) -> Any:
    """One value for a column that repeats it, to spare the disk."""
    return column if len(set(column)) > 1 else column[0]


def _full(column: Any, count: int) -> list[Any]:
    return column if isinstance(column, list) else [column] * count
