"""Checks that a raster file is what it is declared to be, from its bytes, before GDAL opens it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from app.messages.common import CONTENT_MISMATCH, FILE_EMPTY, FILE_MISSING
from app.models.formats import FORMATS
from app.pipelines.common.content import looks_like
from app.pipelines.raster.formats.raster_format import RasterFormat

# Imported now: the process of a job may not be able to import any more.
RASTER_FORMATS: dict[str, RasterFormat] = {
    fmt.name: import_module(fmt.reader).FORMAT for fmt in FORMATS if fmt.type == "raster"
}


def check_raster_content(path: Path, fmt: str, file: str) -> None:
    """Check that a file is there, begins as its format does, and passes the checks of its format's module.

    Args:
        path: the local copy.
        fmt: name of the declared format.
        file: the key in the landing zone, for messages.

    Raises:
        RunRefused: file_missing, file_empty, content_mismatch, file_truncated, file_damaged, external_data,
            crs_unknown (one that refers to another file).
    """
    if not path.is_file():
        raise FILE_MISSING(file=file)
    with path.open("rb") as stream:
        head = stream.read(4096)
    if not head:
        raise FILE_EMPTY(file=file)
    raster_format = RASTER_FORMATS[fmt]
    if not head.startswith(raster_format.magic):
        raise CONTENT_MISMATCH(file=file, format=fmt, found=looks_like(head))
    raster_format.check(path, file)
