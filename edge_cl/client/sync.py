"""The blocking client."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import httpx

from edge_cl.client import administration, api, correcting, scores, uploads
from edge_cl.client.answers import Json, problem_of, unreachable
from edge_cl.client.calls import KEY, AnswerT, Call, Metadata, given, query_notes
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
from edge_cl.client.transfer import download, upload
from edge_cl.client.uploads import Job, Wait, read_job

P = ParamSpec("P")
ResultT = TypeVar("ResultT")


def _blocking(
    describe: Callable[Concatenate[str, P], Call[AnswerT]],
) -> Callable[Concatenate[Client, P], AnswerT]:
    """A method that sends the described call and returns its answer."""

    def method(self: Client, /, *args: P.args, **options: P.kwargs) -> AnswerT:
        return self.send(describe(self.learner, *args, **options))

    as_described(method, describe)
    return method


class Client:
    """A connection to one learner of a running service.

    Parameters
    ----------
    url
        Where the service listens; ``EDGE_CL_URL`` if None.
    learner
        Name of the learner that the calls are about.
    key
        API key, if the service wants one; ``EDGE_CL_API_KEY`` if None.
    timeout_s
        Longest wait for one answer.
    retries
        How long and how often a call without a final answer is repeated.
    ca_file
        Certificate to trust beside the system's, as of a service with ``--tls auto``;
        ``EDGE_CL_CA_FILE`` if None.
    transport
        Another httpx transport, for tests.
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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = service_url(url)
        self.learner = learner
        self._retries = retries or Retries()
        self._http = httpx.Client(
            base_url=self.url,
            timeout=timeout_s,
            headers=key_headers(key),
            transport=transport,
            verify=trust(ca_file),
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    teach = _blocking(api.teach)
    teach_many = _blocking(api.teach_many)
    teach_latents = _blocking(api.teach_latents)
    teach_series = _blocking(api.teach_series)
    teach_samples = _blocking(api.teach_samples)
    predict = _blocking(api.predict)
    predict_many = _blocking(api.predict_many)
    predict_latents = _blocking(api.predict_latents)
    feed_back = _blocking(api.feed_back)
    inbox = _blocking(api.inbox)
    predict_series = _blocking(api.predict_series)
    predict_samples = _blocking(api.predict_samples)
    end_experience = _blocking(api.end_experience)
    classes = _blocking(api.classes)
    sample = _blocking(api.sample)
    thumbnail = _blocking(api.thumbnail)
    prediction_thumbnail = _blocking(api.prediction_thumbnail)
    state = _blocking(api.state)
    change = _blocking(administration.change)
    learners = _blocking(administration.learners)
    create_learner = _blocking(administration.create_learner)
    delete_learner = _blocking(administration.delete_learner)
    keys = _blocking(administration.keys)
    add_key = _blocking(administration.add_key)
    revoke_key = _blocking(administration.revoke_key)
    ready = _blocking(administration.ready)
    service = _blocking(administration.service)
    extractor_layers = _blocking(administration.extractor_layers)
    strategies = _blocking(administration.strategies)
    strategy = _blocking(administration.strategy)
    relabel = _blocking(correcting.relabel)
    forget = _blocking(correcting.forget)
    rename_class = _blocking(correcting.rename_class)
    merge_classes = _blocking(correcting.merge_classes)
    forget_class = _blocking(correcting.forget_class)
    undo = _blocking(correcting.undo)
    rollback = _blocking(correcting.rollback)
    checkpoint = _blocking(correcting.checkpoint)
    delete_checkpoint = _blocking(correcting.delete_checkpoint)
    versions = _blocking(correcting.versions)
    metrics = _blocking(scores.metrics)
    evaluate = _blocking(scores.evaluate)
    evaluate_latents = _blocking(scores.evaluate_latents)
    evaluate_samples = _blocking(scores.evaluate_samples)
    teach_job = _blocking(uploads.teach_job)
    jobs = _blocking(uploads.jobs)
    job = _blocking(uploads.job)
    cancel_job = _blocking(uploads.cancel_job)

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        format: str = "archive",  # noqa: A002
        checkpoints: bool = True,
    ) -> int:
        """Write the learner and all that it was taught to one file; returns its bytes.

        The file is there whole or not at all.

        Parameters
        ----------
        path
            Where to.
        format
            ``archive`` for `import_learner`, ``onnx`` for a model that any runtime serves.
        checkpoints
            Whether the named checkpoints come along in an archive.
        """
        # Not said unless it must be: a service of before has them stay at home anyway.
        asked = {"format": format, **({} if checkpoints else {"checkpoints": "false"})}
        return download(self._http, f"/v1/learners/{self.learner}/export", asked, Path(path))

    def import_learner(self, path: str | os.PathLike[str], name: str | None = None) -> Json:
        """Make a learner of a file that `export` wrote; returns its state.

        Parameters
        ----------
        path
            The file.
        name
            What to call the learner; None for the name that it had.
        """
        kind = {"Content-Type": "application/zstd"}
        answer = upload(self._http, "/v1/learners/import", given(name=name), Path(path), kind)
        return dict(answer.json())

    def teach_archive(
        self,
        path: str | os.PathLike[str],
        *,
        context: str | None = None,
        device: str | None = None,
        captured_at: str | None = None,
        metadata: Metadata | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Teach a zip of class folders as a job; on return it is durable.

        Parameters
        ----------
        path
            The archive; its folders are named as their class.
        context, device, captured_at, metadata
            Of all its samples; metadata of those that have none beside them.
        idempotency_key
            Two calls with one key are one job; a fresh one if None.
        """
        notes = query_notes(context, device, captured_at, metadata)
        headers = {"Content-Type": "application/zip", KEY: idempotency_key or str(uuid.uuid4())}
        target = f"/v1/learners/{self.learner}/samples"
        return self._insist(
            lambda: read_job(upload(self._http, target, notes, Path(path), headers))
        )

    def wait_for_job(self, job: Job | str, timeout_s: float | None = None) -> Job:
        """Ask about a job until it has ended, however it did; its `state` says so.

        Parameters
        ----------
        job
            The job, or its id.
        timeout_s
            Longest wait; None for any.

        Raises
        ------
        JobUnfinished
            If it has not ended by then; it goes on.
        """
        wait = Wait(job, timeout_s)
        while True:
            seen = self.send(uploads.job(self.learner, wait.job_id))
            if seen.ended:
                return seen
            time.sleep(wait.delay_s(seen))

    def events(
        self,
        *,
        kinds: Sequence[str] = (),
        after: str | None = None,
        limit: int | None = None,
        duration_s: float | None = None,
        all_learners: bool = False,
    ) -> Iterator[Event]:
        """What happens, as it does; a stream that breaks is taken up after its last event.

        Parameters
        ----------
        kinds
            Only events of these kinds.
        after
            Id of the last event that was seen; None for what happens from now on.
        limit, duration_s
            End after so many events, or so many seconds; None for never.
        all_learners
            Whether other learners' events come too.
        """
        learner = None if all_learners else self.learner
        following = Following(learner, kinds, after, limit, duration_s, self._retries)
        while not following.over:
            failure: Failure = cut_off(self.url)
            try:
                for line in self._lines(following):
                    if (event := following.read(line)) is not None:
                        yield event
            except FAILURES as error:
                failure = error
            if not following.over:
                time.sleep(following.delay_s(failure))

    def _lines(self, following: Following) -> Iterator[str]:
        try:
            response = self._http.send(following.request(self._http), stream=True)
            with closing(response):
                if not response.is_success:
                    response.read()
                    raise problem_of(response)
                yield from response.iter_lines()
        except httpx.TransportError as error:
            raise unreachable(self.url, error) from error

    def samples(self, **wanted: str) -> Iterator[Json]:
        """Every sample that the service holds, by id.

        Parameters
        ----------
        **wanted
            Only samples with this ``label``, ``context`` or ``device``.
        """
        cursor: str | None = None
        while True:
            page = self.send(api.samples_page(self.learner, wanted, cursor))
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def check(self) -> None:
        """Raise `ServiceUnreachable` at once if nothing answers, without any patience."""
        self._once(api.alive(self.learner))

    def send(self, call: Call[AnswerT]) -> AnswerT:
        """The final answer to a described call, which is repeated while that makes sense."""
        return self._insist(lambda: self._once(call), call.repeatable)

    def _insist(self, attempt: Callable[[], ResultT], repeatable: bool = True) -> ResultT:
        attempts = Attempts(self._retries, repeatable)
        while True:
            try:
                return attempt()
            except FAILURES as failure:
                delay_s = attempts.delay_s(failure)
            time.sleep(delay_s)

    def _once(self, call: Call[AnswerT]) -> AnswerT:
        try:
            response = self._http.send(call.request(self._http.build_request))
        except httpx.TransportError as error:
            raise unreachable(self.url, error) from error
        return answer_of(call, response)
