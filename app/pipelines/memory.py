"""Having the C library give memory back, so that what a job holds is what it uses (as far as it is glibc)."""

from __future__ import annotations

import ctypes
from typing import Any

import pyarrow as pa

from app.settings import MiB

_M_MMAP_THRESHOLD = -3
_MMAP_BYTES = 3 * MiB


def return_large_blocks() -> None:
    """Have large blocks given back when they are freed.

    By itself glibc raises the size from which it does so to 32 MiB once such blocks were freed, and a run over large
    polygons then keeps twice the memory that it uses. Arrow's own allocator keeps what was freed in every thread: its
    arrays are such blocks, too, and come from the C library instead.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    if mallopt := _function("mallopt"):
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES)


def return_freed() -> None:
    """Give back what is free now: blocks of a raster are too small to go by themselves."""
    if trim := _function("malloc_trim"):
        trim(0)


def _function(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None)
