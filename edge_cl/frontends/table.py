"""The front ends by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_cl.errors import InvalidOption
from edge_cl.frontends.frontend import Frontend
from edge_cl.frontends.series import Series
from edge_cl.frontends.sound import Sound

NAMES = (Sound.name, Series.name)


def frontend(name: str, options: Mapping[str, Any] | None = None) -> Frontend:
    """The front end of this name.

    Parameters
    ----------
    name
        One of `NAMES`.
    options
        Of `Series`: ``channels``, ``centre``, ``scale``. `Sound` has none.

    Raises
    ------
    InvalidOption
        For another name, or options that it does not have.
    """
    given = dict(options or {})
    known = {Sound.name: set(), Series.name: {"channels", "centre", "scale"}}
    if name not in known:
        raise InvalidOption(f"no front end is named {name[:40]!r}: there are {', '.join(NAMES)}")
    if unknown := sorted(set(given) - known[name]):
        has = ", ".join(sorted(known[name])) or "none"
        raise InvalidOption(
            f"the front end {name} has no option {unknown[0][:40]!r}; its options: {has}"
        )
    return Sound() if name == Sound.name else Series(**given)
