"""Which of the waiting requests are committed together, and as what.

Nothing that the learner will refuse may be committed, since a commit is a promise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_cl.recall import Correction
from service.changes import Succession
from service.conditions import check_expected
from service.jobs import Job, Receipt, Reply
from service.operations import Operation
from service.records import Entry, StoredAnswer
from service.store import Store

__all__ = ["Admitted", "admitted", "entries"]


@dataclass(frozen=True)
class Admitted:
    """A request that the learner will not refuse, and what it does if it is a correction."""

    job: Job
    operation: Operation
    correction: Correction | None


def admitted(job: Job, store: Store, succession: Succession, version: int) -> Admitted:
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
    return Admitted(job, operation, succession.check(operation))


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
