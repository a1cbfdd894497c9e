"""The bodies of corrections, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, StrictInt, StrictStr

from service.schemas import Strict

__all__ = [
    "CheckpointSaved",
    "ClassChange",
    "Corrected",
    "Merge",
    "NewCheckpoint",
    "Restored",
    "Rollback",
    "SampleChange",
    "Versions",
]

Label = Field(description="1 to 128 bytes of plain text.")


class SampleChange(Strict):
    """Another label for a sample."""

    label: StrictStr = Label


class ClassChange(Strict):
    """Another name for a class."""

    name: StrictStr = Label


class Merge(Strict):
    """What a class is merged into."""

    into: StrictStr = Field(description="A class that the learner knows.")


class Rollback(Strict):
    """Where to go back to."""

    to: Annotated[StrictInt, Field(ge=0, lt=2**62)] | StrictStr = Field(
        description="A version's number, or a checkpoint's name."
    )


class NewCheckpoint(Strict):
    """A checkpoint to keep."""

    name: StrictStr = Field(description="1 to 64 letters, digits, dots, dashes, underscores.")


class CheckpointNote(BaseModel):
    """A version that is kept under a name."""

    name: str
    version: int
    size_bytes: int
    created_at: float


class OperationNote(BaseModel):
    """What made a version."""

    version: int
    operation: str
    samples: int = Field(description="New samples that it brought.")
    received_at: float
    detail: dict[str, Any] = Field(description="What it did, where that is not a lesson.")
    restorable: bool = Field(description="Whether a rollback can go there.")


class Versions(BaseModel):
    """A page of a learner's history, the newest first."""

    version: int
    items: list[OperationNote]
    next_before: int | None = Field(description="`before` of the next page.")
    checkpoints: list[CheckpointNote]


class Restored(BaseModel):
    """The receipt for going back."""

    learner: str
    version: int = Field(description="A new one: history is never cut off.")
    operation: str
    to: int = Field(description="The version that the learner is as again.")
    undone: int | None = Field(description="The operation that was undone.")
    samples: int = Field(description="Samples that it knows now.")
    exact: bool
    durable: bool
    learned: bool


class CheckpointSaved(BaseModel):
    """The receipt for a checkpoint."""

    learner: str
    version: int
    operation: str
    name: str
    of_version: int = Field(description="The version that it keeps.")
    samples: int
    exact: bool
    durable: bool
    learned: bool


class Corrected(BaseModel):
    """The receipt for a correction."""

    learner: str
    version: int = Field(description="A prediction of this version or later knows it.")
    operation: str
    samples: int = Field(description="Taught samples that it concerns.")
    exact: bool = Field(
        description="Whether the learner is now, to rounding, as if it had been taught so."
    )
    durable: bool
    learned: bool
