"""``edge-cl watch FOLDER|camera``."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import click

from edge_cl.client import Client, QueueFull, ServiceProblem, ServiceUnreachable
from edge_cl.commands import exits
from edge_cl.commands.connection import Connection, with_connection
from edge_cl.commands.queued import QueueChoice, Queueing, with_queue
from edge_cl.commands.sources import CameraSource, FolderSource, Found, source_of
from edge_cl.errors import InvalidImage

QUEUE = ".edge-cl-queue"


class Sink(Protocol):
    """What is done with a sample."""

    def take(self, found: Found) -> bool:
        """Use a sample; False when it must come again later."""

    def rest(self) -> None:
        """Called after every look."""


class Teaching:
    """Puts samples into the queue, which sends them when the service answers."""

    def __init__(self, queue: Queueing, label: str | None, device: str | None) -> None:
        self._queue = queue
        self._label = label
        self._device = device
        self._said = ""

    def take(self, found: Found) -> bool:
        """Keep a sample on the disk under a key made of its name, bytes and label."""
        label = self._label or found.folder
        if label is None:
            click.echo(f"{found.name} has no label: put it into a class folder, or use --label",
                       err=True)  # fmt: skip
            return True
        named = "\0".join((label, found.name)).encode()
        key = hashlib.sha256(named + b"\0" + found.content).hexdigest()[:40]
        try:
            self._queue.teach(found.content, label, device=self._device, idempotency_key=key)
        except InvalidImage as error:
            click.echo(f"{found.name} was not taught: {error}", err=True)
            return True
        except QueueFull as error:
            click.echo(f"{found.name} must wait: {error}", err=True)
            return False
        click.echo(f"{found.name}: {label}")
        return True

    def rest(self) -> None:
        """Send what waits, if the service may be there again; say once why it may not."""
        self._queue.send_sometimes()
        failure = self._queue.so_far().failure
        if failure is not None and str(failure) != self._said:
            click.echo(f"lessons wait: {failure}", err=True)
        self._said = "" if failure is None else str(failure)


class Asking:
    """Says what samples are."""

    def __init__(self, client: Client, as_json: bool) -> None:
        self._client = client
        self._as_json = as_json

    def take(self, found: Found) -> bool:
        """Ask about a sample."""
        try:
            answer = self._client.predict(found.content, top_k=3)
        except (ServiceProblem, InvalidImage) as error:
            click.echo(f"{found.name}: {error}", err=True)
            return not (isinstance(error, ServiceProblem) and error.passing)
        except ServiceUnreachable as error:
            click.echo(f"{found.name} must wait: {error}", err=True)
            return False
        if self._as_json:
            click.echo(json.dumps({"name": found.name, **answer.answer}, ensure_ascii=False))
        else:
            label = f"unknown (nearest: {answer.label})" if answer.unknown else answer.label
            click.echo(f"{found.name}: {label} {answer.score:.2f}")
        return True

    def rest(self) -> None:
        """Nothing waits."""


@click.command()
@click.argument("source")
@click.option("--label", help="Class of everything.  [else the name of the class folder]")
@click.option("--predict", is_flag=True, help="Say what each sample is; teach nothing.")
@click.option("--every", default=2.0, show_default=True, type=click.FloatRange(0.05),
              help="Seconds between two looks.")  # fmt: skip
@click.option("--once", is_flag=True, help="End when everything that is there was taken.")
@click.option("--device", help="Who saw it.")
@click.option("--json", "as_json", is_flag=True, help="Write predictions as lines of JSON.")
@with_queue
@with_connection
def watch(
    connection: Connection,
    source: str,
    label: str | None,
    predict: bool,
    every: float,
    once: bool,
    device: str | None,
    as_json: bool,
    queue: QueueChoice,
) -> int:
    """Teach what appears in SOURCE, or say what it is, until Ctrl-C.

    SOURCE is a folder, `camera`, or /dev/videoN. In a folder the name of the
    class folder is the label; a file is taken once it is whole, and once in all.
    What is taught waits on the disk while the service is away.
    """
    watched = source_of(source)
    if isinstance(watched, CameraSource) and not (label or predict):
        raise click.UsageError("a camera needs --label, or --predict")
    if predict:
        with connection.client() as client:
            return _loop(watched, Asking(client, as_json), every, once)
    if queue.folder is None:
        beside = Path(source) if isinstance(watched, FolderSource) else Path()
        queue = replace(queue, folder=beside / QUEUE)
    with queue.open(connection) as waiting:
        try:
            code = _loop(watched, Teaching(waiting, label, device), every, once)
        finally:
            drained = waiting.send() if once else waiting.so_far()
            refused = f", {drained.set_aside} set aside" if drained.set_aside else ""
            click.echo(f"{drained.sent} sent, {drained.waiting} wait{refused}", err=True)
            if refused:
                click.echo(f"the reasons: edge-cl queue {queue.folder} --list", err=True)
        return exits.PARTLY_FAILED if drained.set_aside else code


def _loop(source: FolderSource | CameraSource, sink: Sink, every_s: float, once: bool) -> int:
    while True:
        waits = False
        for found in source.look():
            waits = not sink.take(found)
            if waits:
                break
            source.done(found)
        if once and (waits or not source.unsettled):
            return exits.PARTLY_FAILED if waits else exits.OK
        sink.rest()
        time.sleep(every_s)
