"""CRSs as they are written in files, looked at before GDAL opens these: PROJ would open the grids that they name."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from app.pipelines.formats.crs import check_around
from app.pipelines.formats.gpkg import connect
from app.settings import MiB

# Up to this number the tables of a geodatabase are its own, and describe the others.
_LAST_OWN = "00000008"
_MOST = 16 * MiB


def check_crs_texts(path: Path, fmt: str, file: str) -> None:
    """Raises RunRefused crs_unknown for a CRS that leads to a file. What cannot be read is left to GDAL's own words."""
    texts = {"GPKG": _of_geopackage, "FlatGeobuf": _of_flatgeobuf, "OpenFileGDB": _of_geodatabase}.get(fmt)
    for text in texts(path) if texts is not None else ():
        check_around(text, file)


def _of_geopackage(path: Path) -> Iterator[str]:
    try:
        with closing(connect(path)) as db:
            for row in db.execute("SELECT * FROM gpkg_spatial_ref_sys"):
                yield from (value for value in row if isinstance(value, str))
                yield from (_plain(value) for value in row if isinstance(value, bytes))
    except sqlite3.Error:
        return


def _of_flatgeobuf(path: Path) -> Iterator[str]:
    """The header: 8 bytes, its size, and a table in which texts are written as they are."""
    with path.open("rb") as stream:
        size = stream.read(12)[8:]
        if len(size) == 4:
            yield stream.read(min(struct.unpack("<L", size)[0], _MOST)).decode("latin-1")


def _of_geodatabase(path: Path) -> Iterator[str]:
    """What describes the fields of each table, and the tables of the geodatabase itself; in UTF-8 and in UTF-16."""
    for table in sorted(path.glob("a*.gdbtable")):
        with table.open("rb") as stream:
            if table.stem[1:] <= _LAST_OWN:
                yield _plain(stream.read(_MOST))
            stream.seek(32)
            at = stream.read(8)
            if len(at) == 8 and struct.unpack("<Q", at)[0] < table.stat().st_size:
                stream.seek(struct.unpack("<Q", at)[0])
                size = stream.read(4)
                yield _plain(stream.read(min(struct.unpack("<L", size)[0], _MOST)) if len(size) == 4 else b"")


def _plain(raw: bytes) -> str:
    return raw.replace(b"\0", b"").decode("latin-1")
