"""What a module of a raster format declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from affine import Affine
from rasterio.io import DatasetReader

from app.messages.message import Refusal
from app.messages.raster import GEOREFERENCE_MISSING
from app.models.runs.run import RunWarning
from app.pipelines.raster.crs import FoundCrs
from app.pipelines.raster.reading import Reading


def _accept(_path: Path, _file: str) -> None:
    """For formats that GDAL checks well enough when it reads them."""


def _no_warnings(_dataset: DatasetReader, _file: str) -> list[RunWarning]:
    return []


def _no_tags(_path: Path, _page: int) -> dict[int, tuple[int, ...]]:
    return {}


def _no_mask(_path: Path, _page: int) -> int | None:
    return None


def _same(own: Path) -> Path:
    return own


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a format says about a raster beyond GDAL.

    Attributes:
        reading: how its pixels differ from GDAL's.
        transform: where it lies, if that is known better than from GDAL's geotransform and world files.
        warnings: what a user should know about it.
    """

    reading: Reading = field(default_factory=Reading)
    transform: Affine | None = None
    warnings: tuple[RunWarning, ...] = ()


def _as_gdal(_dataset: DatasetReader, _own: Path, _crs: FoundCrs, _file: str) -> Meaning:
    return Meaning()


@dataclass(frozen=True, slots=True)
class RasterFormat:
    """One raster format. Its module has it as the constant FORMAT; GDAL does the reading.

    Attributes:
        magic: a file of this format begins with one of these.
        check: called with the local copy and the key of the file, before GDAL opens it; raises RunRefused for a file
            that is truncated, damaged, or refers to other files, where GDAL would not notice.
        warnings: called with the opened data set and the key of the file; what a reader should know about it.
        readable: called with the local copy; the file that GDAL opens: the copy, or another one where GDAL cannot read
            it as it is.
        meaning: called with the opened data set, the local copy, the CRS and the key of the file.
        page_tags: called with the local copy and the number of a page; the tags of a TIFF that are whole numbers.
        mask_page: called with the local copy and the number of a page; the number of the page that is its mask.
        identity: a geotransform may be the identity; for other formats it stands for a missing one.
        line_by_line: to decode a pixel, all lines above it are decoded.
        not_placed: the refusal of a raster that does not say where it lies; its values: file, suffixes.
        ignored: beginnings of GDAL's warnings about places, for where `meaning` gives the transform.
    """

    magic: tuple[bytes, ...]
    check: Callable[[Path, str], None] = _accept
    warnings: Callable[[DatasetReader, str], list[RunWarning]] = _no_warnings
    readable: Callable[[Path], Path] = _same
    meaning: Callable[[DatasetReader, Path, FoundCrs, str], Meaning] = _as_gdal
    page_tags: Callable[[Path, int], Mapping[int, tuple[int, ...]]] = _no_tags
    mask_page: Callable[[Path, int], int | None] = _no_mask
    identity: bool = False
    line_by_line: bool = False
    not_placed: Refusal = GEOREFERENCE_MISSING
    ignored: tuple[str, ...] = ()
