"""Uploads that are taught as jobs, as the OpenAPI document shows them."""

from __future__ import annotations

from pydantic import BaseModel, Field

__all__ = ["JobList", "JobNote"]


class JobFault(BaseModel):
    """A sample of an upload that cannot be used."""

    place: str
    detail: str


class JobNote(BaseModel):
    """An upload that is taught as a job."""

    id: str
    learner: str
    kind: str = Field(description="`zip` or `ndjson`.")
    samples: int
    state: str = Field(description="`waiting`, `running`, `done`, `failed` or `cancelled`.")
    reason: str | None = Field(description="Why it cannot go on at present, or has ended.")
    taught: int
    refused: int = Field(description="Samples that cannot be used.")
    faults: list[JobFault] = Field(description="The first twenty of these.")
    version: int = Field(description="A prediction of this version knows what was taught.")
    progress: float
    eta_s: float | None = Field(description="Seconds left at the present rate; null until known.")
    created_at: float
    ended_at: float | None


class JobList(BaseModel):
    """All jobs, the oldest first."""

    jobs: list[JobNote]
