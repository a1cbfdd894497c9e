"""Teaching through a queue on the disk: the options, and what is said at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

import click

from edge_cl.budget import parse_bytes
from edge_cl.client import Client, Drained, OfflineQueue, QueueFull, ServiceUnreachable, api
from edge_cl.client.answers import Json
from edge_cl.commands import exits
from edge_cl.commands.connection import Connection
from edge_cl.commands.output import print_json, print_table

PATIENCE_S = 5.0
"""Longest insistence: what is not taken now can wait."""

LATER_S = 30.0
"""Rest before a service that did not answer is asked again, while there is more to queue."""


@dataclass(frozen=True)
class QueueChoice:
    """Where lessons wait that the service does not take now."""

    folder: Path | None
    max_bytes: int

    def open(self, connection: Connection) -> Queueing:
        """The queue with a client of the service, which need not answer."""
        assert self.folder is not None
        queue = OfflineQueue(self.folder, learner=connection.learner, max_bytes=self.max_bytes)
        hurried = replace(connection, patience_s=min(connection.patience_s, PATIENCE_S))
        return Queueing(queue, hurried.client(answers_now=False))


class Queueing:
    """Puts lessons on the disk, and sends them while the service answers.

    Parameters
    ----------
    queue
        Where they wait.
    client
        Sends them.
    """

    def __init__(self, queue: OfflineQueue, client: Client) -> None:
        self._queue = queue
        self._client = client
        self._drained = Drained()
        self._ask_again_at = 0.0

    def __enter__(self) -> Queueing:
        return self

    def __exit__(self, *failure: object) -> None:
        self._client.close()
        self._queue.close()

    def __len__(self) -> int:
        return len(self._queue)

    def teach(self, image: bytes, label: str, **options: str | None) -> None:
        """Keep one image and its label, and send what waits if the service answers."""
        call = api.teach(self._queue.learner, image, label, **_given(options))
        try:
            self._queue.add(call)
        except QueueFull:
            self.send()
            self._queue.add(call)
        self.send_sometimes()

    def send_sometimes(self) -> None:
        """Send what waits, unless the service did not answer a moment ago."""
        if time.monotonic() >= self._ask_again_at and len(self._queue):
            self.send()

    def so_far(self) -> Drained:
        """What became of everything since the beginning; sends nothing."""
        waiting = len(self._queue)
        failure = self._drained.failure if waiting else None
        return replace(self._drained, waiting=waiting, failure=failure)

    def send(self) -> Drained:
        """Send what waits; returns what became of everything since the beginning."""
        step, before = self._queue.drain(self._client), self._drained
        if isinstance(step.failure, ServiceUnreachable):
            self._ask_again_at = time.monotonic() + LATER_S
        self._drained = Drained(
            sent=before.sent + step.sent,
            samples=before.samples + step.samples,
            known_before=before.known_before + step.known_before,
            set_aside=before.set_aside + step.set_aside,
            waiting=step.waiting,
            failure=step.failure,
        )
        return self._drained

    def finish(self, unread: Mapping[str, list[str]], as_json: bool) -> int:
        """Send what waits, say what became of it all, return the exit code."""
        drained = (
            self.send() if len(self._queue) else replace(self._drained, waiting=0, failure=None)
        )
        report(self._queue, drained, unread, as_json)
        failed = bool(unread) or drained.set_aside
        return exits.PARTLY_FAILED if failed else exits.OK


def with_queue(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a `QueueChoice`, which it takes as ``queue``."""

    @click.option(
        "--queue",
        "queue_folder",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder in which lessons wait while the service does not answer.",
    )
    @click.option(
        "--queue-limit", default="64MiB", show_default=True, help="Most bytes in that folder."
    )
    @wraps(command)
    def queued(*args: Any, queue_folder: Path | None, queue_limit: str, **options: Any) -> Any:
        choice = QueueChoice(queue_folder, parse_bytes(queue_limit))
        return command(*args, queue=choice, **options)

    return queued


def report(
    queue: OfflineQueue, drained: Drained, unread: Mapping[str, list[str]], as_json: bool
) -> None:
    """Say what was sent, what waits and why, and what was set aside."""
    aside = queue.set_aside()
    if as_json:
        print_json({**_counts(drained), "unread": dict(unread), "set_aside": _lines(aside)})
        return
    known = f", {drained.known_before} of them known before" if drained.known_before else ""
    click.echo(f"{drained.sent} sent{known}; {drained.waiting} wait, {len(aside)} set aside")
    if drained.failure is not None:
        click.echo(f"not all were sent: {drained.failure}", err=True)
    if unread:
        rows = [(why, names[0], len(names)) for why, names in unread.items()]
        print_table("not queued", ["why", "first", "images"], rows, text_columns=2)
    if aside:
        refused = [(str(one.number), one.reason) for one in aside]
        print_table("set aside", ["number", "why"], refused, text_columns=2)


def _counts(drained: Drained) -> Json:
    why = None if drained.failure is None else str(drained.failure)
    return {
        "sent": drained.sent,
        "known_before": drained.known_before,
        "waiting": drained.waiting,
        "failure": why,
    }


def _lines(aside: list[Any]) -> list[Json]:
    return [vars(one) for one in aside]


def _given(options: Mapping[str, str | None]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
