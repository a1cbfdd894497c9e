"""Memory of a running process, read from ``/proc``."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

KIB = 1024
MB = 1_000_000


@dataclass(frozen=True)
class Usage:
    """Bytes of one process at one moment.

    Parameters
    ----------
    rss_bytes
        Resident pages, those shared with other processes included.
    pss_bytes
        Resident pages, shared ones divided among those who share them.
    """

    rss_bytes: int
    pss_bytes: int


def usage(pid: int) -> Usage:
    """Memory of process `pid` now."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return Usage(kib["Rss"] * KIB, kib["Pss"] * KIB)


class Watch:
    """Reads the memory of a process ten times a second while the ``with`` block runs.

    Parameters
    ----------
    pid
        The process.
    """

    INTERVAL_S = 0.1

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.readings: list[Usage] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def median_bytes(self) -> Usage:
        """Median of the readings."""
        return Usage(
            int(median(reading.rss_bytes for reading in self.readings)),
            int(median(reading.pss_bytes for reading in self.readings)),
        )

    @property
    def most_bytes(self) -> Usage:
        """Largest of the readings."""
        return Usage(
            max(reading.rss_bytes for reading in self.readings),
            max(reading.pss_bytes for reading in self.readings),
        )

    def _read(self) -> None:
        while True:
            self.readings.append(usage(self.pid))
            if self._over.wait(self.INTERVAL_S):
                return


def watch_idle(pid: int, seconds: float) -> Watch:
    """Readings of a process that is left alone for so long."""
    with Watch(pid) as watch:
        time.sleep(seconds)
    return watch
