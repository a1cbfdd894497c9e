"""Options of every command that asks a running service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from edge_cl.client import Client, Retries


@dataclass(frozen=True)
class Connection:
    """How to reach one learner of a service."""

    url: str | None
    learner: str
    key_file: Path | None
    ca_file: Path | None
    patience_s: float

    def client(self, *, answers_now: bool = True) -> Client:
        """Open a client; patience is for breaks on the way, so a service must answer now.

        Parameters
        ----------
        answers_now
            False where what is taught can wait on the disk.
        """
        key = self.key_file.read_text(encoding="utf-8").strip() if self.key_file else None
        retries = Retries(patience_s=self.patience_s)
        client = Client(
            self.url, learner=self.learner, key=key, retries=retries, ca_file=self.ca_file
        )
        if answers_now:
            client.check()
        return client


def with_connection(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a `Connection`, which it takes as its first argument."""

    @click.option("--url", help="Where the service listens.  [EDGE_CL_URL or 127.0.0.1:8080]")
    @click.option("--learner", default="default", show_default=True, help="Name of the learner.")
    @click.option(
        "--key-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="File with the API key.  [else EDGE_CL_API_KEY]",
    )
    @click.option(
        "--ca-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Certificate to trust, as of a service with --tls auto.  [else EDGE_CL_CA_FILE]",
    )
    @click.option(
        "--patience",
        "patience_s",
        default=60.0,
        show_default=True,
        help="Seconds during which a request that gets no answer on the way is repeated.",
    )
    @wraps(command)
    def connected(
        url: str | None,
        learner: str,
        key_file: Path | None,
        ca_file: Path | None,
        patience_s: float,
        **options: Any,
    ) -> Any:
        return command(Connection(url, learner, key_file, ca_file, patience_s), **options)

    return connected
