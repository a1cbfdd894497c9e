"""What is stored, and answered, for an operation: that it is durable, and what it did."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from service.corrections import Amendment
from service.jobs import Receipt, Reply
from service.operations import Lesson

__all__ = ["written_receipt"]


def written_receipt(learner: str, until_learned: bool, receipt: Receipt, **beside: str) -> Reply:
    """The answer to a request; `until_learned` says whether it waited for the learning."""
    content: dict[str, Any] = {"learner": learner, "version": receipt.version}
    status, operation = 200, receipt.operation
    if isinstance(operation, Amendment) and receipt.correction is not None:
        status = operation.status
        content |= {"operation": operation.kind, **operation.note, **asdict(receipt.correction)}
    if isinstance(operation, Lesson):
        status = 201 if until_learned else 202
        content |= {"accepted": len(receipt.ids), "ids": list(receipt.ids)}
        content["predicted"] = [sample.predicted for sample in operation.samples]
        content["warnings"] = [asdict(warned) for warned in operation.warnings]
    content |= {"durable": True, "learned": until_learned, **beside}
    return Reply(status, json.dumps(content))
