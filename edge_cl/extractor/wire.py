"""Just enough of the protobuf wire format to refuse what a model file must not hold.

ONNX allows a tensor to live in another file, named by a path inside the model.
A model from elsewhere could so name any file of the device; the runtime would
open it before we could look. Reading the wire format takes a few lines and
spares the serving process the onnx package.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5

# Field numbers of onnx.proto: what of each message can contain a TensorProto.
_TENSOR_EXTERNAL_DATA, _TENSOR_LOCATION = 13, 14
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
}  # fmt: skip
_MAX_DEPTH = 64


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a varint of more than ten bytes")


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers and values of a message: integers, or the bytes of what has a length.

    Raises
    ------
    ValueError
        When the bytes are not a message, or end in the middle of a field.
    """
    at = 0
    try:
        while at < len(message):
            key, at = _varint(message, at)
            number, kind = key >> 3, key & 7
            if kind == _VARINT:
                value, at = _varint(message, at)
                yield number, value
            elif kind in (_LENGTH, _FIXED32, _FIXED64):
                size = {_FIXED32: 4, _FIXED64: 8}.get(kind)
                if size is None:
                    size, at = _varint(message, at)
                if at + size > len(message):
                    raise ValueError("a field is cut off")
                yield number, message[at : at + size]
                at += size
            else:
                raise ValueError(f"wire type {kind} does not occur in ONNX files")
    except IndexError:
        raise ValueError("a field is cut off") from None


def names_external_file(model: memoryview, kind: str = "model", depth: int = 0) -> bool:
    """Whether any tensor of an ONNX model refers to another file.

    Parameters
    ----------
    model
        The bytes of the file, or of a part of it.
    kind
        Which message `model` is.
    depth
        Messages around this one; graphs can contain graphs.
    """
    if depth > _MAX_DEPTH:
        raise ValueError("graphs are nested too deeply")
    if kind == "tensor":
        return any(
            (number == _TENSOR_LOCATION and value != 0) or number == _TENSOR_EXTERNAL_DATA
            for number, value in fields(model)
        )
    children = _CHILDREN[kind]
    return any(
        names_external_file(value, children[number], depth + 1)
        for number, value in fields(model)
        if number in children and isinstance(value, memoryview)
    )
