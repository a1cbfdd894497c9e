"""A learner as bytes: safetensors with a manifest and a checksum, never pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from edge_cl.errors import CheckpointError
from edge_cl.types import Array

FORMAT_VERSION = 1


def to_bytes(manifest: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """Arrays and a JSON-able manifest as one safetensors file."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps({"format": FORMAT_VERSION, **manifest}, sort_keys=True)
    # One entry: safetensors writes several in any order, and equal learners are equal bytes.
    sealed = json.dumps({"manifest": text, "sha256": _checksum(text, contiguous)})
    return save(contiguous, metadata={"edge_cl": sealed})


def from_bytes(content: bytes) -> tuple[dict[str, Any], dict[str, Array]]:
    """Manifest and arrays of `to_bytes`.

    Raises
    ------
    CheckpointError
        If the content is damaged, is no learner, or has another format version.
    """
    try:
        arrays = load(content)
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        sealed = json.loads(header["__metadata__"]["edge_cl"])
        text, expected = sealed["manifest"], sealed["sha256"]
        manifest: dict[str, Any] = json.loads(text)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"this is no saved learner, or it is damaged: {error}") from error
    if manifest.get("format") != FORMAT_VERSION:
        raise CheckpointError(
            f"the saved learner has format {manifest.get('format')!r}, this version of edge_cl "
            f"reads format {FORMAT_VERSION}"
        )
    if _checksum(text, arrays) != expected:
        raise CheckpointError("the saved learner is damaged: its checksum does not match")
    return manifest, arrays


def write(path: str | Path, content: bytes) -> None:
    """Put `content` at `path` so that a crash leaves the old file or the new one."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _checksum(text: str, arrays: Mapping[str, Array]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()
