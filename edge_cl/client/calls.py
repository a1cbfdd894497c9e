"""Requests to the service, described without sending them."""

from __future__ import annotations

import base64
import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import httpx

from edge_cl.errors import InvalidImage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Image: TypeAlias = "bytes | str | os.PathLike[str]"
Metadata: TypeAlias = Mapping[str, Any]
Latents: TypeAlias = "npt.NDArray[np.float32] | npt.NDArray[np.uint8]"

AnswerT = TypeVar("AnswerT")
KEY = "Idempotency-Key"


@dataclass(frozen=True)
class Call(Generic[AnswerT]):
    """One request, described without sending it, and how its answer is read."""

    method: str
    path: str
    read: Callable[[httpx.Response], AnswerT]
    params: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    files: list[tuple[str, tuple[str, bytes, str]]] | None = None
    fields: dict[str, list[str]] | None = None
    json: Any = None
    repeatable: bool = True

    def once(self, key: str | None) -> Call[AnswerT]:
        """The same call under an idempotency key, a fresh one if None: it counts once."""
        return replace(self, headers={**self.headers, KEY: key or str(uuid.uuid4())})

    def request(self, build: Callable[..., httpx.Request]) -> httpx.Request:
        """What has to be sent, as made by `build`: a client's method, or the plain class."""
        return build(
            self.method,
            self.path,
            params=self.params or None,
            headers=self.headers,
            content=self.content,
            files=self.files,
            data=self.fields,
            json=self.json,
        )


def image_call(
    path: str,
    read: Callable[[httpx.Response], AnswerT],
    images: Sequence[Image],
    params: dict[str, str],
) -> Call[AnswerT]:
    """Describe a POST of images: one as the raw body, several as a multipart form."""
    if len(images) != 1:
        return form_call(path, read, images, params)
    image, media_type = _encoded(images[0])
    return Call("POST", path, read, params, {"Content-Type": media_type}, content=image)


def form_call(
    path: str,
    read: Callable[[httpx.Response], AnswerT],
    images: Sequence[Image],
    params: dict[str, str],
    labels: Sequence[str] = (),
    metadata: Sequence[Metadata | None] | None = None,
) -> Call[AnswerT]:
    """Describe a POST of images, their labels and metadata as one multipart form."""
    if labels and len(labels) != len(images):
        raise ValueError(f"{len(images)} images came with {len(labels)} labels")
    files = [("file", (str(number), *_encoded(image))) for number, image in enumerate(images)]
    fields = {"label": list(labels)}
    if metadata is not None:
        fields["metadata"] = [compact(one) or "null" for one in metadata]
    return Call("POST", path, read, params, files=files, fields=fields)


def compact(metadata: Metadata | None) -> str | None:
    """Metadata as text, for where a request has no JSON."""
    return (
        None
        if metadata is None
        else json.dumps(metadata, ensure_ascii=False, separators=(",", ":"))
    )


def query_notes(
    context: str | None, device: str | None, captured_at: str | None, metadata: Metadata | None
) -> dict[str, str]:
    """What is said of all samples of a request in its query."""
    return given(
        context=context, device=device, captured_at=captured_at, metadata=compact(metadata)
    )


def _encoded(image: Image) -> tuple[bytes, str]:
    """Bytes of an image, and their media type."""
    if isinstance(image, bytes):
        return image, image_type(image)
    content = Path(image).read_bytes()
    try:
        return content, image_type(content)
    except InvalidImage as error:
        raise InvalidImage(f"{os.fspath(image)} is {error}") from None


def encoded_latents(latents: Latents) -> list[dict[str, str]]:
    """Rows of latents as the service reads them in a JSON body."""
    return [{"latent_b64": base64.b64encode(row.tobytes()).decode()} for row in latents]


def given(**values: str | None) -> dict[str, str]:
    """The query parameters that have a value."""
    return {name: text for name, text in values.items() if text is not None}


def image_type(image: bytes) -> str:
    """Media type of an encoded image or a WAV file, by how it starts.

    Raises
    ------
    InvalidImage
        If it is no JPEG, PNG, WebP or WAV; the service would only refuse it.
    """
    if image.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if image.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "image/webp"
    if image[:4] == b"RIFF" and image[8:12] == b"WAVE":
        return "audio/wav"
    raise InvalidImage(f"no JPEG, PNG or WebP image and no WAV file: it starts with {image[:8]!r}")
