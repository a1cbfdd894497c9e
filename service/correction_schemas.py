"""The bodies of corrections, as the OpenAPI document shows them."""

from __future__ import annotations

from pydantic import BaseModel, Field, StrictStr

from service.schemas import Strict

__all__ = ["ClassChange", "Corrected", "Merge", "SampleChange"]

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
