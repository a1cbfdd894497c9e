"""Answers that say how good a learner is, as the OpenAPI document shows them."""

from __future__ import annotations

from pydantic import BaseModel, Field

__all__ = ["Evaluation", "LearnerMetrics"]


class ClassScore(BaseModel):
    """How well one class is told from the others."""

    label: str | None = Field(description="null: all classes after the first 256.")
    samples: int
    correct: int
    accuracy: float | None
    predicted: int = Field(description="How often it was the answer.")
    precision: float | None
    forgetting: float | None = Field(
        None, description="Best faded accuracy less the present one; after 50 samples."
    )


class Confused(BaseModel):
    """How often one class was taken for another."""

    label: str | None
    predicted: str | None
    samples: int


class Confusion(BaseModel):
    """Labels against predictions."""

    labels: list[str | None] | None = Field(description="null when there are more than 50.")
    matrix: list[list[int]] | None = Field(description="A row for each label.")
    most_confused: list[Confused]


class ConfidenceBin(BaseModel):
    """Predictions of similar confidence."""

    start: float = Field(alias="from")
    samples: int
    accuracy: float
    confidence: float


class Calibration(BaseModel):
    """Whether confidences are what they say."""

    ece: float | None = Field(description="Expected calibration error over 15 bins.")
    bins: list[ConfidenceBin]


class Score(BaseModel):
    """Predictions against labels."""

    samples: int
    correct: int
    accuracy: float | None = Field(description="null without samples.")
    per_class: list[ClassScore]
    confusion: Confusion
    calibration: Calibration


class Evaluation(Score):
    """Predictions against labels, of samples that were not learned."""

    unpredicted: int = Field(description="Samples that nothing could be said of; not counted.")
    predicted: list[str | None]
    model_version: int


class StreamScore(Score):
    """Predictions of taught samples, made before they were learned."""

    unpredicted: int
    known_samples: int = Field(description="Samples whose class was taught before.")
    accuracy_known: float | None
    false_reject_rate: float | None = Field(
        description="Share of the known samples that were called unknown."
    )
    new_samples: int = Field(description="Samples whose class was new.")
    false_accept_rate: float | None = Field(description="Share of them not called unknown.")
    forgetting: float | None = Field(description="Mean over the classes.")


class Alarm(BaseModel):
    """A rise of the error rate that chance does not explain."""

    at_sample: int
    rise: float


class Drift(BaseModel):
    """What ADWIN says of the errors on known classes."""

    drifting: bool = Field(description="The last alarm is less than a window of samples old.")
    alarms: int
    last_alarm: Alarm | None
    window_samples: int
    window_error: float


class Latency(BaseModel):
    """How long requests took, from their body to their answer."""

    requests: int = Field(description="Since the service started; the last 1000 are looked at.")
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class LatencyByKind(BaseModel):
    """Latency of what learners are asked and taught."""

    predict: Latency
    learn: Latency = Field(description="Of requests with mode=sync: durable, learned, published.")


class LearnerMetrics(BaseModel):
    """The prequential record of a learner, and how fast it answers."""

    learner: str
    version: int
    since_start: StreamScore
    window: Score = Field(description="Of the last 1000 samples.")
    drift: Drift
    state_bytes: int
    latency: LatencyByKind
