"""Scratch directories: how much they hold, how much room is left, and that libraries use them."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.errors import ScratchLimitExceeded

_MIB = 2**20
# What the system says where a disk or a quota has no room left.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
# Where Python, GDAL and SQLite look for a place for their temporary files, and most other libraries.
_VARIABLES = ("TMPDIR", "CPL_TMPDIR", "SQLITE_TMPDIR")


def bytes_in(directory: Path) -> int:
    """Bytes of the disk that the files below it take. Links are not followed; what vanishes meanwhile counts not."""
    total, folders = 0, [str(directory)]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def over_the_limit(held: int, limit: int) -> ScratchLimitExceeded:
    """held: what `bytes_in` found."""
    return ScratchLimitExceeded(
        f"The attempt holds {held // _MIB} MiB of scratch, more than the {limit // _MIB} MiB that it may.",
        "Split the file, or raise SPATIAL_ETL_RUN__SCRATCH_LIMIT_BYTES.",
    )


def free_bytes(directory: Path) -> int | None:
    """What its disk has left for this user, 0 where it has no room for another file; None where nobody can tell.

    Of a directory that is not there, the disk on which it would be.
    """
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    try:
        found = os.statvfs(directory)
    except OSError:
        return None
    return 0 if found.f_files and not found.f_favail else found.f_bavail * found.f_frsize


@contextmanager
def temporary_files_in(directory: Path) -> Iterator[None]:
    """Inside, temporary files of this process and its libraries are made there. For a process with one job only."""
    before = {name: os.environ.get(name) for name in _VARIABLES}
    os.environ.update(dict.fromkeys(_VARIABLES, str(directory)))
    tempfile.tempdir = str(directory)
    try:
        yield
    finally:
        tempfile.tempdir = None
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
