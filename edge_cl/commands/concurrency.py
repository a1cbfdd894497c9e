"""Several requests at once, but never more than a few."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def bounded_map(
    function: Callable[[ItemT], ResultT], items: Iterable[ItemT], at_once: int
) -> Iterator[ResultT]:
    """Results of `function` in the order of `items`, with `at_once` calls running.

    Items are taken only as places get free, so a long stream is never held in
    memory. When a call raises, calls that have not begun are dropped.
    """
    waiting: deque[Future[ResultT]] = deque()
    pool = ThreadPoolExecutor(at_once)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= 2 * at_once:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
