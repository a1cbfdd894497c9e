"""The client for programs that run on asyncio."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

import httpx

from edge_cl.client import administration, api, correcting, scores, uploads
from edge_cl.client.answers import Json, problem_of, unreachable
from edge_cl.client.calls import AnswerT, Call, Metadata
from edge_cl.client.events import Event, Following, cut_off
from edge_cl.client.exchange import (
    FAILURES,
    Attempts,
    Failure,
    answer_of,
    as_described,
    key_headers,
    service_url,
    trust,
)
from edge_cl.client.retries import Retries
from edge_cl.client.sync import Client
from edge_cl.client.uploads import Job, Wait

P = ParamSpec("P")
ResultT = TypeVar("ResultT")


def _awaited(
    describe: Callable[Concatenate[str, P], Call[AnswerT]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, AnswerT]]:
    """A method that sends the described call and returns its answer."""

    async def method(self: AsyncClient, /, *args: P.args, **options: P.kwargs) -> AnswerT:
        # Describing a call may read files: not on the loop that others wait for.
        call = await asyncio.to_thread(describe, self.learner, *args, **options)
        return await self.send(call)

    as_described(method, describe)
    return method


class AsyncClient:
    """A connection to one learner of a running service, for asyncio.

    Has the methods of `Client`, to be awaited; `samples` and `events` are asynchronous iterators.

    Parameters
    ----------
    url, learner, key, timeout_s, retries, ca_file
        As for `Client`.
    transport
        Another asynchronous httpx transport, for tests.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        learner: str = "default",
        key: str | None = None,
        timeout_s: float = 60.0,
        retries: Retries | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = service_url(url)
        self.learner = learner
        self._retries = retries or Retries()
        self._make_blocking = partial(
            Client, self.url, learner=learner, key=key, timeout_s=timeout_s, ca_file=ca_file,
            retries=self._retries,
        )  # fmt: skip
        self._http = httpx.AsyncClient(
            base_url=self.url,
            timeout=timeout_s,
            headers=key_headers(key),
            transport=transport,
            verify=trust(ca_file),
        )

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    teach = _awaited(api.teach)
    teach_many = _awaited(api.teach_many)
    teach_latents = _awaited(api.teach_latents)
    teach_series = _awaited(api.teach_series)
    teach_samples = _awaited(api.teach_samples)
    predict = _awaited(api.predict)
    predict_many = _awaited(api.predict_many)
    predict_latents = _awaited(api.predict_latents)
    feed_back = _awaited(api.feed_back)
    inbox = _awaited(api.inbox)
    predict_series = _awaited(api.predict_series)
    predict_samples = _awaited(api.predict_samples)
    end_experience = _awaited(api.end_experience)
    classes = _awaited(api.classes)
    sample = _awaited(api.sample)
    thumbnail = _awaited(api.thumbnail)
    prediction_thumbnail = _awaited(api.prediction_thumbnail)
    state = _awaited(api.state)
    change = _awaited(administration.change)
    learners = _awaited(administration.learners)
    create_learner = _awaited(administration.create_learner)
    delete_learner = _awaited(administration.delete_learner)
    keys = _awaited(administration.keys)
    add_key = _awaited(administration.add_key)
    revoke_key = _awaited(administration.revoke_key)
    ready = _awaited(administration.ready)
    service = _awaited(administration.service)
    extractor_layers = _awaited(administration.extractor_layers)
    strategies = _awaited(administration.strategies)
    strategy = _awaited(administration.strategy)
    relabel = _awaited(correcting.relabel)
    forget = _awaited(correcting.forget)
    rename_class = _awaited(correcting.rename_class)
    merge_classes = _awaited(correcting.merge_classes)
    forget_class = _awaited(correcting.forget_class)
    undo = _awaited(correcting.undo)
    rollback = _awaited(correcting.rollback)
    checkpoint = _awaited(correcting.checkpoint)
    delete_checkpoint = _awaited(correcting.delete_checkpoint)
    versions = _awaited(correcting.versions)
    metrics = _awaited(scores.metrics)
    evaluate = _awaited(scores.evaluate)
    evaluate_latents = _awaited(scores.evaluate_latents)
    evaluate_samples = _awaited(scores.evaluate_samples)
    teach_job = _awaited(uploads.teach_job)
    jobs = _awaited(uploads.jobs)
    job = _awaited(uploads.job)
    cancel_job = _awaited(uploads.cancel_job)

    async def export(
        self,
        path: str | os.PathLike[str],
        *,
        format: str = "archive",  # noqa: A002
        checkpoints: bool = True,
    ) -> int:
        """Write the learner and all that it was taught to one file; see `Client.export`."""
        return await asyncio.to_thread(
            self._with_blocking,
            lambda one: one.export(path, format=format, checkpoints=checkpoints),
        )

    async def import_learner(self, path: str | os.PathLike[str], name: str | None = None) -> Json:
        """Make a learner of a file that `export` wrote; see `Client.import_learner`."""
        return await asyncio.to_thread(
            self._with_blocking, lambda one: one.import_learner(path, name)
        )

    async def teach_archive(
        self,
        path: str | os.PathLike[str],
        *,
        context: str | None = None,
        device: str | None = None,
        captured_at: str | None = None,
        metadata: Metadata | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Teach a zip of class folders as a job; see `Client.teach_archive`."""
        return await asyncio.to_thread(
            self._with_blocking,
            lambda one: one.teach_archive(
                path,
                context=context,
                device=device,
                captured_at=captured_at,
                metadata=metadata,
                idempotency_key=idempotency_key,
            ),
        )

    async def wait_for_job(self, job: Job | str, timeout_s: float | None = None) -> Job:
        """Ask about a job until it has ended; see `Client.wait_for_job`."""
        wait = Wait(job, timeout_s)
        while True:
            seen = await self.job(wait.job_id)
            if seen.ended:
                return seen
            await asyncio.sleep(wait.delay_s(seen))

    async def events(
        self,
        *,
        kinds: Sequence[str] = (),
        after: str | None = None,
        limit: int | None = None,
        duration_s: float | None = None,
        all_learners: bool = False,
    ) -> AsyncIterator[Event]:
        """What happens, as it does; see `Client.events`."""
        learner = None if all_learners else self.learner
        following = Following(learner, kinds, after, limit, duration_s, self._retries)
        while not following.over:
            failure: Failure = cut_off(self.url)
            try:
                async with aclosing(self._lines(following)) as lines:
                    async for line in lines:
                        if (event := following.read(line)) is not None:
                            yield event
            except FAILURES as error:
                failure = error
            if not following.over:
                await asyncio.sleep(following.delay_s(failure))

    async def _lines(self, following: Following) -> AsyncGenerator[str, None]:
        try:
            response = await self._http.send(following.request(self._http), stream=True)
            async with aclosing(response):
                if not response.is_success:
                    await response.aread()
                    raise problem_of(response)
                async for line in response.aiter_lines():
                    yield line
        except httpx.TransportError as error:
            raise unreachable(self.url, error) from error

    async def samples(self, **wanted: str) -> AsyncIterator[Json]:
        """Every sample that the service holds, by id; see `Client.samples`."""
        cursor: str | None = None
        while True:
            page = await self.send(api.samples_page(self.learner, wanted, cursor))
            for sample in page["items"]:
                yield sample
            cursor = page["next_cursor"]
            if cursor is None:
                return

    async def check(self) -> None:
        """Raise `ServiceUnreachable` at once if nothing answers, without any patience."""
        await self._once(api.alive(self.learner))

    async def send(self, call: Call[AnswerT]) -> AnswerT:
        """The final answer to a described call, which is repeated while that makes sense."""
        attempts = Attempts(self._retries, call.repeatable)
        while True:
            try:
                return await self._once(call)
            except FAILURES as failure:
                delay_s = attempts.delay_s(failure)
            await asyncio.sleep(delay_s)

    def _with_blocking(self, use: Callable[[Client], ResultT]) -> ResultT:
        """For files, which asyncio reads and writes in a thread anyway."""
        with self._make_blocking() as client:
            return use(client)

    async def _once(self, call: Call[AnswerT]) -> AnswerT:
        try:
            response = await self._http.send(call.request(self._http.build_request))
        except httpx.TransportError as error:
            raise unreachable(self.url, error) from error
        return answer_of(call, response)
