"""A real service in a process of its own, for the demo, the benchmarks and the tests."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from edge_cl.commands.health import is_ready
from edge_cl.errors import EdgeCLError

START_LIMIT_S = 60.0


class ServiceDied(EdgeCLError):
    """The service ended by itself; the message has the end of its log."""


class LocalService:
    """``edge-cl serve`` on a free port of this machine.

    Parameters
    ----------
    folder
        Where its data folder and its log are put.
    settings
        Settings by name, as ``--set`` takes them.
    environment
        Environment variables beside those of this process.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.settings = dict(settings or {})
        self.environment = dict(environment or {})
        self.log = folder / "service.log"
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process id while it runs."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> LocalService:
        self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def start(self) -> float:
        """Start it; return the seconds until it was ready.

        Raises
        ------
        ServiceDied
            If it ends instead, or is not ready in time.
        """
        begun = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**_clean_environment(), **self.environment},
            )
        while not is_ready(self.url):
            if self._process.poll() is not None or time.monotonic() - begun > START_LIMIT_S:
                self.kill()
                raise ServiceDied(f"the service did not get ready:\n{self._end_of_log()}")
            time.sleep(0.05)
        return time.monotonic() - begun

    def stop(self) -> int:
        """End it by SIGTERM; return its exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _command(self) -> list[str]:
        words = [sys.executable, "-m", "edge_cl", "serve", "--port", str(self.port)]
        words += ["--data", str(self.folder / "data")]
        for name, value in self.settings.items():
            text = json.dumps(value) if isinstance(value, dict | list) else value
            words += ["--set", f"{name}={text}"]
        return words

    def _end_of_log(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-2000:]


def _clean_environment() -> dict[str, str]:
    """The environment here, without settings that were meant for another service."""
    return {name: text for name, text in os.environ.items() if not name.startswith("EDGE_CL_")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
