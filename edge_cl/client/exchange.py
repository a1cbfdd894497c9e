"""What both clients do around the network: where to, and whether once more."""

from __future__ import annotations

import inspect
import os
import ssl
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import httpx

from edge_cl.client.answers import ServiceProblem, ServiceUnreachable, problem_of
from edge_cl.client.calls import AnswerT, Call
from edge_cl.client.retries import Retries

DEFAULT_URL = "http://127.0.0.1:8080"

Failure: TypeAlias = ServiceUnreachable | ServiceProblem
FAILURES = (ServiceUnreachable, ServiceProblem)


def service_url(url: str | None) -> str:
    """Where the service listens; ``EDGE_CL_URL`` if None."""
    return (url or os.environ.get("EDGE_CL_URL") or DEFAULT_URL).rstrip("/")


def key_headers(key: str | None) -> dict[str, str]:
    """The header with the API key, ``EDGE_CL_API_KEY`` if None."""
    key = key or os.environ.get("EDGE_CL_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


def trust(ca_file: str | os.PathLike[str] | None) -> ssl.SSLContext | bool:
    """What certificates are checked with: the system's, and `ca_file` or ``EDGE_CL_CA_FILE``."""
    named = ca_file or os.environ.get("EDGE_CL_CA_FILE")
    if not named:
        return True
    context = ssl.create_default_context()
    context.load_verify_locations(os.fspath(named))
    return context


def answer_of(call: Call[AnswerT], response: httpx.Response) -> AnswerT:
    """The answer to `call`; `ServiceProblem` when it is a refusal."""
    if not response.is_success:
        raise problem_of(response)
    return call.read(response)


def as_described(
    method: Callable[..., Any], describe: Callable[..., Call[Any]], returns: str | None = None
) -> None:
    """Give `method` the name, the text and the parameters of the call that it sends."""
    signature = inspect.signature(describe)
    learner, *others = signature.parameters.values()
    answer = str(signature.return_annotation).removeprefix("Call[").removesuffix("]")
    method.__name__ = method.__qualname__ = describe.__name__
    method.__doc__ = describe.__doc__
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[learner.replace(name="self", annotation=inspect.Parameter.empty), *others],
        return_annotation=returns or answer,
    )


class Attempts:
    """Counts the attempts of one call, and says when the last one was the last.

    Parameters
    ----------
    retries
        How long and how often.
    repeatable
        Whether the call may be sent again when it is not known to have arrived.
    """

    def __init__(self, retries: Retries, repeatable: bool) -> None:
        self._retries = retries
        self._repeatable = repeatable
        self._give_up_at = time.monotonic() + retries.patience_s
        self._count = 0
        self._maybe_taken = False

    def delay_s(self, failure: Failure) -> float:
        """Seconds to wait before the call is sent again; raises `failure` when it is final."""
        delay_s = self._retries.delay_s(self._count, failure.retry_after_s)
        self._count += 1
        self._maybe_taken = failure.maybe_taken = failure.maybe_taken or self._maybe_taken
        answered = isinstance(failure, ServiceProblem)
        hopeless = not failure.passing or not (answered or self._repeatable)
        if hopeless or time.monotonic() + delay_s > self._give_up_at:
            raise failure
        return delay_s
