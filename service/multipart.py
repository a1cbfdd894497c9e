"""multipart/form-data as parts in memory, with bounds on everything."""

from __future__ import annotations

from dataclasses import dataclass, field

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from service.errors import Problem
from service.intake import Body

__all__ = ["Part", "read_parts"]

LONGEST_FIELD_BYTES = 4096


@dataclass
class Part:
    """One part of the form."""

    name: str = ""
    is_file: bool = False
    content: bytearray = field(default_factory=bytearray)

    @property
    def text(self) -> str:
        """The content of a field; Problem when it is no UTF-8."""
        try:
            return self.content.decode()
        except UnicodeDecodeError as error:
            raise Problem("malformed", f"form field {self.name!r} is not UTF-8").at(
                f"/{self.name}"
            ) from error


class _Collector:
    """Receives the parser's events."""

    def __init__(self, max_parts: int) -> None:
        self.parts: list[Part] = []
        self.complete = False
        self._max_parts = max_parts
        self._header = b""
        self._value = b""

    def callbacks(self) -> dict[str, object]:
        names = ("part_begin", "part_data", "header_field", "header_value", "header_end", "end")
        return {f"on_{name}": getattr(self, f"on_{name}") for name in names}

    def on_part_begin(self) -> None:
        if len(self.parts) >= self._max_parts:
            raise Problem("too-large", f"a form may have {self._max_parts} parts")
        self.parts.append(Part())

    def on_part_data(self, chunk: bytes, start: int, end: int) -> None:
        part = self.parts[-1]
        if not part.is_file and len(part.content) + end - start > LONGEST_FIELD_BYTES:
            raise Problem(
                "too-large",
                f"form field {part.name!r} has over {LONGEST_FIELD_BYTES} bytes; an image "
                "needs a filename, as in `-F file=@cup.jpg`",
            ).at(f"/{part.name}")
        part.content += chunk[start:end]

    def on_header_field(self, chunk: bytes, start: int, end: int) -> None:
        self._header += chunk[start:end]

    def on_header_value(self, chunk: bytes, start: int, end: int) -> None:
        self._value += chunk[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            part = self.parts[-1]
            part.name = options.get(b"name", b"").decode("utf-8", "replace")
            part.is_file = b"filename" in options
        self._header = self._value = b""

    def on_end(self) -> None:
        self.complete = True


async def read_parts(content_type: str, body: Body, max_parts: int) -> list[Part]:
    """All parts of a form, in order.

    Raises
    ------
    Problem
        ``malformed`` when it is no whole form, ``too-large`` beyond a bound.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise Problem("malformed", "multipart/form-data came without a boundary")
    collector = _Collector(max_parts)
    try:
        parser = MultipartParser(boundary, collector.callbacks())  # type: ignore[arg-type]
        async for chunk in body.chunks():
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise Problem("malformed", f"the form cannot be parsed: {error}") from error
    if not collector.complete:
        raise Problem("malformed", "the form ends before its last boundary")
    return collector.parts
