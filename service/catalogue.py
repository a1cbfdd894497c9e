"""The read side of a journal: samples, counts, remembered answers."""

from __future__ import annotations

import json
import math
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.journal import JournalError, connect
from service.listing import FIELDS
from service.metadata import metadata_content
from service.records import StoredAnswer

__all__ = ["Catalogue", "OperationRecord", "SampleRecord"]

SAMPLES = f"SELECT {FIELDS}, content FROM sample LEFT JOIN metadata USING (id)"


@dataclass(frozen=True)
class SampleRecord:
    """One acknowledged sample, without its latent."""

    id: int
    version: int
    label: str
    context: str | None
    device: str | None
    captured_at: str | None
    received_at: float
    metadata: dict[str, Any] | None


@dataclass(frozen=True)
class OperationRecord:
    """One operation, without what it brought."""

    version: int
    operation: str
    samples: int
    received_at: float
    header: str


class Catalogue:
    """Reads a journal beside its writer; safe to share between threads.

    Parameters
    ----------
    path
        The journal's database, which exists.
    """

    def __init__(self, path: Path) -> None:
        self._connection = connect(path, read_only=True)
        self._lock = threading.Lock()

    def answer(self, key: str, since: float) -> StoredAnswer | None:
        """What was answered to `key`, if that was after `since`."""
        rows = self._read(
            "SELECT fingerprint, status, body FROM answer WHERE key=? AND kept_at >= ?",
            (key, since),
        )
        return StoredAnswer(*rows[0]) if rows else None

    def sample(self, sample_id: int) -> SampleRecord | None:
        """The sample of this id, if the journal still has it."""
        rows = self._read(f"{SAMPLES} WHERE id=?", (sample_id,))
        return _record(rows[0]) if rows else None

    def samples(
        self, after_id: int, limit: int, wanted: dict[str, str | None] | None = None
    ) -> list[SampleRecord]:
        """Up to `limit` samples beyond `after_id` whose fields are as `wanted`."""
        filters = {name: value for name, value in (wanted or {}).items() if value is not None}
        clauses = "".join(f" AND {name}=?" for name in filters)
        rows = self._read(
            f"{SAMPLES} WHERE id > ?{clauses} ORDER BY id LIMIT ?",
            (after_id, *filters.values(), limit),
        )
        return [_record(row) for row in rows]

    def operations(self, before: int, limit: int) -> list[OperationRecord]:
        """Up to `limit` operations before a version, the newest first, without refused ones."""
        rows = self._read(
            "SELECT sequence, kind, samples, received_at, "
            "CASE WHEN kind IN ('learn', 'forget', 'learn_not', 'relabel') THEN '{}' ELSE header "
            "END FROM operation WHERE sequence < ? AND sequence NOT IN (SELECT sequence FROM void) "
            "ORDER BY sequence DESC LIMIT ?",
            (before, limit),
        )
        return [OperationRecord(*row) for row in rows]

    def restores(self) -> list[int]:
        """Versions that were come back to, whose state the journal has."""
        query = (
            "SELECT sequence FROM operation WHERE kind='restore' "
            "AND sequence NOT IN (SELECT sequence FROM void)"
        )
        return [sequence for (sequence,) in self._read(query, ())]

    def stands(self, version: int) -> bool:
        """Whether the operation of a version is in what the learner is now: not undone."""
        later = self._read(
            "SELECT sequence, header FROM operation WHERE kind='restore' AND sequence > ? "
            "AND sequence NOT IN (SELECT sequence FROM void) ORDER BY sequence DESC",
            (version,),
        )
        reached = math.inf
        for sequence, header in later:
            # What was gone back behind is no longer told of: a restore that is undone, too.
            if sequence <= reached:
                reached = json.loads(header)["to"]
                if reached < version:
                    return False
        return True

    def tally(self) -> list[tuple[str, str, int]]:
        """(label, device, samples) over everything ever acknowledged."""
        rows = self._read("SELECT label, device, samples FROM tally WHERE samples > 0", ())
        return [(label, device, count) for label, device, count in rows]

    def facts(self) -> dict[str, int]:
        """The journal's numbers about itself."""
        return dict(self._read("SELECT name, value FROM fact", ()))

    def close(self) -> None:
        """Let go of the database."""
        with self._lock:
            self._connection.close()

    def _read(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        try:
            with self._lock:
                return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise JournalError(str(error)) from error


def _record(row: tuple[Any, ...]) -> SampleRecord:
    *fields, text = row
    return SampleRecord(*[*fields, metadata_content(text)])
