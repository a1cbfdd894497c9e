"""The rows of a journal, and what comes back from it."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from service.operations import Operation

__all__ = ["Damage", "Entry", "Keep", "Past", "Row", "StoredAnswer", "checksum"]


@dataclass(frozen=True)
class Keep:
    """How long repeated requests are recognised.

    Parameters
    ----------
    keys
        Idempotency keys kept at most.
    seconds
        Age at which one is dropped.
    """

    keys: int = 10_000
    seconds: float = 86_400.0


@dataclass(frozen=True)
class Past:
    """How far a learner can go back.

    Parameters
    ----------
    operations
        Most operations that are learned again to get there.
    checkpoint_bytes
        What named checkpoints may take on the disk.
    """

    operations: int = 2000
    checkpoint_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True)
class StoredAnswer:
    """What was answered to a request that carried an Idempotency-Key."""

    fingerprint: bytes
    status: int
    body: str


@dataclass(frozen=True)
class Entry:
    """An operation about to be committed, and the answer to remember with it."""

    sequence: int
    first_id: int
    operation: Operation
    key: str | None = None
    answer: StoredAnswer | None = None


@dataclass(frozen=True)
class Row:
    """One operation as it lies in the journal."""

    sequence: int
    first_id: int
    samples: int
    received_at: float
    kind: str
    header: str
    payload: bytes
    crc: int

    @property
    def intact(self) -> bool:
        """Whether every field is as it was written."""
        try:
            return self.crc == self._checksum()
        except (TypeError, AttributeError, struct.error):
            # A damaged page can give a field another type.
            return False

    def _checksum(self) -> int:
        return checksum(
            self.sequence, self.first_id, self.samples, self.received_at, self.kind,
            self.header, self.payload,
        )  # fmt: skip


@dataclass(frozen=True)
class Damage:
    """Operations that the journal had acknowledged and cannot give back.

    Parameters
    ----------
    first, last
        Sequence numbers, both included.
    samples
        Samples they held, as far as is known.
    learned
        Whether the learner still knows them from a snapshot.
    reason
        What was found.
    found_at
        Seconds since the epoch.
    """

    first: int
    last: int
    samples: int
    learned: bool
    reason: str
    found_at: float


def checksum(
    sequence: int, first_id: int, samples: int, received_at: float,
    kind: str, header: str, payload: bytes,
) -> int:  # fmt: skip
    """CRC32 over all fields of a row."""
    crc = zlib.crc32(struct.pack("<qqqd", sequence, first_id, samples, received_at))
    return zlib.crc32(payload, zlib.crc32(header.encode(), zlib.crc32(kind.encode(), crc)))
