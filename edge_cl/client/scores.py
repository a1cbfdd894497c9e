"""How good a learner is, described as the other requests are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from edge_cl.client.answers import Json
from edge_cl.client.calls import Call, Image, Latents, encoded_latents, form_call, given

__all__ = [
    "Evaluated",
    "Metrics",
    "evaluate",
    "evaluate_latents",
    "evaluate_samples",
    "metrics",
]


@dataclass(frozen=True)
class Evaluated:
    """Predictions of labelled samples that were not learned, counted.

    Parameters
    ----------
    samples
        Samples that something could be said of.
    correct
        Of these, predicted as their label.
    accuracy
        The share of these; None without samples.
    predicted
        What was said of each sample, in their order; None where nothing could be.
    version
        Version of the learner that answered.
    answer
        The whole answer, with classes, confusion and calibration.
    """

    samples: int
    correct: int
    accuracy: float | None
    predicted: tuple[str | None, ...]
    version: int
    answer: Json = field(repr=False)


@dataclass(frozen=True)
class Metrics:
    """How well taught samples were predicted before they were learned.

    Parameters
    ----------
    samples
        Samples that were predicted, since the start.
    accuracy
        The share of these that was right; None without samples.
    recent_accuracy
        The same over the last samples.
    forgetting
        Mean over the classes; None before there is enough to tell.
    drifting
        Whether errors rose of late by more than chance explains.
    version
        Version of the learner.
    answer
        The whole answer, with classes, confusion, calibration and drift.
    """

    samples: int
    accuracy: float | None
    recent_accuracy: float | None
    forgetting: float | None
    drifting: bool
    version: int
    answer: Json = field(repr=False)


def metrics(learner: str) -> Call[Metrics]:
    """How well every taught sample was predicted before it was learned."""
    return Call("GET", f"/v1/learners/{learner}/metrics", _metrics)


def evaluate(
    learner: str, images: Sequence[Image], labels: Sequence[str], *, context: str | None = None
) -> Call[Evaluated]:
    """Predict labelled images and count what is right; nothing is learned.

    Parameters
    ----------
    images
        JPEG, PNG or WebP, or sounds as WAV: bytes or paths.
    labels
        One label an image.
    context
        The situation they come from, for strategies that use one.
    """
    return form_call(_path(learner), _evaluated, images, given(context=context), labels)


def evaluate_latents(
    learner: str, latents: Latents, labels: Sequence[str], *, context: str | None = None
) -> Call[Evaluated]:
    """As `evaluate`, of rows of latents."""
    samples = [
        {"label": label, **encoded}
        for label, encoded in zip(labels, encoded_latents(latents), strict=True)
    ]
    return evaluate_samples(learner, samples, context=context)


def evaluate_samples(
    learner: str, samples: Sequence[Json], *, context: str | None = None
) -> Call[Evaluated]:
    """As `evaluate`, of labelled samples that are JSON already; see `teach_samples`."""
    body = {"samples": list(samples)}
    return Call("POST", _path(learner), _evaluated, given(context=context), json=body)


def _path(learner: str) -> str:
    return f"/v1/learners/{learner}/evaluate"


def _evaluated(response: httpx.Response) -> Evaluated:
    answer = response.json()
    return Evaluated(
        samples=answer["samples"],
        correct=answer["correct"],
        accuracy=answer["accuracy"],
        predicted=tuple(answer["predicted"]),
        version=answer["model_version"],
        answer=answer,
    )


def _metrics(response: httpx.Response) -> Metrics:
    answer = response.json()
    start = answer["since_start"]
    return Metrics(
        samples=start["samples"],
        accuracy=start["accuracy"],
        recent_accuracy=answer["window"]["accuracy"],
        forgetting=start["forgetting"],
        drifting=answer["drift"]["drifting"],
        version=answer["version"],
        answer=answer,
    )
