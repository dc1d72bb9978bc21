"""The nesting depth of WKB, found without GEOS, which crashes the process at some ten thousand levels."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

# Far more than real data has, far less than a thread's stack can hold.
MOST_LEVELS = 200
_COLLECTIONS = frozenset((4, 5, 6, 7))


def is_too_deep(wkb: bytes) -> bool:
    """Whether one geometry (ISO WKB or EWKB) has more than MOST_LEVELS nested collections.

    False for bytes that are not WKB: the decoder refuses those.
    """
    if len(wkb) < 9 * MOST_LEVELS or _collections(wkb) <= MOST_LEVELS:
        return False
    return _deepest(wkb) > MOST_LEVELS


def _collections(wkb: bytes) -> int:
    """An upper bound of the number of collections: positions that look like the beginning of one."""
    size = len(wkb) - 4
    raw = np.frombuffer(wkb, np.uint8)
    found = 0
    for order, kind in ((1, "<u4"), (0, ">u4")):
        words: npt.NDArray[np.uint32] = np.ndarray((size,), kind, wkb, 1, (1,))
        at = np.flatnonzero(raw[:size] == order)
        base = (words[at] & 0x0FFFFFFF) % 1000
        found += int(((base >= 4) & (base <= 7)).sum())
    return found


def _deepest(wkb: bytes) -> int:
    """The number of levels, up to the first byte that is not WKB."""
    at, deepest = 0, 0
    waiting: list[int] = [1]
    try:
        while waiting:
            if waiting[-1] == 0:
                waiting.pop()
                continue
            waiting[-1] -= 1
            order = "<" if wkb[at] == 1 else ">"
            (kind,) = struct.unpack_from(f"{order}I", wkb, at + 1)
            at += 9 if kind & 0x20000000 else 5
            base, thousands = (kind & 0x0FFFFFFF) % 1000, (kind & 0x0FFFFFFF) // 1000
            width = 8 * (2 + bool(kind & 0x80000000 or thousands in (1, 3)) + bool(kind & 0x40000000 or thousands >= 2))
            if base == 1:
                at += width
                continue
            (count,) = struct.unpack_from(f"{order}I", wkb, at)
            at += 4
            if base in _COLLECTIONS:
                waiting.append(count)
                deepest = max(deepest, len(waiting) - 1)
                if deepest > MOST_LEVELS:
                    break
            elif base == 2:
                at += count * width
            else:
                for _ in range(count):
                    (points,) = struct.unpack_from(f"{order}I", wkb, at)
                    at += 4 + points * width
    except (struct.error, IndexError):
        pass
    return deepest
