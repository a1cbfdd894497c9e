"""Batches that are taught as a job: uploaded whole, learned piece by piece, resumed after a crash.

::

    jobs/ID/job.json     what is asked for, and how far it came
            upload       the archive or the lines; gone when the job has ended

A group of samples is taught under an idempotency key made of the job and its place.
What was committed before a crash is therefore answered from the journal, not learned
again: each sample is taught once.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from service.archives import BatchLimits, Piece, Source, open_source
from service.bodies import Item
from service.bulk_job import BulkJob
from service.errors import Problem
from service.events import Events
from service.snapshots import sync_folder, write_atomically

__all__ = ["Batches"]

log = logging.getLogger("edge_cl.jobs")

NAME = re.compile(r"[0-9a-f]{16}")
GROUP_SAMPLES = 64
SHOWN_FAULTS = 20
ENDED_KEPT = 100
PATIENCE_S = 2.0
PASSING = ("busy", "disk-full", "not-ready", "key-in-flight")
"""Problems that pass by themselves: the job waits."""

Teach = Callable[[str, list[Item], str], int]
"""(learner, items, key) to the version that knows them; Problem when they cannot be taught."""
Check = Callable[[str, list[Item]], None]
"""(learner, items): Problem when they cannot be taught."""


class Batches:
    """All jobs of a service; one at a time is worked on, in the order in which they came.

    Parameters
    ----------
    folder
        Where they lie.
    limits
        What an upload may be.
    most_waiting
        Jobs that may wait or run.
    teach, check
        Teaches one group, blocking until it is learned; or says only whether it could.
    events
        Where progress is told.
    """

    def __init__(
        self, folder: Path, limits: BatchLimits, most_waiting: int, teach: Teach, check: Check,
        events: Events,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._limits = limits
        self._most_waiting = most_waiting
        self._teach = teach
        self._check = check
        self._events = events
        self._jobs: dict[str, BulkJob] = {}
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def open(self) -> None:
        """Find the jobs of before, and go on with those that have not ended."""
        self._folder.mkdir(exist_ok=True)
        for folder in self._folder.iterdir():
            try:
                if not NAME.fullmatch(folder.name):
                    raise ValueError("half uploaded or half deleted")
                job = BulkJob(**json.loads((folder / "job.json").read_bytes()))
            except (OSError, ValueError, TypeError) as error:
                log.warning("job %s is dropped: %s", folder.name, error)
                shutil.rmtree(folder, ignore_errors=True)
                continue
            self._jobs[job.id] = job
        self._thread.start()

    def close(self) -> None:
        """Stop after the present group; the rest is taught after the next start."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def draft(self) -> Path:
        """An empty folder for an upload; belongs to `add` or to `discard`."""
        with self._changed:
            self._check_room()
        folder = self._folder / f".new-{secrets.token_hex(8)}"
        folder.mkdir()
        return folder

    def discard(self, draft: Path) -> None:
        """Drop an upload that came to nothing."""
        shutil.rmtree(draft, ignore_errors=True)

    def add(
        self, draft: Path, learner: str, kind: str, notes: dict[str, str], key: str | None,
        takes: str, sha256: str,
    ) -> tuple[BulkJob, bool]:  # fmt: skip
        """Take over an upload durably; returns the job, and whether it was there before.

        Raises
        ------
        Problem
            If the upload cannot be used, the key belongs to another one, or too many wait.
        """
        with self._changed:
            if known := self._known(learner, key, sha256):
                return known, True
            self._check_room()
        source = open_source(kind, takes, draft / "upload", self._limits)
        job = BulkJob(
            secrets.token_hex(8),
            learner,
            kind,
            source.samples,
            notes,
            key=key,
            sha256=sha256,
            takes=takes,
        )
        with self._changed:
            if known := self._known(learner, key, sha256):
                return known, True
            self._check_room()
            write_atomically(draft / "job.json", job.encode())
            os.replace(draft, self._folder / job.id)
            sync_folder(self._folder)
            self._jobs[job.id] = job
            self._changed.notify_all()
        self._tell(job)
        return job, False

    def get(self, job_id: str) -> BulkJob:
        """The job of this id; Problem when there is none."""
        job = self._jobs.get(job_id)
        if job is None:
            raise Problem("not-found", f"no job has the id {job_id[:40]!r}: GET /v1/jobs")
        return job

    def all(self) -> list[BulkJob]:
        """Every job, the oldest first."""
        return sorted(self._jobs.values(), key=lambda job: job.created_at)

    def delete(self, job_id: str) -> None:
        """Cancel a job that has not ended; forget one that has. What was taught stays."""
        with self._changed:
            job = self.get(job_id)
            if job.ended:
                self._forget(job)
            else:
                self._end(job, "cancelled", "a client asked for it")

    def _known(self, learner: str, key: str | None, sha256: str) -> BulkJob | None:
        if key is None:
            return None
        for job in self._jobs.values():
            if (job.learner, job.key) == (learner, key):
                if job.sha256 == sha256:
                    return job
                detail = f"Idempotency-Key {key!r} came with another upload before"
                raise Problem("key-reused", detail)
        return None

    def _check_room(self) -> None:
        waiting = sum(not job.ended for job in self._jobs.values())
        if waiting >= self._most_waiting:
            raise Problem("busy", f"{waiting} jobs wait, at most {self._most_waiting} may")

    def _run(self) -> None:
        while not self._closing.is_set():
            job = next((job for job in self.all() if not job.ended), None)
            if job is None:
                with self._changed:
                    if all(job.ended for job in self._jobs.values()) and not self._closing.is_set():
                        self._changed.wait()
                continue
            try:
                self._work(job)
            except Problem as problem:
                self._fail(job, problem.detail)
            except Exception as error:
                log.exception("job %s stopped", job.id)
                self._fail(job, f"it stopped unexpectedly: {error!r}")

    def _work(self, job: BulkJob) -> None:
        """Teach what is left of a job, until it ends or the service does."""
        upload = self._folder / job.id / "upload"
        source = open_source(job.kind, job.takes, upload, self._limits)
        with self._changed:
            if job.ended:
                return
            job.speed.begin(job.taught + job.refused)
            self._note(job, state="running", reason=None)
        for pieces in grouped(source, job.place, self._limits.sample_bytes):
            if job.ended or self._closing.is_set():
                return
            if not self._teach_group(job, pieces):
                return
        with self._changed:
            if not job.ended:
                self._end(job, "done", None)

    def _teach_group(self, job: BulkJob, pieces: list[Piece]) -> bool:
        """Teach some samples, each once; returns whether to go on."""
        items, faults = [], []
        for piece in pieces:
            if isinstance(piece.content, Item):
                items.append((piece.place, with_notes(piece.content, job.notes)))
            else:
                faults.append({"place": piece.place, "detail": piece.content.detail})
        version = job.version
        while items:
            # The number is part of the key: with fewer samples it is another request.
            key = f"job:{job.id}:{job.place}:{len(items)}"
            try:
                version = self._teach(job.learner, [item for _, item in items], key)
                break
            except Problem as problem:
                if problem.name not in PASSING:
                    items, found = self._usable(job, items, problem)
                    faults += found
                elif not self._patient(job, problem):
                    return False
        with self._changed:
            job.taught += len(items)
            job.refused += len(faults)
            job.faults = (job.faults + faults)[:SHOWN_FAULTS]
            job.place, job.version = pieces[-1].following, version
            job.speed.note(job.taught + job.refused)
            self._note(job)
        return not job.ended

    def _patient(self, job: BulkJob, problem: Problem) -> bool:
        """Wait for a problem to pass; returns whether to try again."""
        self._note(job, reason=problem.detail)
        return not self._closing.wait(PATIENCE_S) and not job.ended

    def _usable(
        self, job: BulkJob, items: list[tuple[str, Item]], problem: Problem
    ) -> tuple[list[tuple[str, Item]], list[dict[str, str]]]:
        """The items of a refused group that can be taught, and what is wrong with the others."""
        details = [self._fault(job.learner, item) for _, item in items]
        faults = [
            {"place": place, "detail": detail}
            for (place, _), detail in zip(items, details, strict=True)
            if detail is not None
        ]
        if not faults:
            # It is not the samples: the learner is gone, has failed, or its budget is spent.
            raise problem
        return [one for one, detail in zip(items, details, strict=True) if detail is None], faults

    def _fault(self, learner: str, item: Item) -> str | None:
        try:
            self._check(learner, [item])
        except Problem as problem:
            return problem.detail
        return None

    def _note(self, job: BulkJob, **changes: Any) -> None:
        with self._changed:
            for name, value in changes.items():
                setattr(job, name, value)
            write_atomically(self._folder / job.id / "job.json", job.encode())
        self._tell(job)

    def _fail(self, job: BulkJob, reason: str) -> None:
        log.error("job %s failed: %s", job.id, reason)
        with self._changed:
            if not job.ended:
                self._end(job, "failed", reason)

    def _end(self, job: BulkJob, state: str, reason: str | None) -> None:
        try:
            self._note(job, state=state, reason=reason, ended_at=time.time())
        except OSError as error:
            # It has ended all the same; after a restart it would only be found out anew.
            log.error("job %s cannot be noted: %s", job.id, error)
        (self._folder / job.id / "upload").unlink(missing_ok=True)
        for old in [job for job in self.all() if job.ended][:-ENDED_KEPT]:
            self._forget(old)

    def _forget(self, job: BulkJob) -> None:
        del self._jobs[job.id]
        shutil.rmtree(self._folder / job.id, ignore_errors=True)

    def _tell(self, job: BulkJob) -> None:
        shown = (
            "state", "reason", "samples", "taught", "refused", "progress", "eta_s", "version",
        )  # fmt: skip
        content = job.content()
        told = {name: content[name] for name in shown}
        self._events.emit("job", job.learner, job=job.id, **told)


def grouped(source: Source, start: int, most_bytes: int) -> Iterator[list[Piece]]:
    """Pieces in groups, bounded in number and bytes; the same from any group's start on."""
    group: list[Piece] = []
    held = 0
    for piece in source.pieces(start):
        size = _size_bytes(piece)
        if group and (len(group) == GROUP_SAMPLES or held + size > most_bytes):
            yield group
            group, held = [], 0
        group.append(piece)
        held += size
    if group:
        yield group


def with_notes(item: Item, notes: dict[str, str]) -> Item:
    """The item with the notes of the whole upload, where it has none of its own."""
    missing = {name: text for name, text in notes.items() if getattr(item, name) is None}
    return Item(**{**vars(item), **missing})


def _size_bytes(piece: Piece) -> int:
    item = piece.content
    if isinstance(item, Problem):
        return 0
    readings = sum(len(row) if isinstance(row, list) else 1 for row in item.series or ())
    encoded = len(item.image or b"") + len(item.sound or b"")
    return encoded + 32 * (len(item.latent or b"") + readings)
