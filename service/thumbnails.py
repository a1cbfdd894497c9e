"""Small pictures of taught images, for people to look at: within a byte budget of their own.

They lie in ``thumbnails.db`` in the learner's folder, by sample id. No learner depends on
them, so nothing here may fail a lesson: a picture that cannot be kept is one that is not
there. What the budget has no room for pushes the oldest out.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

__all__ = ["LEAST_BUDGET", "Pictures", "Thumbnails", "thumbnail"]

log = logging.getLogger("edge_cl.thumbnails")

SIDE_PX = 96
QUALITY = 75
LEAST_BUDGET = 64 * 1024
PAGE_BYTES = 1024
"""Small, so that a picture of two kilobytes leaves little of its last page over."""
SPLIT_PAGES = 6
"""What an insertion may take beside the pages of the picture."""
ASKED_AT_ONCE = 500


def thumbnail(image: Image.Image) -> bytes:
    """A JPEG whose longer side has at most 96 pixels, with nothing but pixels in it."""
    scale = min(1.0, SIDE_PX / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    small = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    # Pillow would copy what a camera or a program wrote beside them.
    small.info = {}
    encoded = io.BytesIO()
    small.save(encoded, "JPEG", quality=QUALITY, optimize=True)
    return encoded.getvalue()


class Pictures:
    """The thumbnails of one request's images, by row; none when they are not wanted."""

    def __init__(self, wanted: bool) -> None:
        self.by_row: dict[int, bytes] = {}
        self._wanted = wanted

    def show(self, row: int, image: Image.Image) -> None:
        """Make the thumbnail of an image."""
        if self._wanted:
            self.by_row[row] = thumbnail(image)


class Thumbnails:
    """The pictures of one learner; safe to share between threads.

    Parameters
    ----------
    path
        The database; there is none while the budget is 0.
    budget
        Most bytes that it may take on the disk.
    """

    def __init__(self, path: Path, budget: int) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self.budget = budget
        self.used_bytes = 0
        self.set_budget(budget)

    def set_budget(self, budget: int) -> None:
        """Keep so many bytes from now on, the newest pictures; with 0, delete all."""
        with self._lock:
            self.budget = budget
            if not budget:
                self._delete()
                return
        self._write(lambda connection: self._make_room(connection, 0))
        # Not in one with the deletions, whose pages are given back at their commit only.
        most = f"PRAGMA max_page_count={budget // PAGE_BYTES}"
        self._write(lambda connection: connection.execute(most))

    def add(self, pictures: Mapping[int, bytes]) -> None:
        """Keep pictures by sample id, and drop the oldest for them."""
        if self.budget and pictures:
            self._write(partial(self._insert, pictures))

    def get(self, number: int) -> bytes | None:
        """The picture of a sample, if there is one."""
        rows = self._read("SELECT picture FROM thumbnail WHERE id=?", number)
        return bytes(rows[0][0]) if rows else None

    def between(self, first: int, last: int) -> set[int]:
        """The samples from one id to another that have a picture."""
        rows = self._read("SELECT id FROM thumbnail WHERE id BETWEEN ? AND ?", first, last)
        return {number for (number,) in rows}

    def keep_only(self, listed: Callable[[Sequence[int]], set[int]]) -> None:
        """Delete the pictures of samples that are not `listed`: it says which of some ids are."""
        ids = [number for (number,) in self._read("SELECT id FROM thumbnail")]
        parts = [ids[start : start + ASKED_AT_ONCE] for start in range(0, len(ids), ASKED_AT_ONCE)]
        gone = [(number,) for part in parts for number in set(part) - listed(part)]
        if gone:
            delete = "DELETE FROM thumbnail WHERE id=?"
            self._write(lambda connection: connection.executemany(delete, gone))

    def close(self) -> None:
        """Let go of the database."""
        with self._lock:
            self._let_go()

    def _insert(self, pictures: Mapping[int, bytes], connection: sqlite3.Connection) -> None:
        for row in sorted(pictures.items()):
            pages = len(row[1]) // (PAGE_BYTES - 4) + SPLIT_PAGES
            if self._make_room(connection, pages * PAGE_BYTES):
                connection.execute("INSERT OR REPLACE INTO thumbnail VALUES (?, ?)", row)

    def _make_room(self, connection: sqlite3.Connection, needed_bytes: int) -> bool:
        """Delete the oldest until so many bytes are free; whether they ever can be."""
        while self._size_bytes(connection) + needed_bytes > self.budget:
            oldest = "SELECT id FROM thumbnail ORDER BY id LIMIT 1"
            if not connection.execute(f"DELETE FROM thumbnail WHERE id IN ({oldest})").rowcount:
                return False
        return True

    def _size_bytes(self, connection: sqlite3.Connection) -> int:
        pages, free = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count")
        )
        return int(pages - free) * PAGE_BYTES

    def _write(self, change: Callable[[sqlite3.Connection], object]) -> None:
        """Do `change` as one transaction; when it fails, nothing has changed and the log tells."""
        with self._lock:
            try:
                connection = self._opened()
                connection.execute("BEGIN IMMEDIATE")
                change(connection)
                connection.execute("COMMIT")
                self.used_bytes = self._size_bytes(connection)
            except (sqlite3.Error, OSError) as error:
                log.warning("%s cannot be written: %s", self._path, error)
                if self._connection is not None and self._connection.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        self._connection.execute("ROLLBACK")

    def _read(self, query: str, *values: int) -> list[tuple[Any, ...]]:
        if not self.budget:
            return []
        try:
            with self._lock:
                return self._opened().execute(query, values).fetchall()
        except (sqlite3.Error, OSError) as error:
            log.warning("%s cannot be read: %s", self._path, error)
            return []

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            try:
                self._connection = _connect(self._path)
            except sqlite3.DatabaseError as error:
                log.warning("%s is damaged, its pictures are dropped: %s", self._path, error)
                self._path.unlink(missing_ok=True)
                self._connection = _connect(self._path)
        return self._connection

    def _delete(self) -> None:
        self._let_go()
        self.used_bytes = 0
        for suffix in ("", "-journal"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _connect(path: Path) -> sqlite3.Connection:
    """Open or create the database; DatabaseError when it is damaged.

    Not synced: a power cut may cost the pictures, and a card is spared.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        for pragma in (
            f"page_size={PAGE_BYTES}", "auto_vacuum=FULL", "journal_mode=TRUNCATE",
            "synchronous=OFF", "secure_delete=ON", "cache_size=-256",
        ):  # fmt: skip
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS thumbnail(id INTEGER PRIMARY KEY, picture BLOB NOT NULL)"
        )
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found)
    except BaseException:
        connection.close()
        raise
    return connection
