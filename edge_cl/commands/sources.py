"""Where `edge-cl watch` gets its samples: a folder that fills, or a camera."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from edge_cl.commands.folders import SUFFIXES
from edge_cl.errors import EdgeCLError

RECORD = ".edge-cl-watched"
"""File in a watched folder that names what was taken, so that a restart does not take it again."""

GRAB_LIMIT_S = 20.0


@dataclass(frozen=True)
class Found:
    """A sample that was found: its name, its bytes, and its class folder if it is in one."""

    name: str
    content: bytes
    folder: str | None
    stamp: tuple[str, int, int] | None = None


class FolderSource:
    """Files that appear below a folder, each once, whole and in the order of their age.

    A file is taken when its size and time were the same at two looks: one that is still
    being written changes. Hidden files and folders are not looked at, so that a program may
    write under a hidden name and rename the file when it is whole.

    Parameters
    ----------
    folder
        What is watched.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._record = folder / RECORD
        self._before: set[tuple[str, int, int]] = set()
        self._done = {tuple(json.loads(line)) for line in self._lines()}

    @property
    def unsettled(self) -> bool:
        """Whether a file was seen that may be taken at the next look."""
        return bool(self._before - self._done)

    def look(self) -> Iterator[Found]:
        """What can be taken now."""
        stamps = {stamp for path in self._files() if (stamp := self._stamp(path))}
        settled, self._before = stamps & self._before, stamps
        for stamp in sorted(settled - self._done, key=lambda one: (one[2], one[0])):
            path = self._folder / stamp[0]
            try:
                content = path.read_bytes()
            except OSError as error:
                click.echo(f"{stamp[0]} cannot be read: {error.strerror}", err=True)
                continue
            if self._stamp(path) == stamp:
                parts = Path(stamp[0]).parts
                yield Found(stamp[0], content, parts[0] if len(parts) > 1 else None, stamp)

    def done(self, found: Found) -> None:
        """Note on the disk that a file was taken."""
        assert found.stamp is not None
        self._done.add(found.stamp)
        with self._record.open("a", encoding="utf-8") as record:
            record.write(json.dumps(found.stamp) + "\n")
            record.flush()
            os.fsync(record.fileno())

    def _files(self) -> Iterator[Path]:
        for root, folders, files in os.walk(self._folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in files:
                if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                    yield Path(root, name)

    def _stamp(self, path: Path) -> tuple[str, int, int] | None:
        try:
            state = path.stat()
        except OSError:
            return None
        if not state.st_size:
            return None
        return path.relative_to(self._folder).as_posix(), state.st_size, state.st_mtime_ns

    def _lines(self) -> list[str]:
        """Whole lines of the record; the last one may be half after a power cut."""
        if not self._record.exists():
            return []
        whole, newline, _ = self._record.read_text(encoding="utf-8").rpartition("\n")
        if newline:
            os.truncate(self._record, len((whole + newline).encode()))
        return [line for line in whole.splitlines() if line.startswith("[") and line.endswith("]")]


class CameraSource:
    """One picture at every look, from a Video4Linux device, by ffmpeg.

    Parameters
    ----------
    device
        Such as ``/dev/video0``.
    """

    unsettled = False

    def __init__(self, device: str) -> None:
        program = shutil.which("ffmpeg")
        if program is None:
            raise EdgeCLError(
                "the camera is read by ffmpeg, which is not installed: apt install ffmpeg, or "
                "let another program write pictures into a folder and watch that"
            )
        if not Path(device).exists():
            present = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "none"
            raise EdgeCLError(f"there is no camera at {device}; cameras here: {present}")
        self._device = device
        self._number = 0
        self._command = [
            program, "-loglevel", "error", "-nostdin", "-f", "v4l2", "-i", device,
            "-frames:v", "1", "-q:v", "3", "-f", "image2", "-c:v", "mjpeg", "-",
        ]  # fmt: skip

    def look(self) -> Iterator[Found]:
        """One picture."""
        try:
            ran = subprocess.run(
                self._command, capture_output=True, timeout=GRAB_LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise EdgeCLError(f"{self._device} gave no picture in {GRAB_LIMIT_S:g} s") from None
        if ran.returncode or not ran.stdout:
            said = ran.stderr.decode(errors="replace").strip()[-300:]
            raise EdgeCLError(f"{self._device} gave no picture: {said or 'ffmpeg said nothing'}")
        self._number += 1
        yield Found(f"picture {self._number}", ran.stdout, None)

    def done(self, found: Found) -> None:
        """A picture is not kept, so nothing has to be noted."""


def source_of(words: str) -> FolderSource | CameraSource:
    """The source that ``camera``, ``/dev/videoN`` or a folder names."""
    if words == "camera" or words.startswith("/dev/"):
        return CameraSource("/dev/video0" if words == "camera" else words)
    if not Path(words).is_dir():
        raise click.UsageError(f"{words} is no folder, no /dev/videoN, and not the word 'camera'")
    return FolderSource(Path(words))
