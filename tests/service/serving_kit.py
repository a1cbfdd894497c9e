"""A real server on a real socket: in this process, or in one of its own."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn
from PIL import Image
from starlette.routing import Match

from edge_cl.extractor import Extractor
from service.app import create_app
from service.config import Settings, load_settings
from service.connections import connection_class

DIM = 8
READY = re.compile(r"ready in .* (https?://[^/]+)/")


def jpeg(channel: int, seed: int = 0, size: int = 64) -> bytes:
    """A noisy image of one colour."""
    pixels = np.random.default_rng(seed).integers(0, 60, (size, size, 3), dtype=np.uint8)
    pixels[..., channel] += 150
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG")
    return encoded.getvalue()


def latent(kind: int, seed: int = 0, dim: int = DIM) -> list[float]:
    """A latent of one of `dim` classes."""
    values = np.random.default_rng(seed).normal(0, 0.1, dim)
    values[kind] += 1
    return [float(np.float32(value)) for value in values]


def lesson(*kinds: int, seed: int = 0, **notes: str) -> dict[str, Any]:
    """A JSON body with one latent of each kind."""
    return {
        "samples": [
            {"label": f"class {kind}", "latent": latent(kind, seed + row), **notes}
            for row, kind in enumerate(kinds)
        ]
    }


def settings_for(folder: Path, **overrides: Any) -> Settings:
    small = {"memory_budget": "256KiB", "ballast_bytes": "64KiB", "strategy": "ncm", "port": 0}
    return load_settings(overrides={"data": folder, **small, **overrides})


class Running:
    """A service in a thread of this process."""

    def __init__(self, settings: Settings, extractor: Extractor | None) -> None:
        self.app = create_app(settings, extractor)
        self.serving = self.app.state.serving
        config = uvicorn.Config(
            self.app,
            host=settings.host,
            port=settings.port,
            loop="asyncio",
            http=connection_class(settings.header_timeout_s),
            ws="none",
            log_config=None,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=5,
        )
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.server.run)
        self._thread.start()
        while not self.server.started:
            assert self._thread.is_alive(), "the service did not start"
            time.sleep(0.005)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(
            base_url=self.url,
            timeout=30,
            verify=False,
            event_hooks={"response": [self._is_documented]},
        )

    def close(self) -> None:
        self.client.close()
        self.server.should_exit = True
        self._thread.join()

    def _is_documented(self, response: httpx.Response) -> None:
        """Every answer of every test is one that the OpenAPI document names."""
        path, method = response.request.url.path, response.request.method
        scope = {"type": "http", "path": path, "method": method, "headers": []}
        for route in self.app.state.routes:
            if route.matches(scope)[0] is Match.FULL and route.include_in_schema:
                operation = self.app.openapi()["paths"][route.path_format][method.lower()]
                assert str(response.status_code) in operation["responses"], response.read()
        if response.status_code >= 400:
            if path.startswith("/v2"):
                assert list(response.read() and response.json()) == ["error"]
                return
            assert response.headers["content-type"] == "application/problem+json"
            problem = response.read() and response.json()
            assert {"type", "title", "status", "detail", "instance", "request_id"} <= set(problem)
            assert problem["status"] == response.status_code != 500


class OwnServer:
    """``python -m service`` in a process of its own."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.settings = {
            "memory_budget": "256KiB", "ballast_bytes": "65536", "strategy": "ncm", **settings,
        }  # fmt: skip
        self.log = folder.with_suffix(".log")

    def start(self) -> OwnServer:
        names = {f"EDGE_CL_{name.upper()}": str(value) for name, value in self.settings.items()}
        environment = {
            **{n: v for n, v in os.environ.items() if not n.startswith("EDGE_CL_")},
            **names,
            "EDGE_CL_DATA": str(self.folder),
            "EDGE_CL_PORT": "0",
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service"],
                env=environment, stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = READY.match(line)
        assert found, f"{line!r} {self.log.read_text()[-2000:]}"
        self.url = found[1]
        self.client = httpx.Client(base_url=self.url, timeout=30, verify=False)
        return self

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.exit_code()

    def exit_code(self) -> int:
        self.client.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(30)


def add_learner(client: httpx.Client, name: str = "l", **members: Any) -> httpx.Response:
    answer = client.post("/v1/learners", json={"name": name, "dim": DIM, **members})
    assert answer.status_code == 201, answer.text
    return answer
