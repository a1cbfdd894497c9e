"""What a command writes: tables and JSON to stdout, progress and notes to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table


class Advance(Protocol):
    """Moves a progress bar on."""

    def __call__(self, steps: int = 1, note: str = "") -> None:
        """Add `steps`, and show `note` beside the bar."""


def print_json(answer: Any) -> None:
    """Write one JSON document to stdout."""
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False))


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, text_columns: int = 1
) -> None:
    """Write a table to stdout; all columns after the first `text_columns` align right."""
    if title:
        click.echo(title)
    table = Table(box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < text_columns else "right")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    # Without a terminal a table must not be folded to 80 columns: scripts read its lines.
    width = None if sys.stdout.isatty() else 200
    Console(width=width, highlight=False).print(table)


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Advance]:
    """A progress bar on stderr while a terminal is there to show it, else nothing."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(what, total=total, note="")

        def advance(steps: int = 1, note: str = "") -> None:
            bar.update(task, advance=steps, note=note)

        yield advance


@contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner on stderr for work of unknown length, while a terminal is there to show it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    # A class may be called "[b]": what looks like markup is text.
    return f"{value:,}" if isinstance(value, int) else escape(str(value))
