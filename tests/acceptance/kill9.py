"""Kill the service with SIGKILL at random moments while clients teach it, then count.

Run ``python tests/acceptance/kill9.py --kills 20 --report docs/results/kill9.md``.

Four devices post images and latents, alone and in batches, synchronously and
not, most with an Idempotency-Key that they repeat until they are answered. In
the end every acknowledged sample must be there exactly once, under the id that
was told, with its label, its device and its latent; and the predictions must
equal, bit for bit, those of a learner that learned the same journal without
ever being interrupted.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import platform
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from edge_cl.extractor import load_extractor
from edge_cl.local_service import LocalService
from service import machine
from service.journal import Journal
from service.operations import decode
from service.store import Origin

LABELS = [f"class {number}" for number in range(6)]
SETTINGS = {"memory_budget": "256KiB", "snapshot_operations": 40, "log_level": "warning"}
PATH = "/v1/learners/default"


@dataclass
class Ledger:
    """What one device sent, and what it was told."""

    device: str
    acknowledged: dict[str, int] = field(default_factory=dict)
    sent: dict[str, tuple[str, bytes | None]] = field(default_factory=dict)
    uncertain: set[str] = field(default_factory=set)
    repeated: int = 0
    refused: int = 0


class Device(threading.Thread):
    """A client that teaches until it is told to stop."""

    def __init__(self, url: str, number: int, seed: int, dim: int) -> None:
        super().__init__(name=f"device-{number}")
        self.ledger = Ledger(self.name)
        self.stopping = threading.Event()
        self._rng = random.Random(seed * 100 + number)
        self._codes = np.random.default_rng(seed * 100 + number)
        self._dim = dim
        self._client = httpx.Client(base_url=url, timeout=20)

    def run(self) -> None:
        number = 0
        while not self.stopping.is_set():
            number += 1
            self._post(f"{self.name}-{number}")
        self._client.close()

    def _post(self, name: str) -> None:
        samples = [self._sample(f"{name}-{row}") for row in range(self._rng.choice([1, 1, 2, 5]))]
        keyed = self._rng.random() < 0.7
        mode = self._rng.choice(["sync", "async"])
        headers = {"Idempotency-Key": name} if keyed else {}
        tokens = [sample["captured_at"] for sample in samples]
        while True:
            try:
                answer = self._client.post(
                    f"{PATH}/samples", params={"mode": mode}, headers=headers,
                    json={"samples": samples},
                )  # fmt: skip
            except httpx.HTTPError:
                if not keyed:
                    self.ledger.uncertain.update(tokens)
                    return
            else:
                if answer.status_code in (201, 202):
                    ids = answer.json()["ids"]
                    self.ledger.acknowledged.update(zip(tokens, ids, strict=True))
                    self.ledger.repeated += "Idempotent-Replayed" in answer.headers
                    return
                assert answer.status_code in (409, 503), answer.text
                self.ledger.refused += 1
            time.sleep(0.02)

    def _sample(self, token: str) -> dict[str, Any]:
        kind = self._rng.randrange(len(LABELS))
        sample = {"label": LABELS[kind], "device": self.name, "captured_at": token}
        if self._rng.random() < 0.2:
            self.ledger.sent[token] = (LABELS[kind], None)
            return {**sample, "image_b64": base64.b64encode(self._image(kind)).decode()}
        codes = self._codes.integers(0, 60, self._dim, dtype=np.uint8)
        codes[kind :: len(LABELS)] += 120
        self.ledger.sent[token] = (LABELS[kind], codes.tobytes())
        return {**sample, "latent_b64": base64.b64encode(codes.tobytes()).decode()}

    def _image(self, kind: int) -> bytes:
        pixels = self._codes.integers(0, 60, (48, 48, 3), dtype=np.uint8)
        pixels[..., kind % 3] += 40 * (1 + kind // 3)
        encoded = io.BytesIO()
        Image.fromarray(pixels).save(encoded, "JPEG")
        return encoded.getvalue()


@dataclass
class Report:
    """What was counted."""

    kills: int
    acknowledged: int
    sent: int
    stored: int
    lost: int
    twice: int
    changed: int
    uncertain_stored: int
    uncertain: int
    repeated: int
    operations: int
    classes_agree: bool
    devices_agree: bool
    bits_agree: bool
    slowest_start_s: float
    took_s: float
    exit_code: int

    @property
    def passed(self) -> bool:
        """Whether nothing was lost, doubled or changed."""
        exact = self.lost == self.twice == self.changed == self.exit_code == 0
        return exact and self.classes_agree and self.devices_agree and self.bits_agree


def run(folder: Path, kills: int, seed: int, clients: int = 4) -> Report:
    """Teach, kill `kills` times, compare."""
    machine.limit_blas()
    begun = time.monotonic()
    rng = random.Random(seed)
    dim = load_extractor("default").spec.dim
    service = LocalService(folder, SETTINGS)
    starts = [service.start()]
    devices = [Device(service.url, number, seed, dim) for number in range(clients)]
    for device in devices:
        device.start()
    for _ in range(kills):
        time.sleep(rng.uniform(0.05, 2.0))
        service.kill()
        starts.append(service.start())
    time.sleep(0.5)
    for device in devices:
        device.stopping.set()
    for device in devices:
        device.join()
    with httpx.Client(base_url=service.url, timeout=30) as client:
        found = _everything(client, dim)
    exit_code = service.stop()
    return _compared(folder, devices, found, kills, max(starts), begun, exit_code)


def _everything(client: httpx.Client, dim: int) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    cursor = "0"
    while cursor:
        page = client.get(f"{PATH}/samples", params={"limit": 1000, "cursor": cursor}).json()
        items += page["items"]
        cursor = page["next_cursor"]
    probe = probes(dim)
    body = {"samples": [{"latent_b64": base64.b64encode(row.tobytes()).decode()} for row in probe]}
    predictions = client.post(f"{PATH}/predict", params={"top_k": 100}, json=body).json()
    classes = client.get(f"{PATH}/classes").json()["classes"]
    ready = client.get("/readyz?verbose")
    assert ready.json()["status"] == "ready", ready.text
    return {"items": items, "predictions": predictions, "classes": classes}


def probes(dim: int) -> Any:
    """Latents to compare predictions on."""
    return np.random.default_rng(1).integers(0, 200, (50, dim), dtype=np.uint8)


def uninterrupted(folder: Path) -> tuple[list[list[dict[str, Any]]], dict[str, bytes], int]:
    """Predictions after learning the journal in one go; the latents by token; operations."""
    home = folder / "data" / "learners" / "default"
    learner = Origin.read(home).create()
    journal = Journal(home / "journal.db")
    latents, operations = {}, 0
    for row in journal.rows():
        assert row.intact
        operation = decode(row.kind, row.header, row.payload)
        operation.apply(learner, row.first_id)
        operations += 1
        for sample, values in zip(operation.samples, operation.latents, strict=True):
            latents[sample.captured_at] = values.tobytes()
    journal.close()
    answers = learner.predict_latents(probes(learner.dim), top_k=100)
    tops = [[{"label": name, "score": score} for name, score in one.top] for one in answers]
    return tops, latents, operations


def _compared(
    folder: Path, devices: list[Device], found: dict[str, Any], kills: int,
    slowest_start_s: float, begun: float, exit_code: int,
) -> Report:  # fmt: skip
    tops, latents, operations = uninterrupted(folder)
    items = found["items"]
    count = Counter(item["captured_at"] for item in items)
    stored = {item["captured_at"]: item for item in items}
    ledgers = [device.ledger for device in devices]
    acknowledged = {token: n for one in ledgers for token, n in one.acknowledged.items()}
    sent = {token: what for one in ledgers for token, what in one.sent.items()}
    uncertain = {token for one in ledgers for token in one.uncertain}
    changed = [token for token, item in stored.items() if not _same(item, sent[token], latents)]
    changed += [t for t, n in acknowledged.items() if t in stored and stored[t]["id"] != n]
    known = {one["label"]: one["samples"] for one in found["classes"]}
    per_device = Counter(item["device"] for item in items)
    expected = {
        one.device: len(one.acknowledged) + len(one.uncertain & stored.keys()) for one in ledgers
    }
    return Report(
        kills=kills,
        acknowledged=len(acknowledged),
        sent=len(sent),
        stored=len(items),
        lost=len(acknowledged.keys() - stored.keys()),
        twice=sum(n - 1 for n in count.values()),
        changed=len(changed),
        uncertain=len(uncertain),
        uncertain_stored=len(uncertain & stored.keys()),
        repeated=sum(one.repeated for one in ledgers),
        operations=operations,
        classes_agree=known == dict(Counter(item["label"] for item in items)),
        devices_agree=dict(per_device) == expected,
        bits_agree=[one["top"] for one in found["predictions"]["predictions"]] == tops,
        slowest_start_s=slowest_start_s,
        took_s=time.monotonic() - begun,
        exit_code=exit_code,
    )


def _same(item: dict[str, Any], sent: tuple[str, bytes | None], latents: dict[str, bytes]) -> bool:
    """Whether a stored sample is what its device sent under this name."""
    label, codes = sent
    token = item["captured_at"]
    same_device = token.startswith(item["device"] + "-")
    return item["label"] == label and same_device and codes in (None, latents[token])


def written(report: Report, command: str) -> str:
    """The report as a page."""
    yes = {True: "yes", False: "NO"}
    rows = [
        ("kills (SIGKILL at a random moment)", report.kills),
        ("samples acknowledged", f"{report.acknowledged:,}"),
        ("acknowledged and lost", report.lost),
        ("stored twice", report.twice),
        ("stored under another id, label, device or latent", report.changed),
        ("answered from a stored Idempotency-Key after a repeat", report.repeated),
        ("unanswered without a key (may be stored once or not)",
         f"{report.uncertain} ({report.uncertain_stored} stored)"),
        ("operations in the journal", f"{report.operations:,}"),
        ("counts by class equal the listing", yes[report.classes_agree]),
        ("counts by device equal what was acknowledged", yes[report.devices_agree]),
        ("predictions equal an uninterrupted learner bit for bit", yes[report.bits_agree]),
        ("slowest start, recovery included", f"{report.slowest_start_s:.2f} s"),
        ("exit code after the final SIGTERM", report.exit_code),
    ]  # fmt: skip
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return (
        "# Killed while it learns\n\n"
        "Four devices teach images and latents, alone and in batches, `sync` and `async`; the\n"
        "service is killed at random moments and started again.\n\n"
        f"| | |\n|---|---|\n{table}\n\n"
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {machine}, {report.took_s:.0f} s, "
        f"load average {os.getloadavg()[2]:.0f} (the more of it, the less the times say):\n\n"
        f"```\n{command}\n```\n"
    )


def main() -> int:
    """Run from the command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--report", type=Path)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = run(Path(folder), chosen.kills, chosen.seed)
    command = f"python tests/acceptance/kill9.py --kills {chosen.kills} --seed {chosen.seed}"
    page = written(report, command)
    print(page)
    if chosen.report and report.passed:
        chosen.report.write_text(page, encoding="utf-8")
    print(json.dumps(vars(report)))
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
