"""``edge-cl predict FILE…``."""

from __future__ import annotations

from pathlib import Path

import click

from edge_cl.client import Predicted, ServiceProblem
from edge_cl.commands import exits
from edge_cl.commands.concurrency import bounded_map
from edge_cl.commands.connection import Connection, with_connection
from edge_cl.commands.output import print_json, print_table, progress_bar
from edge_cl.errors import InvalidImage


@click.command()
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option("--context", help="Context that the images come from.")
@click.option("--top-k", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--explain", type=click.IntRange(0, 20), default=0, help="Nearest remembered samples to show."
)
@click.option("--json", "as_json", is_flag=True, help="Write the answers as JSON.")
@with_connection
def predict(
    connection: Connection,
    files: tuple[Path, ...],
    context: str | None,
    top_k: int,
    explain: int,
    as_json: bool,
) -> int:
    """Say what each of FILES shows."""
    with connection.client() as client, progress_bar("predicting", len(files)) as advance:

        def ask(file: Path) -> Predicted | str:
            try:
                return client.predict(file, top_k=top_k, context=context, explain=explain)
            except (ServiceProblem, InvalidImage) as error:
                if len(files) == 1:
                    raise
                return str(error)

        answers = []
        for answer in bounded_map(ask, files, at_once=4):
            answers.append(answer)
            advance()
    named = list(zip(files, answers, strict=True))
    if as_json:
        print_json([_entry(file, answer) for file, answer in named])
    else:
        columns = ["file", "label", "score", "next", *(["because of"] if explain else [])]
        rows = [_row(file, answer)[: len(columns)] for file, answer in named]
        print_table("", columns, rows, text_columns=2)
    failed = any(isinstance(answer, str) for answer in answers)
    return exits.PARTLY_FAILED if failed else exits.OK


def _entry(file: Path, answer: Predicted | str) -> dict[str, object]:
    if isinstance(answer, str):
        return {"file": str(file), "error": answer}
    return {"file": str(file), "model_version": answer.version, **answer.answer}


def _row(file: Path, answer: Predicted | str) -> tuple[object, ...]:
    if isinstance(answer, str):
        return file, f"failed: {answer}", "", "", ""
    label = f"unknown (nearest: {answer.label})" if answer.unknown else answer.label
    following = ", ".join(f"{name} {score:.2f}" for name, score in answer.top[1:])
    near = answer.answer.get("neighbours") or []
    because = ", ".join(
        f"{one['label']} {one['sample_id']} ({one['similarity']:.2f})" for one in near
    )
    return file, label, answer.score, following, because
