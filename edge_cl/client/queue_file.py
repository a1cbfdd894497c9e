"""The file of an offline queue: SQLite, every change on the disk before it is told."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from edge_cl.client.calls import KEY, AnswerT, Call
from edge_cl.errors import EdgeCLError, NotFound

ENTRY_BYTES = 512
"""Charged for a lesson beside its body: its row, its place in the indexes."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS lesson (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    method TEXT NOT NULL,
    target TEXT NOT NULL,
    content_type TEXT,
    key TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    added_at REAL NOT NULL,
    tried_at REAL,
    reason TEXT,
    content BLOB NOT NULL,
    UNIQUE (target, key)
);
CREATE INDEX IF NOT EXISTS waiting ON lesson (number) WHERE reason IS NULL;
"""


class QueueError(EdgeCLError):
    """The folder of a queue cannot be used."""


class QueueFull(QueueError):
    """The queue, or the disk that it lies on, has no room for another lesson."""


@dataclass(frozen=True)
class Entry:
    """One lesson that waits.

    Parameters
    ----------
    number
        Its place.
    method, target, content_type, key, content
        The request, byte for byte.
    tried_at
        When it may first have reached the service, or None if it never did.
    """

    number: int
    method: str
    target: str
    content_type: str | None
    key: str
    content: bytes
    tried_at: float | None

    def call(self, read: Callable[[httpx.Response], AnswerT]) -> Call[AnswerT]:
        """The request, described as it was before."""
        headers = {KEY: self.key}
        if self.content_type:
            headers["Content-Type"] = self.content_type
        return Call(self.method, self.target, read, headers=headers, content=self.content)


@dataclass(frozen=True)
class SetAside:
    """A lesson that the service will not take.

    Parameters
    ----------
    number
        Its number in the queue.
    target
        Where it was sent.
    added_at
        When it came into the queue, in seconds since 1970.
    size_bytes
        Its size.
    reason
        What the service said.
    """

    number: int
    target: str
    added_at: float
    size_bytes: int
    reason: str


class QueueFile:
    """A folder with one queue, locked for this process; threads may share it.

    Parameters
    ----------
    folder
        Made if it is not there.
    max_bytes
        Bytes of lessons at most.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self._folder_lock = _take(folder)
        try:
            self._db = self._open()
        except BaseException:
            os.close(self._folder_lock)
            raise

    def close(self) -> None:
        """Let go of the folder; closing twice is no error."""
        with self._lock:
            if self._folder_lock >= 0:
                self._db.close()
                os.close(self._folder_lock)
                self._folder_lock = -1

    def add(self, call: Call[Any]) -> int:
        """Keep a call; returns its number, or that which its key has already."""
        request = call.request(httpx.Request)
        content, key = request.read(), request.headers.get(KEY)
        if key is None:
            raise ValueError("only a call with an idempotency key can wait: use Call.once")
        target = request.url.raw_path.decode("ascii")
        row = (
            request.method, target, request.headers.get("Content-Type"), key, content,
            len(content) + len(target) + ENTRY_BYTES, time.time(),
        )  # fmt: skip
        with self._transaction() as db:
            known = db.execute("SELECT number FROM lesson WHERE target=? AND key=?", (target, key))
            if found := known.fetchone():
                return int(found[0])
            self._check_room(row[5])
            added = db.execute(
                "INSERT INTO lesson (method, target, content_type, key, content, bytes, added_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            return int(added.lastrowid or 0)

    def take(
        self, *, done: Entry | None = None, refused: tuple[Entry, str] | None = None
    ) -> Entry | None:
        """The first lesson that waits, marked as tried; in the same commit, the last one's end.

        The mark is on the disk before the lesson is sent: after a power cut it tells
        that the service may know it.
        """
        with self._transaction() as db:
            if done is not None:
                db.execute("DELETE FROM lesson WHERE number=?", (done.number,))
            if refused is not None:
                entry, reason = refused
                db.execute("UPDATE lesson SET reason=? WHERE number=?", (reason, entry.number))
            row = db.execute(
                "SELECT number, method, target, content_type, key, content, tried_at FROM lesson "
                "WHERE reason IS NULL ORDER BY number LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            db.execute(
                "UPDATE lesson SET tried_at=? WHERE number=? AND tried_at IS NULL",
                (time.time(), row[0]),
            )
            return Entry(*row)

    def put_back(self, entry: Entry) -> None:
        """Take the mark of the last attempt back: it did not reach the service."""
        with self._transaction() as db:
            db.execute(
                "UPDATE lesson SET tried_at=? WHERE number=?", (entry.tried_at, entry.number)
            )

    def count(self) -> int:
        """Lessons that wait."""
        return self._number("SELECT count(*) FROM lesson WHERE reason IS NULL")

    def held_bytes(self) -> int:
        """Bytes of all lessons."""
        return self._number("SELECT coalesce(sum(bytes), 0) FROM lesson")

    def set_aside_list(self) -> list[SetAside]:
        """All lessons that have a reason."""
        with self._transaction() as db:
            rows = db.execute(
                "SELECT number, target, added_at, bytes, reason FROM lesson "
                "WHERE reason IS NOT NULL ORDER BY number"
            )
            return [SetAside(*row) for row in rows]

    def retry(self, number: int) -> None:
        """Let a lesson wait again."""
        self._change("UPDATE lesson SET reason=NULL, tried_at=NULL", number)

    def discard(self, number: int) -> None:
        """Delete a lesson."""
        self._change("DELETE FROM lesson", number)

    def _change(self, statement: str, number: int) -> None:
        with self._transaction() as db:
            changed = db.execute(f"{statement} WHERE number=? AND reason IS NOT NULL", (number,))
            if not changed.rowcount:
                raise NotFound(f"no lesson {number} was set aside in {self.folder}")

    def _number(self, query: str) -> int:
        with self._transaction() as db:
            return int(db.execute(query).fetchone()[0])

    def _check_room(self, asked: int) -> None:
        held = int(self._db.execute("SELECT coalesce(sum(bytes), 0) FROM lesson").fetchone()[0])
        if held + asked > self._max_bytes:
            raise QueueFull(
                f"the queue in {self.folder} holds {held:,} of {self._max_bytes:,} bytes, "
                f"{asked:,} more do not fit: drain it, discard what was set aside, or allow more"
            )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._folder_lock < 0:
                raise QueueError(f"the queue in {self.folder} is closed")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise _failure(self.folder, error) from error
                raise

    def _open(self) -> sqlite3.Connection:
        path = self.folder / "queue.db"
        is_new = not path.exists()
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute("PRAGMA journal_size_limit=4194304")
            db.executescript(_SCHEMA)
            if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(found)
        except sqlite3.Error as error:
            db.close()
            raise _failure(self.folder, error) from error
        if is_new:
            _sync_names(self.folder)
        return db


def _failure(folder: Path, error: sqlite3.Error) -> QueueError:
    if "full" in str(error):
        return QueueFull(f"the disk of the queue in {folder} is full: nothing was kept ({error})")
    return QueueError(
        f"the queue in {folder} cannot be used ({error}): move the folder away to begin anew, "
        "and keep it to look for lessons that can be read"
    )


def _take(folder: Path) -> int:
    """Lock the folder for this process; returns the lock's descriptor."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise QueueError(f"the queue in {folder} is in use by another process") from error
    return descriptor


def _sync_names(folder: Path) -> None:
    """Make the names of new files and of the folder itself durable."""
    for one in (folder, folder.absolute().parent):
        descriptor = os.open(one, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
