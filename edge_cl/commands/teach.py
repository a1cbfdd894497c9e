"""``edge-cl teach DIR``."""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import click

from edge_cl.client import Client, ServiceProblem, ServiceUnreachable, Taught
from edge_cl.commands import exits
from edge_cl.commands.concurrency import bounded_map
from edge_cl.commands.connection import Connection, with_connection
from edge_cl.commands.folders import LabelledFile, interleaved, labelled_files
from edge_cl.commands.output import print_json, print_table, progress_bar
from edge_cl.commands.queued import QueueChoice, with_queue
from edge_cl.errors import InvalidImage

# What every further sample would be answered as well: going on makes no sense.
_FINAL_STATUSES = frozenset({401, 403, 404, 507})


@dataclass
class Lesson:
    """What became of the samples so far."""

    accepted: Counter[str] = field(default_factory=Counter)
    known_before: int = 0
    failed: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def note(self, file: LabelledFile, outcome: Taught | str) -> None:
        """Count one answer, or the reason why there is none."""
        if isinstance(outcome, str):
            self.failed[outcome].append(file.name)
            return
        self.accepted[file.label] += outcome.accepted
        self.known_before += outcome.accepted if outcome.replayed else 0

    @property
    def failures(self) -> int:
        """How many samples were not accepted."""
        return sum(len(names) for names in self.failed.values())


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--context", help="Context of all samples, for strategies that use one.")
@click.option(
    "--order",
    type=click.Choice(["mixed", "by-class"]),
    default="mixed",
    show_default=True,
    help="Classes take turns, or come one after the other.",
)
@click.option("--per-class", type=click.IntRange(min=1), help="Images of a class at most.")
@click.option("--seed", default=0, show_default=True, help="Seed of the mixed order.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Requests at the same time.",
)
@click.option("--again", is_flag=True, help="Teach images a second time that were taught before.")
@with_queue
@click.option("--json", "as_json", is_flag=True, help="Write the summary as JSON.")
@with_connection
def teach(
    connection: Connection,
    folder: Path,
    context: str | None,
    order: str,
    per_class: int | None,
    seed: int,
    concurrency: int,
    again: bool,
    queue: QueueChoice,
    as_json: bool,
) -> int:
    """Teach the images or sounds (WAV) of FOLDER, which has one folder per class.

    Each is sent under a key made of its bytes, name and label: after a
    break, run the same command again and nothing is taught twice. With --queue
    the service need not answer: what it does not take now waits on the disk.
    """
    files = labelled_files(folder, per_class)
    if order == "mixed":
        files = interleaved(files, seed)
    salt = uuid.uuid4().hex if again else ""
    lesson = Lesson()
    if queue.folder is not None:
        return _teach_queued(connection, queue, files, context, salt, as_json)
    with connection.client() as client:
        try:
            _send(_sender(client, context, salt), files, concurrency, lesson)
        except (ServiceUnreachable, ServiceProblem):
            taught = sum(lesson.accepted.values())
            click.echo(
                f"stopped after {taught} of {len(files)} images; run the same command again "
                "to go on: nothing is taught twice",
                err=True,
            )
            raise
    _report(lesson, len(files), as_json)
    return exits.PARTLY_FAILED if lesson.failures else exits.OK


def _teach_queued(
    connection: Connection,
    choice: QueueChoice,
    files: list[LabelledFile],
    context: str | None,
    salt: str,
    as_json: bool,
) -> int:
    """Put everything on the disk, and send what the service takes now."""
    unread: dict[str, list[str]] = defaultdict(list)
    with choice.open(connection) as queue, progress_bar("teaching", len(files)) as advance:
        for file in files:
            try:
                image = file.path.read_bytes()
                key = _key(file, image, salt)
                queue.teach(image, file.label, context=context, idempotency_key=key)
            except OSError as error:
                unread[f"cannot be read: {error.strerror}"].append(file.name)
            except InvalidImage as error:
                unread[str(error)].append(file.name)
            advance(note=f"{len(queue)} wait")
        return queue.finish(unread, as_json)


def _sender(
    client: Client, context: str | None, salt: str
) -> Callable[[LabelledFile], Taught | str]:
    def send(file: LabelledFile) -> Taught | str:
        try:
            image = file.path.read_bytes()
            key = _key(file, image, salt)
            return client.teach(image, file.label, context=context, idempotency_key=key)
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        except InvalidImage as error:
            return str(error)
        except ServiceProblem as problem:
            if problem.status in _FINAL_STATUSES:
                raise
            return str(problem)

    return send


def _send(
    send: Callable[[LabelledFile], Taught | str],
    files: list[LabelledFile],
    concurrency: int,
    lesson: Lesson,
) -> None:
    with progress_bar("teaching", len(files)) as advance:
        outcomes = bounded_map(send, files, concurrency)
        for file, outcome in zip(files, outcomes, strict=True):
            lesson.note(file, outcome)
            advance(note=f"{lesson.failures} failed" if lesson.failures else "")


def _key(file: LabelledFile, image: bytes, salt: str) -> str:
    named = "\0".join((salt, file.label, file.name)).encode()
    return hashlib.sha256(named + b"\0" + image).hexdigest()[:40]


def _report(lesson: Lesson, total: int, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "images": total,
                "accepted": sum(lesson.accepted.values()),
                "known_before": lesson.known_before,
                "by_label": dict(sorted(lesson.accepted.items())),
                "failed": dict(lesson.failed),
            }
        )
        return
    taught = sum(lesson.accepted.values())
    title = f"{taught} of {total} images accepted"
    if lesson.known_before:
        title += f", {lesson.known_before} of them known before"
    print_table(title, ["class", "accepted"], sorted(lesson.accepted.items()))
    if lesson.failed:
        rows = [(why, names[0], len(names)) for why, names in lesson.failed.items()]
        print_table(f"{lesson.failures} failed", ["why", "first", "images"], rows, text_columns=2)
