"""Simulated devices: threads that send real images over HTTP and note every answer."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from edge_cl.client import Client

DEVICES = 3


@dataclass
class Record:
    """What the devices were answered so far. Safe to share between threads."""

    ids: list[int] = field(default_factory=list)
    by_label: Counter[str] = field(default_factory=Counter)
    teach_ms: list[float] = field(default_factory=list)
    predict_ms: list[float] = field(default_factory=list)
    sent: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def begin(self) -> None:
        """Count a sample that is about to be sent."""
        with self._lock:
            self.sent += 1

    def acknowledged(self, label: str, ids: tuple[int, ...], took_ms: float) -> None:
        """Note an answer to a lesson."""
        with self._lock:
            self.ids.extend(ids)
            self.by_label[label] += len(ids)
            self.teach_ms.append(took_ms)

    def predicted(self, took_ms: float) -> None:
        """Note an answer to a question."""
        with self._lock:
            self.predict_ms.append(took_ms)


class Fleet:
    """Three devices that share one stream of images.

    Parameters
    ----------
    url
        Where the service listens.
    record
        Where answers are noted.
    """

    def __init__(self, url: str, record: Record) -> None:
        self.record = record
        self._clients = [Client(url) for _ in range(DEVICES)]
        self._pool = ThreadPoolExecutor(DEVICES, thread_name_prefix="device")

    def teach(self, label: str, images: list[bytes]) -> list[Future[None]]:
        """Begin to send the images of one class, a third from each device."""
        return [
            self._pool.submit(self._teach_share, client, label, images[number::DEVICES])
            for number, client in enumerate(self._clients)
        ]

    def accuracy(self, images: dict[str, list[bytes]]) -> dict[str, float]:
        """Part of the images that is named rightly, by label; each device asks a third."""
        asked = [(label, image) for label, of_label in images.items() for image in of_label]
        shares = [
            self._pool.submit(self._right_answers, client, asked[number::DEVICES])
            for number, client in enumerate(self._clients)
        ]
        right: Counter[str] = Counter()
        for share in shares:
            right.update(share.result())
        return {label: right[label] / len(of_label) for label, of_label in images.items()}

    def close(self) -> None:
        """Wait for the devices and switch them off."""
        self._pool.shutdown(cancel_futures=True)
        for client in self._clients:
            client.close()

    def _teach_share(self, client: Client, label: str, images: list[bytes]) -> None:
        for image in images:
            self.record.begin()
            begun = time.perf_counter()
            taught = client.teach(image, label)
            self.record.acknowledged(label, taught.ids, 1e3 * (time.perf_counter() - begun))

    def _right_answers(self, client: Client, asked: list[tuple[str, bytes]]) -> Counter[str]:
        right: Counter[str] = Counter()
        for label, image in asked:
            begun = time.perf_counter()
            right[label] += client.predict(image).label == label
            self.record.predicted(1e3 * (time.perf_counter() - begun))
        return right
