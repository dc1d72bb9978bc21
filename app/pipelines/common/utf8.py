"""Fast checks of UTF-8."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def is_utf8(raw: bytes) -> bool:
    """Whether `raw.decode()` would succeed; several times faster, without making a string."""
    bounds = np.array([0, len(raw)], np.int64)
    text = pa.Array.from_buffers(pa.large_string(), 1, [None, pa.py_buffer(bounds), pa.py_buffer(raw)])
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def open_end(raw: bytes) -> int:
    """How many bytes at the end are the incomplete beginning of a character."""
    for back, byte in enumerate(reversed(raw[-3:]), 1):
        if byte >= 0xC0:
            return back if back < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4) else 0
        if byte < 0x80:
            return 0
    return 0
