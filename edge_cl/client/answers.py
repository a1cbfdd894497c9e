"""What the service answers, as typed results and errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx

from edge_cl.client.retries import Retries, retry_after_s
from edge_cl.errors import EdgeCLError

Json: TypeAlias = dict[str, Any]

# A request that was answered so may have been taken all the same.
_MAYBE_TAKEN = frozenset({409, 500, 502, 504})
_KEY_IN_FLIGHT = "urn:edge-cl:problem:key-in-flight"
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class ServiceUnreachable(EdgeCLError):
    """No answer came from the service.

    Parameters
    ----------
    message
        What happened, and what to do about it.
    maybe_taken
        Whether the request may have arrived, so that only its answer is missing.
    """

    retry_after_s: float | None = None
    passing = True

    def __init__(self, message: str, maybe_taken: bool = True) -> None:
        self.maybe_taken = maybe_taken
        super().__init__(message)


class ServiceProblem(EdgeCLError):
    """The service answered that it cannot do what was asked.

    Parameters
    ----------
    status
        The HTTP status.
    problem
        The body, ``application/problem+json`` as of RFC 9457.
    retry_after_s
        Seconds after which the service asks to be called again, or None.
    """

    def __init__(self, status: int, problem: Json, retry_after_s: float | None = None) -> None:
        self.status = status
        self.retry_after_s = retry_after_s
        self.problem = problem
        self.maybe_taken = status in _MAYBE_TAKEN
        title = problem.get("title") or "the service refused"
        texts = [f"{title} (HTTP {status})", problem.get("detail")]
        texts += [_fault_line(fault) for fault in problem.get("errors") or []]
        texts.append(problem.get("hint"))
        # A fault often repeats the detail: every text once.
        super().__init__(": ".join(dict.fromkeys(str(text) for text in texts if text)))

    @property
    def passing(self) -> bool:
        """Whether the same request may be answered otherwise a moment later."""
        in_flight = self.problem.get("type") == _KEY_IN_FLIGHT
        return in_flight or self.status in Retries.STATUSES


@dataclass(frozen=True)
class Taught:
    """What the service answered to samples that were taught.

    Parameters
    ----------
    accepted
        Samples that are durable now.
    ids
        Their ids.
    version
        Version of the learner that knows them.
    replayed
        Whether this was known already under the same idempotency key.
    """

    accepted: int
    ids: tuple[int, ...]
    version: int
    replayed: bool = False


@dataclass(frozen=True)
class Predicted:
    """What the service says about one sample.

    Parameters
    ----------
    label
        The most probable label; empty while nothing is learned.
    score
        Its probability.
    unknown
        Whether the sample looks like no class that was taught.
    top
        The most probable (label, probability) pairs, best first.
    version
        Version of the learner that answered.
    answer
        The whole answer, for fields that have no attribute here.
    """

    label: str
    score: float
    unknown: bool
    top: tuple[tuple[str, float], ...]
    version: int
    answer: Json = field(repr=False)

    @property
    def prediction_id(self) -> str:
        """For feedback; empty if the service gave none."""
        return str(self.answer.get("prediction_id") or "")


def taught(response: httpx.Response) -> Taught:
    """Read the answer to taught samples."""
    answer = response.json()
    return Taught(
        accepted=answer["accepted"],
        ids=tuple(answer["ids"]),
        version=answer.get("version", 0),
        replayed=response.headers.get("Idempotent-Replayed", "false") == "true",
    )


def predicted(response: httpx.Response) -> list[Predicted]:
    """Read the answer to a prediction request, one result a sample."""
    answer = response.json()
    version = answer.get("model_version", 0)
    return [_prediction(one, version) for one in answer["predictions"]]


def _prediction(one: Json, version: int) -> Predicted:
    top = tuple((entry["label"], float(entry["score"])) for entry in one.get("top") or [])
    return Predicted(
        label=one["label"],
        score=float(one["score"]),
        unknown=bool(one["unknown"]),
        top=top,
        version=version,
        answer=one,
    )


def problem_of(response: httpx.Response) -> ServiceProblem:
    """Read a refusal, whoever wrote its body."""
    try:
        body = response.json()
    except ValueError:
        body = {"title": response.reason_phrase, "detail": response.text[:200]}
    problem = body if isinstance(body, dict) else {}
    return ServiceProblem(response.status_code, problem, retry_after_s(response.headers))


def unreachable(url: str, error: httpx.TransportError) -> ServiceUnreachable:
    """Say that no answer came, and what to do about it."""
    reason = str(error) or type(error).__name__
    return ServiceUnreachable(
        f"no answer from the service at {url} ({reason}): "
        "start it with 'edge-cl serve', or name another with --url or EDGE_CL_URL",
        maybe_taken=not isinstance(error, _NEVER_SENT),
    )


def _fault_line(fault: Any) -> str:
    if not isinstance(fault, Mapping):
        return str(fault)
    return f"{fault.get('pointer', '')} {fault.get('detail', '')}".strip()


def as_json(response: httpx.Response) -> Json:
    """An answer as it came."""
    return dict(response.json())


def nothing(_: httpx.Response) -> None:
    """An answer without content."""
