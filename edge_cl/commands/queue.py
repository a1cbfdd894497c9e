"""``edge-cl queue DIR``."""

from __future__ import annotations

from pathlib import Path

import click

from edge_cl.client import Drained, OfflineQueue
from edge_cl.commands import exits
from edge_cl.commands.connection import Connection, with_connection
from edge_cl.commands.queued import report


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--list", "only_list", is_flag=True, help="Send nothing, say what is there.")
@click.option("--retry", type=int, multiple=True, help="Let this lesson that was set aside wait.")
@click.option("--discard", type=int, multiple=True, help="Delete this lesson that was set aside.")
@click.option("--json", "as_json", is_flag=True, help="Write the summary as JSON.")
@with_connection
def queue(
    connection: Connection,
    folder: Path,
    only_list: bool,
    retry: tuple[int, ...],
    discard: tuple[int, ...],
    as_json: bool,
) -> int:
    """Send the lessons that wait in FOLDER, where --queue of other commands put them.

    They go in the order in which they came, each to the learner that it was
    meant for. A lesson that the service refuses is set aside with the reason.
    """
    with OfflineQueue(folder) as waiting:
        for number in retry:
            waiting.retry(number)
        for number in discard:
            waiting.discard(number)
        if only_list:
            drained = Drained(waiting=len(waiting))
        else:
            with connection.client() as client:
                drained = waiting.drain(client)
        report(waiting, drained, {}, as_json)
        if drained.failure is not None:
            raise drained.failure
        return exits.PARTLY_FAILED if waiting.set_aside() else exits.OK
