"""``edge-cl serve``."""

from __future__ import annotations

import click

from edge_cl.commands.settings import with_settings
from service.config import Settings


@click.command()
@with_settings
def serve(settings: Settings) -> int:
    """Run the service until SIGTERM or Ctrl-C; both let running requests end.

    A setting comes from an option, else from the environment (EDGE_CL_ and its
    name), else from the TOML file given by --config, else it has its default.
    """
    # Here and not above, so that a wrong setting is told before anything heavy loads.
    from service.run import serve as run_service

    return run_service(settings)
