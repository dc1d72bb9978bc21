"""Esri File Geodatabases, which are directories and come in zip archives."""

from __future__ import annotations

import struct
from pathlib import Path

from app.pipelines.common.crs import check_around
from app.pipelines.vector.formats.files import neutral_copy
from app.pipelines.vector.formats.layer import OpenOptions
from app.pipelines.vector.formats.ogr import check_content, layer_source, list_layers, open_layers
from app.pipelines.vector.formats.reader import SourceFile
from app.pipelines.vector.source import VectorSource
from app.settings import MiB

__all__ = ["check_content", "list_layers", "open_sources"]

# Tables up to this number belong to the geodatabase itself and describe the others.
_LAST_SYSTEM_TABLE = "00000008"
_MOST_BYTES = 16 * MiB


def open_sources(source: SourceFile) -> list[VectorSource]:
    """See VectorFormat."""
    path = neutral_copy(source.path, source.format.suffixes[0])
    for table in sorted(path.glob("a*.gdbtable")):
        _check_crs_texts(table, source.file)
    how = OpenOptions(generated_keys=("", "fid", "ogc_fid", "objectid"))
    return [layer_source(source, layer) for layer in open_layers(path, source, how)]


def _check_crs_texts(table: Path, file: str) -> None:
    """Refuse CRSs that name grids, which PROJ would open: in a system table and in the fields' description of a table.

    Texts are in UTF-8 and UTF-16. Raises RunRefused crs_unknown.
    """
    with table.open("rb") as stream:
        if table.stem[1:] <= _LAST_SYSTEM_TABLE:
            _check_around(stream.read(_MOST_BYTES), file)
        stream.seek(32)
        at = stream.read(8)
        if len(at) == 8 and struct.unpack("<Q", at)[0] < table.stat().st_size:
            stream.seek(struct.unpack("<Q", at)[0])
            size = stream.read(4)
            if len(size) == 4:
                _check_around(stream.read(min(struct.unpack("<L", size)[0], _MOST_BYTES)), file)


def _check_around(raw: bytes, file: str) -> None:
    check_around(raw.replace(b"\0", b"").decode("latin-1"), file)
