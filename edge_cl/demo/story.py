"""What happens in the demo, in order."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from edge_cl.client import Client
from edge_cl.demo.devices import DEVICES, Fleet, Record
from edge_cl.demo.images import LabelledImages
from edge_cl.demo.view import View
from edge_cl.local_service import LocalService


@dataclass(frozen=True)
class Outcome:
    """What was found out.

    Parameters
    ----------
    accuracy
        By label, after the last class.
    acknowledged
        Samples that the devices were told are durable.
    stored
        Samples that the service knows at the end.
    lost
        Acknowledged samples that it does not know.
    restart_s
        Seconds from kill -9 until the service was ready again.
    bytes_by_part
        The learner's ledger.
    budget_bytes
        What it may take.
    teach_ms, predict_ms
        Milliseconds of every answer, as the devices saw them.
    seconds
        The whole run.
    """

    accuracy: dict[str, float]
    acknowledged: int
    stored: int
    lost: int
    restart_s: float
    bytes_by_part: dict[str, int]
    budget_bytes: int
    teach_ms: list[float]
    predict_ms: list[float]
    seconds: float

    @property
    def mean_accuracy(self) -> float:
        """Mean over the classes."""
        return sum(self.accuracy.values()) / len(self.accuracy)


def tell(
    images: LabelledImages, folder: Path, settings: Mapping[str, object], view: View
) -> Outcome:
    """Teach class after class, kill the service in the middle, and count what is left.

    Parameters
    ----------
    images
        What the devices see.
    folder
        An empty folder for the service.
    settings
        Settings of the service.
    view
        Where progress is shown.
    """
    begun = time.monotonic()
    record = Record()
    accuracy: dict[str, float] = {}
    with LocalService(folder, settings) as service:
        fleet = Fleet(service.url, record)
        try:
            with view:
                view.say(f"{DEVICES} devices teach {images.source} to {service.url}")
                restart_s = _teach_all(service, fleet, images, view, accuracy)
            return _outcome(service.url, record, accuracy, restart_s, time.monotonic() - begun)
        finally:
            fleet.close()


def _teach_all(
    service: LocalService,
    fleet: Fleet,
    images: LabelledImages,
    view: View,
    accuracy: dict[str, float],
) -> float:
    restart_s = 0.0
    fatal = images.labels[len(images.labels) // 2]
    for number, label in enumerate(images.labels):
        shares = fleet.teach(label, images.train[label])
        half = len(images.train[label]) // 2
        if label == fatal:
            _wait(shares, fleet.record, label, len(images.train[label]), view, until=half)
            restart_s = _kill_and_restart(service, fleet.record, view)
        _wait(shares, fleet.record, label, len(images.train[label]), view)
        known = images.labels[: number + 1]
        accuracy |= fleet.accuracy({name: images.test[name] for name in known})
        view.measured(accuracy)
    return restart_s


def _wait(
    shares: list[Future[None]],
    record: Record,
    label: str,
    total: int,
    view: View,
    until: int | None = None,
) -> None:
    """Return once the shares are done, or `until` images of the class are acknowledged."""
    shown = -1
    while True:
        done = record.by_label[label]
        if done != shown:
            view.taught(label, done, total)
            shown = done
        if all(share.done() for share in shares) or (until is not None and done >= until):
            break
        time.sleep(0.02)
    for share in shares:
        if share.done():
            share.result()
    if until is None:
        view.taught(label, record.by_label[label], total)


def _kill_and_restart(service: LocalService, record: Record, view: View) -> float:
    begun = time.monotonic()
    service.kill()
    acknowledged = len(record.ids)
    view.say(f"kill -9 after {acknowledged} acknowledged samples; the devices keep trying")
    service.start()
    took_s = time.monotonic() - begun
    view.say(f"ready again {took_s:.1f} s after the kill")
    return took_s


def _outcome(
    url: str, record: Record, accuracy: dict[str, float], restart_s: float, seconds: float
) -> Outcome:
    with Client(url) as client:
        stored = {sample["id"] for sample in client.samples()}
        state = client.state()
    return Outcome(
        accuracy=dict(accuracy),
        acknowledged=len(record.ids),
        stored=len(stored),
        lost=len(set(record.ids) - stored),
        restart_s=restart_s,
        bytes_by_part=dict(state["memory"]),
        budget_bytes=int(state["memory_budget"]),
        teach_ms=record.teach_ms,
        predict_ms=record.predict_ms,
        seconds=seconds,
    )
