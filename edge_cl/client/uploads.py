"""Uploads that the service teaches by itself, described as the other requests are."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

import httpx

from edge_cl.client.answers import Json
from edge_cl.client.calls import Call, Metadata, query_notes
from edge_cl.errors import EdgeCLError

__all__ = ["Job", "JobUnfinished", "Wait", "cancel_job", "job", "jobs", "teach_job"]

ENDED = ("done", "failed", "cancelled")
FIRST_POLL_S = 0.1
LONGEST_POLL_S = 2.0


class JobUnfinished(EdgeCLError, TimeoutError):
    """A job that was waited for has not ended in time; it goes on."""


@dataclass(frozen=True)
class Job:
    """An upload that is taught as a job.

    Parameters
    ----------
    id
        Its name.
    state
        ``waiting``, ``running``, ``done``, ``failed`` or ``cancelled``.
    reason
        Why it cannot go on at present, or has ended.
    samples
        Samples in the upload.
    taught, refused
        Of these, learned so far, and found not to be usable.
    version
        Version of the learner that knows what was taught.
    eta_s
        Seconds left at the present rate; None until known.
    answer
        The whole answer, with the first faults.
    """

    id: str
    state: str
    reason: str | None
    samples: int
    taught: int
    refused: int
    version: int
    eta_s: float | None
    answer: Json = field(repr=False)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ENDED


class Wait:
    """How long a job is waited for, and how often it is asked about.

    Parameters
    ----------
    job
        The job, or its id.
    timeout_s
        Longest wait; None for any.
    """

    def __init__(self, job: Job | str, timeout_s: float | None) -> None:
        self.job_id = job if isinstance(job, str) else job.id
        self._timeout_s = timeout_s
        self._begun = time.monotonic()
        self._poll_s = FIRST_POLL_S

    def delay_s(self, seen: Job) -> float:
        """Seconds until it is asked about again; raises `JobUnfinished` when there are none."""
        delay_s, self._poll_s = self._poll_s, min(2 * self._poll_s, LONGEST_POLL_S)
        if self._timeout_s is None:
            return delay_s
        left_s = self._begun + self._timeout_s - time.monotonic()
        if left_s <= 0:
            raise JobUnfinished(
                f"job {seen.id} is {seen.state} after {self._timeout_s:g} s, "
                f"{seen.taught + seen.refused} of {seen.samples} samples are done: it goes on; "
                "wait longer, or cancel it"
            )
        return min(delay_s, left_s)


def teach_job(
    learner: str,
    samples: Sequence[Json],
    *,
    context: str | None = None,
    device: str | None = None,
    captured_at: str | None = None,
    metadata: Metadata | None = None,
    idempotency_key: str | None = None,
) -> Call[Job]:
    """Teach many samples that are JSON already, as a job; see `teach_samples`.

    Parameters
    ----------
    samples
        Each with its ``label`` and one of ``image_b64``, ``audio_b64``, ``series``, ``latent``.
    context, device, captured_at, metadata
        Of the samples that do not say theirs.
    idempotency_key
        Two calls with one key are one job; a fresh one if None.
    """
    notes = query_notes(context, device, captured_at, metadata)
    return Call(
        "POST",
        f"/v1/learners/{learner}/samples",
        read_job,
        {"mode": "job", **notes},
        {"Content-Type": "application/x-ndjson"},
        content="".join(f"{json.dumps(sample)}\n" for sample in samples).encode(),
    ).once(idempotency_key)


def jobs(_: str, /) -> Call[list[Job]]:
    """The jobs that wait or run, and the last that ended, the oldest first."""
    return Call("GET", "/v1/jobs", lambda response: [_job(one) for one in response.json()["jobs"]])


def job(_: str, /, job_id: str) -> Call[Job]:
    """How far a job is."""
    return Call("GET", _path(job_id), read_job)


def cancel_job(_: str, /, job_id: str) -> Call[None]:
    """Cancel a job that has not ended, forget one that has; what was taught stays."""
    return Call("DELETE", _path(job_id), lambda _: None, repeatable=False)


def read_job(response: httpx.Response) -> Job:
    """The job that an answer tells of."""
    return _job(response.json())


def _path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _job(answer: Json) -> Job:
    return Job(
        id=answer["id"],
        state=answer["state"],
        reason=answer["reason"],
        samples=answer["samples"],
        taught=answer["taught"],
        refused=answer["refused"],
        version=answer["version"],
        eta_s=answer.get("eta_s"),
        answer=answer,
    )
