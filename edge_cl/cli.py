"""The ``edge-cl`` command: a table of subcommands, and one line for every error."""

from __future__ import annotations

import signal
import sys

import click

from edge_cl.commands import exits
from edge_cl.commands.lazy import Lazy, LazyGroup
from edge_cl.errors import EdgeCLError, InvalidInput

_COMMANDS = "edge_cl.commands"
COMMANDS = {
    "serve": Lazy(f"{_COMMANDS}.serve:serve", "Run the service."),
    "teach": Lazy(f"{_COMMANDS}.teach:teach", "Teach a folder of class folders."),
    "predict": Lazy(f"{_COMMANDS}.predict:predict", "Say what images show."),
    "watch": Lazy(f"{_COMMANDS}.watch:watch", "Teach what appears in a folder or before a camera."),
    "mqtt": Lazy("edge_cl.mqtt.command:mqtt", "Connect a learner to an MQTT broker."),
    "queue": Lazy(f"{_COMMANDS}.queue:queue", "Send the lessons that wait on the disk."),
    "eval": Lazy(f"{_COMMANDS}.evaluate:evaluate", "Measure accuracy on a folder."),
    "export": Lazy(f"{_COMMANDS}.transfer:export_learner", "Write a learner to a file."),
    "import": Lazy(f"{_COMMANDS}.transfer:import_learner", "Take a learner in from a file."),
    "keys": Lazy(f"{_COMMANDS}.keys:keys", "Make, list and revoke API keys."),
    "plan": Lazy(f"{_COMMANDS}.plan:plan", "Show what fits into a memory budget."),
    "health": Lazy(f"{_COMMANDS}.health:health", "Ask a service whether it is ready."),
    "check-config": Lazy(f"{_COMMANDS}.check_config:check_config", "Check the settings."),
    "demo": Lazy("edge_cl.demo.command:demo", "Watch three devices teach a service."),
    "bench": Lazy("edge_cl.bench.commands:bench", "Measure memory, speed and accuracy."),
    "extractor": Lazy("edge_cl.toolchain.commands:extractor", "Build and check extractors."),
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=(
        "Exit codes: 0 done, 1 some samples failed, 2 wrong option, setting or image, 3 no answer "
        "from the service, 4 the service refused, 5 cannot be done on this machine, "
        "130 interrupted."
    ),
)
@click.version_option(package_name="edge-cl", message="%(version)s")
def cli() -> None:
    """Teach images to a service that learns on the device, within a memory budget."""


def main() -> None:
    """Run the command line and leave with its exit code."""
    # As an exception, so that what a command started ends with it; `serve` has its own way.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(exits.TERMINATED))
    sys.exit(run())


def run(arguments: list[str] | None = None) -> int:
    """Run one command line.

    Parameters
    ----------
    arguments
        Words after ``edge-cl``; those of the process if None.

    Returns
    -------
    int
        The exit code.
    """
    try:
        code = cli.main(arguments, prog_name="edge-cl", standalone_mode=False)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        click.echo(f"error: {error.format_message()}{_hint(error)}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return exits.INTERRUPTED
    except EdgeCLError as error:
        click.echo(f"error: {error}", err=True)
        return _exit_code(error)
    return code if isinstance(code, int) else exits.OK


def _hint(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f" (see '{context.command_path} --help')" if context else ""


def _exit_code(error: EdgeCLError) -> int:
    # Here and not above: a command that asks no service must not load the HTTP client.
    from edge_cl.client import ServiceProblem, ServiceUnreachable

    if isinstance(error, ServiceUnreachable):
        return exits.UNREACHABLE
    if isinstance(error, ServiceProblem):
        return exits.REFUSED
    return exits.USAGE if isinstance(error, InvalidInput) else exits.FAILED
