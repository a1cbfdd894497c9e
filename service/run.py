"""The process: load the extractor, open the learners, listen, end in order."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

from service import logs, machine
from service.config import ConfigError, Settings, load_settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from edge_cl.extractor import Extractor

__all__ = ["main", "serve"]


def serve(settings: Settings) -> int:
    """Run the service until SIGTERM or SIGINT; returns the exit code.

    What is queued then is answered, every learner is saved.
    """
    begun = time.monotonic()
    machine.limit_malloc()
    machine.limit_blas()
    logs.configure(settings.log_level, settings.log_format)
    # Only now: it loads NumPy.
    from edge_cl.errors import EdgeCLError

    try:
        extractor = load_extractor(settings)
        return _listen(settings, extractor, begun)
    except (ConfigError, EdgeCLError, OSError) as error:
        print(f"edge-cl: {error}", file=sys.stderr)
        return 2


def load_extractor(settings: Settings) -> Extractor | None:
    """The extractor that the settings name; EdgeCLError when it cannot be used."""
    if settings.extractor == "none":
        return None
    from edge_cl import extractor

    return extractor.load_extractor(
        settings.extractor, threads=settings.threads or None, providers=settings.providers or None
    )


def _listen(settings: Settings, extractor: Extractor | None, begun: float) -> int:
    import uvicorn

    from service.app import create_app
    from service.connections import connection_class
    from service.tls import certificate_files, fingerprint_of

    tls = certificate_files(settings)
    app = create_app(settings, extractor)
    # Before it listens, so that a setting that cannot be used is one line, not a trace.
    app.state.serving.open()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                address = self.servers[0].sockets[0].getsockname()
                _announce(settings, app, int(address[1]), time.monotonic() - begun)
                if tls is not None:
                    print(f"certificate {tls[0]} · SHA-256 {fingerprint_of(tls[0])}", flush=True)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # A stream of events would never end by itself.
            app.state.serving.events.close()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="asyncio",
        http=connection_class(settings.header_timeout_s),
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        ssl_certfile=None if tls is None else tls[0],
        ssl_keyfile=None if tls is None else tls[1],
        # Devices that send a sample every few seconds keep their connection.
        timeout_keep_alive=30,
        timeout_graceful_shutdown=settings.shutdown_timeout_s,
    )
    server = Server(config)

    def stop(*_: object) -> None:
        server.should_exit = True

    # uvicorn raises a signal again after it has ended in order: by default, that would kill.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server.run()
    return 0 if server.started else 1


def _announce(settings: Settings, app: FastAPI, port: int, took_s: float) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    shown = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else host
    key = "needed" if app.state.serving.keyring.needed else "none needed"
    scheme = "https" if settings.secure else "http"
    print(
        f"ready in {took_s:.1f} s · {scheme}://{shown}:{port}/ · key {key} · "
        f"budget {settings.memory_budget.human_readable()} · extractor {settings.extractor} · "
        f"data {settings.folder} · device {_device()}",
        flush=True,
    )


def _device() -> str:
    import platform

    try:
        with open("/proc/device-tree/model", encoding="utf-8") as model:
            return model.read().rstrip("\0\n")
    except OSError:
        return f"{platform.machine()}, {os.cpu_count()} cores"


def main() -> int:
    """Run the service with the settings of the environment."""
    try:
        return serve(load_settings(os.environ.get("EDGE_CL_CONFIG")))
    except ConfigError as error:
        print(f"edge-cl: {error}", file=sys.stderr)
        return 2
