"""A learner as a model of the Open Inference Protocol: which tensors go in, which come out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_cl.types import Array
from service.answered import Answered
from service.bodies import Item
from service.errors import Problem
from service.served import ServedLearner
from service.tensors import InferenceRequest, Tensor, Wish

__all__ = ["answered", "items_of", "metadata", "outputs_of"]

PLATFORM = "edge_cl"
PROBABILITIES = "probabilities"
ALL_CLASSES = 2**31
LATENT_DTYPES = {"FP32": "float32", "FP16": "float16", "UINT8": "uint8"}


def inputs_of(served: ServedLearner) -> list[dict[str, Any]]:
    """The inputs that a learner takes; a request has exactly one of them."""
    dim = served.spec.dim
    inputs = [{"name": "latent", "datatype": "FP32", "shape": [-1, dim]}]
    if served.spec.quantised:
        inputs.append({"name": "codes", "datatype": "UINT8", "shape": [-1, dim]})
    if not served.store.origin.takes_images:
        return inputs
    return [
        {"name": "image", "datatype": "BYTES", "shape": [-1]},
        {"name": "pixels", "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
        *inputs,
    ]


OUTPUTS: tuple[dict[str, Any], ...] = (
    {"name": "label", "datatype": "BYTES", "shape": [-1]},
    {"name": "score", "datatype": "FP32", "shape": [-1]},
    {"name": "unknown", "datatype": "BOOL", "shape": [-1]},
    {"name": "typicality", "datatype": "FP32", "shape": [-1]},
    {"name": "prediction_id", "datatype": "BYTES", "shape": [-1]},
    {"name": PROBABILITIES, "datatype": "FP32", "shape": [-1, -1]},
)


def metadata(served: ServedLearner) -> dict[str, Any]:
    """What the protocol tells of a model."""
    return {
        "name": served.name,
        "versions": [str(served.worker.view.version)],
        "platform": PLATFORM,
        "inputs": inputs_of(served),
        "outputs": list(OUTPUTS),
    }


def items_of(request: InferenceRequest, served: ServedLearner, most: int) -> list[Item]:
    """The samples in a request's input.

    Raises
    ------
    Problem
        If there is not exactly one input, or its shape or datatype is not the model's.
    """
    known = {one["name"]: one for one in inputs_of(served)}
    if len(request.inputs) != 1 or request.inputs[0].name not in known:
        names = ", ".join(repr(one.name[:40]) for one in request.inputs)
        raise Problem("invalid", f"the inputs are {names}; give one of {', '.join(known)}")
    tensor, wanted = request.inputs[0], known[request.inputs[0].name]
    _check(tensor, wanted)
    if len(tensor.values) > most:
        raise Problem(
            "too-large", f"{len(tensor.values)} samples in one request, at most {most} are taken"
        )
    context = _context_of(request)
    return [
        _item(f"/inputs/0/{row}", tensor, tensor.values[row], context)
        for row in range(len(tensor.values))
    ]


def _check(tensor: Tensor, wanted: dict[str, Any]) -> None:
    shape, expected = list(tensor.values.shape), wanted["shape"]
    if tensor.name == "image" and len(shape) == 2 and shape[1] == 1:
        # A batch axis of its own is what many clients add.
        shape = shape[:1]
    allowed = ("FP32", "FP16") if tensor.name == "latent" else (wanted["datatype"],)
    fits = len(shape) == len(expected) and all(
        e in (-1, n) for n, e in zip(shape, expected, strict=True)
    )
    if tensor.datatype not in allowed or not fits or 0 in shape:
        raise Problem(
            "invalid",
            f"input {tensor.name!r} is {tensor.datatype} {shape}; this model takes "
            f"{' or '.join(allowed)} {expected}, -1 being at least 1",
        )


def _item(pointer: str, tensor: Tensor, row: Any, context: str | None) -> Item:
    if tensor.name == "image":
        return Item(pointer, image=row if isinstance(row, bytes) else row[0], context=context)
    if tensor.name == "pixels":
        return Item(pointer, image=row, context=context)
    dtype = LATENT_DTYPES[tensor.datatype]
    return Item(pointer, latent=row.tobytes(), dtype=dtype, context=context)


def _context_of(request: InferenceRequest) -> str | None:
    """The parameter `context`, for strategies that use it."""
    context = request.parameters.get("context")
    if context is not None and not isinstance(context, str):
        raise Problem("invalid", f"parameter context is {str(context)[:40]!r}, not a string")
    return context


def outputs_of(answer: Answered) -> dict[str, Tensor]:
    """Every output by name."""
    predictions = answer.predictions
    numbers = {label: number for number, label in enumerate(answer.view.published.labels)}
    probabilities = np.zeros((len(predictions), len(numbers)), np.float32)
    for row, one in enumerate(predictions):
        for label, score in one.top:
            probabilities[row, numbers[label]] = score
    columns = {
        "label": _objects([one.label.encode() for one in predictions]),
        "score": np.array([one.score for one in predictions], np.float32),
        "unknown": np.array([one.unknown for one in predictions], np.bool_),
        "typicality": np.array([one.typicality for one in predictions], np.float32),
        "prediction_id": _objects([one.encode() for one in answer.ids]),
        PROBABILITIES: probabilities,
    }
    return {one["name"]: Tensor(one["name"], one["datatype"], columns[one["name"]])
            for one in OUTPUTS}  # fmt: skip


def answered(
    request: InferenceRequest, outputs: dict[str, Tensor], labels: Sequence[str]
) -> tuple[list[Tensor], list[bool]]:
    """The outputs that were asked for, and which of them come as bytes."""
    wishes = request.wishes
    if wishes is None:
        wishes = tuple(Wish(name, request.binary) for name in outputs)
    for wish in wishes:
        if wish.name not in outputs:
            raise Problem("invalid", f"there is no output {wish.name[:40]!r}; there are: "
                          f"{', '.join(outputs)}")  # fmt: skip
        if wish.classes and wish.name != PROBABILITIES:
            raise Problem("invalid", f"classification is for the output {PROBABILITIES!r}")
    tensors = [
        _classification(outputs[wish.name], wish.classes, labels)
        if wish.classes
        else outputs[wish.name]
        for wish in wishes
    ]
    return tensors, [wish.binary for wish in wishes]


def _classification(tensor: Tensor, classes: int, labels: Sequence[str]) -> Tensor:
    """The classification extension: ``score:index:label`` of the best classes, best first."""
    best = np.argsort(-tensor.values, axis=1, kind="stable")[:, :classes]
    texts = [
        f"{tensor.values[row, c]:f}:{c}:{labels[c]}".encode()
        for row in range(len(best))
        for c in best[row]
    ]
    return Tensor(tensor.name, "BYTES", _objects(texts).reshape(best.shape))


def _objects(texts: list[bytes]) -> Array:
    values = np.empty(len(texts), dtype=object)
    values[:] = texts
    return values
