"""Which of the waiting requests are committed together, and as what.

Nothing that the learner will refuse may be committed, since a commit is a promise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_cl import strategies
from edge_cl.errors import EdgeCLError
from edge_cl.learner import Learner
from edge_cl.recall import Correction
from service.conditions import check_expected
from service.errors import of_library
from service.jobs import Job, Queue, Receipt, Reply
from service.operations import Lesson, Operation
from service.records import Entry, StoredAnswer
from service.store import Store

__all__ = ["Admitted", "admit", "entries"]


@dataclass(frozen=True)
class Admitted:
    """A request that the learner will not refuse, and what it does if it is a correction."""

    job: Job
    operation: Operation
    correction: Correction | None


def admitted(job: Job, store: Store, version: int) -> Admitted:
    """Ask everything that can be asked before the commit.

    Parameters
    ----------
    version
        The learner's before the job.

    Raises
    ------
    EdgeCLError, Problem
        Why the job cannot be done; nothing has changed.
    """
    check_expected(job.expected, version)
    operation = job.operation(store) if callable(job.operation) else job.operation
    return Admitted(job, operation, store.succession.check(operation))


def admit(
    jobs: Sequence[Job], store: Store, queue: Queue, check: Callable[[], None]
) -> list[Admitted]:
    """The jobs that can be committed together; the others are refused or put back.

    What makes the learner grow ends the group: whether the next one fits
    can only be said once this one is learned. What must be planned begins one.

    Parameters
    ----------
    jobs
        In their order.
    store
        The learner's.
    queue
        Where jobs are put back.
    check
        Raises a Problem when nothing can be committed at all.
    """
    group: list[Admitted] = []
    for number, job in enumerate(jobs):
        if group and callable(job.operation):
            queue.put_back(jobs[number:])
            break
        if job.reply.done() or not job.reply.set_running_or_notify_cancel():
            continue
        try:
            check()
            group.append(admitted(job, store, store.journal.last_sequence + len(group)))
        except EdgeCLError as error:
            job.reply.set_exception(of_library(error))
            continue
        except Exception as error:
            job.reply.set_exception(error)
            continue
        if _grows(store.learner, group[-1].operation):
            queue.put_back(jobs[number + 1 :])
            break
    return group


def _grows(learner: Learner, operation: Operation) -> bool:
    keeps_everything = strategies.find(learner.strategy).needs.history
    if keeps_everything or not isinstance(operation, Lesson):
        return True
    labels, contexts = learner.labels, (None, *learner.contexts)
    return any(s.label not in labels or s.context not in contexts for s in operation.samples)


def entries(group: Sequence[Admitted], sequence: int, next_id: int) -> list[tuple[Entry, Reply]]:
    """What is committed for a group, after `sequence`, and the answers."""
    found = []
    for one in group:
        sequence += 1
        ids = range(next_id, next_id + len(one.operation.samples))
        reply = one.job.render(Receipt(sequence, ids, one.operation, one.correction))
        answer = StoredAnswer(one.job.fingerprint, reply.status, reply.body)
        found.append((Entry(sequence, next_id, one.operation, one.job.key, answer), reply))
        next_id = ids.stop
    return found
