"""Disk held back, so that a service on a full disk can still act.

SQLite needs free pages even to delete. A file of a few megabytes is kept for
that moment: when the disk is full it is given up, which makes room to shorten
the journal; until it can be written again, nothing new is taken in.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

__all__ = ["Ballast"]

RETRY_S = 1.0


class Ballast:
    """A file whose only purpose is its size.

    Parameters
    ----------
    path
        Where it lies: on the disk that it is to keep free.
    size_bytes
        How much is held back.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._lock = threading.Lock()
        self._tried_at = -RETRY_S
        self._held = False

    def hold(self) -> bool:
        """Whether the disk is held back; writes the file when it is missing."""
        with self._lock:
            if self._held:
                return True
            now = time.monotonic()
            if now - self._tried_at >= RETRY_S:
                self._tried_at = now
                self._held = self._write()
            return self._held

    def release(self) -> None:
        """Give the file up."""
        with self._lock:
            self._held = False
            self._tried_at = time.monotonic()
            self._path.unlink(missing_ok=True)

    def _write(self) -> bool:
        with contextlib.suppress(OSError):
            if self._path.stat().st_blocks * 512 >= self._size_bytes:
                return True
        try:
            with self._path.open("wb") as file:
                # A sparse file would hold nothing back.
                os.posix_fallocate(file.fileno(), 0, self._size_bytes)
                os.fsync(file.fileno())
        except OSError:
            self._path.unlink(missing_ok=True)
            return False
        return True
