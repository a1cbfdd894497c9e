"""The tables of a journal, and whether a database has them as they are meant."""

from __future__ import annotations

import contextlib
import functools
import sqlite3

__all__ = ["MADE_FROM_ANOTHER", "SCHEMA", "definitions", "fresh_definitions"]

MADE_FROM_ANOTHER = "quarantined"
"""SQLite words the definition of this table itself, each version in its own way."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS operation(
    sequence INTEGER PRIMARY KEY, first_id INTEGER NOT NULL, samples INTEGER NOT NULL,
    received_at REAL NOT NULL, kind TEXT NOT NULL, header TEXT NOT NULL, payload BLOB NOT NULL,
    crc INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS operation_restores ON operation(sequence) WHERE kind='restore';
CREATE TABLE IF NOT EXISTS sample(
    id INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, label TEXT NOT NULL,
    context TEXT, device TEXT, captured_at TEXT, received_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS sample_by_label ON sample(label, id);
CREATE INDEX IF NOT EXISTS sample_by_sequence ON sample(sequence);
CREATE TABLE IF NOT EXISTS former(
    until INTEGER NOT NULL, present INTEGER NOT NULL,
    id INTEGER NOT NULL, sequence INTEGER NOT NULL, label TEXT NOT NULL,
    context TEXT, device TEXT, captured_at TEXT, received_at REAL NOT NULL,
    PRIMARY KEY(id, until)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS former_by_until ON former(until);
CREATE TABLE IF NOT EXISTS metadata(id INTEGER PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tally(
    label TEXT NOT NULL, device TEXT NOT NULL, samples INTEGER NOT NULL,
    PRIMARY KEY(label, device)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answer(
    number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, sequence INTEGER NOT NULL,
    fingerprint BLOB NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL, kept_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS answer_by_sequence ON answer(sequence);
CREATE TABLE IF NOT EXISTS void(sequence INTEGER PRIMARY KEY, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS damage(
    first INTEGER NOT NULL, last INTEGER NOT NULL, samples INTEGER NOT NULL,
    learned INTEGER NOT NULL, reason TEXT NOT NULL, found_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS quarantined AS SELECT * FROM operation LIMIT 0;
CREATE TABLE IF NOT EXISTS fact(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO fact VALUES ('format', 1), ('floor_sequence', 0), ('floor_id', 1),
    ('retired_sequence', 0), ('retired_samples', 0);
"""

Definition = tuple[str, str, str | None]


def definitions(connection: sqlite3.Connection) -> set[Definition]:
    """Type, name and text of everything in a database."""
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    return {
        (kind, name, None if (kind, name) == ("table", MADE_FROM_ANOTHER) else sql)
        for kind, name, sql in rows
    }


@functools.cache
def fresh_definitions() -> frozenset[Definition]:
    """The `definitions` of a journal that was just made."""
    with contextlib.closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(SCHEMA)
        return frozenset(definitions(fresh))
