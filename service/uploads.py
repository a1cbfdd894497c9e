"""Receiving a batch that is taught as a job: to the disk, never whole into memory."""

from __future__ import annotations

import errno
import hashlib
import os
from functools import partial
from pathlib import Path

from starlette.requests import Request

from service.bodies import metadata_of_all
from service.bulk_job import BulkJob
from service.errors import Problem
from service.intake import Body
from service.latents import checked_text
from service.served import ServedLearner
from service.serving import Serving, serving_of

__all__ = ["receive_upload", "upload_kind"]

NOTES = ("label", "context", "device", "captured_at")


def upload_kind(request: Request, mode: str) -> str | None:
    """``zip`` or ``ndjson`` when the body is to be taught as a job, else None.

    Raises
    ------
    Problem
        When a job is asked for of another kind of body.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("application/zip", "application/x-zip-compressed"):
        return "zip"
    if mode != "job":
        return None
    if kind in ("application/x-ndjson", "application/ndjson"):
        return "ndjson"
    raise Problem(
        "media-type", f"Content-Type is {kind[:80]!r}: a job takes application/zip or NDJSON"
    )


async def receive_upload(
    request: Request, served: ServedLearner, kind: str, key: str | None
) -> tuple[BulkJob, bool]:
    """Store an upload durably as a job; returns it, and whether it was there before."""
    serving = serving_of(request)
    takes = _takes(serving, served) if kind == "zip" else ""
    notes = _notes(request)
    if not serving.registry.ballast.hold():
        raise Problem("disk-full", "there is no room left on the disk of the data folder")
    draft = await serving.read(serving.batches.draft)
    try:
        with serving.uploads.body(request) as body:
            digest = await _stored(body, draft / "upload")
        add = partial(serving.batches.add, draft, served.name, kind, notes, key, takes, digest)
        return await serving.read(add)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        detail = f"the upload cannot be stored: {error.strerror}"
        raise Problem("disk-full" if full else "not-ready", detail) from error
    finally:
        # A draft that has become a job has another name by now.
        await serving.read(partial(serving.batches.discard, draft))


def _takes(serving: Serving, served: ServedLearner) -> str:
    """What the files of an archive for a learner are; Problem when it takes none."""
    if served.frontend is not None:
        return served.frontend.name
    if serving.extractor is None or not served.store.origin.takes_images:
        raise Problem("invalid", "this learner takes latents only: send NDJSON with mode=job")
    return "image"


async def _stored(body: Body, path: Path) -> str:
    """Write a body to a file as it comes; returns its digest."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        async for chunk in body.chunks():
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _notes(request: Request) -> dict[str, str]:
    sent = {name: request.query_params.get(name) for name in NOTES}
    sent["device"] = sent["device"] or request.headers.get("x-device-id")
    checked = {name: checked_text(value, name, "query") for name, value in sent.items()}
    checked["metadata"] = metadata_of_all(request)
    return {name: text for name, text in checked.items() if text is not None}
