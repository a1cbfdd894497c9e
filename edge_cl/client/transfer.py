"""Files between a service and a disk, piece by piece: a learner may be larger than the memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx

from edge_cl.client.answers import problem_of, unreachable

PIECE_BYTES = 1 << 18


def download(http: httpx.Client, path: str, params: dict[str, str], target: Path) -> int:
    """Write an answer to a file, which is there whole or not at all; returns its bytes."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with http.stream("GET", path, params=params) as response:
            if not response.is_success:
                response.read()
                raise problem_of(response)
            with part.open("wb") as file:
                for piece in response.iter_bytes(PIECE_BYTES):
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
                size = file.tell()
        os.replace(part, target)
    except httpx.TransportError as error:
        raise unreachable(str(http.base_url), error) from error
    finally:
        part.unlink(missing_ok=True)
    return size


def upload(
    http: httpx.Client, path: str, params: dict[str, str], source: Path, headers: dict[str, str]
) -> httpx.Response:
    """Send a file; returns the answer."""
    headers = {**headers, "Content-Length": str(source.stat().st_size)}
    try:
        response = http.post(path, params=params, content=_pieces(source), headers=headers)
    except httpx.TransportError as error:
        raise unreachable(str(http.base_url), error) from error
    if not response.is_success:
        raise problem_of(response)
    return response


def _pieces(source: Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece
