"""Everything that a route needs, in one object: the parts of a running service."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from starlette.requests import Request

from edge_cl.monitoring import Tally
from edge_cl.types import Array, Prediction
from service.access import Keyring
from service.answered import Answered
from service.archives import BatchLimits
from service.bodies import Item
from service.bulk import Batches
from service.config import Settings
from service.doubts import Warned, quality_warnings, remembered_warnings
from service.errors import Problem
from service.events import Events
from service.extractors import Extractors
from service.idle import release_when_idle
from service.intake import Intake
from service.jobs import Job, Plan, Receipt, Reply
from service.latents import LatentMaker, check_extractors, checked_notes, checked_samples
from service.meters import Meters
from service.operations import (
    ChangeStrategy,
    EndExperience,
    Lesson,
    Operation,
    Sample,
    fingerprint,
)
from service.outcomes import by_context, tallied, tested
from service.predictions import Feedback, Question
from service.receipts import written_receipt
from service.records import StoredAnswer
from service.registry import Registry
from service.served import ServedLearner
from service.thumbnails import Pictures
from service.transfer import Mover
from service.view import View

if TYPE_CHECKING:
    from PIL.Image import Image

    from edge_cl.extractor import Extractor

__all__ = ["Repeated", "Serving", "serving_of"]

Result = TypeVar("Result")


class Repeated(Reply):
    """An answer that was given before."""


class Serving:
    """A running service.

    Parameters
    ----------
    settings
        All settings.
    extractor
        Turns images into latents; None when only latents are taken.
    """

    def __init__(self, settings: Settings, extractor: Extractor | None) -> None:
        from edge_cl.extractor import ImageLimits

        self.settings = settings
        self.extractor = extractor
        self.meters = Meters()
        self.keyring = Keyring(settings.keys_file, settings.key())
        self.events = Events(
            settings.events_kept, settings.event_streams, settings.event_heartbeat_s
        )
        self.registry = Registry(settings, Extractors(extractor), self.meters, self.events)
        self.started_at = time.time()
        self.stopping = False
        self._opened = False
        self._ended = threading.Event()
        self.intake = Intake(
            int(settings.max_body_bytes), int(settings.max_inflight_bytes), settings.body_timeout_s,
            held=[0],
        )  # fmt: skip
        archive_bytes = int(settings.max_import_bytes)
        self.archives = Intake(archive_bytes, archive_bytes, settings.import_timeout_s, held=[0])
        self.mover = Mover(settings, self.registry)
        limits = ImageLimits(int(settings.max_body_bytes), settings.max_image_pixels)
        self._maker = LatentMaker(limits, self.meters)
        # Two pools: a large lesson must not make a prediction wait.
        self._lessons = ThreadPoolExecutor(settings.decode_workers, thread_name_prefix="lesson")
        self._questions = ThreadPoolExecutor(settings.decode_workers, thread_name_prefix="question")
        self.uploads = Intake(
            int(settings.job_bytes), 2 * int(settings.job_bytes), settings.job_timeout_s, held=[0]
        )
        self.batches = Batches(
            settings.folder / "jobs",
            BatchLimits(
                settings.job_samples, int(settings.max_body_bytes), int(settings.job_unpacked_bytes)
            ),
            settings.max_jobs, self.teach_now, self.check_now, self.events,
        )  # fmt: skip

    def open(self) -> None:
        """Open the learners, if they are not open yet; blocks while they recover."""
        if not self._opened:
            self._opened = True
            if self.extractor is not None and self.settings.idle_unload_s:
                watch = partial(
                    release_when_idle,
                    self.registry.extractors,
                    lambda: self._maker.used_at,
                    self.settings.idle_unload_s,
                    self._ended,
                )
                threading.Thread(target=watch, name="idle", daemon=True).start()
            self.registry.open()
            self.batches.open()

    def close(self) -> None:
        """Answer what is queued, save every learner, end the threads."""
        self.stopping = True
        self._ended.set()
        self.events.close()
        self.batches.close()
        self._lessons.shutdown()
        self._questions.shutdown()
        self.registry.close()

    async def teach(
        self,
        served: ServedLearner,
        items: Sequence[Item],
        key: str | None,
        until_learned: bool,
        expected: frozenset[int] | None = None,
    ) -> Reply:
        """Learn the samples of one request: all of them, or none."""
        begun = time.perf_counter()
        samples = checked_samples(items)
        lesson = partial(self._lesson, served, items, samples)
        digest = fingerprint(Lesson.kind, [item.parts() for item in items])
        reply = await self._operate(served, lesson, key, digest, until_learned, expected)
        if until_learned and not isinstance(reply, Repeated):
            served.latencies.note("learn", begun)
        return reply

    def teach_now(self, learner: str, items: list[Item], key: str) -> int:
        """Teach as `teach` does, from a thread of its own; returns the version that knows it."""
        served = self.registry.get(learner)
        samples = checked_samples(items)
        digest = fingerprint(Lesson.kind, [item.parts() for item in items])
        known: StoredAnswer | Reply | None = served.keys.claim(key, digest)
        if known is None:
            try:
                # Nobody reads the warnings of a job: what they cost is spared.
                prepare = partial(self._lesson, served, items, samples, answered=False)
                operation = self._lessons.submit(prepare).result()
                render = partial(written_receipt, served.name, True)
                job = Job(operation, render, key=key, fingerprint=digest)
                known = served.worker.submit(job).result()
            finally:
                served.keys.release(key)
        return int(json.loads(known.body)["version"])

    def check_now(self, learner: str, items: list[Item]) -> None:
        """Problem when the items cannot be taught, whatever else is the matter."""
        served = self.registry.get(learner)
        checked_samples(items)
        self._lessons.submit(self._latents, served, items).result()

    async def end_experience(
        self, served: ServedLearner, key: str | None, expected: frozenset[int] | None = None
    ) -> Reply:
        """Close the learner's present experience."""
        digest = fingerprint(EndExperience.kind, [])
        return await self._operate(served, EndExperience, key, digest, True, expected)

    async def correct(
        self,
        served: ServedLearner,
        correction: Operation | Plan,
        asked: Sequence[str],
        key: str | None,
        expected: frozenset[int] | None = None,
    ) -> Reply:
        """Correct what was taught; `asked` tells this request from another one."""
        digest = fingerprint("correct", [asked])
        return await self._operate(served, lambda: correction, key, digest, True, expected)

    async def set_budget(
        self, served: ServedLearner, memory_budget: int, expected: frozenset[int] | None = None
    ) -> Reply:
        """Change a learner's memory budget."""
        change = partial(self.registry.set_budget, served.name, memory_budget, expected)
        return await asyncio.wrap_future(await self.read(change))

    async def change_strategy(
        self, served: ServedLearner, wanted: ChangeStrategy, expected: frozenset[int] | None = None
    ) -> Reply:
        """Begin to change a learner's strategy."""
        change = partial(self.registry.change_strategy, served.name, wanted, expected)
        return await asyncio.wrap_future(await self.read(change))

    def _tested(
        self, view: View, latents: Array, samples: tuple[Sample, ...]
    ) -> tuple[Sample, ...]:
        return tested(view.published, latents, samples, self.settings.false_reject_rate)

    async def predict(
        self, served: ServedLearner, items: Sequence[Item], top_k: int,
        false_reject_rate: float | None = None, explain: int = 0,
    ) -> Answered:  # fmt: skip
        """Predictions of the last published view, in the order of the items.

        What is no more typical than `false_reject_rate` is unknown; None is the setting.
        With each come `explain` remembered samples that are nearest to it.
        """
        begun = time.perf_counter()
        rate = self.settings.false_reject_rate if false_reject_rate is None else false_reject_rate
        notes = [checked_notes(item) for item in items]
        contexts = [note.context for note in notes]
        pictures = Pictures(served.store.thumbnails.budget > 0)
        view, latents, predictions = await self._run(
            self._questions,
            partial(self._predicted, served, items, contexts, top_k, rate, pictures.show),
        )
        questions = [
            Question(latents[row], **note._asdict(), thumbnail=pictures.by_row.get(row))
            for row, note in enumerate(notes)
        ]
        ids = served.predictions.add(questions, predictions, view.version)
        neighbours = None
        if explain:
            nearest = partial(served.worker.lookup.nearest, latents, explain)
            neighbours = await self._run(self._questions, nearest)
        for prediction in predictions:
            outcome = "unknown" if prediction.unknown else "known"
            self.meters.predictions.labels(served.name, outcome).inc()
        served.latencies.note("predict", begun)
        return Answered(view, predictions, ids, neighbours)

    async def feed_back(
        self,
        served: ServedLearner,
        prediction_id: str,
        feedback: Feedback,
        expected: frozenset[int] | None = None,
    ) -> Reply:
        """Learn what is said of a prediction; the same once more is answered again.

        Raises
        ------
        Problem
            ``not-found`` when it is no longer kept, ``conflict`` when it had other feedback.
        """
        asked = [feedback.label, str(feedback.correct), feedback.denied]
        digest = fingerprint("feedback", [asked])

        def operation() -> Operation:
            return feedback.operation(served.predictions.get(prediction_id))

        render = partial(written_receipt, served.name, True, prediction_id=prediction_id)
        try:
            # No client can send this key: it has a character that no header may have.
            key = f"feedback\n{prediction_id}"
            # Whoever undoes feedback may give it again, or other: not so whoever repeats a request.
            claim = partial(served.keys.claim, key, digest, unless_undone=True)
            reply = await self._operate(
                served, operation, key, digest, True, expected, render, claim
            )
        except Problem as problem:
            if problem.name != "key-reused":
                raise
            detail = f"prediction {prediction_id} had other feedback: correct its sample instead"
            raise Problem("conflict", detail) from problem
        served.predictions.answer(prediction_id)
        return reply

    async def evaluate(
        self, served: ServedLearner, items: Sequence[Item]
    ) -> tuple[View, tuple[Sample, ...], Tally]:
        """Labelled samples with their predictions, and the counts; nothing is learned."""
        samples = checked_samples(items)

        def test() -> tuple[View, tuple[Sample, ...], Tally]:
            latents = self._latents(served, items)
            view = served.worker.view
            answered = self._tested(view, latents, samples)
            return view, answered, tallied(answered)

        return await self._run(self._questions, test)

    async def read(self, query: Callable[[], Result]) -> Result:
        """Run a query of the disk beside the event loop."""
        return await asyncio.to_thread(query)

    async def _operate(
        self,
        served: ServedLearner,
        prepare: Callable[[], Operation | Plan],
        key: str | None,
        digest: bytes,
        until_learned: bool,
        expected: frozenset[int] | None = None,
        render: Callable[[Receipt], Reply] | None = None,
        claim: Callable[[], StoredAnswer | None] | None = None,
    ) -> Reply:
        if key is not None:
            known = await self.read(claim or partial(served.keys.claim, key, digest))
            if known is not None:
                return Repeated(known.status, known.body)
        try:
            operation = await self._run(self._lessons, prepare)
            render = render or partial(written_receipt, served.name, until_learned)
            job = Job(operation, render, until_learned, key, digest, expected)
            reply = served.worker.submit(job)
        except BaseException:
            if key is not None:
                served.keys.release(key)
            raise
        if key is not None:
            reply.add_done_callback(lambda _: served.keys.release(key))
        return await asyncio.wrap_future(reply)

    async def _run(self, pool: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(pool, work)

    def _lesson(
        self, served: ServedLearner, items: Sequence[Item], samples: tuple[Sample, ...],
        answered: bool = True,
    ) -> Operation:  # fmt: skip
        doubts: list[Warned] = []
        pictures = Pictures(served.store.thumbnails.budget > 0)
        latents = self._latents(
            served, items, lambda pixels: doubts.extend(quality_warnings(items, pixels)),
            pictures.show,
        )  # fmt: skip
        labels = [sample.label for sample in samples]
        alike = served.recent.warnings(latents, labels, served.spec)
        tested = self._tested(served.worker.view, latents, samples)
        told = {one.sample for one in alike}
        doubts += alike
        if answered:
            doubts += remembered_warnings(served, latents, tested, told)
        return Lesson(latents, tested, tuple(doubts), pictures.by_row)

    def _latents(
        self, served: ServedLearner, items: Sequence[Item],
        look: Callable[[dict[int, Array]], None] | None = None,
        show: Callable[[int, Image], None] | None = None,
    ) -> Array:  # fmt: skip
        origin = served.store.origin
        check_extractors(items, origin)
        extractor = self.registry.extractors.of(origin)
        return self._maker.latents(items, served.spec, extractor, served.frontend, look, show)

    def _predicted(
        self,
        served: ServedLearner,
        items: Sequence[Item],
        contexts: Sequence[str | None],
        top_k: int,
        rate: float,
        show: Callable[[int, Image], None],
    ) -> tuple[View, Array, list[Prediction]]:
        latents = self._latents(served, items, show=show)
        view = served.worker.view
        found: list[Prediction | None] = [None] * len(items)
        with self.meters.predict.labels("head").time():
            for context, rows in by_context(contexts):
                answers = view.published.predict_latents(latents[rows], context, top_k, rate)
                for row, answer in zip(rows, answers, strict=True):
                    found[row] = answer
        return view, latents, [one for one in found if one is not None]


def serving_of(request: Request) -> Serving:
    """The service that a request came to."""
    serving: Serving = request.app.state.serving
    return serving
