"""Learners as archives: one tar file, compressed with zstd, which lists its own contents first.

::

    manifest.json    what the archive is; bytes and SHA-256 of every other file, in their order
    learner.json     how the learner was created
    snapshot         the learner as it was last saved, if it was ever saved
    journal.db       everything it was taught (SQLite)
    checkpoints/     its named states, if they came along; the only folder

Nothing that an archive says of itself is believed: sizes are checked before anything is
decompressed, names are those above or of the one form that checkpoints have, every byte is
checked against its digest. There is no pickle in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Literal

import zstandard
from pydantic import BaseModel, Field, ValidationError

from service.checkpoints import FILE_RULE
from service.errors import Problem

__all__ = [
    "CHECKPOINTS", "FORMAT", "MOST_CHECKPOINTS", "Bounds", "Listed", "Manifest", "Packed", "pack",
    "unpack",
]  # fmt: skip

FORMAT = "edge-cl learner"
BLOCK = tarfile.BLOCKSIZE
CHUNK_BYTES = 1 << 18
LARGEST_WINDOW_BYTES = 1 << 23
LARGEST_MANIFEST_BYTES = 1 << 18
LARGEST_ORIGIN_BYTES = 1 << 20

CHECKPOINTS = "checkpoints"
MOST_CHECKPOINTS = 1000
NAMES = rf"^(learner\.json|snapshot|journal\.db|{CHECKPOINTS}/{FILE_RULE})$"


class Listed(BaseModel):
    """A file of the archive."""

    name: Annotated[str, Field(pattern=NAMES)]
    bytes: Annotated[int, Field(ge=0, lt=2**50)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

    @property
    def is_checkpoint(self) -> bool:
        """Whether it is a named state."""
        return self.name.startswith(CHECKPOINTS)


class Manifest(BaseModel):
    """What an archive says of itself."""

    format: Literal["edge-cl learner"]
    version: Literal[1]
    edge_cl: str
    name: str
    exported_at: float
    sequence: Annotated[int, Field(ge=0, lt=10**15)]
    files: Annotated[list[Listed], Field(max_length=3 + MOST_CHECKPOINTS)]


@dataclass(frozen=True)
class Packed:
    """A file to pack: its name, and its content from the start."""

    name: str
    content: IO[bytes]

    def listed(self) -> Listed:
        """Its size and digest."""
        size = os.fstat(self.content.fileno()).st_size
        return Listed(name=self.name, bytes=size, sha256=_digest(self.content))


@dataclass(frozen=True)
class Bounds:
    """What an archive may hold.

    Parameters
    ----------
    all_bytes
        Everything, unpacked.
    snapshot_bytes
        The saved learner, which is loaded at once; a checkpoint is one, too.
    checkpoint_bytes
        All checkpoints.
    """

    all_bytes: int
    snapshot_bytes: int
    checkpoint_bytes: int


def pack(manifest: Manifest, files: Sequence[Packed]) -> Iterator[bytes]:
    """The archive, piece by piece; holds a few hundred kilobytes whatever its size."""
    head = json.dumps(manifest.model_dump()).encode()
    total = _total_bytes(len(head), manifest.files)
    compressor = zstandard.ZstdCompressor(level=3, write_checksum=True).compressobj(size=total)
    for plain in _plain(head, manifest.files, files):
        if piece := compressor.compress(plain):
            yield piece
    yield compressor.flush()


def unpack(archive: Path, folder: Path, bounds: Bounds) -> Manifest:
    """Write the files of an archive into a folder that has none of them.

    Raises
    ------
    Problem
        ``invalid-archive`` or ``too-large``; what was written until then stays.
    """
    try:
        with archive.open("rb") as compressed:
            total = _declared_bytes(compressed.read(32), bounds)
            compressed.seek(0)
            decompressor = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW_BYTES)
            with decompressor.stream_reader(compressed) as stream:
                return _unpack(stream, total, folder, bounds)
    except (zstandard.ZstdError, tarfile.HeaderError) as error:
        raise _invalid(f"it is damaged: {error}") from error


def _plain(head: bytes, listed: Sequence[Listed], files: Sequence[Packed]) -> Iterator[bytes]:
    yield _header("manifest.json", len(head)) + head + _padding(len(head))
    for note, file in zip(listed, files, strict=True):
        yield _header(note.name, note.bytes)
        file.content.seek(0)
        while chunk := file.content.read(CHUNK_BYTES):
            yield chunk
        yield _padding(note.bytes)
    yield bytes(2 * BLOCK)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % BLOCK)


def _total_bytes(head: int, listed: Sequence[Listed]) -> int:
    sizes = (head, *(file.bytes for file in listed))
    return sum(BLOCK + size + -size % BLOCK for size in sizes) + 2 * BLOCK


def _declared_bytes(start: bytes, bounds: Bounds) -> int:
    if not start.startswith(b"\x28\xb5\x2f\xfd"):
        raise _invalid("it is no zstd file; GET /v1/learners/NAME/export makes one")
    frame = zstandard.get_frame_parameters(start)
    total = frame.content_size
    if total >= 2**63:
        raise _invalid("it does not declare its size: unpacked, it could be of any")
    if total > bounds.all_bytes:
        raise Problem(
            "too-large",
            f"the archive declares {total:,} bytes unpacked, at most {bounds.all_bytes:,} are "
            "taken: raise max_import_bytes",
        )
    if frame.dict_id:
        raise _invalid("it needs a dictionary that is not in it")
    return total


def _unpack(
    stream: zstandard.ZstdDecompressionReader, total: int, folder: Path, bounds: Bounds
) -> Manifest:
    size = _next_file(stream, "manifest.json")
    if size > LARGEST_MANIFEST_BYTES:
        raise _invalid(f"its manifest has {size:,} bytes")
    head = _exactly(stream, size)
    _exactly(stream, -size % BLOCK)
    manifest = _checked(head, total, bounds)
    for file in manifest.files:
        if _next_file(stream, file.name) != file.bytes:
            raise _invalid(f"{file.name} is not as long as the manifest says")
        _write(stream, file, folder / file.name)
    if any(_exactly(stream, 2 * BLOCK)) or stream.read(1):
        raise _invalid("something follows its last file")
    return manifest


def _checked(head: bytes, total: int, bounds: Bounds) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(head)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        detail = f"its manifest cannot be used: {where}: {fault['msg']}"
        raise _invalid(f"{detail}; it may be of a newer version") from error
    names = [file.name for file in manifest.files]
    if len(set(names)) != len(names) or not {"learner.json", "journal.db"} <= set(names):
        raise _invalid(f"its files are {', '.join(names) or 'none'}")
    if _total_bytes(len(head), manifest.files) != total:
        raise _invalid("its manifest and its declared size do not agree")
    _check_sizes(manifest.files, bounds)
    return manifest


def _check_sizes(files: Sequence[Listed], bounds: Bounds) -> None:
    # The layers above a replay layer are in the saved learner, and once more here, in base64.
    origin_bytes = LARGEST_ORIGIN_BYTES + 4 * bounds.snapshot_bytes // 3
    most = {"learner.json": origin_bytes, "journal.db": bounds.all_bytes}
    for file in files:
        allowed = most.get(file.name, bounds.snapshot_bytes)
        if file.bytes > allowed:
            detail = f"{file.name} has {file.bytes:,} bytes, at most {allowed:,} are taken"
            raise Problem("too-large", detail)
    checkpoints = sum(file.bytes for file in files if file.is_checkpoint)
    if checkpoints > bounds.checkpoint_bytes:
        raise Problem(
            "too-large",
            f"its checkpoints have {checkpoints:,} bytes, at most {bounds.checkpoint_bytes:,} are "
            "taken: export it with ?checkpoints=false, or raise checkpoint_bytes here",
        )


def _next_file(stream: zstandard.ZstdDecompressionReader, expected: str) -> int:
    """Size of the next file, which has to be this one and an ordinary file."""
    info = tarfile.TarInfo.frombuf(_exactly(stream, BLOCK), "utf-8", "surrogateescape")
    if info.name != expected or info.type != tarfile.REGTYPE:
        shown = info.name.encode("ascii", "backslashreplace").decode()[:80]
        raise _invalid(f"{expected} should follow, not {shown!r} of type {info.type!r}")
    return info.size


def _write(stream: zstandard.ZstdDecompressionReader, file: Listed, path: Path) -> None:
    digest, left = hashlib.sha256(), file.bytes
    path.parent.mkdir(exist_ok=True)
    with path.open("xb") as target:
        while left:
            chunk = _exactly(stream, min(left, CHUNK_BYTES))
            digest.update(chunk)
            target.write(chunk)
            left -= len(chunk)
        target.flush()
        os.fsync(target.fileno())
    _exactly(stream, -file.bytes % BLOCK)
    if digest.hexdigest() != file.sha256:
        raise _invalid(f"{file.name} is damaged: its SHA-256 does not match")


def _exactly(stream: zstandard.ZstdDecompressionReader, size: int) -> bytes:
    pieces = []
    while size:
        piece = stream.read(size)
        if not piece:
            raise _invalid("it ends too early: it is truncated")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _digest(content: IO[bytes]) -> str:
    digest = hashlib.sha256()
    content.seek(0)
    while chunk := content.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _invalid(reason: str) -> Problem:
    return Problem("invalid-archive", f"the archive cannot be used: {reason}")
