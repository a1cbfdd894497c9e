"""What the journal still knows of taught samples: their latents as they came."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import numpy as np

from edge_cl.recall import Recall
from edge_cl.types import Array, LatentSpec
from service.operations import Lesson, decode

__all__ = ["recalled", "recalled_class"]

MOST_BYTES = 32 * 1024 * 1024
"""Latents of a class beyond this are not gathered: its forgetting is approximate then."""

IDS_AT_ONCE = 500

Rows = list[tuple[int, int, str, str | None]]


def recalled(
    connection: sqlite3.Connection, ids: Sequence[int], spec: LatentSpec, latents: bool
) -> Recall:
    """Those of the samples `ids` that are listed; with their latents, if wanted."""
    rows: Rows = []
    for start in range(0, len(ids), IDS_AT_ONCE):
        part = ids[start : start + IDS_AT_ONCE]
        rows += connection.execute(
            "SELECT id, sequence, label, context FROM sample "
            f"WHERE id IN ({', '.join('?' * len(part))})",
            part,
        ).fetchall()
    return _recall(connection, rows, spec, latents)


def recalled_class(connection: sqlite3.Connection, label: str, spec: LatentSpec) -> Recall:
    """All listed samples of a class with their latents, if these are not too many."""
    rows: Rows = connection.execute(
        "SELECT id, sequence, label, context FROM sample WHERE label=? ORDER BY id", (label,)
    ).fetchall()
    return _recall(connection, rows, spec, 4 * spec.dim * len(rows) <= MOST_BYTES)


def _recall(connection: sqlite3.Connection, rows: Rows, spec: LatentSpec, latents: bool) -> Recall:
    found: dict[int, Array] = {}
    for sequence in sorted({row[1] for row in rows}) if latents else ():
        stored = connection.execute(
            "SELECT first_id, kind, header, payload FROM operation WHERE sequence=?", (sequence,)
        ).fetchone()
        if stored is None:
            continue
        lesson = decode(*stored[1:])
        assert isinstance(lesson, Lesson)
        for row in rows:
            if row[1] == sequence:
                found[row[0]] = lesson.latents[row[0] - stored[0]]
    if latents:
        rows = [row for row in rows if row[0] in found]
    return Recall(
        ids=tuple(row[0] for row in rows),
        labels=tuple(row[2] for row in rows),
        contexts=tuple(row[3] for row in rows),
        latents=_stacked([found[row[0]] for row in rows], spec) if latents and rows else None,
    )


def _stacked(latents: Sequence[Array], spec: LatentSpec) -> Array:
    """One array; codes stay codes if all are."""
    if all(one.dtype == np.uint8 for one in latents):
        return np.stack(latents)
    codes = [spec.to_float(one) if one.dtype == np.uint8 else one for one in latents]
    return np.stack(codes).astype(np.float32)
