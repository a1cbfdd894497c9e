"""One learner's folder: what it was made of, its journal, its snapshots.

::

    learners/NAME/learner.json     how the learner was created
                  journal.db       every operation (SQLite, with -wal and -shm while open)
                  journal.watermark
                  snapshots/       the last two saved learners
                  checkpoints/     named ones
                  near.snapshot    makes the next step back a short one
                  thumbnails.db    small pictures of samples, if they are wanted
                  quarantine/      damaged files, kept for whoever wants to look

A learner is its newest readable snapshot and the operations after it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from edge_cl import strategies
from edge_cl.errors import CheckpointError, EdgeCLError, MissingExtra
from edge_cl.learner import Learner
from edge_cl.monitoring import Monitor
from edge_cl.recall import Recall
from edge_cl.types import LatentSpec
from service.catalogue import Catalogue
from service.changes import Succession
from service.checkpoints import Checkpoints
from service.corrections import Forget, Restore
from service.history import History, Reach
from service.journal import JournalError
from service.listing import listed
from service.operations import Lesson, decode
from service.outcomes import recorded
from service.recall import recalled, recalled_class
from service.records import Damage, Entry, Keep, Past
from service.recovery import Saved, open_journal
from service.snapshots import DamagedSnapshot, Snapshots, write_atomically
from service.thumbnails import Thumbnails

__all__ = ["Origin", "Store"]

log = logging.getLogger("edge_cl.store")


@dataclass(frozen=True)
class Origin:
    """How a learner was created; enough to create it again, empty.

    Parameters
    ----------
    strategy, options, memory_budget, seed
        As for `Learner.create`.
    spec
        The latents that it learns.
    extractor, extractor_sha256
        Id and digest of the extractor that makes them; None when the client makes them.
    frontend
        Name and options of the front end that makes them, when they are not of images.
    created_at
        Seconds since the epoch.
    plan
        What `auto` planned for, if it chose.
    thumbnail_budget
        Bytes for small pictures of its samples; 0 for none. This alone changes later.
    """

    strategy: str
    memory_budget: int
    spec: LatentSpec
    extractor: str | None = None
    extractor_sha256: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    frontend: dict[str, Any] | None = None
    created_at: float = field(default_factory=time.time)
    plan: dict[str, Any] | None = None
    thumbnail_budget: int = 0

    @property
    def takes_images(self) -> bool:
        """Whether the service's extractor makes the latents; a client's has an id and no digest."""
        return self.extractor_sha256 is not None

    def create(self) -> Learner:
        """A learner that has learned nothing."""
        learner = Learner.create(
            strategy=self.strategy,
            spec=self.spec,
            memory_budget=self.memory_budget,
            options=self.options,
            seed=self.seed,
        )
        learner.plan = learner.plan if self.plan is None else self.plan
        return learner

    def settled(self) -> Origin:
        """The same with what is chosen now: defaults and the planner may change with a version."""
        learner = self.create()
        return replace(self, strategy=learner.strategy, options=learner.options, plan=learner.plan)

    def write(self, folder: Path) -> None:
        """Save into a learner's folder."""
        folder.mkdir(parents=True, exist_ok=True)
        content = asdict(self)
        if self.spec.tail is not None:
            content["spec"]["tail"] = base64.b64encode(self.spec.tail).decode()
        write_atomically(folder / "learner.json", json.dumps(content, indent=1).encode())

    @classmethod
    def read(cls, folder: Path) -> Origin:
        """Read what `write` wrote."""
        content = json.loads((folder / "learner.json").read_bytes())
        spec = LatentSpec(**content["spec"])
        if content["spec"].get("tail") is not None:
            spec = replace(spec, tail=base64.b64decode(content["spec"]["tail"]))
        return cls(**{**content, "spec": spec})


class Store:
    """The durable side of one learner.

    Parameters
    ----------
    folder
        The learner's own folder, which has a ``learner.json``.
    keep
        Bounds of the remembered answers.
    journal_bytes
        Size at which the oldest operations are dropped.
    past
        How far the learner can go back.
    """

    def __init__(
        self, folder: Path, keep: Keep, journal_bytes: int, past: Past | None = None
    ) -> None:
        self.folder = folder
        self.origin = Origin.read(folder)
        self.failure: str | None = None
        self.replayed = 0
        self._journal_bytes = journal_bytes
        self._changing_origin = threading.Lock()
        # A strategy that is missing here must not look like a damaged snapshot.
        strategies.find(self.origin.strategy)
        self._snapshots = Snapshots(folder / "snapshots")
        self.monitor = Monitor()
        learner, saved, self.snapshot_at = self._newest_snapshot()
        self.succession = Succession(learner)
        quarantine = folder / "quarantine"
        self.journal = open_journal(folder / "journal.db", keep, saved, quarantine)
        try:
            self._note_unreachable(saved)
            self.damages = self.journal.damages()
            self.catalogue = Catalogue(self.journal.path)
            past = past or Past()
            self.checkpoints = Checkpoints(folder / "checkpoints", past.checkpoint_bytes)
            self._waypoints = Snapshots(folder / "waypoints")
            # What was made with operations that are lost is not what serves now.
            self._waypoints.drop_through(max((one.last for one in self.damages), default=0))
            self.history = History(
                self.origin.create,
                self._loaded,
                self.journal,
                self._snapshots,
                self._waypoints,
                self.checkpoints,
                folder / "near.snapshot",
                past.operations,
            )
            self.thumbnails = Thumbnails(folder / "thumbnails.db", self.origin.thumbnail_budget)
            self._drop_unlisted_thumbnails()
        except BaseException:
            self.journal.close()
            raise
        for damage in self.damages:
            log.error("learner %s: %s", folder.name, describe(damage))
        self.saved_sequence = saved.sequence
        self.learned_sequence = saved.sequence
        self._replay()

    @property
    def learner(self) -> Learner:
        """The learner that serves."""
        return self.succession.learner

    def fetch(self) -> Learner:
        """The learner that was put away, from the newest snapshot, or made again without it.

        For the thread that writes.
        """
        try:
            return self._loaded(self._snapshots.read(self.saved_sequence).body)
        except (DamagedSnapshot, CheckpointError) as error:
            log.error("learner %s: its snapshot cannot be read: %s", self.folder.name, error)
            return self.history.at(self.journal.last_sequence)

    def append(self, entries: Sequence[Entry]) -> None:
        """Commit operations; returns when the disk has them."""
        self.journal.append(entries)
        for entry in entries:
            if isinstance(entry.operation, Lesson):
                pictures = entry.operation.thumbnails.items()
                self.thumbnails.add({entry.first_id + row: one for row, one in pictures})
        if any(isinstance(entry.operation, Forget | Restore) for entry in entries):
            self._drop_unlisted_thumbnails()

    def set_thumbnail_budget(self, budget: int) -> None:
        """Keep small pictures of samples in so many bytes, or none with 0."""
        with self._changing_origin:
            origin = replace(self.origin, thumbnail_budget=budget)
            origin.write(self.folder)
            self.origin = origin
            self.thumbnails.set_budget(budget)

    def save(self, sequence: int, next_id: int, body: bytes, record: bytes) -> None:
        """Write a snapshot; any thread may."""
        self._snapshots.write(sequence, next_id, body, record)
        self.saved_sequence = sequence
        self.snapshot_at = time.time()

    def save_waypoint(self, sequence: int, next_id: int, body: bytes) -> None:
        """Write a state from which undo can start; any thread may."""
        self._waypoints.write(sequence, next_id, body)

    def keep_snapshot(self, target: Path) -> int:
        """Keep the newest readable snapshot as `target`; returns how far it reaches.

        Any thread may. Without a snapshot, 0 is returned and there is no file.
        """
        return self._snapshots.keep_newest(target)

    def recall(self, ids: Sequence[int], *, latents: bool) -> Recall:
        """What the journal knows of samples; for the thread that writes."""
        with self.journal.reading() as connection:
            return recalled(connection, ids, self.origin.spec, latents)

    def recall_class(self, label: str) -> Recall:
        """What the journal knows of a class; for the thread that writes."""
        with self.journal.reading() as connection:
            return recalled_class(connection, label, self.origin.spec)

    def reach(self) -> Reach:
        """Which versions a way leads to; any thread may ask."""
        return Reach(
            self._snapshots.sequences() + self._waypoints.sequences(),
            [one.version for one in self.checkpoints.all()],
            self.catalogue.restores(),
            self.catalogue.facts()["retired_sequence"],
            self.damages,
            self.history.most,
        )

    @property
    def over_size(self) -> bool:
        """Whether the journal takes more disk than it may."""
        return self.journal.used_bytes() > self._journal_bytes

    def retire(self) -> bool:
        """Drop some of the oldest operations, if the size asks for it.

        Only what the older of two snapshots contains: should the newer one be
        damaged, the journal still leads from the older one to the present.
        """
        saved = self._snapshots.sequences()
        if len(saved) < 2 or not self.journal.retire(saved[-1], self._journal_bytes):
            return False
        self._drop_unlisted_thumbnails()
        return True

    def close(self) -> None:
        """Let go of the files."""
        self.thumbnails.close()
        self.catalogue.close()
        self.journal.close()

    def _drop_unlisted_thumbnails(self) -> None:
        """Nobody sees a sample that was forgotten, retired or undone, nor will again."""
        try:
            with self.journal.reading() as connection:
                self.thumbnails.keep_only(partial(listed, connection))
        except JournalError as error:
            # The next start does it; without its sample no picture is shown.
            log.error("learner %s: thumbnails were not looked through: %s", self.folder.name, error)

    def _loaded(self, body: bytes) -> Learner:
        return Learner.from_bytes(body, tail=self.origin.spec.tail)

    def _newest_snapshot(self) -> tuple[Learner, Saved, float]:
        for sequence in self._snapshots.sequences():
            try:
                snapshot = self._snapshots.read(sequence)
                learner = self._loaded(snapshot.body)
                if snapshot.record:
                    self.monitor = Monitor.from_bytes(snapshot.record)
            except (DamagedSnapshot, CheckpointError) as error:
                log.error("learner %s: snapshot set aside: %s", self.folder.name, error)
                self._snapshots.set_aside(sequence, self.folder / "quarantine")
                continue
            return learner, Saved(sequence, snapshot.next_id), snapshot.written_at
        return self.origin.create(), Saved(), self.origin.created_at

    def _note_unreachable(self, saved: Saved) -> None:
        """Say it when neither a snapshot nor the journal reaches back far enough."""
        retired = self.journal.fact("retired_sequence")
        if retired > saved.sequence:
            reason = "no snapshot is readable and the journal no longer reaches back to these"
            lost = Damage(saved.sequence + 1, retired, 0, False, reason, time.time())
            if not any(known.last == lost.last for known in self.journal.damages()):
                self.journal.record([lost])

    def _replay(self) -> None:
        voided = self.journal.voided()
        for row in self.journal.rows(self.saved_sequence):
            if row.sequence not in voided:
                try:
                    operation = decode(row.kind, row.header, row.payload)
                    self.succession.replay(operation, row.sequence, row.first_id)
                    recorded(self.monitor, operation)
                except MissingExtra as error:
                    self.failure = f"operation {row.sequence} cannot be learned: {error}"
                    return
                except EdgeCLError as error:
                    # The crash came between the commit and the refusal; it is refused again.
                    with contextlib.suppress(JournalError):
                        self.journal.void(row.sequence, str(error))
                except Exception as error:
                    log.exception("learner %s: replay stopped", self.folder.name)
                    self.failure = f"operation {row.sequence} cannot be learned: {error!r}"
                    return
            self.learned_sequence = row.sequence
            self.replayed += 1
        self.learned_sequence = self.journal.last_sequence


def describe(damage: Damage) -> str:
    """One sentence for a log line and a health check."""
    kept = "still known from a snapshot" if damage.learned else "LOST"
    span = f"operations {damage.first} to {damage.last} ({damage.samples} samples)"
    return f"{span} are {kept}: {damage.reason}"
