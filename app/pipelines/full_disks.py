"""Whether an attempt failed because a disk has no room left, whatever the library that met it called that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from app.disks import FULL, free_bytes
from app.errors import LedgerFull, RunCanceled, ScratchLimitExceeded, TimeLimitExceeded
from app.models.attempt import AttemptEnd, Outcome

# Less than this is full: libraries write in blocks, and give up before the last byte.
_NO_ROOM = 256 * 1024
# "max_temp_directory_size": DuckDB stops before the disk is full.
_WORDS = ("no space left on device", "disk is full", "disk quota exceeded", "max_temp_directory_size")


def full_disk(err: BaseException, places: Mapping[str, Path]) -> AttemptEnd | None:
    """The end of the attempt; None where it has another cause. places: code of the error → directory.

    Look before the attempt's scratch is removed. A damaged file and a full disk look alike to many libraries, so what
    they say counts less than what the disk says.
    """
    if isinstance(err, LedgerFull):
        return AttemptEnd(outcome=Outcome.DISK_FULL, detail=err.detail, fix=err.fix, code=err.code)
    if isinstance(err, MemoryError | TimeLimitExceeded | ScratchLimitExceeded | RunCanceled):
        return None
    free = {code: left for code, path in places.items() if (left := free_bytes(path)) is not None}
    if not free:
        return None
    code = min(free, key=lambda each: free[each])
    if free[code] >= _NO_ROOM and not any(_says_so(each) for each in _chain(err)):
        return None
    detail = f"The disk of {places[code]} has no room left ({free[code]} bytes are free)."
    fix = f"Free space on the disk of {places[code]}, or move SPATIAL_ETL_DATA_DIR to a larger one; then run it again."
    return AttemptEnd(outcome=Outcome.DISK_FULL, detail=detail, fix=fix, code=code)


def _says_so(err: BaseException) -> bool:
    if isinstance(err, OSError) and err.errno in FULL:
        return True
    said = str(err).lower()
    return any(word in said for word in _WORDS)


def _chain(err: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, also where that is not shown."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [err]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, each.__context__]
