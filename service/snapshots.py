"""Saved learners: one file each, checked when read, the last few kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "KEPT",
    "DamagedSnapshot",
    "Snapshot",
    "Snapshots",
    "keep_file",
    "read_snapshot",
    "snapshot_name",
    "sync_folder",
    "write_atomically",
    "write_snapshot",
]

KEPT = 2
MAGIC = b"edge-cl snapshot 1\n"
NAME = re.compile(r"(\d{15})\.snapshot")


class DamagedSnapshot(Exception):
    """A snapshot whose bytes are not those that were written."""


@dataclass(frozen=True)
class Snapshot:
    """A learner as it was after one operation.

    Parameters
    ----------
    sequence
        The last operation that it contains.
    next_id
        Id of the first sample after it.
    body
        The learner's own bytes.
    record
        Bytes of its prequential record; empty if the snapshot has none.
    written_at
        Seconds since the epoch.
    """

    sequence: int
    next_id: int
    body: bytes
    record: bytes
    written_at: float


class Snapshots:
    """The snapshots of one learner.

    Parameters
    ----------
    folder
        Where they lie; created if it is missing.
    kept
        So many files, the newest.
    """

    def __init__(self, folder: Path, kept: int = KEPT) -> None:
        self._folder = folder
        self._kept = kept
        folder.mkdir(parents=True, exist_ok=True)
        for half_written in folder.glob("*.part"):
            half_written.unlink()

    def sequences(self) -> list[int]:
        """Sequences that have a file, newest first, whether readable or not."""
        found = (NAME.fullmatch(path.name) for path in self._folder.iterdir())
        return sorted((int(match[1]) for match in found if match), reverse=True)

    def write(self, sequence: int, next_id: int, body: bytes, record: bytes = b"") -> None:
        """Save durably, then drop the oldest."""
        write_snapshot(self._path(sequence), sequence, next_id, body, record)
        for old in self.sequences()[self._kept :]:
            self._path(old).unlink(missing_ok=True)

    def drop_through(self, sequence: int) -> None:
        """Delete those of this operation and earlier ones."""
        for old in self.sequences():
            if old <= sequence:
                self._path(old).unlink(missing_ok=True)

    def read(self, sequence: int) -> Snapshot:
        """The snapshot of `sequence`; DamagedSnapshot when a byte of it changed."""
        return read_snapshot(self._path(sequence), sequence)

    def keep_newest(self, target: Path) -> int:
        """Keep the newest readable snapshot as `target`; returns its sequence, or 0."""
        target.unlink(missing_ok=True)
        for sequence in self.sequences():
            # The name of an old one may go at any moment; then there is a newer one.
            with contextlib.suppress(DamagedSnapshot, FileNotFoundError):
                keep_file(self._path(sequence), target)
                read_snapshot(target, sequence)
                return sequence
        target.unlink(missing_ok=True)
        return 0

    def set_aside(self, sequence: int, quarantine: Path) -> None:
        """Move a damaged snapshot out of the way, without losing it."""
        quarantine.mkdir(parents=True, exist_ok=True)
        os.replace(self._path(sequence), quarantine / self._path(sequence).name)

    def _path(self, sequence: int) -> Path:
        return self._folder / snapshot_name(sequence)


def write_snapshot(
    path: Path, sequence: int, next_id: int, body: bytes, record: bytes = b""
) -> float:
    """Write one file durably; returns its `written_at`."""
    written_at = round(time.time(), 3)
    head = {
        "sequence": sequence,
        "next_id": next_id,
        "bytes": len(body),
        "record_bytes": len(record),
        "sha256": _digest(body, record),
        "written_at": written_at,
    }
    write_atomically(path, MAGIC, json.dumps(head).encode() + b"\n", body, record)
    return written_at


def read_snapshot(path: Path, sequence: int) -> Snapshot:
    """The snapshot of `sequence` in a file; DamagedSnapshot when a byte of it changed."""
    try:
        magic, line, content = path.read_bytes().split(b"\n", 2)
        head = json.loads(line)
        intact = (
            magic + b"\n" == MAGIC
            and head["sequence"] == sequence
            and head["sha256"] == _digest(content)
            and head["bytes"] + head.get("record_bytes", 0) == len(content)
        )
        length = int(head["bytes"])
        next_id, written_at = int(head["next_id"]), float(head["written_at"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedSnapshot(f"{path.name}: {error}") from error
    if not intact:
        raise DamagedSnapshot(f"{path.name}: the bytes do not match their SHA-256")
    return Snapshot(sequence, next_id, content[:length], content[length:], written_at)


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def snapshot_name(sequence: int) -> str:
    """Name of the file of a snapshot."""
    return f"{sequence:015d}.snapshot"


def keep_file(source: Path, target: Path) -> None:
    """Give a file that is never changed a second name, or copy it where that cannot be."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_atomically(path: Path, *parts: bytes, mode: int = 0o666) -> None:
    """Write a file that is there whole and durable, or not at all; `mode` is its rights."""
    part = path.with_name(path.name + ".part")
    try:
        part.unlink(missing_ok=True)
        with open(part, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
