"""Sizes of directories, and free space of their disks."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

# Error numbers for a full disk or an exhausted quota.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def bytes_in(directory: Path) -> int:
    """Disk space of the files below it. Links are not followed; files that vanish meanwhile are not counted."""
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
    """Free bytes of its disk for this user; 0 when it has no free inodes, None when that is unknown.

    For a missing directory: of the disk on which it would be created.
    """
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    try:
        found = os.statvfs(directory)
    except OSError:
        return None
    return 0 if found.f_files and not found.f_favail else found.f_bavail * found.f_frsize
