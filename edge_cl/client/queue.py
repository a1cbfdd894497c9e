"""What a device wants to teach while the service is away: kept on its disk, sent in order.

Every lesson is committed before `OfflineQueue.add` returns, together with its
idempotency key, and deleted only after the service has answered. A device that
is switched off between the two sends the same bytes under the same key again,
and the service answers it again without learning it again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeAlias

import httpx

from edge_cl.client import administration, api
from edge_cl.client.answers import Json, ServiceProblem
from edge_cl.client.asynchronous import AsyncClient
from edge_cl.client.calls import AnswerT, Call
from edge_cl.client.exchange import FAILURES, Failure, as_described
from edge_cl.client.queue_file import Entry, QueueFile, QueueFull, SetAside
from edge_cl.client.sync import Client

__all__ = ["Drained", "OfflineQueue", "QueueFull", "SetAside"]

P = ParamSpec("P")

MIB = 1024 * 1024
KEY_HOURS = 24.0
"""How long a service remembers a key, if it does not say."""
MARGIN_S = 60.0

# The service cannot take anything now, whatever is sent: the lesson is not to blame.
_SERVICE_STATUSES = frozenset({401, 403, 404, 507})


@dataclass(frozen=True)
class Receipt:
    """What the service answered to one lesson of a queue."""

    samples: int
    replayed: bool


@dataclass(frozen=True)
class Drained:
    """What became of a queue's lessons.

    Parameters
    ----------
    sent
        Lessons that the service acknowledged.
    samples
        Samples in them.
    known_before
        Lessons that it knew already, under the same key.
    set_aside
        Lessons that it will never take; `OfflineQueue.set_aside` has the reasons.
    waiting
        Lessons that still wait.
    failure
        Why they still wait: no answer, or a refusal that is not about a lesson.
    """

    sent: int = 0
    samples: int = 0
    known_before: int = 0
    set_aside: int = 0
    waiting: int = 0
    failure: Failure | None = None


Reply: TypeAlias = Receipt | Json | Failure
Flow: TypeAlias = Generator[Call[Any], Reply, Drained]


def _queued(
    describe: Callable[Concatenate[str, P], Call[AnswerT]],
) -> Callable[Concatenate[OfflineQueue, P], int]:
    """A method that keeps the described call and returns its number."""

    def method(self: OfflineQueue, /, *args: P.args, **options: P.kwargs) -> int:
        return self.add(describe(self.learner, *args, **options))

    as_described(method, describe, "int")
    return method


class OfflineQueue:
    """Lessons on the disk of a device, in the order in which they were given.

    `teach`, `teach_many`, `teach_latents` and `end_experience` take what those of
    `Client` take, and return a number as soon as the lesson is on the disk.
    A folder belongs to one process at a time; its threads may share the queue.

    Parameters
    ----------
    folder
        Where the queue lies; made if it is not there.
    learner
        Name of the learner that is to be taught.
    max_bytes
        Bytes of lessons at most, those that were set aside included.

    Raises
    ------
    QueueError
        If the folder is in use by another process, or its file is damaged.
    """

    def __init__(
        self, folder: str | Path, *, learner: str = "default", max_bytes: int = 64 * MIB
    ) -> None:
        self.learner = learner
        self._file = QueueFile(Path(folder), max_bytes)
        self._draining = threading.Lock()

    def __enter__(self) -> OfflineQueue:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        self._file.close()

    def __len__(self) -> int:
        """Lessons that wait."""
        return self._file.count()

    @property
    def held_bytes(self) -> int:
        """Bytes of all lessons that are kept."""
        return self._file.held_bytes()

    teach = _queued(api.teach)
    teach_many = _queued(api.teach_many)
    teach_latents = _queued(api.teach_latents)
    teach_series = _queued(api.teach_series)
    teach_samples = _queued(api.teach_samples)
    end_experience = _queued(api.end_experience)

    def add(self, call: Call[Any]) -> int:
        """Keep a described call that has an idempotency key; on return it is on the disk.

        A call whose key is kept already is not kept twice.

        Raises
        ------
        QueueFull
            If it does not fit; nothing was kept.
        """
        return self._file.add(call)

    def set_aside(self) -> list[SetAside]:
        """The lessons that the service refused, with its reasons."""
        return self._file.set_aside_list()

    def retry(self, number: int) -> None:
        """Let a lesson that was set aside wait again, in its old place."""
        self._file.retry(number)

    def discard(self, number: int) -> None:
        """Delete a lesson that was set aside."""
        self._file.discard(number)

    def drain(self, client: Client) -> Drained:
        """Send what waits, one lesson after the other, until nothing does or no answer comes.

        Parameters
        ----------
        client
            Its retries say how long to insist before giving up for now.
        """
        with self._draining:
            flow, reply = self._flow(), None
            while isinstance(step := _advance(flow, reply), Call):
                reply = _answer(client, step)
            return step

    async def drain_async(self, client: AsyncClient) -> Drained:
        """As `drain`, on asyncio."""
        await asyncio.to_thread(self._draining.acquire)
        try:
            flow, reply = self._flow(), None
            while isinstance(step := await asyncio.to_thread(_advance, flow, reply), Call):
                reply = await _answer_async(client, step)
            return step
        finally:
            self._draining.release()

    def _flow(self) -> Flow:
        """Yields what to send, is sent what came back, and returns what became of it all."""
        drained = Drained()
        entry = self._file.take()
        while entry is not None:
            if entry.tried_at is not None:
                limits = yield administration.service(self.learner)
                if isinstance(limits, FAILURES):
                    return self._stopped(drained, entry, limits)
                if reason := _key_is_forgotten(entry, limits):
                    drained = replace(drained, set_aside=drained.set_aside + 1)
                    entry = self._file.take(refused=(entry, reason))
                    continue
            reply = yield entry.call(_receipt)
            if isinstance(reply, Receipt):
                drained = _counted(drained, reply)
                entry = self._file.take(done=entry)
            elif isinstance(reply, FAILURES) and not _blames(reply):
                return self._stopped(drained, entry, reply)
            else:
                drained = replace(drained, set_aside=drained.set_aside + 1)
                entry = self._file.take(refused=(entry, str(reply)))
        return drained

    def _stopped(self, drained: Drained, entry: Entry, failure: Failure) -> Drained:
        if not failure.maybe_taken:
            self._file.put_back(entry)
        return replace(drained, failure=failure, waiting=len(self))


def _answer(client: Client, call: Call[Any]) -> Reply:
    try:
        reply: Reply = client.send(call)
    except FAILURES as failure:
        return failure
    return reply


async def _answer_async(client: AsyncClient, call: Call[Any]) -> Reply:
    try:
        reply: Reply = await client.send(call)
    except FAILURES as failure:
        return failure
    return reply


def _advance(flow: Flow, reply: Reply | None) -> Call[Any] | Drained:
    """The next call to send, or the end."""
    try:
        return next(flow) if reply is None else flow.send(reply)
    except StopIteration as end:
        drained: Drained = end.value
        return drained


def _blames(failure: Failure) -> bool:
    """Whether a failure is about the lesson itself, so that it would always be refused."""
    return (
        isinstance(failure, ServiceProblem)
        and not failure.passing
        and failure.status not in _SERVICE_STATUSES
    )


def _key_is_forgotten(entry: Entry, service: Reply) -> str | None:
    """Why sending `entry` again might teach it twice, or None if it cannot."""
    assert isinstance(service, dict)
    assert entry.tried_at is not None
    hours = float(service.get("limits", {}).get("idempotency_hours", KEY_HOURS))
    if time.time() - entry.tried_at < hours * 3600 - MARGIN_S:
        return None
    sent = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.tried_at))
    return (
        f"it was sent at {sent} and never answered; the service forgets keys after {hours:g} "
        "hours, so it may be known already: compare the learner's samples, then retry or discard it"
    )


def _receipt(response: httpx.Response) -> Receipt:
    replayed = response.headers.get("Idempotent-Replayed") == "true"
    return Receipt(len(response.json().get("ids", ())), replayed)


def _counted(drained: Drained, receipt: Receipt) -> Drained:
    return replace(
        drained,
        sent=drained.sent + 1,
        samples=drained.samples + receipt.samples,
        known_before=drained.known_before + receipt.replayed,
    )
