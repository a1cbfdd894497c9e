"""Requests on their way to a learner: the job, its answer, and the bounded queue."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from edge_cl.recall import Correction
from service.corrections import Deny
from service.errors import Problem
from service.operations import Lesson, Operation

if TYPE_CHECKING:
    from service.store import Store

__all__ = ["Job", "Plan", "Queue", "Receipt", "Reply"]

Plan: TypeAlias = "Callable[[Store], Operation]"


@dataclass(frozen=True)
class Receipt:
    """What the client is told of an operation.

    Parameters
    ----------
    version
        The operation's number; a prediction of this version or a later one knows it.
    ids
        Ids of its samples.
    operation
        What was committed.
    correction
        What it does, if it corrects.
    """

    version: int
    ids: range
    operation: Operation
    correction: Correction | None = None


@dataclass(frozen=True)
class Reply:
    """An answer, as it is stored for a repeated request."""

    status: int
    body: str


@dataclass(frozen=True)
class Job:
    """One operation that somebody waits for.

    Parameters
    ----------
    operation
        What the learner is to do; or how to find that out of what is stored, once
        everything before it is learned.
    render
        Makes the answer, before the commit, so that both are stored together.
    until_learned
        Whether the answer waits for the learning, or for the commit only.
    key, fingerprint
        Of a request that may be repeated.
    expected
        Versions of the learner that it may start from; None for any.
    """

    operation: Operation | Plan
    render: Callable[[Receipt], Reply]
    until_learned: bool = True
    key: str | None = None
    fingerprint: bytes = b""
    expected: frozenset[int] | None = None
    reply: Future[Reply] = field(default_factory=Future)

    @property
    def size_bytes(self) -> int:
        """Memory that the job holds while it waits."""
        if callable(self.operation):
            return 1024
        held = self.operation
        latents = held.latents.nbytes if isinstance(held, Lesson | Deny) else 0
        metadata = sum(len(sample.metadata or "") for sample in held.samples)
        pictures = held.thumbnails.values() if isinstance(held, Lesson) else ()
        beside = metadata + sum(map(len, pictures))
        return latents + beside + 1024 + 256 * len(held.samples)


class Queue:
    """Jobs in the order in which they came, bounded by number and by bytes.

    Parameters
    ----------
    max_jobs, max_bytes
        The bounds; a job beyond them is refused, never made to wait.
    """

    def __init__(self, max_jobs: int, max_bytes: int) -> None:
        self._max_jobs = max_jobs
        self._max_bytes = max_bytes
        self._jobs: deque[Job] = deque()
        self._bytes = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, job: Job) -> None:
        """Add a job; Problem ``busy`` when the queue is full."""
        with self._changed:
            if self._closed:
                raise Problem("not-ready", "the service is stopping")
            too_many = len(self._jobs) >= self._max_jobs
            # An empty queue takes any one job, or a large one could never be taught.
            if too_many or (self._jobs and self._bytes + job.size_bytes > self._max_bytes):
                raise Problem(
                    "busy",
                    f"{len(self._jobs)} requests ({self._bytes:,} bytes) wait for this learner; "
                    f"at most {self._max_jobs} ({self._max_bytes:,} bytes) may",
                )
            self._jobs.append(job)
            self._bytes += job.size_bytes
            self._changed.notify()

    def take(self, max_jobs: int, timeout_s: float) -> list[Job]:
        """The oldest jobs; waits up to `timeout_s` for the first."""
        with self._changed:
            if not self._jobs and not self._closed:
                self._changed.wait(timeout_s)
            count = min(max_jobs, len(self._jobs))
            jobs = [self._jobs.popleft() for _ in range(count)]
            self._bytes -= sum(job.size_bytes for job in jobs)
            return jobs

    def put_back(self, jobs: Sequence[Job]) -> None:
        """Return jobs to the front, in their order."""
        with self._changed:
            self._jobs.extendleft(reversed(jobs))
            self._bytes += sum(job.size_bytes for job in jobs)

    def wake(self) -> None:
        """Let `take` return at once, with whatever there is."""
        with self._changed:
            self._changed.notify()

    def close(self) -> None:
        """Take nothing more in; what waits can still be taken out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def __len__(self) -> int:
        return len(self._jobs)
