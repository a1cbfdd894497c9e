"""Batches that are taught as jobs: what they are doing, and ending them."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request, Response

from service.bulk_job import BulkJob
from service.errors import Problem
from service.gate import grant_of
from service.job_schemas import JobList, JobNote
from service.routes.documents import json_answer, problems
from service.serving import serving_of

__all__ = ["job_answer", "router"]

router = APIRouter(tags=["jobs"])


@router.get("/v1/jobs", response_model=JobList, responses=problems(403))
async def list_jobs(request: Request) -> Response:
    """List the jobs that wait or run, and the last that ended."""
    grant = grant_of(request)
    jobs = [job for job in serving_of(request).batches.all() if grant.reaches(job.learner)]
    return json_answer({"jobs": [job.content() for job in jobs]})


@router.get("/v1/jobs/{job}", response_model=JobNote, responses=problems(403, 404))
async def show_job(request: Request, job: str) -> Response:
    """Show how far a job is."""
    return job_answer(_reached(request, job), 200)


@router.delete("/v1/jobs/{job}", status_code=204, responses=problems(403, 404))
async def delete_job(request: Request, job: str) -> Response:
    """Cancel a job that has not ended, forget one that has; what was taught stays."""
    found = _reached(request, job)
    serving = serving_of(request)
    await serving.read(partial(serving.batches.delete, found.id))
    return Response(status_code=204)


def job_answer(job: BulkJob, status: int, replayed: bool = False) -> Response:
    """A job as an answer."""
    headers = {"Location": f"/v1/jobs/{job.id}"} if status == 202 else {}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return json_answer(job.content(), status, headers)


def _reached(request: Request, job_id: str) -> BulkJob:
    job = serving_of(request).batches.get(job_id)
    if not grant_of(request).reaches(job.learner):
        raise Problem("forbidden", f"the key is not of learner {job.learner!r}")
    return job
