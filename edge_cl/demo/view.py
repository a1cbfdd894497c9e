"""What the demo shows while it runs: a live table on a terminal, else one line a step."""

from __future__ import annotations

from typing import Protocol

import click
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text


class View(Protocol):
    """Shows how far the devices are."""

    def __enter__(self) -> View:
        """Begin to show."""

    def __exit__(self, *failure: object) -> None:
        """Stop showing."""

    def say(self, what: str) -> None:
        """Tell an event."""

    def taught(self, label: str, acknowledged: int, of_images: int) -> None:
        """Show how many images of a class were acknowledged."""

    def measured(self, accuracy: dict[str, float]) -> None:
        """Show the accuracy of every class that is known."""


class PlainView:
    """One line an event, for logs and pipes."""

    def __init__(self) -> None:
        self._complete: set[str] = set()

    def __enter__(self) -> PlainView:
        return self

    def __exit__(self, *failure: object) -> None:
        """Nothing to tidy up."""

    def say(self, what: str) -> None:
        """Print an event."""
        click.echo(what)

    def taught(self, label: str, acknowledged: int, of_images: int) -> None:
        """Print a class once it is complete."""
        if acknowledged == of_images and label not in self._complete:
            self._complete.add(label)
            click.echo(f"taught {label}: {acknowledged} images acknowledged")

    def measured(self, accuracy: dict[str, float]) -> None:
        """Print the accuracy of all classes in one line."""
        mean = sum(accuracy.values()) / len(accuracy)
        each = "  ".join(f"{label} {part:.2f}" for label, part in accuracy.items())
        click.echo(f"accuracy {mean:.3f} on {len(accuracy)} classes: {each}")


class LiveView:
    """A table that is redrawn while accuracy rises.

    Parameters
    ----------
    labels
        All classes, in the order in which they are taught.
    console
        Where to draw.
    """

    def __init__(self, labels: list[str], console: Console) -> None:
        self._progress: dict[str, tuple[int, int]] = dict.fromkeys(labels, (0, 1))
        self._accuracy: dict[str, float] = {}
        self._events: list[str] = []
        self._live = Live(self._drawn(), console=console, refresh_per_second=8)

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._live.update(self._drawn())
        self._live.stop()

    def say(self, what: str) -> None:
        """Add an event below the table."""
        self._events.append(what)
        self._live.update(self._drawn())

    def taught(self, label: str, acknowledged: int, of_images: int) -> None:
        """Move the bar of a class."""
        self._progress[label] = (acknowledged, of_images)
        self._live.update(self._drawn())

    def measured(self, accuracy: dict[str, float]) -> None:
        """Redraw the accuracy column."""
        self._accuracy = accuracy
        self._live.update(self._drawn())

    def _drawn(self) -> Group:
        table = Table(box=box.SIMPLE_HEAD, show_footer=bool(self._accuracy))
        mean = sum(self._accuracy.values()) / max(1, len(self._accuracy))
        table.add_column("class", footer="mean")
        table.add_column("taught", width=24)
        table.add_column("accuracy now", width=24)
        table.add_column("", justify="right", footer=f"{mean:.3f}")
        for label, (done, total) in self._progress.items():
            part = self._accuracy.get(label)
            table.add_row(
                escape(label),
                ProgressBar(total=total, completed=done, width=24),
                "" if part is None else ProgressBar(total=1, completed=part, width=24),
                "" if part is None else f"{part:.2f}",
            )
        return Group(table, Text("\n".join(self._events[-6:])))


def view_of(labels: list[str]) -> View:
    """The view that suits where the output goes."""
    console = Console()
    return LiveView(labels, console) if console.is_terminal else PlainView()
