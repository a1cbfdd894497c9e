"""Another strategy takes the place of the one that serves, and no sample waits for it.

Two operations say it in the journal. At the first, a learner with the other strategy
begins to be built from the exemplars that the serving one has kept up to there. Until
the second, both learn what comes: the serving one at once, the new one from the journal
when it is built. At the second, the new one serves. What a replay of the journal gives
is therefore the same, however long the building took and whenever a crash came.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from dataclasses import dataclass
from itertools import islice
from typing import Any

from edge_cl.errors import Conflict, EdgeCLError
from edge_cl.learner import Learner
from edge_cl.recall import Correction
from service.journal import Journal, JournalError
from service.operations import ChangeStrategy, FinishChange, Operation, decode

__all__ = ["Change", "Succession"]

log = logging.getLogger("edge_cl.changes")

ALONE = ("change_strategy", "checkpoint", "restore", "set_budget")
"""Kinds of operations that wait for the end of a change: they are about one learner."""

AT_ONCE = 128
"""Operations that the new learner catches up with between two groups of new ones."""


@dataclass
class Change:
    """A learner with another strategy, beside the one that serves.

    Parameters
    ----------
    wanted
        The operation that began it.
    sequence
        Its number.
    learner
        A copy of the serving learner at that operation; once built, the new learner.
    learned_sequence
        The last operation that the new learner knows; 0 until it is built.
    failure
        Why it cannot be built.
    """

    wanted: ChangeStrategy
    sequence: int
    learner: Learner
    learned_sequence: int = 0
    failure: Exception | None = None

    def start(self) -> None:
        """Build in a thread of its own."""
        threading.Thread(target=self._run, name="build", daemon=True).start()

    def build(self) -> None:
        """Build the new learner; any thread may."""
        learner = self.learner.with_strategy(self.wanted.strategy, self.wanted.options)
        learner.plan = self.wanted.plan
        self.learner, self.learned_sequence = learner, self.sequence

    def _run(self) -> None:
        try:
            self.build()
        except Exception as error:
            self.failure = error

    @property
    def built(self) -> bool:
        """Whether `build` is done."""
        return self.learned_sequence > 0

    def learn(self, operation: Operation, sequence: int, first_id: int) -> None:
        """Teach the new learner what the serving one has learned."""
        operation.apply(self.learner, first_id)
        self.learned_sequence = sequence

    def catch_up(self, journal: Journal, through: int) -> bool:
        """Learn the next operations up to `through`; whether all are learned."""
        voided = journal.voided()
        rows = list(islice(journal.rows(self.learned_sequence), AT_ONCE))
        for row in rows:
            if row.sequence <= through and row.sequence not in voided:
                operation = decode(row.kind, row.header, row.payload)
                self.learn(operation, row.sequence, row.first_id)
        self.learned_sequence = through if len(rows) < AT_ONCE else rows[-1].sequence
        return self.learned_sequence >= through


class Succession:
    """The learner that serves, and the change that is under way, if there is one."""

    def __init__(self, learner: Learner) -> None:
        self._learner: Learner | None = learner
        self.change: Change | None = None
        self.failure: str | None = None
        """Why the last change was given up."""

    @property
    def learner(self) -> Learner:
        """The learner that serves; it must not be put away."""
        assert self._learner is not None
        return self._learner

    @learner.setter
    def learner(self, learner: Learner) -> None:
        self._learner = learner

    @property
    def away(self) -> bool:
        """Whether the learner is on the disk only."""
        return self._learner is None

    def put_away(self) -> None:
        """Let go of the learner, which the newest snapshot has."""
        self._learner = None

    def check(self, operation: Operation) -> Correction | None:
        """What `apply` would do to what was taught, or raise; nothing is changed."""
        if operation.kind in ALONE:
            self.refuse_while_changing()
        return operation.check(self.learner)

    def refuse_while_changing(self) -> None:
        """Raise Conflict while there are two learners."""
        if self.change is not None:
            wanted = self.change.wanted.strategy
            raise Conflict(
                f"strategy {wanted!r} is being built since version {self.change.sequence}: "
                "wait until the learner's `change` is null, then ask again"
            )

    def apply(self, operation: Operation, sequence: int, first_id: int) -> None:
        """Do one operation; a change is begun, and built by the caller."""
        if isinstance(operation, ChangeStrategy):
            copied = Learner.from_bytes(self.learner.to_bytes(), tail=self.learner.spec.tail)
            self.change, self.failure = Change(operation, sequence, copied), None
        elif isinstance(operation, FinishChange):
            self._finish(operation)
        else:
            operation.apply(self.learner, first_id)

    def replay(self, operation: Operation, sequence: int, first_id: int) -> None:
        """As `apply`, with everything built and learned at once.

        Raises
        ------
        EdgeCLError
            Where the serving learner refuses, as it did before.
        """
        self.apply(operation, sequence, first_id)
        if self.change is None:
            return
        if isinstance(operation, ChangeStrategy):
            try:
                self.change.build()
            except BaseException:
                self.change = None
                raise
            return
        try:
            self.change.learn(operation, sequence, first_id)
        except EdgeCLError as error:
            log.error("the change begun at %d ends: %s", self.change.sequence, error)
            self.change = None

    def advance(self, journal: Journal, through: int) -> FinishChange | None:
        """The operation that ends the change, once all up to `through` is learned; else None.

        Raises
        ------
        Exception
            Why the new learner cannot be built, or cannot learn.
        """
        change = self.change
        if change is None:
            return None
        if change.failure is not None:
            raise change.failure
        ready = change.built and change.catch_up(journal, through)
        return FinishChange(change.sequence) if ready else None

    def give_up(self, journal: Journal, error: Exception) -> None:
        """End the change without a new learner."""
        assert self.change is not None
        wanted, sequence = self.change.wanted.strategy, self.change.sequence
        log.error("the change begun at %d ends: %r", sequence, error)
        with contextlib.suppress(JournalError):
            # Else a replay builds it again, and gives it up again.
            journal.void(sequence, f"given up: {error}")
        self.failure = f"{wanted!r} was not built: {error}"
        self.change = None

    def note(self) -> dict[str, Any] | None:
        """What is told of the change that is under way."""
        if self.change is None:
            return None
        wanted = self.change.wanted
        return {
            "strategy": wanted.strategy, "options": wanted.options, "since": self.change.sequence,
        }  # fmt: skip

    def _finish(self, operation: FinishChange) -> None:
        if self.change is None or self.change.sequence != operation.begun:
            raise Conflict(f"the change that operation {operation.begun} began is lost")
        self.learner, self.change = self.change.learner, None
