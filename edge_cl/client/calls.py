"""Requests to the service, described without sending them."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Image: TypeAlias = "bytes | str | os.PathLike[str]"
Latents: TypeAlias = "npt.NDArray[np.float32] | npt.NDArray[np.uint8]"

_IMAGE_TYPES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"RIFF", "image/webp"),
)


@dataclass(frozen=True)
class Call:
    """One request, described without sending it."""

    method: str
    path: str
    params: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    files: list[tuple[str, tuple[str, bytes, str]]] | None = None
    fields: dict[str, list[str]] | None = None
    json: Any = None
    repeatable: bool = True


def image_call(path: str, images: Sequence[Image], params: dict[str, str]) -> Call:
    """Describe a POST of images: one as the raw body, several as a multipart form."""
    if len(images) != 1:
        return form_call(path, images, params)
    image = _encoded(images[0])
    return Call("POST", path, params, {"Content-Type": image_type(image)}, content=image)


def form_call(
    path: str, images: Sequence[Image], params: dict[str, str], labels: Sequence[str] = ()
) -> Call:
    """Describe a POST of images and their labels as one multipart form."""
    if labels and len(labels) != len(images):
        raise ValueError(f"{len(images)} images came with {len(labels)} labels")
    encoded = [_encoded(image) for image in images]
    files = [("file", (f"{n}", image, image_type(image))) for n, image in enumerate(encoded)]
    return Call("POST", path, params, files=files, fields={"label": list(labels)})


def _encoded(image: Image) -> bytes:
    return image if isinstance(image, bytes) else Path(image).read_bytes()


def encoded_latents(latents: Latents) -> list[dict[str, str]]:
    """Rows of latents as the service reads them in a JSON body."""
    return [{"latent_b64": base64.b64encode(row.tobytes()).decode()} for row in latents]


def image_type(image: bytes) -> str:
    """Media type of encoded image bytes, by how they start."""
    for start, media_type in _IMAGE_TYPES:
        if image.startswith(start):
            return media_type
    return "application/octet-stream"
