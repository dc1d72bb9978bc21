"""The reader of shapefiles: a .shp with the files beside it."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

from app.messages.common import CONTENT_MISMATCH, FILE_TRUNCATED
from app.messages.vector import DBF_DELETED, GEOMETRIES_LOST
from app.messages.vector_formats import SIDECAR_MISSING
from app.pipelines.common.content import looks_like
from app.pipelines.common.crs import check_text
from app.pipelines.vector.formats.files import link, neutral_copy, sidecar
from app.pipelines.vector.formats.layer import OpenOptions, RowNumbers
from app.pipelines.vector.formats.ogr import layer_source, open_layers
from app.pipelines.vector.formats.reader import SourceFile, check_only_layer, only_layer
from app.pipelines.vector.formats.shapefile.dbf import open_dbf
from app.pipelines.vector.formats.shapefile.encoding import text_encoding
from app.pipelines.vector.formats.shapefile.index import check_index
from app.pipelines.vector.formats.shapefile.memo import open_memo
from app.pipelines.vector.source import VectorSource
from app.settings import MiB

list_layers = only_layer
_HEADER_BYTES = 100


def check_content(source: SourceFile, head: bytes) -> None:
    """See VectorFormat: the signature of a .shp, and as many bytes as its header announces."""
    if not head.startswith(b"\x00\x00\x27\x0a"):
        raise CONTENT_MISMATCH(file=source.file, format=source.format.name, found=looks_like(head))
    expected = struct.unpack(">L", head[24:28])[0] * 2 if len(head) >= _HEADER_BYTES else _HEADER_BYTES
    if source.size < expected:
        raise FILE_TRUNCATED(file=source.file, size=source.size, expected=expected)


def open_sources(source: SourceFile) -> list[VectorSource]:
    """See VectorFormat. The layer is named after the file. Records that are marked as deleted are left out.

    The sidecars are linked beside a neutral copy, except for the .cpg: GDAL is given the encoding that was found here.

    Raises:
        RunRefused: sidecar_missing, encoding_unknown, encoding_wrong, encoding_missing, file_truncated, file_damaged,
            value_invalid.
    """
    file, path = source.file, source.path
    sidecars = _sidecars(source)
    check_only_layer(source, path.stem)
    memo = open_memo(sidecars.get(".fpt") or sidecars.get(".dbt"), file)
    encoding = text_encoding(sidecars[".dbf"], sidecars.get(".cpg"), source.encoding, file, memo)
    copy = neutral_copy(path, ".shp")
    for suffix in (".shx", ".dbf", ".prj"):
        if suffix in sidecars:
            link(sidecars[suffix], copy.with_suffix(suffix))
    if ".prj" in sidecars:
        with sidecars[".prj"].open("rb") as stream:
            check_text(stream.read(MiB).decode("latin-1"), file, "in its .prj")
    most_nulls = check_index(path, sidecars[".shx"], file)
    # GDAL knows nothing of memos when it bounds batches.
    beside = sidecars[".dbf"].stat().st_size + len(memo.data) if memo is not None else 0
    how = OpenOptions(config={"SHAPE_ENCODING": encoding.gdal}, bound_by_rows=memo is not None, bytes_beside=beside)
    (layer,) = open_layers(copy, source.unnamed(), how)

    def check_nulls(nulls: RowNumbers) -> None:
        if len(nulls) > most_nulls:
            raise GEOMETRIES_LOST(file=file, read=len(nulls), expected=most_nulls)

    if layer.rows is not None:
        dbf = open_dbf(copy.with_suffix(".dbf"), layer.rows, encoding, memo, layer.fields.names, source)
        deleted = (DBF_DELETED(file=file, deleted=dbf.deleted),) if dbf.deleted else ()
        layer = replace(
            layer,
            rows=dbf.rows,
            fields=dbf.schema(layer.fields),
            records=dbf.records,
            correct=dbf.correct,
            warnings=(*layer.warnings, *encoding.warnings, *deleted, *dbf.warnings),
        )
    missing = f"{path.stem}.prj"
    where = f"Upload {missing} beside it" if file.lower().endswith(".shp") else f"Put {missing} into the archive"
    fix = f"{where}, or declare the CRS in `files[].crs`."
    layer = replace(layer, check_nulls=check_nulls)
    return [layer_source(source, layer, name=path.stem, encoding=encoding.name, crs_fix=fix)]


def _sidecars(source: SourceFile) -> dict[str, Path]:
    """The files beside a .shp by their suffix. Raises RunRefused sidecar_missing."""
    found: dict[str, Path] = {}
    for suffix in (*source.format.required_sidecars, *source.format.optional_sidecars):
        beside = sidecar(source.path, suffix)
        if beside is not None:
            found[suffix] = beside
        elif suffix in source.format.required_sidecars:
            raise SIDECAR_MISSING(file=source.file, suffix=suffix, name=f"{Path(source.file).stem}{suffix}")
    return found
