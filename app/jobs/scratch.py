"""Scratch directories: how much they may hold, and that libraries use them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import ScratchLimitExceeded

_MIB = 2**20
# Where Python, GDAL and SQLite look for a place for their temporary files, and most other libraries.
_VARIABLES = ("TMPDIR", "CPL_TMPDIR", "SQLITE_TMPDIR")


def over_the_limit(held: int, limit: int) -> ScratchLimitExceeded:
    """held: what `bytes_in` found."""
    return ScratchLimitExceeded(
        f"The attempt holds {held // _MIB} MiB of scratch, more than the {limit // _MIB} MiB that it may.",
        "Split the file, or raise SPATIAL_ETL_RUN__SCRATCH_LIMIT_BYTES.",
    )


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
