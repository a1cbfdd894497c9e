"""Every call of the service, described once; both clients have each as a method.

A description takes the name of the learner first, which a client fills in.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import httpx

from edge_cl.client.answers import Json, Predicted, Taught, as_json, nothing, predicted, taught
from edge_cl.client.calls import (
    Call,
    Image,
    Latents,
    Metadata,
    encoded_latents,
    form_call,
    given,
    image_call,
    query_notes,
)


def alive(_: str, /) -> Call[None]:
    """Describe the question whether anything answers."""
    return Call("GET", "/livez", nothing)


def teach(
    learner: str,
    image: Image,
    label: str,
    *,
    context: str | None = None,
    device: str | None = None,
    captured_at: str | None = None,
    metadata: Metadata | None = None,
    idempotency_key: str | None = None,
    mode: str = "sync",
) -> Call[Taught]:
    """Teach one labelled image; on return it is durable.

    Parameters
    ----------
    image
        JPEG, PNG or WebP, or a sound as WAV: its bytes or a path.
    label
        The class that it shows.
    context
        The situation it comes from, for strategies that use one.
    device
        Who saw it.
    captured_at
        When it was seen, in the device's own words.
    metadata
        What else is to be kept beside it: a JSON object of at most 2 KiB.
    idempotency_key
        Two calls with one key count once; a fresh one if None.
    mode
        ``sync`` returns when it is learned, ``async`` when it is durable.
    """
    notes = query_notes(context, device, captured_at, metadata)
    params = {"label": label, "mode": mode, **notes}
    return image_call(_samples(learner), taught, [image], params).once(idempotency_key)


def teach_many(
    learner: str,
    images: Sequence[Image],
    labels: Sequence[str],
    *,
    metadata: Sequence[Metadata | None] | None = None,
    idempotency_key: str | None = None,
    mode: str = "sync",
) -> Call[Taught]:
    """Teach several labelled images in one request; all are accepted, or none.

    Parameters
    ----------
    images
        JPEG, PNG or WebP: bytes or paths.
    labels
        One label an image.
    metadata
        One object an image, or None.
    idempotency_key
        Two calls with one key count once; a fresh one if None.
    mode
        ``sync`` returns when they are learned, ``async`` when they are durable.
    """
    call = form_call(_samples(learner), taught, images, {"mode": mode}, labels, metadata)
    return call.once(idempotency_key)


def teach_latents(
    learner: str,
    latents: Latents,
    labels: Sequence[str],
    *,
    contexts: Sequence[str] | None = None,
    metadata: Sequence[Metadata | None] | None = None,
    idempotency_key: str | None = None,
    mode: str = "sync",
) -> Call[Taught]:
    """Teach rows of latents, for a device with an extractor of its own.

    Parameters
    ----------
    latents
        (N, D) float32, or uint8 codes of the service's own extractor.
    labels
        One label a row.
    contexts
        One context a row, or None.
    metadata
        One object a row, or None.
    idempotency_key
        Two calls with one key count once; a fresh one if None.
    mode
        ``sync`` returns when they are learned, ``async`` when they are durable.
    """
    samples: list[Json] = [
        {"label": label, **encoded}
        for label, encoded in zip(labels, encoded_latents(latents), strict=True)
    ]
    for name, column in (("context", contexts), ("metadata", metadata)):
        if column is not None:
            for sample, value in zip(samples, column, strict=True):
                sample[name] = value
    body = {"samples": samples}
    call = Call("POST", _samples(learner), taught, {"mode": mode}, json=body)
    return call.once(idempotency_key)


def teach_series(
    learner: str,
    series: Sequence[Sequence[float]],
    label: str,
    *,
    context: str | None = None,
    device: str | None = None,
    captured_at: str | None = None,
    metadata: Metadata | None = None,
    idempotency_key: str | None = None,
    mode: str = "sync",
) -> Call[Taught]:
    """Teach one labelled window of sensor readings.

    Parameters
    ----------
    series
        Rows of readings, one number a channel.
    label
        The class that it is of.
    context, device, captured_at, metadata, idempotency_key, mode
        As for `teach`.
    """
    notes: Json = dict(given(context=context, device=device, captured_at=captured_at))
    if metadata is not None:
        notes["metadata"] = metadata
    body = {"samples": [{"label": label, "series": _rows(series), **notes}]}
    call = Call("POST", _samples(learner), taught, {"mode": mode}, json=body)
    return call.once(idempotency_key)


def teach_samples(
    learner: str,
    samples: Sequence[Json],
    *,
    idempotency_key: str | None = None,
    mode: str = "sync",
) -> Call[Taught]:
    """Teach samples that are JSON already, as in ``POST /v1/learners/{learner}/samples``.

    Parameters
    ----------
    samples
        Each with its ``label`` and one of ``image_b64``, ``audio_b64``, ``series``, ``latent``.
    idempotency_key, mode
        As for `teach`.
    """
    body = {"samples": list(samples)}
    call = Call("POST", _samples(learner), taught, {"mode": mode}, json=body)
    return call.once(idempotency_key)


def predict(
    learner: str, image: Image, *, top_k: int = 1, context: str | None = None, explain: int = 0
) -> Call[Predicted]:
    """What one image shows; `explain` adds so many of the nearest remembered samples."""
    asked = _asked(top_k, context, explain)
    return image_call(f"{_path(learner)}/predict", _first, [image], asked)


def predict_many(
    learner: str, images: Sequence[Image], *, top_k: int = 1, context: str | None = None
) -> Call[list[Predicted]]:
    """What each of some images shows, in one request."""
    return image_call(f"{_path(learner)}/predict", predicted, images, _asked(top_k, context))


def predict_latents(
    learner: str, latents: Latents, *, top_k: int = 1, context: str | None = None
) -> Call[list[Predicted]]:
    """What each row of latents shows."""
    body = {"samples": encoded_latents(latents)}
    path = f"{_path(learner)}/predict"
    return Call("POST", path, predicted, _asked(top_k, context), json=body)


def feed_back(
    learner: str,
    prediction: Predicted | str,
    *,
    label: str | None = None,
    correct: bool | None = None,
    not_label: str | None = None,
) -> Call[Json]:
    """Say what a prediction should have been; exactly one of the three. It counts once.

    Parameters
    ----------
    prediction
        What `predict` returned, or its id.
    label
        What it is.
    correct
        Whether the label that was predicted is right.
    not_label
        A label that it does not have.
    """
    name = prediction if isinstance(prediction, str) else prediction.prediction_id
    said = {"label": label, "correct": correct, "not": not_label}
    body = {key: value for key, value in said.items() if value is not None}
    path = f"{_path(learner)}/predictions/{quote(name, safe='')}/feedback"
    return Call("POST", path, as_json, json=body)


def inbox(learner: str, *, limit: int = 50, unknown: bool = False) -> Call[list[Json]]:
    """Recent predictions without feedback: unknown first, then the least sure."""
    params = {"limit": str(limit), "unknown": str(unknown).lower()}
    path = f"{_path(learner)}/inbox"
    return Call("GET", path, lambda response: list(response.json()["items"]), params)


def predict_samples(
    learner: str, samples: Sequence[Json], *, top_k: int = 1, context: str | None = None
) -> Call[list[Predicted]]:
    """What each of some samples is that are JSON already; see `teach_samples`."""
    path = f"{_path(learner)}/predict"
    return Call("POST", path, predicted, _asked(top_k, context), json={"samples": list(samples)})


def predict_series(
    learner: str,
    series: Sequence[Sequence[float]],
    *,
    top_k: int = 1,
    context: str | None = None,
) -> Call[Predicted]:
    """What one window of sensor readings is."""
    body = {"samples": [{"series": _rows(series)}]}
    path = f"{_path(learner)}/predict"
    return Call("POST", path, _first, _asked(top_k, context), json=body)


def end_experience(learner: str, *, idempotency_key: str | None = None) -> Call[Json]:
    """Close the stretch of stream that the learner is in."""
    return Call("POST", f"{_path(learner)}/experience/end", as_json).once(idempotency_key)


def samples_page(learner: str, wanted: dict[str, str], cursor: str | None) -> Call[Json]:
    """Describe the question for the samples after `cursor`."""
    params = {"limit": "1000", **wanted, **given(cursor=cursor)}
    return Call("GET", _samples(learner), as_json, params)


def classes(learner: str) -> Call[dict[str, int]]:
    """Samples learned of each class, in the order in which the classes came."""
    return Call("GET", f"{_path(learner)}/classes", _counts)


def state(learner: str) -> Call[Json]:
    """What the learner is: strategy, version, classes, bytes by part."""
    return Call("GET", _path(learner), as_json)


def sample(learner: str, sample_id: int) -> Call[Json]:
    """One sample that is taught at present."""
    return Call("GET", f"{_samples(learner)}/{sample_id}", as_json)


def thumbnail(learner: str, sample_id: int) -> Call[bytes]:
    """A small picture of a sample, as JPEG, where the learner keeps such."""
    return Call("GET", f"{_samples(learner)}/{sample_id}/thumbnail", _content)


def prediction_thumbnail(learner: str, prediction_id: str) -> Call[bytes]:
    """A small picture of what waits in the inbox, as JPEG, where the learner keeps such."""
    name = quote(prediction_id, safe="")
    return Call("GET", f"{_path(learner)}/predictions/{name}/thumbnail", _content)


def _path(learner: str) -> str:
    return f"/v1/learners/{learner}"


def _samples(learner: str) -> str:
    return f"{_path(learner)}/samples"


def _rows(series: Sequence[Sequence[float]]) -> list[list[float]]:
    return [[float(reading) for reading in row] for row in series]


def _asked(top_k: int, context: str | None, explain: int = 0) -> dict[str, str]:
    wanted = {"explain": str(explain)} if explain else {}
    return {"top_k": str(top_k), **wanted, **given(context=context)}


def _content(response: httpx.Response) -> bytes:
    return response.content


def _first(response: httpx.Response) -> Predicted:
    return predicted(response)[0]


def _counts(response: httpx.Response) -> dict[str, int]:
    return {one["label"]: one["samples"] for one in response.json()["classes"]}
