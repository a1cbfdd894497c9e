"""Predictions that wait for feedback, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, StrictBool, StrictStr, model_validator

from service.schemas import Candidate, Strict

__all__ = ["FeedbackGiven", "Inbox", "NewFeedback"]


class NewFeedback(Strict):
    """What a prediction should have been; exactly one of the three."""

    label: StrictStr | None = Field(None, description="What the sample is.")
    correct: StrictBool | None = Field(
        None, description="true: the prediction was right; false: it was not."
    )
    not_: StrictStr | None = Field(None, alias="not", description="A class that it is not.")

    @model_validator(mode="after")
    def exactly_one(self) -> NewFeedback:
        """Refuse none and several."""
        if sum(value is not None for value in (self.label, self.correct, self.not_)) != 1:
            raise ValueError('give exactly one of "label", "correct" and "not"')
        return self


class FeedbackGiven(BaseModel):
    """The receipt for feedback."""

    learner: str
    version: int = Field(description="A prediction of this version or later knows it.")
    prediction_id: str
    accepted: int = Field(0, description="Samples that were taught.")
    ids: list[int] = Field([], description="Of these.")
    operation: str | None = Field(None, description="`learn_not` for what it is not.")
    durable: bool
    learned: bool


class InboxItem(BaseModel):
    """A prediction that nobody has answered yet."""

    prediction_id: str
    label: str
    score: float
    unknown: bool
    typicality: float
    top: list[Candidate]
    context: str | None
    device: str | None
    captured_at: str | None
    metadata: dict[str, Any] | None
    thumbnail: bool
    predicted_at: float
    model_version: int


class Inbox(BaseModel):
    """A page of predictions: unknown first, then the least sure, then the newest."""

    items: list[InboxItem]
    next_cursor: str | None
    total: int = Field(description="Predictions that wait for feedback.")
