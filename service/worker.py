"""The single writer of a learner.

One thread takes all waiting requests, commits them together, teaches them in
order and publishes once for all; only then are they answered. Predictions read
the last published view and never wait for this thread.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from edge_cl.errors import EdgeCLError
from edge_cl.learner import Learner
from edge_cl.published import Published
from service.admission import Admitted, admit, entries
from service.ballast import Ballast
from service.errors import Problem, of_library
from service.events import Events
from service.fading import Fading
from service.jobs import Job, Queue, Reply
from service.journal import DiskFull, JournalError
from service.lookup import Lookup
from service.machine import return_memory
from service.meters import Meters
from service.operations import ChangeStrategy
from service.pace import Pace
from service.records import Entry
from service.reporter import Reporter
from service.rest import Rest
from service.saver import Saver
from service.store import Store
from service.view import View, view_of

__all__ = ["Worker"]

log = logging.getLogger("edge_cl.worker")

IDLE_S = 1.0
BUILDING_S = 0.02
FADE_S = 5.0


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
        self._disk = Fading(FADE_S)
        self._store = store
        self._queue = queue
        self._pace = pace
        self._ballast = ballast
        self._meters = meters
        self._reporter = Reporter(self.name, store.monitor, events)
        self._changing = threading.Lock()
        self._succession = store.succession
        self._sequence = store.learned_sequence
        self._unpublished = False
        self._retiring = False
        self._waiting: list[tuple[Job, Reply]] = []
        self._publish_cost_s = 0.0
        self._published_at = 0.0
        self._saver = Saver(store, pace, meters, self._reporter)
        self._rest = Rest(pace.idle_unload_s)
        self.lookup = Lookup(self._succession, self._changing, self._rest, self.fetched)
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

    def fetched(self) -> Published:
        """What answers predictions, after the learner was put away; any thread may wait for it.

        Raises
        ------
        Problem
            ``learner-failed`` or ``not-ready`` when it cannot be loaded.
        """
        if not self.alive:
            raise Problem("not-ready", "the learner is being closed")
        waking = self._rest.ask()
        self._queue.wake()
        return waking()

    def save_now(self) -> Future[None]:
        """Save what is learned; the future is done when that was tried."""
        wish = self._saver.wish()
        self._queue.wake()
        if not self.alive:
            self._save_as_wished()
        return wish

    def stop(self) -> None:
        """Answer what waits, save, and end; returns when that is done."""
        self._queue.close()
        self._thread.join()
        self._saver.close()

    @property
    def snapshot_failure(self) -> str | None:
        """Why the last snapshot was not written."""
        return self._saver.failure

    @property
    def disk_failure(self) -> str | None:
        """Why the last commit failed, if that was a moment ago."""
        return self._disk.failure

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
            self._rest.used()
        if jobs or self._rest.asked:
            self._fetch()
        group = admit(jobs, self._store, self._queue, self._refuse_if_unable)
        if group:
            self._commit_and_learn(group)
        if self.failure is None:
            self._advance_change()
        if self._publish_due():
            self._publish()
        if self._may_save() and self._saver.due(self.unsaved_operations):
            self._save()
        self._save_as_wished()
        self._retiring = self._shorten()
        if self._idle(jobs):
            self._put_away()

    def _give(self, published: Published) -> Published:
        self._rest.used()
        return published

    def _idle(self, jobs: list[Job]) -> bool:
        """Whether the learner is to be put away: nothing uses it, nothing is under way."""
        busy = jobs or len(self._queue) or self._unpublished or self.failure
        if busy or self._succession.change or self._succession.away:
            return False
        # While nothing was taught, there is nothing to be had.
        return self._sequence > 0 and self._rest.due

    def _put_away(self) -> None:
        """Let go of the learner, once a snapshot has all of it."""
        if self._saver.busy:
            return
        if self.unsaved_operations:
            if self.snapshot_failure is None or self._saver.rested:
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
        self._rest.wake(self.view.give)

    def _shorten(self) -> bool:
        """Drop old operations if the journal is too large; whether there may be more to drop."""
        try:
            return self._store.over_size and self._store.retire()
        except JournalError as error:
            self._disk.note(str(error))
            return False

    def _refuse_if_unable(self) -> None:
        if self.failure is not None:
            raise Problem("learner-failed", self.failure)
        if not self._ballast.hold():
            self._disk.note("the disk is full")
            raise Problem("disk-full", "there is no room left on the disk of the data folder")

    def _commit_and_learn(self, group: list[Admitted]) -> None:
        jobs, journal = [one.job for one in group], self._store.journal
        committed = entries(group, journal.last_sequence, journal.next_id)
        try:
            with self._meters.commit.labels(self.name).time():
                self._store.append([entry for entry, _ in committed])
        except JournalError as error:
            self._refuse(jobs, error)
            return
        self._disk.clear()
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
        self._disk.note(str(error))
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
        self._sequence = entry.sequence
        self._unpublished = True
        if self._succession.change is None:
            self._saver.passed(self._learner, entry, time.perf_counter() - begun)
        self._meters.learned.labels(self.name).inc(len(entry.operation.samples))
        if job.until_learned:
            self._waiting.append((job, reply))

    def _advance_change(self) -> None:
        """Bring the change of strategy that is under way, if there is one, nearer to its end."""
        journal = self._store.journal
        try:
            operation = self._succession.advance(journal, self._sequence)
            if operation is not None:
                self._take_over(Entry(journal.last_sequence + 1, journal.next_id, operation))
        except JournalError as error:
            self._disk.note(str(error))
        except Exception as error:
            # The serving learner goes on; what it learned meanwhile is its own already.
            self._succession.give_up(journal, error)
            self._unpublished = True

    def _take_over(self, entry: Entry) -> None:
        """Let the learner that was built serve from here on."""
        self._store.append([entry])
        with self._changing:
            self._succession.apply(entry.operation, entry.sequence, entry.first_id)
        self._reporter.learned(entry)
        self._sequence = entry.sequence
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
        give = partial(self._give, self._learner.publish())
        return view_of(self._succession, give, self._sequence)

    def _may_save(self) -> bool:
        """Not a state that is uncertain, nor one with a learner that is being built."""
        return self.failure is None and not self._succession.change

    def _save(self) -> None:
        self._saver.save(self._learner, self._sequence)

    def _save_as_wished(self) -> None:
        if not self._saver.wished:
            return
        if self._may_save() and self.alive and self.unsaved_operations:
            self._save()
        self._saver.grant()

    def _finish(self) -> None:
        if self._unpublished and self.failure is None:
            self._publish()
        self._saver.wait()
        if self._may_save() and self.unsaved_operations:
            self._save()
        self._save_as_wished()
        self._rest.refuse(Problem("not-ready", "the learner is being closed"))

    def _fail(self, reason: str, jobs: list[Job]) -> None:
        """Stop learning, keep predicting: the learner's state is no longer certain."""
        self.failure = reason
        self._reporter.failed(reason)
        waiting, self._waiting = self._waiting, []
        self._unpublished = False
        self._rest.refuse(Problem("learner-failed", reason))
        self._answer_failed([*jobs, *(job for job, _ in waiting)])

    def _answer_failed(self, jobs: list[Job]) -> None:
        for job in jobs:
            if not job.reply.done():
                job.reply.set_exception(Problem("learner-failed", self.failure or "unknown"))
