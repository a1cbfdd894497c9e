"""When a call to the service is repeated, and how long to wait before."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import ClassVar


@dataclass(frozen=True)
class Retries:
    """How long and how often a call without a final answer is repeated.

    Parameters
    ----------
    patience_s
        Seconds after which the last failure is final; 0 means never repeat.
    first_delay_s
        Longest wait before the first repetition; it doubles with each one.
    longest_delay_s
        Longest wait that is not asked for by the service itself.
    """

    patience_s: float = 60.0
    first_delay_s: float = 0.2
    longest_delay_s: float = 5.0

    STATUSES: ClassVar[frozenset[int]] = frozenset({408, 425, 429, 502, 503, 504})

    def delay_s(self, attempt: int, asked_s: float | None) -> float:
        """Seconds to wait before repetition number `attempt`, counted from 0.

        Many devices that lost the same service must not come back in step:
        half of the wait is random.
        """
        if asked_s is not None:
            return asked_s
        ceiling_s = min(self.longest_delay_s, self.first_delay_s * 2.0 ** min(attempt, 16))
        return ceiling_s * random.uniform(0.5, 1.0)


def retry_after_s(headers: Mapping[str, str] | None) -> float | None:
    """Seconds that a ``Retry-After`` header asks to wait, or None without one."""
    asked = headers.get("retry-after") if headers else None
    if asked is None:
        return None
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except ValueError:
        return None
