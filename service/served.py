"""One learner with everything that serves it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from edge_cl.frontends import Frontend, frontend
from edge_cl.types import LatentSpec
from service.ballast import Ballast
from service.config import Settings
from service.doubts import Recent
from service.errors import Problem
from service.events import Events
from service.jobs import Queue
from service.keys import IdempotencyKeys
from service.latency import Latencies
from service.meters import Meters
from service.pace import Pace
from service.predictions import PredictionLog
from service.records import Keep, Past
from service.store import Store
from service.worker import Worker

__all__ = ["ServedLearner", "open_learner"]


@dataclass(frozen=True)
class ServedLearner:
    """A learner with everything that serves it."""

    name: str
    store: Store
    worker: Worker
    keys: IdempotencyKeys
    predictions: PredictionLog
    recent: Recent
    latencies: Latencies = field(default_factory=Latencies)

    @property
    def spec(self) -> LatentSpec:
        """What its latents are."""
        return self.store.origin.spec

    @cached_property
    def frontend(self) -> Frontend | None:
        """What makes its latents of recordings, if anything does."""
        described = self.store.origin.frontend
        if described is None:
            return None
        options = {name: value for name, value in described.items() if name != "name"}
        return frontend(described["name"], options)

    def set_thumbnail_budget(self, budget: int) -> None:
        """Keep small pictures of what is taught and asked in so many bytes; with 0, none.

        Raises
        ------
        Problem
            If that cannot be written down.
        """
        try:
            self.store.set_thumbnail_budget(budget)
        except OSError as error:
            raise Problem("disk-full", f"the budget was not changed: {error}") from error
        if not budget:
            self.predictions.drop_thumbnails()

    def close(self) -> None:
        """Answer what waits, save, let go."""
        self.worker.stop()
        self.store.close()


def open_learner(
    folder: Path, settings: Settings, ballast: Ballast, meters: Meters, events: Events
) -> ServedLearner:
    """Open the learner of a folder and begin to serve it.

    Raises
    ------
    JournalError, EdgeCLError, OSError
        When its files cannot be used.
    """
    keep = Keep(settings.idempotency_keys, settings.idempotency_hours * 3600)
    past = Past(settings.undo_operations, int(settings.checkpoint_bytes))
    store = Store(folder, keep, int(settings.journal_bytes), past)
    pace = Pace(
        settings.group_requests,
        settings.snapshot_operations,
        settings.snapshot_interval_s,
        settings.undo_learn_s,
        settings.idle_unload_s,
    )
    queue = Queue(settings.queue_requests, int(settings.queue_bytes))
    worker = Worker(store, queue, pace, ballast, meters, events)
    worker.start()
    keys = IdempotencyKeys(store.catalogue, keep.seconds)
    predictions = PredictionLog(
        settings.predictions_kept,
        int(settings.predictions_bytes),
        settings.predictions_hours * 3600,
    )
    return ServedLearner(folder.name, store, worker, keys, predictions, Recent())
