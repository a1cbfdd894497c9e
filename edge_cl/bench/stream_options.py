"""Options that the benches of streams have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import click

Command: TypeAlias = Callable[..., Any]
Decorator: TypeAlias = Callable[[Command], Command]

FOLDER = click.Path(file_okay=False, path_type=Path)


def sample_options(train: int = 10_000, test: int = 2_000) -> Decorator:
    """``--orders``, ``--pack``, ``--train`` and ``--test``, with these defaults."""
    return _all(
        click.option("--orders", default=3, show_default=True, help="Orders of the stream."),
        click.option("--pack", default="cifar10", show_default=True, help="Image pack."),
        click.option("--train", default=train, show_default=True,
                     help="Samples to learn; 0 is all."),
        click.option("--test", default=test, show_default=True, help="Samples to test; 0 is all."),
    )  # fmt: skip


def place_options(runs: str, files: str) -> Decorator:
    """``--runs`` and ``--out``: where single runs, and where the files named go."""
    return _all(
        click.option("--runs", type=FOLDER, default=Path("bench-runs") / runs, show_default=True,
                     help="Folder of the runs."),
        click.option("--out", type=FOLDER, default=Path("docs/results"), show_default=True,
                     help=f"Where {files} go."),
    )  # fmt: skip


def _all(*options: Decorator) -> Decorator:
    def decorated(function: Command) -> Command:
        for option in reversed(options):
            function = option(function)
        return function

    return decorated
