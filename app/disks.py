"""What directories hold, and what room their disks have left."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

# What the system says where a disk or a quota has no room left.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


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
