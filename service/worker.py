"""The single writer of a learner.

One thread takes all waiting requests, commits them together, teaches them in
order and publishes once for all; only then are they answered. Predictions read
the last published view and never wait for this thread.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from edge_cl import strategies
from edge_cl.errors import EdgeCLError
from edge_cl.learner import Learner
from edge_cl.neighbours import Neighbour
from edge_cl.published import Published
from edge_cl.types import Array
from service.admission import Admitted, admitted, entries
from service.ballast import Ballast
from service.changes import Change
from service.errors import Problem, of_library
from service.events import Events
from service.jobs import Job, Queue, Reply
from service.journal import DiskFull, JournalError
from service.machine import return_memory
from service.meters import Meters
from service.operations import ChangeStrategy, FinishChange, Lesson, Operation
from service.records import Entry
from service.reporter import Reporter
from service.store import Store
from service.waypoints import Waypoints

__all__ = ["Pace", "View", "Worker"]

log = logging.getLogger("edge_cl.worker")

IDLE_S = 1.0
BUILDING_S = 0.02
FADE_S = 5.0
WAKE_LIMIT_S = 60.0
LOOK_LIMIT_S = 0.1
SOONEST_S = 5.0
"""Rest between snapshots that are only made so that the journal can be shortened."""


@dataclass(frozen=True)
class Pace:
    """How much a worker does at once, and how often it saves.

    Parameters
    ----------
    group_requests
        Most requests in one commit.
    snapshot_operations, snapshot_interval_s
        A snapshot is due after so many operations, or after that time.
    undo_learn_s
        Seconds of learning after which a state to undo from is saved; 0 for none.
    idle_unload_s
        The learner is put away when it was not used for so long; 0 for never.
    """

    group_requests: int = 64
    snapshot_operations: int = 1000
    snapshot_interval_s: float = 300.0
    undo_learn_s: float = 2.0
    idle_unload_s: float = 0.0


@dataclass(frozen=True)
class View:
    """What everybody but the writer sees of a learner; never changes.

    Parameters
    ----------
    give
        Gives what answers predictions; loads it when it was put away.
    loaded
        Whether that is in memory.
    version
        The last operation that it knows.
    class_counts
        Samples learned by label.
    ledger
        Bytes by part.
    memory_budget
        What their sum may be.
    strategy, options
        What it learns by.
    change
        The strategy that is being built to take its place.
    change_failure
        Why the last change of strategy was given up.
    plan
        What `auto` planned for, and why it chose so.
    """

    give: Callable[[], Published]
    loaded: bool
    version: int
    class_counts: dict[str, int]
    ledger: dict[str, int]
    memory_budget: int
    strategy: str
    options: dict[str, Any]
    change: dict[str, Any] | None = None
    change_failure: str | None = None
    plan: dict[str, Any] | None = None

    @property
    def published(self) -> Published:
        """Answers predictions; waits for the learner when it was put away."""
        return self.give()

    @property
    def reserved_bytes(self) -> int:
        """Of the budget of all learners; both copies count while one is being built."""
        return self.memory_budget * (2 if self.change else 1)


class Worker:
    """Teaches one learner from a queue.

    Parameters
    ----------
    store
        The learner and its durable side.
    queue
        Where requests wait.
    pace
        Sizes of groups and intervals of snapshots.
    ballast
        The disk held back for the moment when it is full.
    meters
        Instruments.
    events
        Where it is told what happens.
    """

    def __init__(
        self, store: Store, queue: Queue, pace: Pace, ballast: Ballast, meters: Meters,
        events: Events,
    ) -> None:  # fmt: skip
        self.name = store.folder.name
        self.failure = store.failure
        self._disk_failure: tuple[float, str] = (0.0, "")
        self.snapshot_failure: str | None = None
        self._store = store
        self._queue = queue
        self._pace = pace
        self._ballast = ballast
        self._meters = meters
        self._reporter = Reporter(self.name, store.monitor, events)
        self._changing = threading.Lock()
        self._succession = store.succession
        self._change_failure: str | None = None
        self._sequence = store.learned_sequence
        self._unpublished = False
        self._retiring = False
        self._waiting: list[tuple[Job, Reply]] = []
        self._publish_cost_s = 0.0
        self._published_at = 0.0
        self._saved_at = time.monotonic()
        self._saver = ThreadPoolExecutor(1, thread_name_prefix=f"save-{self.name}")
        self._saving: Future[None] | None = None
        self._waypoints = Waypoints(pace.undo_learn_s, self._saver, store.save_waypoint)
        self._wishes: deque[Future[None]] = deque()
        self._wakings: deque[Future[Published]] = deque()
        self._used_at = time.monotonic()
        self.view = self._make_view()
        self._thread = threading.Thread(target=self._run, name=f"learn-{self.name}", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def submit(self, job: Job) -> Future[Reply]:
        """Queue a job; its future has the answer, or the Problem.

        Raises
        ------
        Problem
            ``busy`` when the queue is full, ``learner-failed`` when nothing is learned any more.
        """
        if self.failure is not None:
            raise Problem("learner-failed", self.failure)
        self._queue.put(job)
        return job.reply

    def nearest(self, latents: Array, count: int) -> list[list[Neighbour]]:
        """The remembered samples nearest to latents; waits for the change that is being made."""
        while True:
            with self._changing:
                if not self._succession.away:
                    self._used_at = time.monotonic()
                    return self._learner.nearest(latents, count)
            self.fetched()

    def most_alike(
        self, latents: Array, labels: Sequence[Collection[str]]
    ) -> list[Neighbour | None]:
        """As `Learner.most_alike`; nothing while a long change is made or the learner is away."""
        if not self._changing.acquire(timeout=LOOK_LIMIT_S):
            return [None] * len(latents)
        try:
            if self._succession.away:
                return [None] * len(latents)
            return self._learner.most_alike(latents, labels)
        finally:
            self._changing.release()

    def fetched(self) -> Published:
        """What answers predictions, after the learner was put away; any thread may wait for it.

        Raises
        ------
        Problem
            ``learner-failed`` or ``not-ready`` when it cannot be loaded.
        """
        if not self.alive:
            raise Problem("not-ready", "the learner is being closed")
        waking: Future[Published] = Future()
        self._wakings.append(waking)
        self._queue.wake()
        try:
            return waking.result(WAKE_LIMIT_S)
        except futures.TimeoutError as error:
            raise Problem("not-ready", "the learner is not loaded yet") from error

    def save_now(self) -> Future[None]:
        """Save what is learned; the future is done when that was tried."""
        wish: Future[None] = Future()
        self._wishes.append(wish)
        self._queue.wake()
        if not self.alive:
            self._save_as_wished()
        return wish

    def stop(self) -> None:
        """Answer what waits, save, and end; returns when that is done."""
        self._queue.close()
        self._thread.join()
        self._saver.shutdown(wait=True)

    @property
    def disk_failure(self) -> str | None:
        """Why the last commit failed, if that was a moment ago.

        It fades by itself: a service that gets no requests because it is not
        ready could never show that it is ready again.
        """
        failed_at, reason = self._disk_failure
        return reason if reason and time.monotonic() - failed_at < FADE_S else None

    def _note_disk(self, reason: str) -> None:
        self._disk_failure = (time.monotonic(), reason)

    @property
    def backlog(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    @property
    def unsaved_operations(self) -> int:
        """Operations that a restart would have to learn again."""
        return self._sequence - self._store.saved_sequence

    @property
    def _learner(self) -> Learner:
        return self._succession.learner

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        while True:
            jobs = self._queue.take(self._pace.group_requests, self._patience_s())
            try:
                self._work(jobs)
            except Exception as error:
                log.exception("learner %s: the worker failed", self.name)
                self._fail(f"the worker failed: {error!r}", jobs)
            if self._queue.closed and not jobs and not len(self._queue):
                break
        self._finish()

    def _patience_s(self) -> float:
        if self._unpublished or self._retiring:
            return 0.0
        return BUILDING_S if self._succession.change else IDLE_S

    def _work(self, jobs: list[Job]) -> None:
        if jobs:
            self._used_at = time.monotonic()
        if jobs or self._wakings:
            self._fetch()
        group = self._admit(jobs)
        if group:
            self._commit_and_learn(group)
        if self.failure is None:
            self._advance_change()
        if self._publish_due():
            self._publish()
        if self._snapshot_due():
            self._save()
        self._save_as_wished()
        self._retiring = self._shorten()
        if self._idle(jobs):
            self._put_away()

    def _give(self, published: Published) -> Published:
        self._used_at = time.monotonic()
        return published

    def _idle(self, jobs: list[Job]) -> bool:
        """Whether the learner is to be put away: nothing uses it, nothing is under way."""
        idle_s = self._pace.idle_unload_s
        busy = jobs or len(self._queue) or self._wakings or self._unpublished
        if not idle_s or busy or self.failure or self._succession.change or self._succession.away:
            return False
        if not self._sequence:
            # Nothing was taught: there is nothing to be had.
            return False
        return time.monotonic() - self._used_at >= idle_s

    def _put_away(self) -> None:
        """Let go of the learner, once a snapshot has all of it."""
        if self._saving is not None and not self._saving.done():
            return
        if self.unsaved_operations:
            if self.snapshot_failure is None or time.monotonic() - self._saved_at >= SOONEST_S:
                self._save()
            return
        with self._changing:
            self._succession.put_away()
            self.view = replace(self.view, give=self.fetched, loaded=False)
        return_memory()

    def _fetch(self) -> None:
        """Load the learner if it was put away, and give it to those who wait."""
        if self._succession.away:
            with self._changing:
                self._succession.learner = self._store.fetch()
                self.view = self._make_view()
        while self._wakings:
            self._wakings.popleft().set_result(self.view.published)

    def _shorten(self) -> bool:
        """Drop old operations if the journal is too large; whether there may be more to drop."""
        try:
            return self._store.over_size and self._store.retire()
        except JournalError as error:
            self._note_disk(str(error))
            return False

    def _admit(self, jobs: list[Job]) -> list[Admitted]:
        """The jobs that can be committed together; the others are refused or put back.

        What makes the learner grow ends the group: whether the next one fits
        can only be said once this one is learned. What must be planned begins one.
        """
        group: list[Admitted] = []
        for number, job in enumerate(jobs):
            if group and callable(job.operation):
                self._queue.put_back(jobs[number:])
                break
            if job.reply.done() or not job.reply.set_running_or_notify_cancel():
                continue
            try:
                self._refuse_if_unable()
                version = self._store.journal.last_sequence + len(group)
                group.append(admitted(job, self._store, self._succession, version))
            except EdgeCLError as error:
                job.reply.set_exception(of_library(error))
                continue
            except Exception as error:
                job.reply.set_exception(error)
                continue
            if self._grows(group[-1].operation):
                self._queue.put_back(jobs[number + 1 :])
                break
        return group

    def _refuse_if_unable(self) -> None:
        if self.failure is not None:
            raise Problem("learner-failed", self.failure)
        if not self._ballast.hold():
            self._note_disk("the disk is full")
            raise Problem("disk-full", "there is no room left on the disk of the data folder")

    def _grows(self, operation: Operation) -> bool:
        keeps_everything = strategies.find(self._learner.strategy).needs.history
        if keeps_everything or not isinstance(operation, Lesson):
            return True
        labels, contexts = self._learner.labels, (None, *self._learner.contexts)
        return any(s.label not in labels or s.context not in contexts for s in operation.samples)

    def _commit_and_learn(self, group: list[Admitted]) -> None:
        jobs, journal = [one.job for one in group], self._store.journal
        committed = entries(group, journal.last_sequence, journal.next_id)
        try:
            with self._meters.commit.labels(self.name).time():
                self._store.append([entry for entry, _ in committed])
        except JournalError as error:
            self._refuse(jobs, error)
            return
        self._disk_failure = (0.0, "")
        for job, (_, reply) in zip(jobs, committed, strict=True):
            if not job.until_learned:
                job.reply.set_result(reply)
        for position, job in enumerate(jobs):
            if self.failure is not None:
                self._answer_failed(jobs[position:])
                return
            self._learn(job, *committed[position])

    def _refuse(self, group: list[Job], error: JournalError) -> None:
        """Nothing of the group is stored: say so to everybody."""
        log.error("learner %s: nothing was stored: %s", self.name, error)
        self._note_disk(str(error))
        if isinstance(error, DiskFull):
            self._ballast.release()
            problem = Problem("disk-full", f"nothing was stored: {error}")
        else:
            problem = Problem("not-ready", f"nothing was stored, the disk failed: {error}")
        for job in group:
            job.reply.set_exception(problem)

    def _learn(self, job: Job, entry: Entry, reply: Reply) -> None:
        begun = time.perf_counter()
        try:
            with self._meters.learn.labels(self.name).time(), self._changing:
                self._succession.apply(entry.operation, entry.sequence, entry.first_id)
        except EdgeCLError as error:
            self._void(job, entry, error)
            return
        except Exception as error:
            log.exception("learner %s: learning stopped", self.name)
            self._fail(f"operation {entry.sequence} cannot be learned: {error!r}", [job])
            return
        self._reporter.learned(entry)
        if isinstance(entry.operation, ChangeStrategy) and self._succession.change:
            self._succession.change.start()
            self._change_failure = None
        self._sequence = entry.sequence
        self._unpublished = True
        self._pass_waypoint(entry, time.perf_counter() - begun)
        self._meters.learned.labels(self.name).inc(len(entry.operation.samples))
        if job.until_learned:
            self._waiting.append((job, reply))

    def _pass_waypoint(self, entry: Entry, learned_s: float) -> None:
        # A state has no room for a learner that is being built, and one copy is enough.
        saving = self._saving is not None and not self._saving.done()
        if self._succession.change is None and not saving:
            next_id = entry.first_id + len(entry.operation.samples)
            state = self._learner.to_bytes
            self._waypoints.passed(learned_s, entry.sequence, next_id, state)

    def _advance_change(self) -> None:
        """Bring the change of strategy that is under way, if there is one, nearer to its end."""
        change = self._succession.change
        if change is None:
            return
        try:
            if change.failure is not None:
                raise change.failure
            if change.built and change.catch_up(self._store.journal, self._sequence):
                self._finish_change(change)
        except JournalError as error:
            self._note_disk(str(error))
        except Exception as error:
            self._give_up(change, error)

    def _finish_change(self, change: Change) -> None:
        journal = self._store.journal
        sequence = journal.last_sequence + 1
        entry = Entry(sequence, journal.next_id, FinishChange(change.sequence))
        self._store.append([entry])
        with self._changing:
            self._succession.apply(entry.operation, sequence, entry.first_id)
        self._reporter.learned(entry)
        self._sequence = sequence
        self._unpublished = True

    def _give_up(self, change: Change, error: Exception) -> None:
        """The serving learner goes on; what it learned meanwhile is its own already."""
        log.error("learner %s: its strategy stays: %r", self.name, error)
        with contextlib.suppress(JournalError):
            # Else a replay builds it again, and gives it up again.
            self._store.journal.void(change.sequence, f"given up: {error}")
        self._change_failure = f"{change.wanted.strategy!r} was not built: {error}"
        self._succession.change = None
        self._unpublished = True

    def _void(self, job: Job, entry: Entry, error: EdgeCLError) -> None:
        """The learner refused what it had said it could learn: it changed nothing."""
        log.error("learner %s: operation %d refused: %s", self.name, entry.sequence, error)
        self._store.journal.void(entry.sequence, str(error))
        self._sequence = entry.sequence
        if job.until_learned:
            job.reply.set_exception(of_library(error))

    def _publish_due(self) -> bool:
        """Whether to publish now; at most half of the thread's time while others wait to commit."""
        if not self._unpublished:
            return False
        rested_s = time.monotonic() - self._published_at
        return not len(self._queue) or rested_s >= self._publish_cost_s

    def _publish(self) -> None:
        begun = time.monotonic()
        before, self.view = self.view, self._make_view()
        self._unpublished = False
        self._published_at = time.monotonic()
        self._publish_cost_s = self._published_at - begun
        self._meters.publish.labels(self.name).observe(self._publish_cost_s)
        waiting, self._waiting = self._waiting, []
        for job, reply in waiting:
            job.reply.set_result(reply)
        self._reporter.published(before, self.view)

    def _make_view(self) -> View:
        learner = self._learner
        return View(
            give=partial(self._give, learner.publish()),
            loaded=True,
            version=self._sequence,
            class_counts=learner.class_counts,
            ledger=learner.ledger(),
            memory_budget=learner.memory_budget,
            strategy=learner.strategy,
            options=learner.options,
            change=self._change_note(),
            change_failure=self._change_failure,
            plan=learner.plan,
        )

    def _change_note(self) -> dict[str, Any] | None:
        change = self._succession.change
        if change is None:
            return None
        wanted = change.wanted
        return {"strategy": wanted.strategy, "options": wanted.options, "since": change.sequence}

    def _snapshot_due(self) -> bool:
        unsaved = self.unsaved_operations
        busy = self._saving is not None and not self._saving.done()
        # A snapshot has no room for a learner that is being built: the journal has.
        if unsaved == 0 or self.failure or busy or self._succession.change:
            return False
        age_s = time.monotonic() - self._saved_at
        if age_s >= SOONEST_S and self._store.over_size:
            return True
        wanted = self._pace.snapshot_operations
        return unsaved >= wanted or age_s >= self._pace.snapshot_interval_s

    def _save(self) -> None:
        """Save in another thread; only the copy of the state is made in this one."""
        self._saved_at = time.monotonic()
        next_id = self._store.journal.next_id
        saved = self._sequence, next_id, self._learner.to_bytes(), self._store.monitor.to_bytes()
        self._saving = self._saver.submit(self._write_snapshot, *saved)

    def _save_as_wished(self) -> None:
        while self._wishes:
            wish = self._wishes.popleft()
            saves = self.failure is None and self.alive and not self._succession.change
            if saves and self.unsaved_operations:
                self._save()
            if self._saving is None:
                wish.set_result(None)
            else:
                self._saving.add_done_callback(partial(_grant, wish))

    def _write_snapshot(self, sequence: int, next_id: int, body: bytes, record: bytes) -> None:
        try:
            self._store.save(sequence, next_id, body, record)
            self.snapshot_failure = None
        except OSError as error:
            log.error("learner %s: snapshot not written: %s", self.name, error)
            self.snapshot_failure = str(error)
        outcome = "failed" if self.snapshot_failure else "written"
        self._meters.snapshots.labels(self.name, outcome).inc()
        self._reporter.snapshot(sequence, self.snapshot_failure)

    def _finish(self) -> None:
        if self._unpublished and self.failure is None:
            self._publish()
        if self._saving:
            self._saving.result()
        if self.failure is None and self.unsaved_operations and not self._succession.change:
            self._save()
        self._save_as_wished()
        self._refuse_wakings(Problem("not-ready", "the learner is being closed"))

    def _refuse_wakings(self, problem: Problem) -> None:
        while self._wakings:
            self._wakings.popleft().set_exception(problem)

    def _fail(self, reason: str, jobs: list[Job]) -> None:
        """Stop learning, keep predicting: the learner's state is no longer certain."""
        self.failure = reason
        self._reporter.failed(reason)
        waiting, self._waiting = self._waiting, []
        self._unpublished = False
        self._refuse_wakings(Problem("learner-failed", reason))
        self._answer_failed([*jobs, *(job for job, _ in waiting)])

    def _answer_failed(self, jobs: list[Job]) -> None:
        for job in jobs:
            if not job.reply.done():
                job.reply.set_exception(Problem("learner-failed", self.failure or "unknown"))


def _grant(wish: Future[None], _: Future[None]) -> None:
    wish.set_result(None)
