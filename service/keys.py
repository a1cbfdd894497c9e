"""Repeated requests: which Idempotency-Keys are being worked on, which are answered."""

from __future__ import annotations

import json
import threading
import time

from service.catalogue import Catalogue
from service.errors import FieldError, Problem
from service.records import StoredAnswer

__all__ = ["IdempotencyKeys", "checked_key"]

LONGEST_KEY = 255


class IdempotencyKeys:
    """The keys of one learner.

    Parameters
    ----------
    catalogue
        Where answered keys are found.
    kept_s
        How long an answer is repeated.
    """

    def __init__(self, catalogue: Catalogue, kept_s: float) -> None:
        self._catalogue = catalogue
        self._kept_s = kept_s
        self._running: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def claim(
        self, key: str, fingerprint: bytes, *, unless_undone: bool = False
    ) -> StoredAnswer | None:
        """Take `key` for a request; returns the answer if it was given before.

        Parameters
        ----------
        key, fingerprint
            Of the request.
        unless_undone
            An answer whose operation was undone since does not count.

        Raises
        ------
        Problem
            ``key-in-flight`` while the same request runs, ``key-reused`` when
            the key belongs to another request.
        """
        with self._lock:
            running = self._running.setdefault(key, fingerprint)
            if running is not fingerprint:
                raise _in_flight(key) if running == fingerprint else _reused(key)
        answer = None
        try:
            # Looked up only after the claim: an answer cannot slip in between.
            answer = self._catalogue.answer(key, time.time() - self._kept_s)
            if unless_undone and answer is not None and not self._stands(answer):
                answer = None
        except BaseException:
            self.release(key)
            raise
        if answer is None:
            return None
        self.release(key)
        if answer.fingerprint != fingerprint:
            raise _reused(key)
        return answer

    def _stands(self, answer: StoredAnswer) -> bool:
        return self._catalogue.stands(json.loads(answer.body)["version"])

    def release(self, key: str) -> None:
        """The request of `key` has ended."""
        with self._lock:
            self._running.pop(key, None)


def checked_key(key: str | None) -> str | None:
    """`key` if it can serve as one; Problem if not."""
    if key is None or (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        return key
    detail = f"an Idempotency-Key is 1 to {LONGEST_KEY} printable ASCII characters"
    raise Problem("invalid", detail, [FieldError("header/Idempotency-Key", detail)])


def _in_flight(key: str) -> Problem:
    return Problem("key-in-flight", f"the first request with Idempotency-Key {key!r} still runs")


def _reused(key: str) -> Problem:
    return Problem("key-reused", f"Idempotency-Key {key!r} came with another body before")
