"""Moving learners: out of a running service as an archive, into one from an archive."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

import edge_cl
from edge_cl.errors import EdgeCLError, ExtractorError, ExtractorMismatch, MissingExtra
from edge_cl.learner import Learner
from service.archive import (
    CHECKPOINTS,
    FORMAT,
    MOST_CHECKPOINTS,
    Bounds,
    Manifest,
    Packed,
    pack,
    unpack,
)
from service.checkpoints import Checkpoint
from service.config import Settings
from service.errors import Problem
from service.foreign import check_foreign
from service.journal import JournalError, connect
from service.records import Keep
from service.registry import Registry
from service.served import ServedLearner
from service.snapshots import DamagedSnapshot, keep_file, snapshot_name
from service.store import Origin, Store

__all__ = ["Mover", "Parcel"]

NAMES = ("learner.json", "snapshot", "journal.db")
COPY_ATTEMPTS = 3
SAVE_LIMIT_S = 60.0
MARGIN_BYTES = 8 * 1024 * 1024
SNAPSHOT_MARGIN_BYTES = 16 * 1024 * 1024
UNREADABLE = (
    EdgeCLError, JournalError, sqlite3.Error, ValueError, KeyError, TypeError, EOFError,
)  # fmt: skip


@dataclass(frozen=True)
class Parcel:
    """A learner on its way out; its files are open and have no names any more."""

    manifest: Manifest
    files: tuple[Packed, ...]

    def pieces(self) -> Iterator[bytes]:
        """The archive; the files are closed at its end."""
        with contextlib.ExitStack() as stack:
            for file in self.files:
                stack.enter_context(file.content)
            yield from pack(self.manifest, self.files)


class Mover:
    """Exports and imports the learners of one service.

    Parameters
    ----------
    settings
        The service's settings.
    registry
        Its learners.
    """

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._exporting = threading.Lock()

    def parcel(self, served: ServedLearner, checkpoints: bool = True) -> Parcel:
        """Everything of a learner, as it is now; teaching goes on meanwhile.

        Parameters
        ----------
        served
            The learner.
        checkpoints
            Whether its named states come along.

        Raises
        ------
        Problem
            ``busy`` while another learner is copied, ``conflict`` for more checkpoints than
            an archive takes, ``disk-full``.
        """
        if not self._exporting.acquire(blocking=False):
            raise Problem("busy", "another learner is being exported")
        try:
            with contextlib.suppress(concurrent.futures.TimeoutError):
                # Without it the importing service learns the last operations anew, which is the
                # same on the same kind of processor only.
                served.worker.save_now().result(SAVE_LIMIT_S)
            with self.draft("export") as folder:
                self._check_disk(served.store.journal.path.stat().st_size)
                return _parcel(served, folder, checkpoints)
        except (OSError, sqlite3.Error) as error:
            raise Problem("disk-full", f"the learner cannot be copied: {error}") from error
        finally:
            self._exporting.release()

    def model(self, served: ServedLearner) -> tuple[int, bytes]:
        """What a learner knows as an ONNX model, and the version that it is of.

        Raises
        ------
        EdgeCLError
            For a strategy that is not one network, or without the package onnx.
        """
        # Only now: what it needs is not needed to serve.
        from edge_cl.onnx_export import to_onnx

        view, origin = served.worker.view, served.store.origin
        extractor = self._registry.extractors.of(origin)
        about = {"learner": served.name, "edge_cl": edge_cl.__version__}
        content = to_onnx(view.published, extractor, about)
        return view.version, content

    def take_in(self, draft: Path, archive: Path, name: str | None) -> ServedLearner:
        """Make a learner of an archive, durably; when it cannot be used, nothing has changed.

        Parameters
        ----------
        draft
            An empty folder of `draft`.
        archive
            The archive.
        name
            What to call the learner; None for the name that it had.

        Raises
        ------
        Problem
            Saying what is wrong with the archive, or with the name.
        """
        settings = self._settings
        most = int(settings.max_import_bytes)
        bounds = Bounds(
            most,
            int(settings.learners_budget) + SNAPSHOT_MARGIN_BYTES,
            int(settings.checkpoint_bytes),
        )
        try:
            self._check_disk(0)
            manifest = unpack(archive, draft, bounds)
            archive.unlink()
            wanted = manifest.name if name is None else name
            return self._registry.adopt(wanted, draft, self._tried(draft, manifest))
        except OSError as error:
            raise Problem("disk-full", f"the learner was not imported: {error}") from error

    @contextlib.contextmanager
    def draft(self, purpose: str) -> Iterator[Path]:
        """A folder beside the learners that is gone at the end, or after a crash."""
        # The dot keeps it from being taken for a learner: the next start deletes it.
        folder = self._settings.folder / "learners" / f".{purpose}-{secrets.token_hex(8)}"
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _check_extractor(self, origin: Origin) -> None:
        try:
            self._registry.extractors.of(origin)
        except ExtractorMismatch as error:
            detail = f"the learner was taught with another extractor: {error}"
            raise Problem("extractor-mismatch", detail) from error
        except MissingExtra as error:
            raise Problem("missing-extra", str(error)) from error
        except ExtractorError as error:
            raise Problem("extractor-mismatch", str(error)) from error

    def _check_disk(self, size: int) -> None:
        free = shutil.disk_usage(self._settings.folder).free
        if free < size + MARGIN_BYTES:
            raise Problem(
                "disk-full", f"{size + MARGIN_BYTES:,} bytes are needed, {free:,} are free"
            )

    def _tried(self, draft: Path, manifest: Manifest) -> int:
        """Open the learner once, where it harms nobody; returns its memory budget."""
        origin = _origin(draft)
        self._check_extractor(origin)
        if (draft / "snapshot").exists():
            snapshots = draft / "snapshots"
            snapshots.mkdir()
            os.replace(draft / "snapshot", snapshots / snapshot_name(manifest.sequence))
        try:
            known = check_foreign(draft / "journal.db")
            store = Store(draft, Keep(), int(self._settings.journal_bytes))
        except UNREADABLE as error:
            raise _unusable(str(error)) from error
        try:
            return _checked(store, manifest, known)
        finally:
            store.close()


def _parcel(served: ServedLearner, folder: Path, with_checkpoints: bool) -> Parcel:
    store = served.store
    # Before the journal is copied, which then has all that led to them.
    checkpoints = _kept_checkpoints(store, folder) if with_checkpoints else []
    for _ in range(COPY_ATTEMPTS):
        sequence = store.keep_snapshot(folder / "snapshot")
        if _copied(store.journal.path, folder / "journal.db") <= sequence:
            break
        # Meanwhile two snapshots were saved, and the journal was shortened beyond this one.
    keep_file(store.folder / "learner.json", folder / "learner.json")
    names = [name for name in NAMES if (folder / name).exists()] + checkpoints
    files = tuple(Packed(name, (folder / name).open("rb")) for name in names)
    manifest = Manifest(
        format=FORMAT,
        version=1,
        edge_cl=edge_cl.__version__,
        name=served.name,
        exported_at=round(time.time(), 3),
        sequence=sequence,
        files=[file.listed() for file in files],
    )
    return Parcel(manifest, files)


def _kept_checkpoints(store: Store, folder: Path) -> list[str]:
    count = len(store.checkpoints.all())
    if count > MOST_CHECKPOINTS:
        raise Problem(
            "conflict",
            f"the learner has {count:,} checkpoints, an archive takes at most "
            f"{MOST_CHECKPOINTS:,}: delete some, or leave them out with ?checkpoints=false",
        )
    kept = store.checkpoints.keep_all(folder / CHECKPOINTS)
    return [f"{CHECKPOINTS}/{name}" for name in kept[:MOST_CHECKPOINTS]]


def _copied(journal: Path, target: Path) -> int:
    """Copy a database that is being written to; returns the last operation that it lacks."""
    target.unlink(missing_ok=True)
    with contextlib.closing(connect(journal, read_only=True)) as connection:
        connection.execute("VACUUM INTO ?", (str(target),))
    with contextlib.closing(sqlite3.connect(target)) as connection:
        query = "SELECT value FROM fact WHERE name='retired_sequence'"
        return int(connection.execute(query).fetchone()[0])


def _origin(draft: Path) -> Origin:
    try:
        return TypeAdapter(Origin).validate_json((draft / "learner.json").read_bytes())
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise _unusable(f"learner.json: {where}: {fault['msg']}") from error


def _checked(store: Store, manifest: Manifest, known_damages: int) -> int:
    if store.failure is not None:
        raise _unusable(store.failure)
    if store.saved_sequence != manifest.sequence:
        raise _unusable("the saved learner in it cannot be read")
    if len(store.damages) != known_damages:
        raise _unusable(f"its journal is damaged: {store.damages[-1].reason}")
    learner = store.learner
    used, allowed = sum(learner.ledger().values()), learner.memory_budget
    if used > allowed:
        raise _unusable(f"its learner has {used:,} bytes, its memory budget is {allowed:,}")
    if learner.spec != store.origin.spec:
        raise _unusable("learner.json and the saved learner are not of the same learner")
    for one in store.checkpoints.all():
        _check_checkpoint(store, one)
    return allowed


def _check_checkpoint(store: Store, one: Checkpoint) -> None:
    """Refuse a checkpoint that could not be gone back to, or that is of another learner."""
    try:
        saved = store.checkpoints.read(one)
        learner = Learner.from_bytes(saved.body)
    except (DamagedSnapshot, *UNREADABLE) as error:
        raise _unusable(f"checkpoint {one.name}: {error}") from error
    used, allowed = sum(learner.ledger().values()), learner.memory_budget
    if learner.spec != store.origin.spec or one.version > store.journal.last_sequence:
        raise _unusable(f"checkpoint {one.name} is not of this learner's past")
    if used > allowed:
        raise _unusable(f"checkpoint {one.name} has {used:,} bytes of {allowed:,} that it may have")
    store.checkpoints.date(one.name, one.version, saved.written_at)


def _unusable(reason: str) -> Problem:
    return Problem("invalid-archive", f"the archive cannot be used: {reason}")
