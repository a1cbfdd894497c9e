"""All learners of a service: opened at the start, created and deleted by name."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import secrets
import shutil
import sqlite3
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path

from edge_cl.errors import EdgeCLError
from service.ballast import Ballast
from service.conditions import check_expected
from service.config import ConfigError, Settings
from service.errors import FieldError, Problem
from service.events import Events
from service.extractors import Extractors
from service.jobs import Job, Reply
from service.journal import JournalError
from service.meters import Meters
from service.operations import ChangeStrategy, Operation, SetBudget
from service.served import ServedLearner, open_learner
from service.snapshots import sync_folder
from service.store import Origin

__all__ = ["DEFAULT", "Registry", "take_folder"]

log = logging.getLogger("edge_cl.registry")

DEFAULT = "default"
LONGEST_WAIT_S = 30.0
DISK = (JournalError, sqlite3.OperationalError, OSError)
UNREADABLE = (*DISK, EdgeCLError, sqlite3.Error, ValueError, KeyError, TypeError)
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
NAME_RULE = "1 to 64 letters, digits, dots, dashes or underscores, not starting with a dot or dash"


class Registry:
    """The learners of one data folder, which no other process may use.

    Parameters
    ----------
    settings
        The service's settings.
    extractors
        Turn images into latents.
    meters
        Instruments.
    events
        Where it is told what happens.
    """

    def __init__(
        self, settings: Settings, extractors: Extractors, meters: Meters, events: Events
    ) -> None:
        self.unreadable: dict[str, str] = {}
        self._settings = settings
        self.extractors = extractors
        self._meters = meters
        self._events = events
        self._folder = settings.folder / "learners"
        self._lock = threading.Lock()
        self._learners: dict[str, ServedLearner] = {}
        self._promises: dict[str, tuple[str, int]] = {}
        self._closing = threading.Event()
        settings.folder.mkdir(parents=True, exist_ok=True)
        self._folder_lock = take_folder(settings.folder)
        self.ballast = Ballast(settings.folder / "ballast", int(settings.ballast_bytes))
        self.ballast.hold()

    def open(self) -> None:
        """Open every learner; when there is none, create ``default``."""
        self._folder.mkdir(exist_ok=True)
        later: list[str] = []
        for folder in sorted(self._folder.iterdir()):
            if not NAME.fullmatch(folder.name):
                # Half created or half deleted when the service ended.
                shutil.rmtree(folder, ignore_errors=True)
                continue
            if self._try_to_open(folder):
                later.append(folder.name)
        if later:
            threading.Thread(target=self._keep_trying, args=(later,), daemon=True).start()
        if not self._learners and not self.unreadable and self.extractors.whole is not None:
            self.create(DEFAULT, self.default_origin())

    def default_origin(self) -> Origin:
        """What the settings say of a new learner."""
        extractor = self.extractors.whole
        if extractor is None:
            raise ConfigError("the learner `default` needs an extractor")
        settings = self._settings
        return Origin(
            strategy=settings.strategy,
            memory_budget=int(settings.memory_budget),
            spec=extractor.spec,
            extractor=extractor.manifest.id,
            extractor_sha256=extractor.manifest.sha256,
            options=settings.options,
            seed=settings.seed,
        )

    def create(self, name: str, origin: Origin) -> ServedLearner:
        """Create a learner durably.

        Raises
        ------
        Problem
            For a name that is taken or no name, or when the budget is spent.
        EdgeCLError
            If the strategy, an option or the budget cannot be used.
        """
        with self._lock:
            self._check_room(name, origin.memory_budget)
            # Defaults may change with a version; a learner keeps those it was created with.
            origin = origin.settled()
            draft = self._folder / f".new-{secrets.token_hex(8)}"
            try:
                origin.write(draft)
                return self._put_in_place(draft, name)
            except (JournalError, sqlite3.Error, OSError) as error:
                shutil.rmtree(draft, ignore_errors=True)
                raise Problem("disk-full", f"the learner was not created: {error}") from error

    def adopt(self, name: str, draft: Path, memory_budget: int) -> ServedLearner:
        """Serve a learner whose folder was made elsewhere, and take the folder over.

        Raises
        ------
        Problem
            As `create`.
        """
        with self._lock:
            self._check_room(name, memory_budget)
            try:
                return self._put_in_place(draft, name)
            except UNREADABLE as error:
                raise Problem("disk-full", f"the learner was not imported: {error}") from error

    def _put_in_place(self, draft: Path, name: str) -> ServedLearner:
        """Give a folder its name and open it; neither, when that fails."""
        folder = self._folder / name
        os.replace(draft, folder)
        try:
            sync_folder(self._folder)
            served = self._opened(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._learners = {**self._learners, name: served}
        self._events.emit("learner-created", name, strategy=served.store.origin.strategy)
        return served

    def delete(self, name: str, expected: frozenset[int] | None = None) -> None:
        """Forget a learner and everything it was taught."""
        with self._lock:
            served = self.get(name)
            check_expected(expected, served.store.journal.last_sequence)
            self._learners = {n: one for n, one in self._learners.items() if n != name}
            served.close()
            gone = self._folder / f".gone-{secrets.token_hex(8)}"
            os.replace(served.store.folder, gone)
            sync_folder(self._folder)
            shutil.rmtree(gone, ignore_errors=True)
            self._meters.forget(name)
        self._events.emit("learner-deleted", name)

    def set_budget(
        self, name: str, memory_budget: int, expected: frozenset[int] | None = None
    ) -> Future[Reply]:
        """Change a learner's budget durably; its future has the answer, or the problem.

        Raises
        ------
        Problem
            If the budgets of all learners would be more than `learners_budget`.
        """
        return self._changed(name, SetBudget(memory_budget), memory_budget, expected)

    def change_strategy(
        self, name: str, operation: ChangeStrategy, expected: frozenset[int] | None = None
    ) -> Future[Reply]:
        """Begin to change a learner's strategy durably; its future has the answer, or the problem.

        Raises
        ------
        Problem
            If `learners_budget` has no room for both, which are held while one is built.
        """
        both_bytes = 2 * self.get(name).worker.view.memory_budget
        why = "(the old learner's and the new one's, while the new one is built) "
        return self._changed(name, operation, both_bytes, expected, why)

    def _changed(
        self, name: str, operation: Operation, needed_bytes: int,
        expected: frozenset[int] | None, why: str = "",
    ) -> Future[Reply]:  # fmt: skip
        with self._lock:
            served = self.get(name)
            if needed_bytes > served.worker.view.reserved_bytes:
                self._check_bytes(needed_bytes, name, why)
            promise = secrets.token_hex(8)
            self._promises[promise] = (name, needed_bytes)
        job = Job(operation, lambda receipt: Reply(200, "{}"), expected=expected)
        # Until it is learned, the larger of the two counts.
        job.reply.add_done_callback(lambda _: self._promises.pop(promise))
        try:
            return served.worker.submit(job)
        except BaseException:
            job.reply.cancel()
            raise

    def check_budget(self, name: str, memory_budget: int) -> None:
        """Problem when the budgets of all learners would be more than `learners_budget`."""
        if memory_budget > self.get(name).worker.view.memory_budget:
            self._check_bytes(memory_budget, beside=name)

    def get(self, name: str) -> ServedLearner:
        """The learner of this name; Problem when there is none."""
        served = self._learners.get(name)
        if served is not None:
            return served
        if name in self.unreadable:
            raise Problem("not-ready", f"learner {name!r} is stored but cannot be opened: "
                          f"{self.unreadable[name]}")  # fmt: skip
        known = ", ".join(sorted(self._learners)[:20]) or "none"
        raise Problem("not-found", f"no learner is named {name[:80]!r}; there are: {known}")

    @property
    def extractor_bytes(self) -> int:
        """Bytes of the extractor's model; 0 without one."""
        whole = self.extractors.whole
        return 0 if whole is None else whole.path.stat().st_size

    @property
    def learners_bytes(self) -> int:
        """Bytes that all learners take."""
        return sum(sum(one.worker.view.ledger.values()) for one in self._learners.values())

    @property
    def reserved_bytes(self) -> int:
        """Bytes of `learners_budget` that are given out."""
        return sum(one.worker.view.reserved_bytes for one in self._learners.values())

    def all(self) -> Mapping[str, ServedLearner]:
        """Every learner that is open."""
        return self._learners

    def faults(self) -> dict[str, str]:
        """What keeps the service from teaching, by part."""
        found = {f"learner {name}": reason for name, reason in self.unreadable.items()}
        for name, served in self._learners.items():
            worker = served.worker
            if worker.failure:
                found[f"learner {name}"] = worker.failure
            elif not worker.alive:
                found[f"learner {name}"] = "its worker has ended"
            if worker.disk_failure:
                found[f"journal {name}"] = worker.disk_failure
        return found

    def close(self) -> None:
        """Close all learners, which answers and saves."""
        self._closing.set()
        with self._lock:
            learners, self._learners = self._learners, {}
        for served in learners.values():
            served.close()
        os.close(self._folder_lock)

    def _check_room(self, name: str, memory_budget: int) -> None:
        if not NAME.fullmatch(name):
            detail = f"a learner's name is {NAME_RULE}"
            raise Problem("invalid", detail, [FieldError("/name", detail)])
        if name in self._learners or name in self.unreadable:
            raise Problem("conflict", f"a learner is named {name!r} already")
        if len(self._learners) >= self._settings.max_learners:
            detail = f"there are {len(self._learners)} learners, at most that many may exist"
            raise Problem("conflict", detail)
        self._check_bytes(memory_budget)
        if not self.ballast.hold():
            raise Problem("disk-full", "there is no room left on the disk of the data folder")

    def _check_bytes(self, wanted_bytes: int, beside: str | None = None, why: str = "") -> None:
        """Refuse bytes for a new learner, or the one named, if the others leave no room."""
        budgets = {name: one.worker.view.reserved_bytes for name, one in self._learners.items()}
        for name, promised in list(self._promises.values()):
            budgets[name] = max(promised, budgets.get(name, 0))
        spent = sum(budget for name, budget in budgets.items() if name != beside)
        allowed = int(self._settings.learners_budget)
        if spent + wanted_bytes > allowed:
            raise Problem(
                "budget",
                f"{spent:,} of {allowed:,} bytes belong to other learners, {wanted_bytes:,} more "
                f"{why}do not fit: ask for less, delete a learner, or raise learners_budget",
            )

    def _opened(self, folder: Path) -> ServedLearner:
        self.extractors.of(Origin.read(folder))
        return open_learner(folder, self._settings, self.ballast, self._meters, self._events)

    def _try_to_open(self, folder: Path) -> bool:
        """Open a learner; returns whether a later attempt may have more luck."""
        try:
            served = self._opened_with_room(folder)
        except UNREADABLE as error:
            if str(error) != self.unreadable.get(folder.name):
                log.error("learner %s cannot be opened: %s", folder.name, error)
            self.unreadable[folder.name] = str(error)
            return isinstance(error, DISK)
        self.unreadable.pop(folder.name, None)
        self._learners = {**self._learners, folder.name: served}
        return False

    def _opened_with_room(self, folder: Path) -> ServedLearner:
        """Open a learner; on a full disk, in the room of the ballast."""
        try:
            return self._opened(folder)
        except DISK:
            self.ballast.release()
            return self._opened(folder)

    def _keep_trying(self, names: list[str]) -> None:
        """Open what a full disk kept closed, as soon as there is room."""
        wait_s = 1.0
        while names and not self._closing.wait(wait_s):
            with self._lock:
                names = [name for name in names if self._try_to_open(self._folder / name)]
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)


def take_folder(folder: Path) -> int:
    """Lock a data folder for this process; returns the lock's descriptor."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise ConfigError(f"data folder {folder} is in use by another service") from error
    return descriptor
