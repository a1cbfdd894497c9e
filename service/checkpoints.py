"""Named states of a learner, kept until they are deleted."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from service.errors import FieldError, Problem
from service.snapshots import (
    DamagedSnapshot,
    Snapshot,
    keep_file,
    read_snapshot,
    sync_folder,
    write_snapshot,
)

__all__ = ["FILE_RULE", "Checkpoint", "Checkpoints"]

log = logging.getLogger("edge_cl.store")

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
NAME_RULE = "1 to 64 letters, digits, dots, dashes or underscores, not starting with a dot or dash"
FILE = re.compile(r"(\d{15})-(.+)\.checkpoint")
FILE_RULE = rf"[0-9]{{15}}-{NAME.pattern}\.checkpoint"
"""What the name of a file that comes from elsewhere may be."""


@dataclass(frozen=True)
class Checkpoint:
    """A named state.

    Parameters
    ----------
    name
        Its name.
    version
        The learner's when it was made.
    size_bytes
        On the disk.
    created_at
        Seconds since the epoch.
    """

    name: str
    version: int
    size_bytes: int
    created_at: float


class Checkpoints:
    """The checkpoints of one learner.

    Parameters
    ----------
    folder
        Where they lie; created with the first.
    most_bytes
        What all of them may take.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        for half_written in folder.glob("*.part"):
            half_written.unlink()

    def all(self) -> list[Checkpoint]:
        """Every checkpoint, the newest first."""
        found = []
        for path in self._folder.glob("*.checkpoint"):
            match = FILE.fullmatch(path.name)
            if match:
                about = path.stat()
                found.append(
                    Checkpoint(match[2], int(match[1]), about.st_size, round(about.st_mtime, 3))
                )
        return sorted(found, key=lambda one: (one.version, one.name), reverse=True)

    def find(self, name: str) -> Checkpoint:
        """The checkpoint of this name; Problem when there is none."""
        known = self.all()
        for one in known:
            if one.name == name:
                return one
        names = ", ".join(one.name for one in known[:20]) or "none"
        raise Problem("not-found", f"no checkpoint is named {name[:80]!r}; there are: {names}")

    def write(self, name: str, version: int, next_id: int, body: bytes) -> None:
        """Save a state durably; the same name for the same version is no conflict.

        Raises
        ------
        Problem
            For a name that is none or is taken, and when there is no room.
        """
        if not NAME.fullmatch(name):
            detail = f"a checkpoint's name is {NAME_RULE}"
            raise Problem("invalid", detail, [FieldError("/name", detail)])
        known = self.all()
        for one in known:
            if one.name == name and one.version == version:
                return
            if one.name == name:
                detail = f"checkpoint {name!r} exists, of version {one.version}: delete it first"
                raise Problem("conflict", detail)
        used = sum(one.size_bytes for one in known)
        if used + len(body) > self._most_bytes:
            raise Problem(
                "conflict",
                f"checkpoints take {used:,} of {self._most_bytes:,} bytes, {len(body):,} more do "
                "not fit: delete one, or raise checkpoint_bytes",
            )
        try:
            self._folder.mkdir(exist_ok=True)
            written_at = write_snapshot(self._path(name, version), version, next_id, body)
            self.date(name, version, written_at)
        except OSError as error:
            raise Problem("disk-full", f"the checkpoint was not written: {error}") from error

    def read(self, one: Checkpoint) -> Snapshot:
        """The state; DamagedSnapshot when a byte of it changed."""
        return read_snapshot(self._path(one.name, one.version), one.version)

    def keep_all(self, folder: Path) -> list[str]:
        """Keep every checkpoint that can be read in another folder; returns the files' names."""
        kept = []
        for one in reversed(self.all()):
            source = self._path(one.name, one.version)
            target = folder / source.name
            try:
                folder.mkdir(exist_ok=True)
                keep_file(source, target)
                read_snapshot(target, one.version)
            except (DamagedSnapshot, FileNotFoundError) as error:
                # Deleted a moment ago, or no longer what was written: nobody misses it elsewhere.
                log.error("checkpoint %s is left out: %s", source, error)
                target.unlink(missing_ok=True)
            else:
                kept.append(source.name)
        return kept

    def date(self, name: str, version: int, created_at: float) -> None:
        """Say when a checkpoint was made, whatever the time of its file."""
        # Whole milliseconds: of a float just below one, a disk that keeps no more would cut it off.
        when = round(created_at * 1000) * 1_000_000
        os.utime(self._path(name, version), ns=(when, when))

    def delete(self, name: str) -> None:
        """Delete a checkpoint; Problem when there is none."""
        one = self.find(name)
        self._path(one.name, one.version).unlink(missing_ok=True)
        sync_folder(self._folder)

    def _path(self, name: str, version: int) -> Path:
        return self._folder / f"{version:015d}-{name}.checkpoint"
