"""A parallel map in threads that keeps the order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Yield function(item) for each item, in the order of the items, computed in threads a few items ahead.

    The items are taken in the calling thread. An exception that `items` raises is raised after all earlier results.
    """
    waiting: deque[Future[R]] = deque()
    failed: list[Exception] = []
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in _until_failure(items, failed):
                waiting.append(pool.submit(function, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
    for error in failed:
        raise error


def _until_failure(items: Iterable[T], failed: list[Exception]) -> Iterator[T]:
    try:
        yield from items
    except Exception as err:  # the caller raises it
        failed.append(err)
