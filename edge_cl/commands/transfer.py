"""``edge-cl export FILE`` and ``edge-cl import FILE``."""

from __future__ import annotations

from pathlib import Path

import click

from edge_cl.commands.connection import Connection, with_connection


@click.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--format",
    "kind",
    type=click.Choice(["archive", "onnx"]),
    default="archive",
    show_default=True,
    help="'onnx' is extractor and head as one model, which predicts in any runtime.",
)
@click.option(
    "--checkpoints/--no-checkpoints",
    default=True,
    show_default=True,
    help="Whether the named checkpoints come along in an archive.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@with_connection
def export_learner(
    connection: Connection, file: Path, kind: str, checkpoints: bool, force: bool
) -> None:
    """Write a learner and all that it was taught to FILE, for `edge-cl import`."""
    if file.exists() and not force:
        raise click.UsageError(f"{file} exists: name another file, or add --force")
    with connection.client() as client:
        size = client.export(file, format=kind, checkpoints=checkpoints)
    click.echo(f"{file}: learner {connection.learner}, {size:,} bytes", err=True)


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="What to call the learner.  [the name that it had]")
@with_connection
def import_learner(connection: Connection, file: Path, name: str | None) -> None:
    """Take the learner of FILE into a running service; it goes on where it was."""
    with connection.client() as client:
        state = client.import_learner(file, name)
    click.echo(
        f"learner {state['name']}: {state['samples_seen']} samples of {state['classes']} classes",
        err=True,
    )
