"""The blocking client."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Concatenate, ParamSpec

import httpx

from edge_cl.client import api, correcting
from edge_cl.client.answers import Json, unreachable
from edge_cl.client.calls import AnswerT, Call
from edge_cl.client.exchange import (
    FAILURES,
    Attempts,
    answer_of,
    as_described,
    key_headers,
    service_url,
    trust,
)
from edge_cl.client.retries import Retries
from edge_cl.client.transfer import download, upload

P = ParamSpec("P")


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
    state = _blocking(api.state)
    learners = _blocking(api.learners)
    create_learner = _blocking(api.create_learner)
    delete_learner = _blocking(api.delete_learner)
    keys = _blocking(api.keys)
    add_key = _blocking(api.add_key)
    revoke_key = _blocking(api.revoke_key)
    service = _blocking(api.service)
    strategies = _blocking(api.strategies)
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

    def export(self, path: str | os.PathLike[str], *, format: str = "archive") -> int:  # noqa: A002
        """Write the learner and all that it was taught to one file; returns its bytes.

        The file is there whole or not at all.

        Parameters
        ----------
        path
            Where to.
        format
            ``archive`` for `import_learner`, ``onnx`` for a model that any runtime serves.
        """
        asked = {"format": format}
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
        params = {} if name is None else {"name": name}
        return upload(self._http, "/v1/learners/import", params, Path(path))

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
        attempts = Attempts(self._retries, call.repeatable)
        while True:
            try:
                return self._once(call)
            except FAILURES as failure:
                delay_s = attempts.delay_s(failure)
            time.sleep(delay_s)

    def _once(self, call: Call[AnswerT]) -> AnswerT:
        try:
            response = self._http.send(call.request(self._http.build_request))
        except httpx.TransportError as error:
            raise unreachable(self.url, error) from error
        return answer_of(call, response)
