"""What a request carries: labelled or unlabelled samples, in four kinds of body."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from edge_cl.types import UInt8
from service.errors import Faults, FieldError, Problem
from service.intake import Body
from service.metadata import metadata_text, parsed_metadata
from service.multipart import Part, read_parts

__all__ = ["IMAGE_TYPES", "SOUND_TYPES", "Item", "json_item", "metadata_of_all", "read_items"]

IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp")
SOUND_TYPES = ("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave")
TEXTS = ("label", "context", "device", "captured_at")
FORM_TEXTS = (*TEXTS, "metadata")
PAYLOADS = ("image_b64", "latent", "latent_b64", "audio_b64", "series")
FIELD_OF = {"image_b64": "image", "audio_b64": "sound", "series": "series"}
KNOWN = frozenset((*TEXTS, *PAYLOADS, "dtype", "extractor", "metadata"))
LARGE_BYTES = 65_536

Parser = Callable[[bytes, int], list["Item"]]


@dataclass(frozen=True)
class Item:
    """One sample as it came.

    Parameters
    ----------
    pointer
        Where it stands in the body, for error messages.
    image
        An encoded image, or (H, W, 3) pixels, or None.
    latent
        Numbers, or the bytes of a latent vector, or None.
    sound
        A WAV file, or None.
    series
        Rows of sensor readings, or None.
    dtype
        What the client says the latent's bytes are.
    extractor
        Id or digest of the extractor that made the latent, as the client says.
    label, context, device, captured_at
        As the client named them; not yet checked.
    metadata
        What the client keeps beside them: JSON text, checked.
    """

    pointer: str
    image: bytes | UInt8 | None = None
    latent: list[Any] | bytes | None = None
    sound: bytes | None = None
    series: list[Any] | None = None
    dtype: Any = None
    extractor: Any = None
    label: Any = None
    context: Any = None
    device: Any = None
    captured_at: Any = None
    metadata: str | None = None

    def parts(self) -> list[str | bytes | None]:
        """What tells this sample from another one, for the fingerprint of a request."""
        latent = self.latent if self.latent is None else repr(self.latent)
        texts = [repr(getattr(self, name)) for name in TEXTS]
        image = None if self.image is None else hashlib.sha256(bytes(self.image)).digest()
        parts = [image, latent, *texts]
        if self.sound is not None:
            parts += ["sound", hashlib.sha256(self.sound).digest()]
        if self.series is not None:
            parts += ["series", repr(self.series)]
        if self.metadata is not None:
            parts += ["metadata", self.metadata]
        return parts


async def read_items(request: Request, body: Body, max_samples: int) -> list[Item]:
    """The samples of a request, whatever the kind of its body.

    Raises
    ------
    Problem
        With the first twenty faults, if any sample cannot be read.
    """
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        items = _form_items(await read_parts(content_type, body, 6 * max_samples))
    elif kind in IMAGE_TYPES:
        items = [Item("", image=await body.read(), **_query(request))]
    elif kind in SOUND_TYPES:
        items = [Item("", sound=await body.read(), **_query(request))]
    elif kind == "application/json":
        items = await _off_loop(_json_items, await body.read(), max_samples)
    elif kind in ("application/x-ndjson", "application/ndjson"):
        items = await _line_items(body, max_samples)
    else:
        raise Problem("media-type", f"Content-Type is {kind[:80]!r}")
    if not items:
        raise Problem("malformed", "there is no sample in the body")
    if len(items) > max_samples:
        raise _too_many(len(items), max_samples)
    defaults = {
        **_query(request), "device": _device(request), "metadata": metadata_of_all(request),
    }  # fmt: skip
    return [_with_defaults(item, defaults) for item in items]


def _query(request: Request) -> dict[str, Any]:
    return {name: request.query_params.get(name) for name in TEXTS}


def _device(request: Request) -> str | None:
    return request.query_params.get("device") or request.headers.get("x-device-id")


def metadata_of_all(request: Request) -> str | None:
    """The metadata of all samples of a request that do not say their own: query, else header."""
    asked = request.query_params.get("metadata")
    if asked is not None:
        return parsed_metadata(asked, "query/metadata")
    header = request.headers.get("x-sample-metadata")
    # Headers are read as Latin-1; a client that sends UTF-8 means it so.
    text = None if header is None else header.encode("latin-1").decode("utf-8", "replace")
    return parsed_metadata(text, "header/X-Sample-Metadata")


def _with_defaults(item: Item, defaults: dict[str, Any]) -> Item:
    missing = {n: v for n, v in defaults.items() if v is not None and getattr(item, n) is None}
    return Item(**{**vars(item), **missing}) if missing else item


def _form_items(parts: list[Part]) -> list[Item]:
    files = [part for part in parts if part.name == "file"]
    columns: dict[str, list[str]] = {name: [] for name in FORM_TEXTS}
    for part in parts:
        if part.name in columns:
            columns[part.name].append(part.text)
        elif part.name != "file":
            raise Problem(
                "malformed",
                f"form field {part.name[:40]!r} is not known: file, {', '.join(FORM_TEXTS)} are",
            ).at(f"/{part.name[:40]}")
    for name, texts in columns.items():
        if len(texts) not in (0, 1, len(files)):
            raise Problem(
                "invalid",
                f"{len(files)} files came with {len(texts)} fields {name!r}: give one for all, "
                "or one for each, in the same order",
            ).at(f"/{name}")
    columns_of: list[dict[str, Any]] = [
        {name: _nth(columns[name], row) for name in TEXTS} for row in range(len(files))
    ]
    return [
        Item(
            f"/file/{row}",
            image=None if _is_sound(file) else bytes(file.content),
            sound=bytes(file.content) if _is_sound(file) else None,
            metadata=parsed_metadata(_nth(columns["metadata"], row), "/metadata"),
            **columns_of[row],
        )
        for row, file in enumerate(files)
    ]


def _is_sound(file: Part) -> bool:
    """Whether the first bytes are those of a WAV file; everything else is taken for an image."""
    return file.content[:4] == b"RIFF" and file.content[8:12] == b"WAVE"


def _nth(texts: list[str], row: int) -> str | None:
    if not texts:
        return None
    return texts[0] if len(texts) == 1 else texts[row]


async def _off_loop(parse: Parser, content: bytes, max_samples: int) -> list[Item]:
    """Parse a large body in a thread, so that other requests are answered meanwhile."""
    if len(content) < LARGE_BYTES:
        return parse(content, max_samples)
    return await asyncio.to_thread(parse, content, max_samples)


def _json_items(encoded: bytes, max_samples: int) -> list[Item]:
    content = _parsed(encoded, "")
    if not isinstance(content, dict) or not isinstance(content.get("samples"), list):
        detail = 'the body is not of the form {"samples": [...]}'
        raise Problem("invalid", detail, [FieldError("/samples", detail)])
    if len(content) > 1:
        other = next(name for name in content if name != "samples")
        raise Problem("invalid", f"field {other[:40]!r} is not known").at(f"/{other[:40]}")
    samples = content["samples"]
    if len(samples) > max_samples:
        raise _too_many(len(samples), max_samples)
    return _collected([(f"/samples/{row}", sample) for row, sample in enumerate(samples)])


async def _line_items(body: Body, max_samples: int) -> list[Item]:
    rows: list[tuple[str, Any]] = []
    async for line in _lines(body):
        if line.strip():
            if len(rows) == max_samples:
                raise _too_many(max_samples + 1, max_samples)
            rows.append((f"/{len(rows)}", _parsed(line, f"/{len(rows)}")))
    return _collected(rows)


async def _lines(body: Body) -> AsyncIterator[bytes]:
    rest = bytearray()
    async for chunk in body.chunks():
        head, newline, tail = chunk.rpartition(b"\n")
        if not newline:
            rest += chunk
            continue
        for line in (bytes(rest) + head).split(b"\n"):
            yield line
        rest = bytearray(tail)
    yield bytes(rest)


def _collected(rows: Sequence[tuple[str, Any]]) -> list[Item]:
    items, faults = [], Faults()
    for pointer, sample in rows:
        with faults.collected():
            items.append(json_item(pointer, sample))
    faults.raise_any()
    return items


def json_item(pointer: str, sample: Any) -> Item:
    """One sample of a JSON body; Problem when it cannot be read."""
    if not isinstance(sample, dict):
        raise Problem("invalid", "a sample is a JSON object").at(pointer)
    unknown = sorted(set(sample) - KNOWN)
    if unknown:
        detail = f"field {unknown[0][:40]!r} is not known: {', '.join(sorted(KNOWN))} are"
        raise Problem("invalid", detail).at(f"{pointer}/{unknown[0][:40]}")
    given = [name for name in PAYLOADS if name in sample]
    if len(given) != 1:
        detail = f"a sample has exactly one of {', '.join(PAYLOADS)}; this one has {len(given)}"
        raise Problem("invalid", detail).at(pointer)
    payload = _payload(f"{pointer}/{given[0]}", given[0], sample[given[0]])
    texts = {name: sample.get(name) for name in (*TEXTS, "dtype", "extractor")}
    name = FIELD_OF.get(given[0], "latent")
    metadata = metadata_text(sample.get("metadata"), f"{pointer}/metadata")
    return Item(pointer, **{name: payload}, **texts, metadata=metadata)


def _payload(pointer: str, name: str, value: Any) -> Any:
    if name == "latent":
        if not isinstance(value, list):
            raise Problem("invalid-latent", "a latent is a list of numbers").at(pointer)
        return value
    if name == "series":
        if not isinstance(value, list):
            raise Problem("invalid", "a series is a list of rows of numbers").at(pointer)
        return value
    if not isinstance(value, str):
        raise Problem("invalid", f"{name} is a string of base64").at(pointer)
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem("invalid", f"{name} is no base64: {error}").at(pointer) from error


def _parsed(content: bytes, pointer: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        problem = Problem("malformed", f"it is no JSON: {error}"[:300])
        raise (problem.at(pointer) if pointer else problem) from error


def _too_many(count: int, most: int) -> Problem:
    return Problem("too-large", f"{count} samples in one request, at most {most} are taken")
