"""A journal that comes from elsewhere, looked at before anything relies on it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from service.journal import JournalError
from service.tables import MADE_FROM_ANOTHER, SCHEMA, definitions, fresh_definitions

__all__ = ["check_foreign"]

MOST_LOST = 1_000_000


def check_foreign(path: Path) -> int:
    """Refuse a database that is not a journal alone; returns how many damages it has on record.

    Raises
    ------
    JournalError, sqlite3.Error
        For a trigger, a view, a table or a column that no journal has, for a damaged file,
        and for operations that are not one sequence.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA cell_size_check=ON")
        _check_schema(connection)
        sound = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if sound != "ok":
            raise JournalError(f"its journal is damaged: {sound}")
        _check_sequence(connection)
        return int(connection.execute("SELECT count(*) FROM damage").fetchone()[0])


def _check_schema(connection: sqlite3.Connection) -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(SCHEMA)
        surplus = definitions(connection) - fresh_definitions()
        same = _columns(connection) in ([], _columns(fresh))
    if surplus or not same:
        names = ", ".join(sorted(str(name)[:40] for _, name, _ in surplus)) or MADE_FROM_ANOTHER
        raise JournalError(f"its journal has what no journal has: {names}")


def _columns(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    rows = connection.execute(f"PRAGMA table_xinfo({MADE_FROM_ANOTHER})").fetchall()
    return [(name, hidden) for _, name, _, _, _, _, hidden in rows]


def _check_sequence(connection: sqlite3.Connection) -> None:
    """What is missing must be on record: recovery lists every missing number."""
    count, last = connection.execute("SELECT count(*), max(sequence) FROM operation").fetchone()
    lost, least = connection.execute(
        "SELECT coalesce(sum(last - first + 1), 0), min(last - first) FROM damage"
    ).fetchone()
    query = "SELECT value FROM fact WHERE name='retired_sequence'"
    (retired,) = connection.execute(query).fetchone()
    bounded = 0 <= lost <= MOST_LOST and (least is None or least >= 0)
    if not bounded or (count and last - retired - count > lost):
        raise JournalError("its operations are not one sequence")
