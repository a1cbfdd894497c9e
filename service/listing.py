"""What the journal's tables of samples say, operation by operation.

`sample` has what is taught at present. `former` has, for every row that an operation other
than its lesson changed, what it was until then: so the listing of any version can be
made again. `metadata` has what never changes and few samples have, by id: a table of its
own, so that a journal of before it came is one that only lacks a table.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Any

from service.corrections import Forget, MergeClasses, Relabel, RenameClass, Restore
from service.operations import Operation, Sample

__all__ = ["FIELDS", "drop_oldest", "listed", "record", "take_out"]

FIELDS = "id, sequence, label, context, device, captured_at, received_at"


def record(
    connection: sqlite3.Connection,
    sequence: int,
    first_id: int,
    operation: Operation,
    received_at: float,
) -> None:
    """Write what an operation changes in the listing."""
    _add(connection, sequence, first_id, operation.samples, received_at)
    if isinstance(operation, Forget):
        condition = "id=?" if operation.label is None else "label=?"
        for value in operation.ids if operation.label is None else (operation.label,):
            _keep(connection, sequence, condition, (value,))
            connection.execute(f"DELETE FROM sample WHERE {condition}", (value,))
    elif isinstance(operation, Relabel):
        _rename(connection, sequence, "id=?", operation.sample_id, operation.label)
    elif isinstance(operation, RenameClass):
        _rename(connection, sequence, "label=?", operation.label, operation.name)
    elif isinstance(operation, MergeClasses):
        _rename(connection, sequence, "label=?", operation.label, operation.into)
    elif isinstance(operation, Restore):
        _go_back(connection, sequence, operation.to)


def listed(connection: sqlite3.Connection, ids: Sequence[int]) -> set[int]:
    """Those of some ids, at most a few hundred, whose samples are listed."""
    places = ", ".join("?" * len(ids))
    rows = connection.execute(f"SELECT id FROM sample WHERE id IN ({places})", ids)
    return {number for (number,) in rows}


def take_out(connection: sqlite3.Connection, first: int, last: int) -> None:
    """Take operations out of listings, counts and remembered answers."""
    lost = connection.execute(
        "SELECT label, coalesce(device, ''), count(*) FROM sample "
        "WHERE sequence BETWEEN ? AND ? GROUP BY 1, 2",
        (first, last),
    ).fetchall()
    connection.executemany(
        "UPDATE tally SET samples=samples-? WHERE label=? AND device=?",
        [(count, label, device) for label, device, count in lost],
    )
    connection.execute(
        "DELETE FROM metadata WHERE id IN (SELECT id FROM sample WHERE sequence BETWEEN ? AND ?)",
        (first, last),
    )
    for table in ("sample", "answer"):
        connection.execute(f"DELETE FROM {table} WHERE sequence BETWEEN ? AND ?", (first, last))
    connection.execute(
        f"INSERT OR REPLACE INTO sample SELECT {FIELDS} FROM former "
        "WHERE until BETWEEN ? AND ? AND sequence < ? AND present",
        (first, last, first),
    )
    connection.execute("DELETE FROM former WHERE until BETWEEN ? AND ?", (first, last))


def drop_oldest(connection: sqlite3.Connection, last: int, next_id: int) -> None:
    """Drop the samples of operations up to `last`, whose ids are below `next_id`; counts stay."""
    connection.execute("DELETE FROM sample WHERE sequence <= ?", (last,))
    connection.execute("DELETE FROM former WHERE until <= ? OR sequence <= ?", (last, last))
    connection.execute("DELETE FROM metadata WHERE id < ?", (next_id,))


def _add(
    connection: sqlite3.Connection,
    sequence: int,
    first_id: int,
    samples: Sequence[Sample],
    received_at: float,
) -> None:
    connection.executemany(
        "INSERT INTO sample VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (first_id + row, sequence, s.label, s.context, s.device, s.captured_at, received_at)
            for row, s in enumerate(samples)
        ],
    )
    connection.executemany(
        "INSERT INTO metadata VALUES (?, ?)",
        [
            (first_id + row, sample.metadata)
            for row, sample in enumerate(samples)
            if sample.metadata is not None
        ],
    )
    tally = Counter((sample.label, sample.device or "") for sample in samples)
    connection.executemany(
        "INSERT INTO tally VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET samples=samples+excluded.samples",
        [(label, device, count) for (label, device), count in tally.items()],
    )


def _rename(
    connection: sqlite3.Connection, sequence: int, condition: str, value: Any, label: str
) -> None:
    _keep(connection, sequence, condition, (value,))
    connection.execute(f"UPDATE sample SET label=? WHERE {condition}", (label, value))


def _go_back(connection: sqlite3.Connection, sequence: int, to: int) -> None:
    """List what was taught at version `to`; what the listing is now goes to `former`."""
    _keep(connection, sequence, "sequence > ?", (to,))
    connection.execute("DELETE FROM sample WHERE sequence > ?", (to,))
    # What changed after `to` first was, until then, what it was at `to`.
    changed = connection.execute(
        f"SELECT min(until), present, {FIELDS} FROM former "
        "WHERE until > ? AND until < ? AND sequence <= ? GROUP BY id",
        (to, sequence, to),
    ).fetchall()
    for _, present, *row in changed:
        _keep(connection, sequence, "id=?", (row[0],))
        connection.execute("DELETE FROM sample WHERE id=?", (row[0],))
        absent = (sequence, 0, *row)
        connection.execute(
            "INSERT OR IGNORE INTO former VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", absent
        )
        if present:
            connection.execute("INSERT INTO sample VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def _keep(
    connection: sqlite3.Connection, sequence: int, condition: str, values: Sequence[Any]
) -> None:
    """Copy rows to `former` before the operation `sequence` changes them."""
    connection.execute(
        f"INSERT OR IGNORE INTO former SELECT ?, 1, {FIELDS} FROM sample WHERE {condition}",
        (sequence, *values),
    )
