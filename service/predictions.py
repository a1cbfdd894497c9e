"""What was predicted lately: kept for feedback that comes later, and for the inbox.

Kept in memory only, within bounds of number, bytes and time. What was answered by feedback
is an operation of the journal like any other lesson.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from edge_cl.types import Array, Prediction
from service.corrections import Deny
from service.errors import Problem
from service.operations import Lesson, Operation, Sample

__all__ = ["Feedback", "Kept", "Place", "PredictionLog", "Question"]

RECORD_BYTES = 1024
"""What a record takes beside its latent, at most about."""
SHOWN_CLASSES = 5


@dataclass(frozen=True)
class Question:
    """What was asked about one sample.

    Parameters
    ----------
    latent
        (D,), float32 or codes.
    context, device, captured_at, metadata
        As the client said them.
    thumbnail
        A small picture of it, where the learner keeps such.
    """

    latent: Array
    context: str | None = None
    device: str | None = None
    captured_at: str | None = None
    metadata: str | None = None
    thumbnail: bytes | None = None


@dataclass(frozen=True)
class Place:
    """Where a record stands in the inbox: unknown first, then the least sure, then the newest."""

    known: bool
    score: float
    age: int

    @property
    def key(self) -> tuple[bool, float, int]:
        """What orders places."""
        return self.known, self.score, self.age


@dataclass(frozen=True)
class Kept:
    """A prediction that can still be answered.

    Parameters
    ----------
    number
        Rises by one with each prediction.
    at
        Seconds since the epoch.
    question, prediction
        What was asked and said.
    version
        Of the model that said it.
    answered
        Whether feedback has come.
    """

    id: str
    number: int
    at: float
    question: Question
    prediction: Prediction
    version: int
    answered: bool = False

    @property
    def size_bytes(self) -> int:
        """Memory that it takes."""
        question = self.question
        beside = len(question.metadata or "") + len(question.thumbnail or b"")
        return int(question.latent.nbytes) + beside + RECORD_BYTES

    @property
    def place(self) -> Place:
        """Where it stands in the inbox."""
        return Place(not self.prediction.unknown, self.prediction.score, -self.number)


@dataclass(frozen=True)
class Feedback:
    """What somebody says of a prediction: exactly one of the three."""

    label: str | None = None
    correct: bool | None = None
    denied: str | None = None

    def operation(self, kept: Kept) -> Operation:
        """What the learner is to learn of it; Problem if the prediction named nothing."""
        question, said = kept.question, kept.prediction
        label, denied = self.label, self.denied
        if self.correct is not None:
            if not said.label:
                raise Problem("invalid", "nothing was predicted that could be right or wrong")
            label, denied = (said.label, None) if self.correct else (None, said.label)
        latents = question.latent[None]
        if denied is not None:
            return Deny(latents, (denied,), (question.context,))
        sample = Sample(
            label or "", question.context, question.device, question.captured_at,
            said.label or None, round(said.score, 4) if said.label else None, said.unknown,
            question.metadata,
        )  # fmt: skip
        picture = question.thumbnail
        pictures = {} if picture is None else {0: picture}
        return Lesson(latents, (sample,), thumbnails=pictures)


class PredictionLog:
    """The latest predictions of one learner; safe to share between threads.

    Parameters
    ----------
    most, most_bytes, kept_s
        Bounds: the oldest go first.
    """

    def __init__(self, most: int, most_bytes: int, kept_s: float) -> None:
        self._most, self._most_bytes, self._kept_s = most, most_bytes, kept_s
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._lock = threading.Lock()
        self._number = 0
        self.used_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def add(
        self, questions: Sequence[Question], predictions: Sequence[Prediction], version: int
    ) -> list[str]:
        """Keep predictions of a version; returns their ids."""
        now, ids = time.time(), []
        with self._lock:
            for question, prediction in zip(questions, predictions, strict=True):
                self._number += 1
                shown = replace(prediction, top=prediction.top[:SHOWN_CLASSES])
                # A view of a batch would keep all of it in memory.
                own = replace(question, latent=question.latent.copy())
                kept = Kept(uuid.uuid4().hex, self._number, now, own, shown, version)
                ids.append(kept.id)
                self._kept[kept.id] = kept
                self.used_bytes += kept.size_bytes
            self._drop(now)
        return ids

    def get(self, prediction_id: str) -> Kept:
        """The prediction of this id; Problem if it is not kept, or no longer."""
        with self._lock:
            self._drop(time.time())
            kept = self._kept.get(prediction_id)
        if kept is None:
            raise Problem(
                "not-found",
                f"prediction {prediction_id[:40]!r} is not kept: the last {self._most} are, for "
                f"{self._kept_s / 3600:g} h, within {self._most_bytes:,} bytes and until a "
                "restart; teach the sample under its label instead",
            )
        return kept

    def answer(self, prediction_id: str) -> None:
        """Note that feedback has come: the sample's own picture is kept from now on, or none."""
        with self._lock:
            kept = self._kept.get(prediction_id)
            if kept is not None:
                self._put(replace(_unpictured(kept), answered=True))

    def drop_thumbnails(self) -> None:
        """Keep the predictions without their pictures."""
        with self._lock:
            for kept in list(self._kept.values()):
                self._put(_unpictured(kept))

    def open(self, only_unknown: bool = False) -> list[Kept]:
        """What waits for feedback, in the order of the inbox."""
        with self._lock:
            self._drop(time.time())
            waiting = [one for one in self._kept.values() if not one.answered]
        found = [one for one in waiting if one.prediction.unknown or not only_unknown]
        return sorted(found, key=lambda one: one.place.key)

    def _put(self, kept: Kept) -> None:
        """Replace a prediction by what it is now."""
        self.used_bytes += kept.size_bytes - self._kept[kept.id].size_bytes
        self._kept[kept.id] = kept

    def _drop(self, now: float) -> None:
        for oldest in self._oldest():
            over = len(self._kept) > self._most or self.used_bytes > self._most_bytes
            if not over and now - oldest.at <= self._kept_s:
                break
            del self._kept[oldest.id]
            self.used_bytes -= oldest.size_bytes

    def _oldest(self) -> Iterator[Kept]:
        while self._kept:
            yield next(iter(self._kept.values()))


def _unpictured(kept: Kept) -> Kept:
    return replace(kept, question=replace(kept.question, thumbnail=None))
