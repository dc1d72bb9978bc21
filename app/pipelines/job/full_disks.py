"""Whether an attempt failed because a disk is full, whichever error the library raised."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from app.errors import LedgerFull, RunCanceled, ScratchLimitExceeded, TimeLimitExceeded
from app.models.runs.attempt import AttemptEnd, AttemptOutcome
from app.system.disks import FULL, free_bytes
from app.system.error_chain import chain

# Bytes. Libraries write in blocks, and fail before the last byte is used.
_FULL_BELOW = 256 * 1024
# "max_temp_directory_size": DuckDB stops before the disk is full.
_WORDS = ("no space left on device", "disk is full", "disk quota exceeded", "max_temp_directory_size")


def full_disk(err: BaseException, directories: Mapping[str, Path]) -> AttemptEnd | None:
    """The end of an attempt that a full disk caused; None for another cause. Call it before scratch is removed.

    Many libraries raise the same error for a full disk and a damaged file, so the free space decides first.

    Args:
        err: what ended the pipeline.
        directories: {code of the error: directory on that disk}.
    """
    if isinstance(err, LedgerFull):
        return AttemptEnd(outcome=AttemptOutcome.DISK_FULL, detail=err.detail, fix=err.fix, code=err.code)
    if isinstance(err, MemoryError | TimeLimitExceeded | ScratchLimitExceeded | RunCanceled):
        return None
    free = {code: left for code, path in directories.items() if (left := free_bytes(path)) is not None}
    if not free:
        return None
    code = min(free, key=lambda each: free[each])
    if free[code] >= _FULL_BELOW and not any(_reports_full_disk(each) for each in chain(err)):
        return None
    directory = directories[code]
    detail = f"The disk of {directory} has no room left ({free[code]} bytes are free)."
    fix = f"Free space on the disk of {directory}, or move SPATIAL_ETL_DATA_DIR to a larger one; then run it again."
    return AttemptEnd(outcome=AttemptOutcome.DISK_FULL, detail=detail, fix=fix, code=code)


def _reports_full_disk(err: BaseException) -> bool:
    if isinstance(err, OSError) and err.errno in FULL:
        return True
    text = str(err).lower()
    return any(word in text for word in _WORDS)
