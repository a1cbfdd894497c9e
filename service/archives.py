"""Uploaded batches: a zip of class folders, or lines of JSON, read piece by piece.

What an archive says of itself is checked before anything is unpacked, and counted
again while it is: nothing of it is ever written under a name of its own.
"""

from __future__ import annotations

import json
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edge_cl.errors import EdgeCLError
from edge_cl.frontends.readings import read_csv
from edge_cl.names import checked_name
from service.bodies import Item, json_item
from service.errors import FieldError, Problem, of_library
from service.metadata import MOST_BYTES, parsed_metadata

__all__ = ["BatchLimits", "Piece", "Source", "open_source"]

END = b"PK\x05\x06"
END_BYTES, LOCATOR_BYTES, LONGEST_COMMENT = 22, 20, 65_535
DIRECTORY_BYTES = 512
"""Of one entry in an archive's directory, at most and on average."""
MOST_RATIO = 1000
"""Deflate cannot reach more than 1032; images are compressed already."""
NOTE_SUFFIX = ".json"
LARGEST_NOTE_BYTES = 4 * MOST_BYTES
"""With blanks; without, metadata has at most a quarter."""
IGNORED = ("thumbs.db", "desktop.ini")
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)


@dataclass(frozen=True)
class BatchLimits:
    """What an uploaded batch may be.

    Parameters
    ----------
    samples
        Most samples in one upload.
    sample_bytes
        Largest file or line.
    unpacked_bytes
        All files of an archive, unpacked.
    """

    samples: int
    sample_bytes: int
    unpacked_bytes: int


@dataclass(frozen=True)
class Contents:
    """What the files of an archive are.

    Parameters
    ----------
    noun, plural
        What to call one, and them.
    suffixes
        How their names end.
    """

    noun: str
    plural: str
    suffixes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.plural} ({', '.join(self.suffixes)})"


CONTENTS = {
    "image": Contents("an image", "images", (".jpg", ".jpeg", ".png", ".webp")),
    "sound": Contents("a sound", "sounds", (".wav",)),
    "series": Contents("a series", "series", (".csv",)),
}
"""By what a learner takes."""


@dataclass(frozen=True)
class Piece:
    """One sample of a batch, or why it is none.

    Parameters
    ----------
    place
        The entry's path, or the number of the line.
    content
        The sample, or the problem.
    following
        Where the next piece begins.
    """

    place: str
    content: Item | Problem
    following: int


class Source:
    """Samples of an upload, in order, from any place on.

    Parameters
    ----------
    path
        The uploaded file.
    limits
        What it may be.
    """

    samples: int

    def __init__(self, path: Path, limits: BatchLimits) -> None:
        self.path = path
        self.limits = limits

    def pieces(self, start: int) -> Iterator[Piece]:
        """The pieces from the place `start` on; 0 is the first."""
        raise NotImplementedError


def open_source(kind: str, takes: str, path: Path, limits: BatchLimits) -> Source:
    """The upload of a `kind`, ``zip`` or ``ndjson``, checked as a whole.

    The files of an archive are what the learner `takes`: ``image``, ``sound`` or ``series``.

    Raises
    ------
    Problem
        With the first twenty faults.
    """
    return ZipSource(path, limits, takes) if kind == "zip" else LineSource(path, limits)


class ZipSource(Source):
    """Images, sounds or series in folders that are named as their class.

    ``cup/1.json`` is the metadata of ``cup/1.jpg``, if there is such an entry.
    """

    def __init__(self, path: Path, limits: BatchLimits, takes: str) -> None:
        super().__init__(path, limits)
        self._takes = takes
        _check_directory(path, limits)
        try:
            with zipfile.ZipFile(path) as archive:
                entries = [info for info in archive.infolist() if not _is_ignored(info)]
        except (*BROKEN, ValueError, OSError, struct.error) as error:
            raise Problem("malformed", f"the archive cannot be read: {error}") from error
        notes = {info.filename: info for info in entries if _is_note(info)}
        entries = [info for info in entries if not _is_note(info)]
        if not entries:
            raise Problem("malformed", f"there are no {CONTENTS[takes]} in the archive")
        if len(entries) > limits.samples:
            raise _too_many(len(entries), limits)
        faults = [fault for info in entries if (fault := _fault(info, limits, takes))]
        faults += _note_faults(notes, {_note_name(info.filename) for info in entries})
        if faults:
            more = f" ({len(faults)} entries are at fault; nothing was taken)"
            raise Problem("invalid", faults[0].detail + more, faults[:20])
        unpacked = sum(info.file_size for info in entries)
        if unpacked > limits.unpacked_bytes:
            raise Problem(
                "too-large",
                f"the archive unpacks to {unpacked:,} bytes, at most {limits.unpacked_bytes:,} "
                "are taken: send it in parts",
            )
        self._entries = entries
        self._notes = notes
        self.samples = len(entries)

    def pieces(self, start: int) -> Iterator[Piece]:
        """One piece for each entry."""
        with zipfile.ZipFile(self.path) as archive:
            for number, info in enumerate(self._entries[start:], start):
                content = self._content(archive, info)
                yield Piece(info.filename, content, number + 1)

    def _content(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Item | Problem:
        try:
            with archive.open(info) as file:
                # One byte more than it says, so that the checksum at its end is read.
                content = file.read(info.file_size + 1)
        except (*BROKEN, ValueError, RuntimeError) as error:
            return Problem("invalid", f"the entry cannot be unpacked: {error}")
        note = self._notes.get(_note_name(info.filename))
        try:
            metadata = None if note is None else _metadata(archive, note)
            sample: Any = read_csv(content) if self._takes == "series" else content
        except Problem as problem:
            return problem
        except EdgeCLError as error:
            return of_library(error)
        return Item("", **{self._takes: sample}, label=_label(info), metadata=metadata)


class LineSource(Source):
    """A sample in JSON on each line."""

    def __init__(self, path: Path, limits: BatchLimits) -> None:
        super().__init__(path, limits)
        self.samples = sum(bool(line.strip()) for _, line in self._lines(0))
        if not self.samples:
            raise Problem("malformed", "there is no sample in the body")
        if self.samples > limits.samples:
            raise _too_many(self.samples, limits)

    def pieces(self, start: int) -> Iterator[Piece]:
        """One piece for each line; a place is the number of its first byte."""
        for following, line in self._lines(start):
            if line.strip():
                yield Piece(f"byte {following - len(line)}", _line_content(line), following)

    def _lines(self, start: int) -> Iterator[tuple[int, bytes]]:
        most = self.limits.sample_bytes
        with self.path.open("rb") as file:
            file.seek(start)
            while line := file.readline(most + 1):
                if len(line) > most:
                    raise Problem("too-large", f"a line has more than {most:,} bytes")
                yield file.tell(), line


def _line_content(line: bytes) -> Item | Problem:
    try:
        return json_item("", json.loads(line))
    except (ValueError, RecursionError) as error:
        return Problem("malformed", f"it is no JSON: {error}"[:300])
    except Problem as fault:
        return fault


def _check_directory(path: Path, limits: BatchLimits) -> None:
    """Refuse a directory that is too large before it is read into memory."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - END_BYTES - LONGEST_COMMENT - LOCATOR_BYTES, 0))
        tail = file.read()
    at = tail.rfind(END)
    if at < 0 or at + END_BYTES > len(tail):
        raise Problem("malformed", "the body is no whole zip archive")
    _, _, _, _, entries, directory_bytes, _, _ = struct.unpack("<4s4H2LH", tail[at : at + 22])
    if b"PK\x06\x07" in tail[max(at - LOCATOR_BYTES, 0) : at] or entries == 0xFFFF:
        raise Problem("too-large", "a zip64 archive is not read: send it in parts below 4 GiB")
    # What does not count as a sample (folders, thumbnails) has a place in it too.
    most = (2 * limits.samples + 100) * DIRECTORY_BYTES
    if directory_bytes > most or entries > 2 * limits.samples + 100:
        raise _too_many(entries, limits)


def _is_ignored(info: zipfile.ZipInfo) -> bool:
    """Folders, and what operating systems leave in archives."""
    path = PurePosixPath(info.filename)
    return (
        info.is_dir()
        or path.name.startswith(".")
        or path.name.lower() in IGNORED
        or "__MACOSX" in path.parts
    )


def _is_note(info: zipfile.ZipInfo) -> bool:
    return PurePosixPath(info.filename).suffix.lower() == NOTE_SUFFIX


def _note_name(sample: str) -> str:
    """Where the metadata of a sample lies."""
    return str(PurePosixPath(sample).with_suffix(NOTE_SUFFIX))


def _note_faults(notes: Mapping[str, zipfile.ZipInfo], wanted: Set[str]) -> Iterator[FieldError]:
    """What is wrong with the entries of metadata, before they are unpacked."""
    for name, info in notes.items():
        pointer = f"/{name[:200]}"
        if name not in wanted:
            yield FieldError(
                pointer, "it is the metadata of no sample: none beside it has its name"
            )
        elif info.file_size > LARGEST_NOTE_BYTES:
            yield FieldError(
                pointer,
                f"it has {info.file_size:,} bytes, metadata has at most {LARGEST_NOTE_BYTES:,}",
            )
        elif info.flag_bits & 1:
            yield FieldError(pointer, "it is encrypted")


def _metadata(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str | None:
    try:
        with archive.open(info) as file:
            text = file.read(info.file_size + 1).decode()
    except (*BROKEN, ValueError, RuntimeError) as error:
        raise Problem("invalid", f"the metadata beside it cannot be read: {error}") from error
    return parsed_metadata(text, f"/{info.filename[:200]}")


def _fault(info: zipfile.ZipInfo, limits: BatchLimits, takes: str) -> FieldError | None:
    """Why an entry cannot be a sample."""
    detail = _reason(info, limits, takes)
    return None if detail is None else FieldError(f"/{info.filename[:200]}", detail)


def _reason(info: zipfile.ZipInfo, limits: BatchLimits, takes: str) -> str | None:
    path = PurePosixPath(info.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in info.filename or ":" in path.parts[0]:
        return "its path leads out of the archive"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "it is a link"
    if info.flag_bits & 1:
        return "it is encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"compression method {info.compress_type} is not read: use stored or deflate"
    if path.suffix.lower() not in CONTENTS[takes].suffixes:
        return _other_contents(path.suffix.lower(), takes)
    if info.file_size > limits.sample_bytes:
        return f"it has {info.file_size:,} bytes, at most {limits.sample_bytes:,} are taken"
    if info.file_size > MOST_RATIO * max(info.compress_size, 1):
        return f"{info.compress_size:,} bytes unpack to {info.file_size:,}: that is no sample"
    try:
        checked_name(_label(info), "label")
    except EdgeCLError as error:
        return f"the folder's name is the label: {of_library(error).detail}"
    return None


def _other_contents(suffix: str, takes: str) -> str:
    """What a file is that is not what the learner takes."""
    other = next((one.noun for one in CONTENTS.values() if suffix in one.suffixes), None)
    if other is None:
        return f"it is none of {', '.join(CONTENTS[takes].suffixes)}"
    return f"it is {other}: this learner takes {CONTENTS[takes]}"


def _label(info: zipfile.ZipInfo) -> str:
    """The name of the folder that the file lies in."""
    return PurePosixPath(info.filename).parent.name


def _too_many(count: Any, limits: BatchLimits) -> Problem:
    return Problem(
        "too-large", f"{count} samples in one batch, at most {limits.samples:,} are taken"
    )
