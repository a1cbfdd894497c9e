"""Every setting of the service: its name, its default, its meaning.

A setting is read from, strongest first: an argument of `load_settings` (the
command line), the environment (``EDGE_CL_`` and the upper-case name), the TOML
file given by ``--config``, the default below.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, ByteSize, Field, PositiveFloat, PositiveInt, SecretStr
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from service.machine import allowed_memory_bytes

__all__ = ["ConfigError", "Settings", "load_settings"]

KIB = 1024
MIB = 1024 * KIB

ORIGIN = re.compile(r"https?://[^/\s?#@]+")

Size = Annotated[ByteSize, Field(gt=0)]


LEAST_LEARNERS_BUDGET = 16 * MIB
MOST_LEARNERS_BUDGET = 1024 * MIB
UNKNOWN_LEARNERS_BUDGET = 64 * MIB


def default_learners_budget() -> ByteSize:
    """A quarter of what the process may use: the rest is the extractor's and the requests'."""
    allowed = allowed_memory_bytes()
    quarter = allowed // 4 if allowed else UNKNOWN_LEARNERS_BUDGET
    return ByteSize(min(max(quarter, LEAST_LEARNERS_BUDGET), MOST_LEARNERS_BUDGET))


class ConfigError(Exception):
    """A setting that cannot be used; the message names it and says what to do."""


class Settings(BaseSettings):
    """The settings of one service process."""

    model_config = SettingsConfigDict(
        env_prefix="EDGE_CL_", extra="forbid", frozen=True, validate_by_name=True
    )

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    folder: Path = Field(
        Path("edge-cl-data"),
        validation_alias=AliasChoices("data", "EDGE_CL_DATA"),
        description="Folder of everything durable. The only thing to back up.",
    )

    strategy: str = Field(
        "auto", description="Strategy of the learner `default`; `auto` chooses by the budget."
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="Options of that strategy; JSON in the environment."
    )
    memory_budget: Size = Field(
        ByteSize(8 * MIB), description="Bytes that a new learner may use, as in 8MiB."
    )
    seed: int = Field(0, ge=0, description="Seed of a new learner.")
    max_learners: PositiveInt = Field(16, description="Learners that may exist at the same time.")
    learners_budget: Size = Field(
        default_factory=default_learners_budget,
        description="Sum of the memory budgets of all learners; by default a quarter of the "
        "memory that the process may use (of the machine, or of its cgroup), 16MiB to 1GiB.",
    )
    extractor: str = Field(
        "default",
        description="`default` is the built-in extractor; else the path of an ONNX file; `@LAYER` "
        "behind it cuts it there.",
    )
    threads: int = Field(
        0,
        ge=0,
        le=256,
        description="Threads of one extraction; 0 means 1, the fastest for single images.",
    )
    providers: list[str] = Field(
        default_factory=list,
        description="ONNX Runtime providers in order of preference; empty is the CPU.",
    )

    false_reject_rate: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="Share of samples of known classes that may be called unknown; 0 is never.",
    )

    api_key: SecretStr | None = Field(
        None, description="An admin key. With it, or with stored keys, every request needs one."
    )
    api_key_file: Path | None = Field(None, description="File that holds the key, as a secret.")
    allow_anonymous: bool = Field(
        False, description="Listen beyond loopback although there is no key."
    )
    rate_per_s: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="Requests a second that one key may make; 0 sets no limit.",
    )
    rate_burst: PositiveInt = Field(
        20, description="Requests that one key may make at once after a rest."
    )
    cors_origins: list[str] = Field(
        default_factory=list,
        description="Sites whose pages may use the service, as in https://example.org; `*` is all.",
    )
    tls: Literal["off", "auto"] = Field(
        "off", description="`auto` serves HTTPS with a certificate that it signs itself."
    )
    tls_cert: Path | None = Field(
        None, description="Certificate chain in PEM; with it the service serves HTTPS."
    )
    tls_key: Path | None = Field(None, description="Private key of that certificate in PEM.")

    max_body_bytes: Size = Field(ByteSize(16 * MIB), description="Largest request body.")
    max_inflight_bytes: Size = Field(
        ByteSize(48 * MIB), description="Bodies of all running requests together; then 503."
    )
    max_batch_samples: PositiveInt = Field(512, description="Most samples in one request.")
    max_image_pixels: PositiveInt = Field(
        25_000_000, description="Most pixels of one image, checked before it is decoded."
    )
    max_import_bytes: Size = Field(
        ByteSize(512 * MIB), description="Largest archive of a learner, packed and unpacked."
    )
    import_timeout_s: PositiveFloat = Field(
        900.0, description="An archive must have arrived after this time, else 408."
    )
    body_timeout_s: PositiveFloat = Field(
        30.0, description="A body must have arrived after this time, else 408."
    )
    header_timeout_s: PositiveFloat = Field(
        10.0, description="A connection whose request head takes longer is closed."
    )
    decode_workers: PositiveInt = Field(
        1, le=64, description="Requests whose images are decoded and extracted at the same time."
    )

    queue_requests: PositiveInt = Field(
        256, description="Teaching requests that may wait in a learner's queue; then 503."
    )
    queue_bytes: Size = Field(
        ByteSize(16 * MIB), description="Bytes of latents that may wait in that queue; then 503."
    )
    group_requests: PositiveInt = Field(64, description="Most requests in one commit.")

    predictions_kept: PositiveInt = Field(
        1000, description="Predictions of a learner that can still get feedback."
    )
    predictions_bytes: Size = Field(
        ByteSize(2 * MIB), description="Memory for them, latents included; the oldest go first."
    )
    predictions_hours: PositiveFloat = Field(24.0, description="How long a prediction is kept.")

    idle_unload_s: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="Extractor and learners leave the memory when unused for so long; 0: never.",
    )

    journal_bytes: Size = Field(
        ByteSize(256 * MIB), description="Disk kept for a learner's journal of samples."
    )
    undo_learn_s: float = Field(
        2.0,
        ge=0,
        allow_inf_nan=False,
        description="A state to undo from is saved after so many seconds of learning; 0 for none.",
    )
    undo_operations: PositiveInt = Field(
        2000, description="Most operations that are learned again to go back to a version."
    )
    checkpoint_bytes: Size = Field(
        ByteSize(64 * MIB), description="Disk kept for a learner's named checkpoints."
    )
    snapshot_interval_s: PositiveFloat = Field(
        300.0, description="A changed learner is saved after this time."
    )
    snapshot_operations: PositiveInt = Field(
        1000, description="A learner is saved after so many operations; bounds the restart."
    )
    idempotency_keys: PositiveInt = Field(
        10_000, description="Idempotency keys kept per learner; the oldest go first."
    )
    idempotency_hours: PositiveFloat = Field(24.0, description="How long a key is kept.")
    ballast_bytes: Size = Field(
        ByteSize(4 * MIB), description="Disk held back so that a full disk can be left again."
    )

    job_bytes: Size = Field(
        ByteSize(256 * MIB), description="Largest upload that is taught as a job."
    )
    job_unpacked_bytes: Size = Field(
        ByteSize(2048 * MIB), description="Most bytes that an uploaded archive may unpack to."
    )
    job_samples: PositiveInt = Field(
        50_000, le=1_000_000, description="Most samples in one upload."
    )
    job_timeout_s: PositiveFloat = Field(
        600.0, description="An upload must have arrived after this time, else 408."
    )
    max_jobs: PositiveInt = Field(8, description="Jobs that may wait or run; then 503.")
    events_kept: PositiveInt = Field(
        1000, le=100_000, description="Events that a client can resume after."
    )
    event_streams: PositiveInt = Field(
        32, description="Clients that may follow events at the same time; then 503."
    )
    event_heartbeat_s: PositiveFloat = Field(
        15.0, description="A silent stream of events sends a comment after this time."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log line that is written."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="`json` writes one object per line."
    )
    shutdown_timeout_s: PositiveInt = Field(
        30, description="Running requests get so long to end after SIGTERM."
    )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def keys_file(self) -> Path:
        """Where the stored keys lie."""
        return self.folder / "keys.json"

    @property
    def secure(self) -> bool:
        """Whether the service serves HTTPS."""
        return self.tls == "auto" or self.tls_cert is not None

    def key(self) -> str | None:
        """The API key, from the setting or its file; None when there is none."""
        if self.api_key is not None and self.api_key_file is not None:
            raise ConfigError("both api_key and api_key_file are set: keep one")
        if self.api_key_file is None:
            secret = self.api_key.get_secret_value() if self.api_key else None
        else:
            try:
                secret = self.api_key_file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"api_key_file cannot be read: {error}") from error
        if secret is not None and len(secret) < 8:
            raise ConfigError("the API key is shorter than 8 characters: use a longer one")
        return secret

    def check(self) -> None:
        """Raise ConfigError for settings that are dangerous or contradict each other."""
        has_key = self.key() is not None or self.keys_file.exists()
        if not has_key and not self.loopback and not self.allow_anonymous:
            raise ConfigError(
                f"host {self.host} can be reached by other machines and there is no API key: "
                "set EDGE_CL_API_KEY (or EDGE_CL_API_KEY_FILE), make one with 'edge-cl keys add "
                "--data', or set EDGE_CL_ALLOW_ANONYMOUS=1"
            )
        self._check_tls()
        for origin in self.cors_origins:
            if origin != "*" and not ORIGIN.fullmatch(origin):
                raise ConfigError(
                    f"cors_origins has {origin!r}: write scheme and host, as in "
                    "https://example.org, without a path"
                )
        if self.max_body_bytes > self.max_inflight_bytes:
            raise ConfigError("max_body_bytes is above max_inflight_bytes: raise the latter")
        if self.memory_budget > self.learners_budget:
            raise ConfigError("memory_budget is above learners_budget: raise the latter")

    def _check_tls(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("tls_cert and tls_key come together: set both, or neither")
        if self.tls == "auto" and self.tls_cert is not None:
            raise ConfigError("tls=auto makes a certificate of its own: leave tls_cert out")
        for file in (self.tls_cert, self.tls_key):
            if file is not None and not file.is_file():
                raise ConfigError(f"TLS file {file} does not exist")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the TOML file."""
        toml = settings_cls.model_config.get("toml_file")
        if toml is None:
            return init_settings, env_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, Path(str(toml)))


def load_settings(
    config: str | os.PathLike[str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Read and check all settings.

    Parameters
    ----------
    config
        A TOML file whose keys are the names of settings, or None.
    overrides
        Settings that win over every other source; None values are left out.

    Raises
    ------
    ConfigError
        If a value, a name or the file cannot be used.
    """
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    kind = Settings if config is None else _reading(Path(config))
    try:
        settings = kind(**given)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    settings.check()
    return settings


def _reading(config: Path) -> type[Settings]:
    if not config.is_file():
        raise ConfigError(f"config file {config} does not exist")

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=config)

    return FromFile
