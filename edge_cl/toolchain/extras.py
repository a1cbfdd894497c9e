"""Optional packages, asked for by the name of the extra that brings them."""

from __future__ import annotations

import importlib
from types import ModuleType

from edge_cl.errors import MissingExtra


def optional(module: str, what: str, extra: str = "torch") -> ModuleType:
    """Import an optional package.

    Parameters
    ----------
    module
        Its name, such as ``onnx``.
    what
        What needs it, for the message.
    extra
        The extra of edge-cl that installs it.

    Raises
    ------
    MissingExtra
        When it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as missing:
        if (missing.name or module).partition(".")[0] != module.partition(".")[0]:
            raise
        raise MissingExtra(f"{what} ({module})", extra) from missing
