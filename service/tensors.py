"""Tensors of the Open Inference Protocol v2: requests read, answers written.

The head of a request is JSON. With the binary tensor extension the head ends after
``Inference-Header-Content-Length`` bytes, and the tensors that name a ``binary_data_size``
follow one after the other, little-endian; strings with their length in four bytes before.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, StrictInt, StrictStr, ValidationError

from edge_cl.types import Array
from service.answers import of_validation
from service.errors import Problem

__all__ = ["HEAD_LENGTH", "InferenceRequest", "Tensor", "Wish", "read_request", "write_answer"]

HEAD_LENGTH = "Inference-Header-Content-Length"
NUMBERS = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8",
    "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
STRINGS = "BYTES"
MOST_TENSORS = 8


@dataclass(frozen=True)
class Tensor:
    """A named array; of bytes objects if the datatype is ``BYTES``."""

    name: str
    datatype: str
    values: Array


@dataclass(frozen=True)
class Wish:
    """An output that the client asks for.

    Parameters
    ----------
    name
        Of the output.
    binary
        Whether its values come as bytes after the head.
    classes
        How many classes of the classification extension, or 0 for the tensor itself.
    """

    name: str
    binary: bool
    classes: int = 0


@dataclass(frozen=True)
class InferenceRequest:
    """What is to be inferred.

    Parameters
    ----------
    id
        Of the request, which the answer repeats.
    inputs
        Tensors.
    wishes
        Outputs that are asked for; None for all of them.
    binary
        Whether outputs come as bytes where a wish does not say.
    parameters
        Of the request.
    """

    id: str | None
    inputs: tuple[Tensor, ...]
    wishes: tuple[Wish, ...] | None
    binary: bool
    parameters: Mapping[str, Any]


class InputHead(BaseModel):
    """An input, as the head says it."""

    name: StrictStr
    shape: Annotated[list[Annotated[StrictInt, Field(ge=0, lt=2**31)]], Field(max_length=8)]
    datatype: StrictStr
    parameters: dict[str, Any] = {}
    data: Any = None


class OutputHead(BaseModel):
    """An output that is asked for, as the head says it."""

    name: StrictStr
    parameters: dict[str, Any] = {}


class RequestHead(BaseModel):
    """The JSON of an inference request."""

    id: StrictStr | None = None
    parameters: dict[str, Any] = {}
    inputs: Annotated[list[InputHead], Field(min_length=1, max_length=MOST_TENSORS)]
    outputs: Annotated[list[OutputHead], Field(max_length=MOST_TENSORS)] | None = None


def read_request(content: bytes, head_length: str | None) -> InferenceRequest:
    """The request in a body.

    Parameters
    ----------
    content
        The body.
    head_length
        The header of the binary extension, or None if all of the body is JSON.

    Raises
    ------
    Problem
        If it cannot be read; the detail says where.
    """
    length = _head_length(head_length, len(content))
    try:
        head = RequestHead.model_validate_json(content[:length])
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            raise Problem("malformed", str(error.errors()[0]["msg"])) from error
        raise of_validation(error, "/") from error
    binary = _flag(head.parameters, "binary_data_output", False)
    wishes = None if head.outputs is None else tuple(_wish(one, binary) for one in head.outputs)
    inputs = tuple(_tensors(head.inputs, memoryview(content)[length:]))
    return InferenceRequest(head.id, inputs, wishes, binary, head.parameters)


def write_answer(
    content: dict[str, Any], outputs: Sequence[Tensor], binary: Sequence[bool]
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an answer.

    Parameters
    ----------
    content
        Members of the head beside the outputs.
    outputs
        Tensors.
    binary
        For each, whether its values come as bytes after the head.
    """
    described, tail = [], []
    for output, as_bytes in zip(outputs, binary, strict=True):
        note: dict[str, Any] = {
            "name": output.name, "datatype": output.datatype, "shape": list(output.values.shape),
        }  # fmt: skip
        if as_bytes:
            tail.append(_to_bytes(output))
            note["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            note["data"] = [_plain(value) for value in output.values.ravel().tolist()]
        described.append(note)
    head = json.dumps({**content, "outputs": described}).encode()
    if not any(binary):
        return head, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", HEAD_LENGTH: str(len(head))}
    return b"".join([head, *tail]), headers


def _head_length(sent: str | None, whole: int) -> int:
    if sent is None:
        return whole
    if not (sent.isascii() and sent.isdigit()) or int(sent) > whole:
        raise Problem(
            "malformed", f"{HEAD_LENGTH} is {sent[:40]!r}, the body has {whole:,} bytes"
        ).at(f"header/{HEAD_LENGTH}")
    return int(sent)


def _flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise Problem("invalid", f"parameter {name} is {str(value)[:40]!r}, not true or false")
    return value


def _wish(head: OutputHead, binary: bool) -> Wish:
    classes = head.parameters.get("classification", 0)
    if type(classes) is not int or not 0 <= classes < 2**31:
        raise Problem(
            "invalid", f"parameter classification is {str(classes)[:40]!r}, not a count of classes"
        )
    return Wish(head.name, _flag(head.parameters, "binary_data", binary), classes)


def _tensors(heads: Sequence[InputHead], tail: memoryview) -> list[Tensor]:
    found, start = [], 0
    for number, head in enumerate(heads):
        if head.datatype != STRINGS and head.datatype not in NUMBERS:
            known = ", ".join([*NUMBERS, STRINGS])
            detail = f"datatype {head.datatype[:40]!r} is not known: {known} are"
            raise Problem("invalid", detail).at(f"/inputs/{number}/datatype")
        size = head.parameters.get("binary_data_size")
        try:
            if size is None:
                values = _from_json(head)
            else:
                values = _from_bytes(head, _piece(tail, start, size))
                start += size
        except Problem as fault:
            raise fault.at(f"/inputs/{number}") from fault
        found.append(Tensor(head.name, head.datatype, values.reshape(head.shape)))
    if start != len(tail):
        raise Problem("malformed", f"{len(tail) - start:,} bytes after the head are of no input")
    return found


def _piece(tail: memoryview, start: int, size: Any) -> memoryview:
    if type(size) is not int or not 0 <= size <= len(tail) - start:
        raise Problem(
            "malformed",
            f"binary_data_size is {str(size)[:40]!r}, {len(tail) - start:,} bytes are left",
        )
    return tail[start : start + size]


def _from_bytes(head: InputHead, piece: memoryview) -> Array:
    wanted = math.prod(head.shape)
    if head.datatype == STRINGS:
        return _as_objects(_strings(piece), wanted)
    dtype = np.dtype(NUMBERS[head.datatype])
    if len(piece) != wanted * dtype.itemsize:
        raise Problem(
            "invalid",
            f"shape {head.shape} of {head.datatype} takes {wanted * dtype.itemsize:,} bytes, "
            f"binary_data_size is {len(piece):,}",
        )
    return np.frombuffer(piece, dtype)


def _strings(piece: memoryview) -> list[bytes]:
    found, start = [], 0
    while start < len(piece):
        stop = start + 4 + int.from_bytes(piece[start : start + 4], "little")
        if start + 4 > len(piece) or stop > len(piece):
            raise Problem("malformed", f"a string ends beyond the tensor's {len(piece):,} bytes")
        found.append(bytes(piece[start + 4 : stop]))
        start = stop
    return found


def _from_json(head: InputHead) -> Array:
    if not isinstance(head.data, list):
        raise Problem("invalid", "an input has a list `data`, or a parameter binary_data_size")
    wanted = math.prod(head.shape)
    flat = _flat(head.data)
    if head.datatype == STRINGS:
        return _as_objects([_decoded(text) for text in flat], wanted)
    dtype = np.dtype(NUMBERS[head.datatype])
    allowed = (bool,) if dtype.kind == "b" else (int, float) if dtype.kind == "f" else (int,)
    if not all(type(value) in allowed for value in flat):
        raise Problem("invalid", f"`data` has values that are not of {head.datatype}")
    if len(flat) != wanted:
        raise _miscounted(len(flat), wanted)
    try:
        with np.errstate(over="ignore"):
            values = np.array(flat, np.float64 if dtype.kind == "f" else object).astype(dtype)
    except OverflowError as error:
        raise Problem("invalid", f"`data` has values beyond {head.datatype}") from error
    if dtype.kind in "iu" and values.tolist() != flat:
        raise Problem("invalid", f"`data` has values beyond {head.datatype}")
    return values


def _flat(data: list[Any]) -> list[Any]:
    """Values of a list, nested or not."""
    flat: list[Any] = []
    waiting = [iter(data)]
    while waiting:
        for value in waiting[-1]:
            if isinstance(value, list):
                waiting.append(iter(value))
                break
            flat.append(value)
        else:
            waiting.pop()
    return flat


def _decoded(text: Any) -> bytes:
    if not isinstance(text, str):
        raise Problem("invalid", "`data` of BYTES is strings, of base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem("invalid", f"a string of BYTES is no base64: {error}") from error


def _as_objects(strings: list[bytes], wanted: int) -> Array:
    if len(strings) != wanted:
        raise _miscounted(len(strings), wanted)
    values = np.empty(len(strings), dtype=object)
    values[:] = strings
    return values


def _miscounted(found: int, wanted: int) -> Problem:
    return Problem("invalid", f"the shape has room for {wanted:,} values, there are {found:,}")


def _to_bytes(tensor: Tensor) -> bytes:
    if tensor.datatype != STRINGS:
        return tensor.values.astype(NUMBERS[tensor.datatype]).tobytes()
    return b"".join(len(text).to_bytes(4, "little") + text for text in tensor.values.ravel())


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
