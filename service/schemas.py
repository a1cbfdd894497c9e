"""The bodies of requests and answers, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ByteSize, ConfigDict, Field, RootModel, StrictInt, StrictStr

__all__ = [
    "Classes",
    "ExperienceEnded",
    "InferenceError",
    "KeyList",
    "KeyMade",
    "LearnerChange",
    "LearnerList",
    "LearnerState",
    "ModelIndex",
    "ModelMetadata",
    "NewKey",
    "NewLearner",
    "Predictions",
    "ProblemBody",
    "SampleList",
    "SampleNote",
    "ServerMetadata",
    "StrategyList",
    "Taught",
]


class Strict(BaseModel):
    """A request body: what it does not know, it refuses."""

    model_config = ConfigDict(extra="forbid")


ThumbnailBudget = Annotated[ByteSize, Field(ge=0, lt=2**40)] | None


class NewLearner(Strict):
    """A learner to create."""

    name: StrictStr = Field(description="1 to 64 letters, digits, dots, dashes, underscores.")
    strategy: StrictStr | None = Field(None, description="Of /v1/strategies.")
    memory_budget: Annotated[ByteSize, Field(gt=0, lt=2**50)] | None = Field(
        None, description="Bytes, or text as in 1MiB."
    )
    options: dict[StrictStr, Any] | None = Field(None, description="Of the strategy.")
    extractor: StrictStr | None = Field(
        None,
        description="`default` for images, `default@LAYER` for latents of one of "
        "/v1/extractor/layers; with `dim`, the id of the client's own extractor.",
    )
    dim: Annotated[StrictInt, Field(ge=1, le=65_536)] | None = Field(
        None, description="Width of float32 latents that clients send themselves."
    )
    frontend: StrictStr | None = Field(
        None, description="`sound` or `series`, for recordings instead of images."
    )
    frontend_options: dict[StrictStr, Any] | None = Field(
        None, description="Of `series`: channels, centre, scale."
    )
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63)] | None = Field(
        None, description="Of the random generator."
    )
    thumbnail_budget: ThumbnailBudget = Field(
        None, description="Bytes for small pictures of what it is taught; none if left out."
    )


class LayerNote(BaseModel):
    """A layer at which the extractor can be cut."""

    layer: str = Field(description="A learner's `extractor` is `default@` and this.")
    shape: list[int] = Field(description="Channels, height, width.")
    latent_bytes: int = Field(description="Bytes of one latent, as codes.")
    tail_weights: int = Field(description="Weights of the layers above.")


class LayerList(BaseModel):
    """The layers at which the extractor can be cut, in the order of computation."""

    extractor: str | None
    layers: list[LayerNote]


class LearnerChange(Strict):
    """A change to a learner."""

    strategy: StrictStr | None = Field(None, description="`auto`: the planner chooses.")
    memory_budget: Annotated[ByteSize, Field(gt=0, lt=2**50)] | None = None
    options: dict[StrictStr, Any] | None = None
    extractor: StrictStr | None = None
    thumbnail_budget: ThumbnailBudget = Field(None, description="0 deletes all thumbnails.")


class DamageNote(BaseModel):
    """Operations that the journal cannot give back."""

    first: int
    last: int
    samples: int
    learned: bool = Field(description="Whether a snapshot still knows them.")
    reason: str
    found_at: float


class ChangeNote(BaseModel):
    """A change of strategy that is under way."""

    strategy: str
    options: dict[str, Any]
    since: int = Field(description="The operation that began it.")


class LearnerState(BaseModel):
    """A learner."""

    name: str
    strategy: str
    options: dict[str, Any]
    change: ChangeNote | None = Field(description="What is being built to take its place.")
    plan: dict[str, Any] | None = Field(
        description="What strategy `auto` planned for, and why it chose so; null if it did not."
    )
    change_failure: str | None = Field(description="Why the last change was given up, if it was.")
    seed: int
    extractor: str | None
    frontend: dict[str, Any] | None = Field(
        description="Name and options of the front end, if it has one."
    )
    dim: int
    memory_budget: int
    memory_used: int
    memory: dict[str, int] = Field(description="Bytes by part; the sum is memory_used.")
    thumbnail_budget: int = Field(description="Bytes for thumbnails; 0 where none are kept.")
    thumbnail_used: int = Field(description="Of these, taken on the disk.")
    version: int = Field(description="The last operation that predictions know.")
    samples_seen: int
    classes: int
    loaded: bool = Field(description="False while it is unused and on the disk only.")
    queued: int = Field(description="Requests that wait to be committed.")
    created_at: float
    failure: str | None = Field(description="Why it stopped learning, if it did.")
    damages: list[DamageNote]


class LearnerList(BaseModel):
    """All learners."""

    learners: list[LearnerState]


class ClassNote(BaseModel):
    """A class and the samples learned of it."""

    label: str
    samples: int


class Classes(BaseModel):
    """All classes of a learner, in the order in which they first came."""

    classes: list[ClassNote]
    version: int


class WarningNote(BaseModel):
    """A doubt about a sample."""

    sample: int = Field(description="Its place in the request, from 0.")
    kind: str = Field(
        description="`near-duplicate`, `label-conflict`, `small`, `dark`, `bright`, `flat` or "
        "`blurred`."
    )
    detail: str


class Taught(BaseModel):
    """The receipt for samples."""

    learner: str
    version: int = Field(description="A prediction of this version or later knows the samples.")
    accepted: int
    ids: list[int]
    predicted: list[str | None] = Field(
        description="What was said of each sample before it was learned; null if nothing could be."
    )
    warnings: list[WarningNote] = Field(description="Doubts; the samples are taken all the same.")
    durable: bool
    learned: bool = Field(description="False for mode=async: they are learned in a moment.")


class ExperienceEnded(BaseModel):
    """The receipt for a boundary."""

    learner: str
    version: int
    durable: bool
    learned: bool


class Candidate(BaseModel):
    """One class that a sample may be of."""

    label: str
    score: float


class NeighbourNote(BaseModel):
    """A remembered sample that is like the one that was asked about."""

    sample_id: int
    label: str
    similarity: float = Field(description="Cosine of the latents, at most 1.")


class PredictionNote(BaseModel):
    """What the learner says about one sample."""

    label: str = Field(description="Empty while nothing was learned.")
    score: float
    unknown: bool = Field(description="It is typical of no class that was taught.")
    typicality: float = Field(
        description="Share of samples of the taught classes that look less like these."
    )
    top: list[Candidate]
    prediction_id: str = Field(description="For feedback.")
    neighbours: list[NeighbourNote] | None = Field(
        None, description="With ?explain=, the nearest of the replay memory; best first."
    )


class Predictions(BaseModel):
    """Predictions in the order of the samples."""

    predictions: list[PredictionNote]
    model_version: int


class SampleNote(BaseModel):
    """An acknowledged sample."""

    id: int
    version: int = Field(description="The operation that brought it.")
    label: str
    context: str | None
    device: str | None
    captured_at: str | None = Field(description="The client's time, as it was sent.")
    received_at: float
    metadata: dict[str, Any] | None = Field(description="What the client said of it.")
    thumbnail: bool = Field(description="Whether there is a small picture of it.")


class SampleList(BaseModel):
    """A page of samples."""

    items: list[SampleNote]
    next_cursor: str | None
    total: int = Field(description="Samples ever acknowledged.")
    retired: int = Field(description="Of these, dropped from the journal to bound the disk.")


class StrategyNote(BaseModel):
    """A strategy that learners can have."""

    name: str
    summary: str
    paper: str
    needs: dict[str, Any]
    corrections: dict[str, Any] = Field(
        description="`forgetting` is exact or approximate; `denials`: learns what a sample is not."
    )
    options: dict[str, Any] = Field(description="JSON schema of its options.")


class StrategyList(BaseModel):
    """All strategies."""

    strategies: list[StrategyNote]


class NewKey(Strict):
    """An API key to make."""

    name: Annotated[StrictStr, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
    scopes: Annotated[list[Literal["read", "predict", "learn", "admin"]], Field(min_length=1)]
    learners: (
        Annotated[list[Annotated[StrictStr, Field(max_length=64)]], Field(min_length=1)] | None
    ) = Field(None, description="The only learners that it reaches; leave it out for all.")
    expires_in_s: Annotated[float, Field(gt=0, le=315_360_000)] | None = Field(
        None, description="Leave it out for a key that does not expire."
    )


class KeyNote(BaseModel):
    """A stored key, without its secret."""

    id: str
    name: str
    scopes: list[str]
    learners: list[str] | None
    created_at: float
    expires_at: float | None
    expired: bool
    used_at: float | None = Field(description="Its last request since the service started.")


class KeyMade(KeyNote):
    """A new key with its text."""

    key: str = Field(description="Send it as `Authorization: Bearer`; it is never shown again.")


class KeyList(BaseModel):
    """All stored keys."""

    keys: list[KeyNote]


class ServerMetadata(BaseModel):
    """The server, as the Open Inference Protocol tells of it."""

    name: str
    version: str
    extensions: list[str]


class TensorNote(BaseModel):
    """One input or output of a model."""

    name: str
    datatype: str
    shape: list[int] = Field(description="-1 is any length.")


class ModelMetadata(BaseModel):
    """A learner, as the Open Inference Protocol tells of a model."""

    name: str
    versions: list[str] = Field(description="The present one.")
    platform: str
    inputs: list[TensorNote] = Field(description="A request has exactly one of them.")
    outputs: list[TensorNote]


class ModelState(BaseModel):
    """One line of the index of models."""

    name: str
    version: str
    state: str
    reason: str


class ModelIndex(RootModel[list[ModelState]]):
    """All learners, as models."""


class InferenceError(BaseModel):
    """An error below /v2."""

    error: str


class FieldFault(BaseModel):
    """What is wrong with one field."""

    pointer: str
    detail: str


class ProblemBody(BaseModel):
    """An error, as of RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    hint: str
    errors: list[FieldFault] = []
