"""Options of every command that reads the settings of the service."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError

from service.config import ConfigError, Settings, load_settings

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of `Settings`, which it takes as its first argument."""

    @click.option("--host", help="Address to listen on.  [127.0.0.1]")
    @click.option("--port", type=int, help="Port to listen on; 0 takes a free one.  [8080]")
    @click.option("--data", type=click.Path(file_okay=False), help="Folder of everything durable.")
    @click.option("--memory-budget", help="Bytes of a new learner, as in 8MiB.")
    @click.option("--strategy", help="Strategy of the learner 'default'.")
    @click.option("--extractor", help="'default' is the built-in one; else an ONNX file.")
    @click.option("--tls", type=click.Choice(["off", "auto"]), help="'auto' signs its own HTTPS.")
    @click.option("--tls-cert", type=click.Path(dir_okay=False), help="Certificate chain in PEM.")
    @click.option("--tls-key", type=click.Path(dir_okay=False), help="Its private key in PEM.")
    @click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="TOML file of settings.",
    )
    @click.option(
        "--set",
        "others",
        multiple=True,
        metavar="NAME=VALUE",
        help="Any other setting; 'edge-cl check-config' lists them.",
    )
    @wraps(command)
    def configured(config: Path | None, others: tuple[str, ...], **given: Any) -> Any:
        own = {name: given.pop(name) for name in list(given) if name not in _SETTINGS}
        named = {name: value for name, value in given.items() if value is not None}
        return command(read_settings(config, {**_pairs(others), **named}), **own)

    return configured


def read_settings(config: Path | None, overrides: Mapping[str, Any]) -> Settings:
    """Read the settings, or say in one line which of them cannot be used.

    Raises
    ------
    click.UsageError
        Naming the setting, its value and what is wrong with it.
    """
    try:
        return load_settings(config, overrides)
    except ConfigError as error:
        cause = error.__cause__
        if isinstance(cause, ValidationError):
            raise click.UsageError("; ".join(map(_fault, cause.errors()))) from error
        raise click.UsageError(str(error)) from error


_SETTINGS = frozenset(
    {
        "host", "port", "data", "memory_budget", "strategy", "extractor", "tls", "tls_cert",
        "tls_key",
    }
)  # fmt: skip


def _fault(fault: ErrorDetails) -> str:
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"there is no setting {name!r}; 'edge-cl check-config' lists all"
    return f"setting {name} = {fault['input']!r}: {fault['msg']}"


def _pairs(others: tuple[str, ...]) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for other in others:
        name, equals, text = other.partition("=")
        if not equals:
            raise click.UsageError(f"--set {other}: write NAME=VALUE")
        if name not in Settings.model_fields:
            raise click.UsageError(
                f"--set {other}: there is no setting {name!r}; 'edge-cl check-config' lists all"
            )
        pairs[name] = _parsed(other, text) if text[:1] in ("{", "[") else text
    return pairs


def _parsed(other: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"--set {other}: the value is no JSON: {error}") from error
