"""Results as files: JSON for programs, Markdown for people, both with how they were made."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("edge-cl", "numpy", "onnxruntime")


@dataclass(frozen=True)
class Report:
    """One measurement.

    Parameters
    ----------
    name
        Stem of the files.
    title
        Heading.
    columns, rows
        The table.
    figures
        Everything that was measured, for the JSON.
    notes
        Sentences below the table.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    figures: dict[str, Any]
    notes: Sequence[str] = ()
    command: str = field(default_factory=lambda: " ".join(["edge-cl", *sys.argv[1:]]))

    def write(self, folder: Path) -> list[Path]:
        """Write both files; return where they are."""
        folder.mkdir(parents=True, exist_ok=True)
        as_json, as_markdown = folder / f"{self.name}.json", folder / f"{self.name}.md"
        content = {"command": self.command, "machine": machine(), **self.figures}
        as_json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        as_markdown.write_text(self.markdown(), encoding="utf-8")
        return [as_json, as_markdown]

    def markdown(self) -> str:
        """The report as a page."""
        where = ", ".join(f"{name} {text}" for name, text in machine().items())
        lines = [f"# {self.title}", "", f"Made by `{self.command}` on: {where}.", ""]
        lines += _table(self.columns, self.rows)
        for note in self.notes:
            lines += ["", note]
        return "\n".join(lines) + "\n"


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    rule = ["---", *["--:"] * (len(columns) - 1)]
    return [f"| {' | '.join(map(_cell, row))} |" for row in (columns, rule, *rows)]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
