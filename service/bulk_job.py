"""One uploaded batch: what is asked for, how far it came, and how long it will take."""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import dataclass, field, fields
from typing import Any

__all__ = ["BulkJob", "Speed"]

ENDED = ("done", "failed", "cancelled")
SHOWN = (
    "id", "learner", "kind", "samples", "state", "reason", "taught", "refused", "faults", "version",
    "created_at", "ended_at",
)  # fmt: skip


class Speed:
    """Samples a second, measured over the last groups of a job.

    Parameters
    ----------
    groups
        So many of them: what it did long ago says little of what comes.
    """

    def __init__(self, groups: int = 16) -> None:
        self._marks: deque[tuple[float, int]] = deque(maxlen=groups + 1)

    def begin(self, done: int) -> None:
        """The job is taken up, with so many samples done before."""
        self._marks = deque([(time.monotonic(), done)], self._marks.maxlen)

    def note(self, done: int) -> None:
        """So many samples are done now."""
        self._marks.append((time.monotonic(), done))

    def seconds_for(self, samples: int) -> float | None:
        """Seconds that so many more will take; None until a group was measured.

        The time since the last group counts: while a job waits, they become more.
        """
        marks = self._marks
        if not marks or marks[-1][1] == marks[0][1]:
            return None
        (begun, before), (_, done) = marks[0], marks[-1]
        return round(samples * (time.monotonic() - begun) / (done - before), 1)


@dataclass
class BulkJob:
    """One uploaded batch.

    Parameters
    ----------
    id, learner, kind
        Its name, whom it teaches, ``zip`` or ``ndjson``.
    samples
        Samples in the upload.
    notes
        Label, context, device, time of the samples that do not say theirs.
    key, sha256
        Idempotency key of the upload and digest of its content.
    state
        ``waiting``, ``running``, ``done``, ``failed`` or ``cancelled``.
    reason
        Why it cannot go on at present, or has ended.
    place
        Where the next sample begins in the upload.
    taught, refused
        Samples learned, and samples that could not be used.
    faults
        The first of these, with what is wrong.
    version
        Version of the learner that knows all that was taught.
    created_at, ended_at
        Seconds since the epoch.
    takes
        What the files of an archive are: ``image``, ``sound`` or ``series``.
    speed
        How fast it goes in this run of the service.
    """

    id: str
    learner: str
    kind: str
    samples: int
    notes: dict[str, str] = field(default_factory=dict)
    key: str | None = None
    sha256: str = ""
    state: str = "waiting"
    reason: str | None = None
    place: int = 0
    taught: int = 0
    refused: int = 0
    faults: list[dict[str, str]] = field(default_factory=list)
    version: int = 0
    created_at: float = field(default_factory=time.time)
    ended_at: float | None = None
    takes: str = "image"
    speed: Speed = field(default_factory=Speed, compare=False)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ENDED

    def content(self) -> dict[str, Any]:
        """What is told of it."""
        done = self.taught + self.refused
        running = self.state == "running"
        return {
            **{name: getattr(self, name) for name in SHOWN},
            "progress": round(done / self.samples, 4),
            "eta_s": self.speed.seconds_for(self.samples - done) if running else None,
        }

    def encode(self) -> bytes:
        """What a restart needs of it."""
        kept = (one.name for one in fields(self) if one.name != "speed")
        return json.dumps({name: getattr(self, name) for name in kept}).encode()
