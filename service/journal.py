"""The durable record of one learner: every operation, in order, checked.

SQLite in WAL mode with ``synchronous=FULL``: a commit returns when the disk has
it. Each row carries a CRC32 over all its fields, and sequence numbers have no
gaps. SQLite itself can lose committed rows without a word when a byte of the
WAL changes, so a watermark beside the database says how far it reached.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from service.listing import drop_oldest, record, take_out
from service.operations import decode
from service.records import Damage, Entry, Keep, Row, checksum
from service.tables import SCHEMA, definitions, fresh_definitions
from service.watermark import pack_watermark, watermark_path

__all__ = ["DiskFull", "Journal", "JournalError"]

FORMAT = 1
ROW_FIELDS = "sequence, first_id, samples, received_at, kind, header, payload, crc"
INSERT_ROW = "INSERT INTO operation VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
COUNT_SAMPLES = "SELECT count(*) FROM sample WHERE sequence BETWEEN ? AND ?"
RETIRED_AT_ONCE = 200


class JournalError(Exception):
    """The journal cannot be written or read."""


class DiskFull(JournalError):
    """The disk, or the size allowed on it, is used up."""


class Journal:
    """The write side of one learner's record; used by one thread at a time.

    Parameters
    ----------
    path
        The database file; created if it is missing.
    keep
        Bounds of the remembered answers.
    """

    def __init__(self, path: Path, keep: Keep | None = None) -> None:
        self.path = path
        self._keep = keep or Keep()
        self._connection = connect(path)
        try:
            self._connection.executescript(SCHEMA)
            if self.fact("format") != FORMAT:
                raise JournalError(f"{path} has format {self.fact('format')}, known is {FORMAT}")
            self._load_position()
            self._watermark = os.open(watermark_path(path), os.O_RDWR | os.O_CREAT, 0o600)
        except BaseException:
            self._connection.close()
            raise

    def _load_position(self) -> None:
        last, top_id = self._connection.execute(
            "SELECT (SELECT max(sequence) FROM operation), (SELECT max(id) FROM sample)"
        ).fetchone()
        self.last_sequence = max(last or 0, self.fact("floor_sequence"))
        self.next_id = max((top_id or 0) + 1, self.fact("floor_id"))

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """For queries of the thread that writes; a fault is a JournalError."""
        try:
            yield self._connection
        except sqlite3.Error as error:
            raise JournalError(str(error)) from error

    def fact(self, name: str) -> int:
        """One number that the journal keeps about itself."""
        row = self._connection.execute("SELECT value FROM fact WHERE name=?", (name,)).fetchone()
        return int(row[0])

    def append(self, entries: Sequence[Entry]) -> None:
        """Commit all `entries` durably, or none of them.

        Raises
        ------
        DiskFull
            If there is no room; the journal is as it was.
        JournalError
            If the disk fails otherwise.
        """
        if entries[0].sequence != self.last_sequence + 1:
            raise JournalError("an entry does not continue the sequence")
        now = time.time()
        with self._transaction() as connection:
            for entry in entries:
                self._insert(connection, entry, now)
            self._drop_old_answers(connection, now)
        last = entries[-1]
        self.last_sequence = last.sequence
        self.next_id = last.first_id + len(last.operation.samples)
        # Neither synced nor insisted on: it may lag behind the commit, but never runs ahead of it.
        with contextlib.suppress(OSError):
            os.pwrite(self._watermark, pack_watermark(self.last_sequence, self.next_id), 0)

    def rows(self, after: int = 0) -> Iterator[Row]:
        """All rows beyond sequence `after`, in order."""
        cursor = self._connection.execute(
            f"SELECT {ROW_FIELDS} FROM operation WHERE sequence > ? ORDER BY sequence", (after,)
        )
        for fields in cursor:
            yield Row(*fields)

    def row(self, sequence: int) -> Row | None:
        """One row, if it is there."""
        fields = self._connection.execute(
            f"SELECT {ROW_FIELDS} FROM operation WHERE sequence=?", (sequence,)
        ).fetchone()
        return None if fields is None else Row(*fields)

    def restores(self) -> list[int]:
        """Sequences of the operations that went back to an earlier version."""
        rows = self._connection.execute("SELECT sequence FROM operation WHERE kind='restore'")
        return [sequence for (sequence,) in rows]

    def void(self, sequence: int, reason: str) -> None:
        """Mark a committed operation that the learner refused: it is never replayed."""
        with self._transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO void VALUES (?, ?)", (sequence, reason))
            take_out(connection, sequence, sequence)

    def voided(self) -> dict[int, str]:
        """The operations that the learner refused, with the reasons."""
        return dict(self._connection.execute("SELECT sequence, reason FROM void"))

    def record(self, damages: Sequence[Damage]) -> None:
        """Remember what is lost, so that the sequence is whole again."""
        with self._transaction() as connection:
            for damage in damages:
                span = (damage.first, damage.last)
                listed = connection.execute(COUNT_SAMPLES, span).fetchone()[0]
                between = "WHERE sequence BETWEEN ? AND ?"
                connection.execute(
                    f"INSERT INTO quarantined SELECT * FROM operation {between}", span
                )
                connection.execute(f"DELETE FROM operation {between}", span)
                if not damage.learned:
                    take_out(connection, *span)
                connection.execute(
                    "INSERT INTO damage VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        *span,
                        listed or damage.samples,
                        damage.learned,
                        damage.reason,
                        damage.found_at,
                    ),
                )

    def adopt(
        self,
        facts: Mapping[str, int],
        copies: Mapping[str, Sequence[Sequence[Any]]],
        rows: Sequence[Row],
    ) -> None:
        """Take over what could be read of a ruined journal."""
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO fact VALUES (?, ?)", facts.items())
            for row in rows:
                connection.execute(INSERT_ROW, astuple(row))
                operation = decode(row.kind, row.header, row.payload)
                record(connection, row.sequence, row.first_id, operation, row.received_at)
            for name, copied in copies.items():
                if copied:
                    places = ", ".join("?" * len(copied[0]))
                    insert = f"INSERT OR REPLACE INTO {name} VALUES ({places})"
                    connection.executemany(insert, copied)
        self._load_position()

    def damages(self) -> list[Damage]:
        """Everything that was ever found lost."""
        rows = self._connection.execute("SELECT * FROM damage ORDER BY first")
        return [Damage(r[0], r[1], r[2], bool(r[3]), r[4], r[5]) for r in rows]

    def raise_floor(self, sequence: int, next_id: int) -> None:
        """Never number anew what was already acknowledged once."""
        if sequence <= self.last_sequence and next_id <= self.next_id:
            return
        with self._transaction() as connection:
            raised = ((sequence, "floor_sequence"), (next_id, "floor_id"))
            connection.executemany("UPDATE fact SET value=max(value, ?) WHERE name=?", raised)
        self._load_position()

    def retire(self, through: int, limit_bytes: int) -> int:
        """Drop the oldest operations up to `through` until the journal fits its size.

        Counts by label and device stay. Returns the operations dropped; call
        again while it is not 0.
        """
        if self.used_bytes() <= limit_bytes:
            return 0
        oldest = self._connection.execute(
            "SELECT sequence, first_id + samples, samples FROM operation WHERE sequence <= ? "
            "ORDER BY sequence LIMIT ?",
            (through, RETIRED_AT_ONCE),
        ).fetchall()
        if not oldest:
            return 0
        last, next_id, _ = oldest[-1]
        with self._transaction() as connection:
            connection.execute("DELETE FROM operation WHERE sequence <= ?", (last,))
            drop_oldest(connection, last, next_id)
            connection.execute("DELETE FROM void WHERE sequence <= ?", (last,))
            connection.executemany(
                "UPDATE fact SET value=max(value, ?) WHERE name=?",
                [(last, "retired_sequence"), (last, "floor_sequence"), (next_id, "floor_id")],
            )
            connection.execute(
                "UPDATE fact SET value=value+? WHERE name='retired_samples'",
                (sum(samples for _, _, samples in oldest),),
            )
        return len(oldest)

    def used_bytes(self) -> int:
        """Bytes of the database that hold something."""
        try:
            pages, free, size = (
                int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("page_count", "freelist_count", "page_size")
            )
        except sqlite3.Error as error:
            raise JournalError(str(error)) from error
        return (pages - free) * size

    def sound(self) -> bool:
        """Whether SQLite finds its own structure whole, and every table is as it was made."""
        checked = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        return checked == "ok" and fresh_definitions() <= definitions(self._connection)

    def close(self) -> None:
        """Fold the WAL into the database and let go."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()
        os.close(self._watermark)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            kind = DiskFull if is_full(error) else JournalError
            raise kind(str(error)) from error
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _insert(self, connection: sqlite3.Connection, entry: Entry, now: float) -> None:
        operation = entry.operation
        header, payload = operation.encode()
        fields = (entry.sequence, entry.first_id, len(operation.samples), now, operation.kind)
        crc = checksum(*fields, header, payload)
        connection.execute(INSERT_ROW, (*fields, header, payload, crc))
        record(connection, entry.sequence, entry.first_id, operation, now)
        if entry.key is not None and entry.answer is not None:
            answer = entry.answer
            connection.execute(
                "INSERT OR REPLACE INTO answer(key, sequence, fingerprint, status, body, kept_at) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (entry.key, entry.sequence, answer.fingerprint, answer.status, answer.body, now),
            )

    def _drop_old_answers(self, connection: sqlite3.Connection, now: float) -> None:
        # Numbers rise with time, so both bounds cut off the oldest end.
        connection.execute(
            "DELETE FROM answer WHERE number <= (SELECT max(number) FROM answer) - ?",
            (self._keep.keys,),
        )
        oldest = connection.execute(
            "SELECT number FROM answer WHERE kept_at < ? ORDER BY number DESC LIMIT 1",
            (now - self._keep.seconds,),
        ).fetchone()
        if oldest:
            connection.execute("DELETE FROM answer WHERE number <= ?", oldest)


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a journal's database the way that this project relies on."""
    mode = "ro" if read_only else "rwc"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=10.0,
    )
    # A damaged text must reach the checksum, not stop the scan.
    connection.text_factory = lambda encoded: encoded.decode("utf-8", "replace")
    try:
        connection.execute("PRAGMA cache_size=-512")
        if not read_only:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def is_full(error: sqlite3.Error) -> bool:
    """Whether SQLite failed for want of room; by its words, since Python 3.10 gives no codes."""
    return "full" in str(error)


def is_ruined(error: Exception) -> bool:
    """Whether the file itself is damaged, and not the disk full or the file in use."""
    return any(words in str(error) for words in ("malformed", "not a database", "unsupported file"))
