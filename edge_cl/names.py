"""Names that clients give to classes and contexts, numbered in order of first use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from edge_cl.errors import InvalidLabel, NotFound

VACANT = ""
"""Stands for a name that was given up."""

LONGEST_NAME_BYTES = 128
"""Longest label or context, in UTF-8."""


@dataclass(frozen=True)
class NameTable:
    """An immutable numbering of names.

    Parameters
    ----------
    kind
        What the names are of, for messages.
    names
        By number. A number whose name was given up has `VACANT`, and goes to the next new
        name; numbers that were merged have the same name.
    """

    kind: str
    names: tuple[str, ...] = ()
    _numbers: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        numbers: dict[str, int] = {}
        for number, name in enumerate(self.names):
            if name != VACANT:
                numbers.setdefault(name, number)
        object.__setattr__(self, "_numbers", numbers)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def known(self) -> tuple[str, ...]:
        """Every name once, in the order of the lowest numbers."""
        return tuple(self._numbers)

    @property
    def stored_bytes(self) -> int:
        """Bytes of the names in UTF-8, and an offset of 8 bytes for each."""
        return sum(len(name.encode()) + 8 for name in self.names)

    @property
    def bytes_with_counts(self) -> int:
        """`stored_bytes`, and a count of 8 bytes for each name."""
        return self.stored_bytes + 8 * len(self)

    def numbers(self, name: str) -> list[int]:
        """All numbers of `name`, at least one; raises as `number`."""
        first = self.number(name)
        return [n for n in range(first, len(self)) if self.names[n] == name]

    def number(self, name: str) -> int:
        """Number of `name`; the lowest, if it has several.

        Raises
        ------
        NotFound
            Listing some of the names that exist.
        """
        if name not in self._numbers:
            known = ", ".join(repr(known) for known in self.known[:10]) or "none yet"
            raise NotFound(f"no {self.kind} is named {name!r}; there are: {known}")
        return self._numbers[name]

    def first(self, count: int) -> NameTable:
        """The table of the first `count` names."""
        return self if count == len(self) else NameTable(self.kind, self.names[:count])

    def with_names(self, names: Iterable[str]) -> NameTable:
        """A table that has all `names`: the same one, or a larger.

        Raises
        ------
        InvalidLabel
            For a name that is no string, empty, too long, or has control characters.
        """
        new: dict[str, None] = {}
        for name in names:
            if not isinstance(name, str) or name not in self._numbers:
                new[checked_name(name, self.kind)] = None
        if not new:
            return self
        names = list(self.names)
        for name in new:
            if VACANT in names:
                names[names.index(VACANT)] = name
            else:
                names.append(name)
        return NameTable(self.kind, tuple(names))

    def replaced(self, numbers: Iterable[int], name: str) -> NameTable:
        """The table in which these numbers have `name`."""
        names = list(self.names)
        for number in numbers:
            names[number] = name
        return NameTable(self.kind, tuple(names))


def checked_name(name: object, kind: str) -> str:
    """`name`, if it can be one.

    Raises
    ------
    InvalidLabel
        Saying what is wrong with it.
    """
    if not isinstance(name, str):
        raise InvalidLabel(f"a {kind} must be a string, got {type(name).__name__} {name!r}")
    try:
        length_bytes = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidLabel(f"the {kind} {name!r} is no valid Unicode text") from None
    if not name.strip():
        raise InvalidLabel(f"a {kind} must not be empty")
    if length_bytes > LONGEST_NAME_BYTES:
        raise InvalidLabel(
            f"the {kind} {name[:24]!r}… has {length_bytes} bytes, at most {LONGEST_NAME_BYTES} "
            "are allowed"
        )
    if not name.isprintable():
        raise InvalidLabel(f"the {kind} {name!r} has characters that cannot be printed")
    return name
