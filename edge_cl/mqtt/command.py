"""``edge-cl mqtt``."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from edge_cl.commands import exits
from edge_cl.commands.connection import Connection, with_connection
from edge_cl.mqtt.bridge import Bridge
from edge_cl.mqtt.connection import Broker, Connected
from edge_cl.mqtt.topics import Topics

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--broker", default="mqtt://127.0.0.1:1883", show_default=True,
              envvar="EDGE_CL_MQTT_BROKER", help="mqtt[s]://[user@]host[:port].")  # fmt: skip
@click.option("--password-file", type=_FILE, help="File with the broker's password.")
@click.option("--broker-ca", type=_FILE, help="Certificate of the broker to trust.")
@click.option("--topic", default="edge_cl", show_default=True, help="What topics begin with.")
@click.option("--client-id", help="Name of the session at the broker.  [edge_cl-<learner>]")
@click.option("--discovery", default="homeassistant", show_default=True,
              help="Where Home Assistant looks for new devices.")  # fmt: skip
@click.option("--no-discovery", is_flag=True, help="Tell Home Assistant nothing.")
@with_connection
def mqtt(
    connection: Connection,
    broker: str,
    password_file: Path | None,
    broker_ca: Path | None,
    topic: str,
    client_id: str | None,
    discovery: str,
    no_discovery: bool,
) -> int:
    """Teach and ask a learner by MQTT messages, until Ctrl-C.

    Topics are TOPIC/LEARNER/teach/LABEL, .../predict and .../feedback; answers
    come on .../taught, .../prediction and .../error.
    """
    if any(sign in topic for sign in "#+"):
        raise click.UsageError(f"{topic!r} has a # or a +, which topics cannot begin with")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    password = password_file.read_text(encoding="utf-8").strip() if password_file else None
    topics = Topics(topic.strip("/"), connection.learner)
    session = client_id or f"edge_cl-{connection.learner}"
    with connection.client() as client:
        where = Broker.of(broker, password, broker_ca, session)
        prefix = None if no_discovery else discovery
        running = Connected(where, Bridge(client, topics), topics, prefix)
        click.echo(f"{topics.root} on {where.host}:{where.port}, Ctrl-C ends it", err=True)
        running.run()
    return exits.OK
