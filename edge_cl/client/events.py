"""What happens in the service, read from its stream of server-sent events."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from edge_cl.client.answers import Json, ServiceUnreachable
from edge_cl.client.exchange import Attempts, Failure
from edge_cl.client.retries import Retries

__all__ = ["Event", "Following", "cut_off"]

SILENCE_S = 60.0
"""Four heartbeats of the service: a stream that says nothing for so long is broken."""


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Parameters
    ----------
    id
        Its place in the stream, to go on after it later.
    kind
        What happened: ``learned``, ``published``, ``drift`` and so on; ``missed`` for a gap.
    learner
        To which learner; empty for a gap.
    content
        What is told of it.
    """

    id: str
    kind: str
    learner: str
    content: Json = field(repr=False)


class Following:
    """What a follower of the stream has seen, so that it can go on where a stream ended.

    Parameters
    ----------
    learner
        The only learner that is followed, or None for all.
    kinds
        The only kinds of events, or none for all.
    after
        Id of the last event that was seen; None for what happens from now on.
    limit, duration_s
        The service ends the stream after so many events, or so many seconds.
    retries
        How long to insist when no stream can be had.
    """

    def __init__(
        self,
        learner: str | None,
        kinds: Sequence[str],
        after: str | None,
        limit: int | None,
        duration_s: float | None,
        retries: Retries,
    ) -> None:
        self._asked = [("kind", kind) for kind in kinds]
        if learner is not None:
            self._asked.append(("learner", learner))
        self._retries = retries
        self._attempts = Attempts(retries, repeatable=True)
        self._fields: dict[str, str] = {}
        self._last_id = after
        self._left = limit
        self._ends_at = None if duration_s is None else time.monotonic() + duration_s

    @property
    def over(self) -> bool:
        """Whether all that was asked for has come."""
        late = self._ends_at is not None and time.monotonic() >= self._ends_at
        return late or (self._left is not None and self._left <= 0)

    def request(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """The request for what comes after the last event."""
        self._fields = {}
        headers = {"Last-Event-ID": self._last_id} if self._last_id else {}
        asked = list(self._asked)
        if self._left is not None:
            asked.append(("limit", str(self._left)))
        if self._ends_at is not None:
            asked.append(("duration_s", f"{max(self._ends_at - time.monotonic(), 0.0):.3f}"))
        timeout = httpx.Timeout(**{**http.timeout.as_dict(), "read": SILENCE_S})
        params = httpx.QueryParams(tuple(asked))
        return http.build_request(
            "GET", "/v1/events", params=params, headers=headers, timeout=timeout
        )

    def read(self, line: str) -> Event | None:
        """Take one line of the stream; the event that it ends, if it does."""
        self._attempts = Attempts(self._retries, repeatable=True)
        if line:
            name, _, text = line.partition(":")
            self._fields[name] = text.removeprefix(" ")
            return None
        told, self._fields = self._fields, {}
        self._last_id = told.get("id", self._last_id)
        if "data" not in told:
            return None
        if self._left is not None and "id" in told:
            self._left -= 1
        content = json.loads(told["data"])
        kind = told.get("event", "message")
        return Event(self._last_id or "", kind, content.get("learner", ""), content)

    def delay_s(self, failure: Failure) -> float:
        """Seconds until the stream is asked for again; raises `failure` when it is final."""
        return self._attempts.delay_s(failure)


def cut_off(url: str) -> ServiceUnreachable:
    """The failure of a stream that ended before all came that was asked for."""
    return ServiceUnreachable(f"the service at {url} ended the stream of events: is it stopping?")
