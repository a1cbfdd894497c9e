"""``edge-cl keys``: make, list and revoke API keys."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_cl.client import Client
from edge_cl.commands.connection import Connection, with_connection
from edge_cl.commands.output import print_json, print_table

if TYPE_CHECKING:
    from service.access import Keyring

DAY_S = 86_400.0


def _with_folder(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--data",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Data folder of a service that is stopped, instead of asking a running one.",
    )(command)


@click.group()
def keys() -> None:
    """Make, list and revoke the API keys of a service."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(["read", "predict", "learn", "admin"]),
    help="What the key may do; several may be given, admin includes all.",
)
@click.option("--only", "learners", multiple=True, help="Learner to bind the key to; repeatable.")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="When it expires.")
@_with_folder
@with_connection
def add(
    connection: Connection,
    name: str,
    scopes: tuple[str, ...],
    learners: tuple[str, ...],
    days: float | None,
    data: Path | None,
) -> None:
    """Make a key called NAME and write it to stdout: it is never shown again."""
    bound = list(learners) or None
    lasts_s = None if days is None else days * DAY_S
    if data is None:
        with connection.client() as client:
            text = client.add_key(name, list(scopes), learners=bound, expires_in_s=lasts_s)["key"]
    else:
        with _stopped(data) as keyring:
            expires_at = None if lasts_s is None else time.time() + lasts_s
            text = keyring.add(name, scopes, bound, expires_at)[1]
    click.echo(text)


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Write the keys as JSON.")
@_with_folder
@with_connection
def list_keys(connection: Connection, data: Path | None, as_json: bool) -> None:
    """List the keys, without their secrets."""
    if data is None:
        with connection.client() as client:
            found = client.keys()
    else:
        from service.routes.keys import key_content

        with _stopped(data) as keyring:
            found = [key_content(keyring, key) for key in keyring.all()]
    if as_json:
        print_json(found)
        return
    columns = ["id", "name", "scopes", "learners", "expires"]
    print_table(f"{len(found)} keys", columns, map(_row, found), text_columns=len(columns))


@keys.command()
@click.argument("key_id", metavar="ID")
@_with_folder
@with_connection
def revoke(connection: Connection, key_id: str, data: Path | None) -> None:
    """Revoke the key of this ID; requests that come with it are refused from now on."""
    if data is None:
        client: Client
        with connection.client() as client:
            client.revoke_key(key_id)
    else:
        with _stopped(data) as keyring:
            keyring.remove(key_id, last_too=True)
    click.echo(f"{key_id} is revoked", err=True)


def _row(key: dict[str, Any]) -> list[str]:
    ends = key["expires_at"]
    shown = "never" if ends is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(ends))
    return [
        key["id"],
        key["name"],
        ", ".join(key["scopes"]),
        "all" if key["learners"] is None else ", ".join(key["learners"]),
        f"{shown} (expired)" if key["expired"] else shown,
    ]


@contextmanager
def _stopped(data: Path) -> Iterator[Keyring]:
    """The keys of a folder that no service uses while the block runs."""
    from service.access import Keyring
    from service.config import ConfigError
    from service.errors import Problem
    from service.registry import take_folder

    try:
        lock = take_folder(data)
    except (ConfigError, OSError) as error:
        raise click.ClickException(f"{error}; leave --data out to ask the service") from error
    try:
        yield Keyring(data / "keys.json")
    except (ConfigError, Problem) as error:
        raise click.ClickException(str(error)) from error
    finally:
        os.close(lock)
