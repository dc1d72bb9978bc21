"""Making the C library return freed memory to the system (glibc only; elsewhere nothing happens)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from app.settings import MiB

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MMAP_BYTES = 3 * MiB
# More than a tile of any raster has over all of its bands. (glibc before 2.35 takes at most 32 MiB, and keeps less.)
_KEPT_BYTES = 1024 * MiB
_TRIM_BYTES = 128 * 1024


def return_large_blocks() -> None:
    """Return large blocks to the system as soon as they are freed.

    By default glibc raises its threshold for that to 32 MiB once such blocks were freed, and a run over large polygons
    then keeps twice the memory that it uses. Arrow's own allocator keeps freed memory in every thread, so its arrays
    are allocated by the C library instead.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    if mallopt := _function("mallopt"):
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)


@contextmanager
def large_blocks_kept() -> Iterator[None]:
    """Inside, freed memory is kept for the next block; at the end it is returned to the system.

    For a library that allocates and frees a block of megabytes for each of thousands of steps: the system clears each
    page that it hands out, which took most of the time of a COG of hundreds of bands.
    """
    mallopt = _function("mallopt")
    if mallopt is None:
        yield
        return
    mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    try:
        yield
    finally:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)
        trim_heap()


def trim_heap() -> None:
    """Return all free memory now: blocks of a raster are too small to be returned when they are freed."""
    if trim := _function("malloc_trim"):
        trim(0)


def _function(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None)
