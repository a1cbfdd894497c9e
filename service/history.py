"""Earlier versions of a learner: which there are, and what it was then.

A version is made again from the nearest saved state before it and the operations
between, which are learned again: at most so many that it takes bounded time.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from edge_cl.errors import CheckpointError, EdgeCLError
from edge_cl.learner import Learner
from service.changes import Succession
from service.checkpoints import Checkpoints
from service.corrections import Restore, SaveCheckpoint
from service.errors import Problem
from service.journal import Journal
from service.operations import decode
from service.records import Damage
from service.snapshots import DamagedSnapshot, Snapshot, Snapshots, read_snapshot, write_snapshot

__all__ = ["History", "Reach"]

NEAR = 16
"""Operations between a version that was made again and the state that is kept near it."""

Which = TypeVar("Which")


class Reach:
    """From which versions to which a way leads.

    Parameters
    ----------
    snapshots, checkpoints, restores
        Versions whose state is saved.
    retired
        The last operation that the journal has dropped.
    damages
        What it has lost.
    most
        Operations that may be learned again.
    """

    def __init__(
        self,
        snapshots: Sequence[int],
        checkpoints: Sequence[int],
        restores: Sequence[int],
        retired: int,
        damages: Sequence[Damage],
        most: int,
    ) -> None:
        self._saved = sorted({0, *snapshots, *checkpoints, *restores}, reverse=True)
        self._retired = retired
        self._damages = damages
        self._most = most

    def bases(self, version: int) -> Iterator[int]:
        """The saved versions from which `version` can be made again, nearest first."""
        for base in self._saved:
            lost = any(d.first <= version and d.last > base for d in self._damages)
            near = base <= version <= base + self._most
            if near and (base == version or (base >= self._retired and not lost)):
                yield base

    def __contains__(self, version: int) -> bool:
        return next(self.bases(version), None) is not None


class History:
    """The earlier versions of one learner; for the thread that writes.

    Parameters
    ----------
    empty
        Makes the learner that has learned nothing.
    load
        Makes a learner of what was saved.
    journal, snapshots, waypoints, checkpoints
        Where states and operations are; nothing relies on the waypoints.
    near
        File for the state a little before the last version that was made again, so that
        the next steps back are short; nothing relies on it.
    most
        Operations that may be learned again to go back.
    """

    def __init__(
        self,
        empty: Callable[[], Learner],
        load: Callable[[bytes], Learner],
        journal: Journal,
        snapshots: Snapshots,
        waypoints: Snapshots,
        checkpoints: Checkpoints,
        near: Path,
        most: int,
    ) -> None:
        self._empty = empty
        self._load = load
        self._journal = journal
        self._snapshots = snapshots
        self._waypoints = waypoints
        self._checkpoints = checkpoints
        self.most = most
        self._near_path = near
        self._near: int | None = None

    def undoable(self) -> int:
        """The last operation that is not undone yet.

        Raises
        ------
        Problem
            If there is none, or the journal no longer has it.
        """
        voided, sequence = self._journal.voided(), self._journal.last_sequence
        while sequence:
            row = self._journal.row(sequence)
            if row is None:
                raise Problem("conflict", f"operation {sequence} is no longer in the journal")
            header = json.loads(row.header) if row.kind == Restore.kind else {}
            if sequence in voided or row.kind == SaveCheckpoint.kind:
                sequence -= 1
            elif header.get("undone") is not None:
                sequence = header["to"]
            else:
                return sequence
        raise Problem("conflict", "nothing was taught yet that could be undone")

    def at(self, version: int) -> Learner:
        """The learner as it was at `version`.

        Raises
        ------
        Problem
            If there was no such version, or no way leads to it any more.
        """
        last = self._journal.last_sequence
        if version > last:
            detail = f"there is no version {version} yet; the present one is {last}"
            raise Problem("not-found", detail)
        for base in self._reach().bases(version):
            state = self._saved(base)
            if state is not None:
                return self._continued(state, base, version)
        raise Problem(
            "conflict",
            f"version {version} cannot be made again: no saved state is within {self.most:,} "
            "operations before it, or the journal has dropped these; GET .../versions lists "
            "those that can",
        )

    def _reach(self) -> Reach:
        voided = self._journal.voided()
        return Reach(
            self._snapshots.sequences() + self._waypoints.sequences(),
            [one.version for one in self._checkpoints.all()] + [self._near or 0],
            [sequence for sequence in self._journal.restores() if sequence not in voided],
            self._journal.fact("retired_sequence"),
            self._journal.damages(),
            self.most,
        )

    def _saved(self, version: int) -> Learner | None:
        """A saved state, if one can be read."""
        for body in self._bodies(version):
            with contextlib.suppress(CheckpointError):
                return self._load(body)
        return self._empty() if version == 0 else None

    def _bodies(self, version: int) -> Iterator[bytes]:
        row = self._journal.row(version)
        if row is not None and row.kind == Restore.kind:
            operation = decode(row.kind, row.header, row.payload)
            assert isinstance(operation, Restore)
            yield operation.state
        for one in self._checkpoints.all():
            if one.version == version:
                yield from _read(self._checkpoints.read, one)
        if version == self._near:
            with contextlib.suppress(DamagedSnapshot):
                yield read_snapshot(self._near_path, version).body
        for saved in (self._waypoints, self._snapshots):
            yield from _read(saved.read, version)

    def _continued(self, learner: Learner, base: int, version: int) -> Learner:
        voided, succession = self._journal.voided(), Succession(learner)
        for row in self._journal.rows(base):
            if row.sequence > version:
                break
            if row.sequence == version - NEAR and row.sequence > base + NEAR:
                self._keep_near(row.sequence - 1, row.first_id, learner)
            if row.sequence in voided:
                continue
            try:
                operation = decode(row.kind, row.header, row.payload)
                succession.replay(operation, row.sequence, row.first_id)
            except EdgeCLError as error:
                detail = f"operation {row.sequence} cannot be learned again: {error}"
                raise Problem("conflict", detail) from error
        return succession.learner

    def _keep_near(self, version: int, next_id: int, learner: Learner) -> None:
        self._near = None
        with contextlib.suppress(OSError):
            write_snapshot(self._near_path, version, next_id, learner.to_bytes())
            self._near = version


def _read(read: Callable[[Which], Snapshot], which: Which) -> Iterator[bytes]:
    """The body of a saved state, if it is whole."""
    try:
        yield read(which).body
    except DamagedSnapshot:
        return
