"""What a module of a raster format declares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rasterio.io import DatasetReader

from app.models.run import RunWarning


def _accept(_path: Path, _file: str) -> None:
    """For formats that GDAL checks well enough when it reads them."""


def _no_warnings(_dataset: DatasetReader, _file: str) -> list[RunWarning]:
    return []


@dataclass(frozen=True, slots=True)
class RasterFormat:
    """One raster format. Its module has it as the constant FORMAT; GDAL does the reading.

    Attributes:
        magic: a file of this format begins with one of these.
        check: called with the local copy and the key of the file, before GDAL opens it; raises RunRefused for a file
            that is truncated, damaged, or refers to other files, where GDAL would not notice.
        warnings: called with the opened data set and the key of the file; what a reader should know about it.
    """

    magic: tuple[bytes, ...]
    check: Callable[[Path, str], None] = _accept
    warnings: Callable[[DatasetReader, str], list[RunWarning]] = _no_warnings
