"""What happens before a journal is trusted again: find damage, name it, set it aside."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.journal import ROW_FIELDS, Journal, connect, is_ruined
from service.records import Damage, Keep, Row
from service.watermark import read_watermark, watermark_path

__all__ = ["Saved", "open_journal"]

COPIED = ("tally", "answer", "void", "damage")


@dataclass(frozen=True)
class Saved:
    """How far the newest readable snapshot reaches."""

    sequence: int = 0
    next_id: int = 1


def open_journal(path: Path, keep: Keep, saved: Saved, quarantine: Path) -> Journal:
    """Open a journal, with everything that is lost found and recorded.

    Parameters
    ----------
    path
        The database file.
    keep
        Bounds of the remembered answers.
    saved
        What a snapshot still knows.
    quarantine
        Where damaged files go.
    """
    reached = _reached(path, saved)
    wal = path.with_name(path.name + "-wal")
    # Opening replays the WAL and forgets what does not check: keep it until that is known.
    spare = _spare_copy(wal)
    journal, ruined = _open_or_rebuild(path, keep, reached, quarantine)
    try:
        damages = list(_damages(journal, reached, saved, ruined))
        if damages:
            journal.record(damages)
        journal.raise_floor(reached.sequence, reached.next_id)
    except BaseException:
        journal.close()
        raise
    if spare is not None and damages:
        _move(spare, quarantine)
    elif spare is not None:
        spare.unlink()
    return journal


def _reached(path: Path, saved: Saved) -> Saved:
    sequence, next_id = read_watermark(path)
    return Saved(max(sequence, saved.sequence), max(next_id, saved.next_id))


def _damages(
    journal: Journal, reached: Saved, saved: Saved, ruined: str | None
) -> Iterator[Damage]:
    now = time.time()
    unknown_samples = max(reached.next_id - journal.next_id, 0)
    last = journal.last_sequence
    for first, end, samples, reason in _faults(journal, ruined):
        yield from _split(Damage(first, end, samples, False, reason, now), saved.sequence)
    if reached.sequence > last:
        reason = ruined or "the end of the journal is missing: the WAL or the file was damaged"
        lost = Damage(last + 1, reached.sequence, unknown_samples, False, reason, now)
        yield from _split(lost, saved.sequence)


def _split(damage: Damage, saved_sequence: int) -> Iterator[Damage]:
    """One record for what a snapshot still knows, one for what is gone."""
    d = damage
    if d.last <= saved_sequence:
        yield Damage(d.first, d.last, d.samples, True, d.reason, d.found_at)
    elif d.first > saved_sequence:
        yield d
    else:
        yield Damage(d.first, saved_sequence, 0, True, d.reason, d.found_at)
        yield Damage(saved_sequence + 1, d.last, d.samples, False, d.reason, d.found_at)


def _faults(journal: Journal, ruined: str | None) -> Iterator[tuple[int, int, int, str]]:
    """(first, last, samples, reason) of every bad row and every unrecorded gap."""
    known = {n for d in journal.damages() for n in range(d.first, d.last + 1)}
    expected = journal.fact("retired_sequence") + 1
    for row in journal.rows():
        missing = [n for n in range(expected, row.sequence) if n not in known]
        if missing:
            yield missing[0], missing[-1], 0, ruined or "rows are missing inside the journal"
        if not row.intact:
            yield row.sequence, row.sequence, row.samples, "a row's CRC32 does not match"
        expected = row.sequence + 1


def _open_or_rebuild(
    path: Path, keep: Keep, reached: Saved, quarantine: Path
) -> tuple[Journal, str | None]:
    try:
        journal = Journal(path, keep)
        if journal.sound():
            return journal, None
        journal.close()
        reason = "SQLite finds its structure damaged"
    except sqlite3.DatabaseError as error:
        if not is_ruined(error):
            raise
        reason = f"SQLite cannot read the file: {error}"
    ruins = _set_aside(path, quarantine)
    journal = Journal(path, keep)
    _salvage(ruins, journal, reached.sequence)
    return journal, reason


def _set_aside(path: Path, quarantine: Path) -> Path:
    """Move database and WAL away; returns where the database lies now."""
    for suffix in ("-shm", "-wal", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            moved = _move(part, quarantine)
    watermark_path(path).unlink(missing_ok=True)
    return moved


def _salvage(ruins: Path, journal: Journal, top: int) -> None:
    """Copy every row that can still be read and checks into the new journal."""
    with contextlib.suppress(sqlite3.DatabaseError), contextlib.closing(connect(ruins)) as old:
        facts = dict(_readable(old, "SELECT name, value FROM fact WHERE name <> 'format'"))
        copies = {name: _readable(old, f"SELECT * FROM {name}") for name in COPIED}
        seen = [number for (number,) in _readable(old, "SELECT sequence FROM operation")]
        start = facts.get("retired_sequence", 0) + 1
        numbers = range(start, max([top, *seen]) + 1)
        rows = [row for number in numbers if (row := _salvaged(old, number)) and row.intact]
        journal.adopt(facts, copies, rows)


def _salvaged(old: sqlite3.Connection, sequence: int) -> Row | None:
    query = f"SELECT {ROW_FIELDS} FROM operation WHERE sequence={sequence:d}"
    fields = _readable(old, query)
    return Row(*fields[0]) if fields else None


def _readable(old: sqlite3.Connection, query: str) -> list[tuple[Any, ...]]:
    """The rows before the damage."""
    found: list[tuple[Any, ...]] = []
    with contextlib.suppress(sqlite3.DatabaseError):
        found.extend(old.execute(query))
    return found


def _spare_copy(wal: Path) -> Path | None:
    spare = wal.with_suffix(".before-start")
    try:
        if wal.stat().st_size > 0:
            return Path(shutil.copyfile(wal, spare))
    except OSError:
        # No WAL, or no room for a copy of it: neither may keep the service from starting.
        spare.unlink(missing_ok=True)
    return None


def _move(path: Path, quarantine: Path) -> Path:
    quarantine.mkdir(parents=True, exist_ok=True)
    return Path(shutil.move(path, quarantine / f"{time.time_ns()}-{path.name}"))
