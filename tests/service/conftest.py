"""Services to test against, and the extractor that they share."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serving_kit import OwnServer, Running, add_learner, settings_for

from edge_cl.extractor import Extractor, load_extractor


@pytest.fixture(scope="session")
def extractor() -> Extractor:
    return load_extractor("default")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start services on one data folder, one after the other; the last one is ended."""
    running: list[Running] = []

    def begin(extractor: Extractor | None = None, **overrides: Any) -> Running:
        if running:
            running.pop().close()
        running.append(Running(settings_for(tmp_path / "data", **overrides), extractor))
        return running[-1]

    yield begin
    for one in running:
        one.close()


@pytest.fixture
def latents(start: Callable[..., Running]) -> Running:
    """A service with the learner `l`, which takes latents of `DIM` values."""
    running = start()
    add_learner(running.client)
    return running


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Callable[..., OwnServer]]:
    started: list[OwnServer] = []

    def begin(**settings: Any) -> OwnServer:
        started.append(OwnServer(tmp_path / "data", **settings).start())
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)
