"""``edge-cl check-config``."""

from __future__ import annotations

from typing import Any

import click
from pydantic import ByteSize, SecretStr

from edge_cl.budget import format_bytes
from edge_cl.commands.output import print_json, print_table
from edge_cl.commands.settings import with_settings
from service.config import Settings


@click.command("check-config")
@click.option("--json", "as_json", is_flag=True, help="Write the settings as JSON.")
@with_settings
def check_config(settings: Settings, as_json: bool) -> None:
    """Check the settings as ``serve`` would read them, and list them all.

    A setting comes from an option, else from the environment (EDGE_CL_ and its
    name), else from the TOML file given by --config, else it has its default.
    """
    if as_json:
        print_json(settings.model_dump(mode="json"))
        return
    rows = [
        (name, _shown(getattr(settings, name)), f"EDGE_CL_{_key(name).upper()}", _about(name))
        for name in Settings.model_fields
    ]
    print_table("settings", ["name", "value", "environment", "meaning"], rows, text_columns=4)


def _key(name: str) -> str:
    return "data" if name == "folder" else name


def _about(name: str) -> str:
    return Settings.model_fields[name].description or ""


def _shown(value: Any) -> str:
    if isinstance(value, ByteSize):
        return format_bytes(int(value))
    if isinstance(value, SecretStr):
        return "(set)"
    return str(value)
