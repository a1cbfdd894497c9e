"""The answers to operations: what was done, and that it is durable."""

from __future__ import annotations

import json
from collections.abc import Sequence

from fastapi import Request, Response

from service.conditions import expected_versions
from service.jobs import Plan, Reply
from service.keys import checked_key
from service.operations import Operation
from service.serving import Repeated, serving_of

__all__ = ["corrected", "receipt"]


async def corrected(
    request: Request,
    learner: str,
    correction: Operation | Plan,
    asked: Sequence[str],
    key: str | None,
    if_match: str | None,
) -> Response:
    """Correct a learner under the request's conditions; the answer is the receipt.

    Parameters
    ----------
    correction
        What to do.
    asked
        Tells this request from another one with the same key.
    key, if_match
        The headers as they were sent.
    """
    serving = serving_of(request)
    served = serving.registry.get(learner)
    once, expected = checked_key(key), expected_versions(if_match)
    return receipt(await serving.correct(served, correction, asked, once, expected), learner)


def receipt(reply: Reply, learner: str) -> Response:
    """The answer to an operation, new or repeated."""
    headers = {}
    if isinstance(reply, Repeated):
        headers["Idempotent-Replayed"] = "true"
    ids = json.loads(reply.body).get("ids", [])
    if len(ids) == 1:
        headers["Location"] = f"/v1/learners/{learner}/samples/{ids[0]}"
    return Response(reply.body, reply.status, headers, "application/json")
