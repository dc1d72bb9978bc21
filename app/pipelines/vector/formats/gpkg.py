"""GeoPackage. Such files are SQLite databases: what in them is data is read, what would be run is refused."""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from app.messages.common import CONTENT_MISMATCH, FILE_TRUNCATED, GEOMETRY_DAMAGED
from app.messages.vector_formats import (
    GPKG_COLUMN_TYPES,
    GPKG_DAMAGED,
    GPKG_GEOMETRY,
    GPKG_VALUE,
    GPKG_VIEW,
    GPKG_VIRTUAL_TABLE,
)
from app.pipelines.common.content import looks_like
from app.pipelines.common.crs import check_around
from app.pipelines.vector.formats.files import shown
from app.pipelines.vector.formats.gpkg_changes import with_changes, write_ahead_log
from app.pipelines.vector.formats.gpkg_foreign import is_harmless, module_of, without_foreign
from app.pipelines.vector.formats.layer import Layer, OpenOptions, RowNumbers
from app.pipelines.vector.formats.ogr import layer_source, list_layers, open_layers
from app.pipelines.vector.formats.reader import SourceFile
from app.pipelines.vector.source import VectorSource

__all__ = ["check_content", "list_layers", "open_sources"]

_HEADER_BYTES = 100
_LARGEST_FLOAT32 = 3.4028235677973366e38


@dataclass(frozen=True, slots=True)
class _FeatureTable:
    """A feature table as SQLite sees it.

    key: the column with the number of a row. rows, geometries: how many there are, the latter without nulls.
    """

    path: Path
    name: str
    key: str
    geometry: str
    rows: int
    geometries: int


def check_content(source: SourceFile, head: bytes) -> None:
    """See VectorFormat: SQLite's signature, and as many pages as its header announces."""
    if not head.startswith(b"SQLite format 3\x00"):
        raise CONTENT_MISMATCH(file=source.file, format=source.format.name, found=looks_like(head))
    if len(head) < _HEADER_BYTES:
        raise FILE_TRUNCATED(file=source.file, size=source.size, expected=_HEADER_BYTES)
    if write_ahead_log(source.path) is not None:
        return  # has pages that the file itself lacks
    page = struct.unpack(">H", head[16:18])[0]
    page = 65_536 if page == 1 else page
    pages, changed, valid_for = (struct.unpack(">L", head[at : at + 4])[0] for at in (28, 24, 92))
    if changed == valid_for and pages * page > source.size:
        raise FILE_TRUNCATED(file=source.file, size=source.size, expected=pages * page)


def open_sources(source: SourceFile) -> list[VectorSource]:
    """See VectorFormat.

    Raises:
        RunRefused: gpkg_journal, gpkg_virtual_table, gpkg_view, value_invalid, geometry_damaged, column_type_unknown,
            file_damaged.
    """
    file = source.file
    path, warnings = with_changes(source)
    warnings += without_foreign(path, source)
    _check_crs_texts(path, file)
    how = OpenOptions(
        options={"LIST_ALL_TABLES": "NO"},
        times_in_utc=True,
        check_layer=lambda name: _check_sql(path, name, file),
    )
    opened = [_checked(source, layer) for layer in open_layers(path, source, how)]
    return [replace(opened[0], warnings=(*warnings, *opened[0].warnings)), *opened[1:]]


def _checked(source: SourceFile, layer: Layer) -> VectorSource:
    table = _checked_table(layer, source.file)
    check_nulls = partial(_check_nulls, table, file=source.file)
    return layer_source(source, replace(layer, rows=table.rows, check_nulls=check_nulls))


def _check_crs_texts(path: Path, file: str) -> None:
    """Refuse CRSs that name grids, before GDAL opens the file: PROJ would open them. Raises RunRefused crs_unknown."""
    try:
        with closing(_connect(path)) as db:
            for row in db.execute("SELECT * FROM gpkg_spatial_ref_sys"):
                for value in row:
                    if isinstance(value, bytes):
                        check_around(value.replace(b"\0", b"").decode("latin-1"), file)
                    elif isinstance(value, str):
                        check_around(value, file)
    except sqlite3.Error:
        return  # GDAL says better what is wrong


def _check_sql(path: Path, layer: str, file: str) -> None:
    """Refuse what would run SQL of the file's author. Triggers are left alone: they never fire on reading."""
    try:
        with closing(_connect(path)) as db:
            rows = db.execute("SELECT type, name, sql FROM sqlite_master WHERE type IN ('table', 'view')").fetchall()
    except sqlite3.Error as err:
        raise GPKG_DAMAGED(file=file, error=err) from None
    for kind, name, sql in rows:
        module = module_of(sql)
        if module is not None and not is_harmless(module):
            raise GPKG_VIRTUAL_TABLE(file=file, table=name, module=module)
        if kind == "view" and name == layer:
            raise GPKG_VIEW(file=file, layer=layer)


def _checked_table(layer: Layer, file: str) -> _FeatureTable:
    """Prove that every value fits the type it is read as: SQLite keeps any value in any column, GDAL invents one then.

    Raises RunRefused: value_invalid, geometry_damaged, file_damaged, column_type_unknown.
    """
    path, key, geometry, fields = layer.path, layer.fid_column, layer.geometry_name, layer.fields
    rowid, geom = _quoted(key or "_rowid_"), _quoted(geometry)
    # A blob under 8 bytes has no GeoPackage header. What GDAL cannot read beyond that is found by counting the nulls.
    tests = {geometry: f"(typeof({geom}) NOT IN ('blob', 'null') OR length({geom}) < 8)"}
    tests |= {f.name: test for f in fields if (test := _misfit(_quoted(f.name), f.type))}
    cases = " ".join(f"WHEN {test} THEN {rowid}" for test in tests.values())
    summary = f"SELECT count(*), count({geom}), min(CASE {cases} END) FROM {_quoted(layer.name)}"  # noqa: S608 - all names are quoted
    try:
        with closing(_connect(path)) as db:
            _check_columns(db, layer.name, {key, geometry, *fields.names}, file)
            rows, geometries, found = db.execute(summary).fetchone()
            if found is not None:
                row = f"FROM {_quoted(layer.name)} WHERE {rowid} = ?"
                wrong = db.execute(f"SELECT {', '.join(tests.values())} {row}", (found,)).fetchone()
                column = next(name for name, is_wrong in zip(tests, wrong, strict=True) if is_wrong)
                before = f"SELECT count(*) FROM {_quoted(layer.name)} WHERE {rowid} < ?"  # noqa: S608
                (number,) = db.execute(before, (found,)).fetchone()
                (value,) = db.execute(f"SELECT {_quoted(column)} {row}", (found,)).fetchone()
    except sqlite3.Error as err:
        raise GPKG_DAMAGED(file=file, error=err) from None
    if found is None:
        return _FeatureTable(path, layer.name, key, geometry, rows, geometries)
    text = shown(value) if isinstance(value, bytes) else repr(value[:40] if isinstance(value, str) else value)
    if column == geometry:
        raise GPKG_GEOMETRY(file=file, column=column, row=number, value=text)
    expected = _type_name(fields.field(column).type)
    raise GPKG_VALUE(file=file, column=column, row=number, value=text, expected=expected)


def _check_columns(db: sqlite3.Connection, layer: str, read: set[str], file: str) -> None:
    """GDAL leaves out columns whose declared type GeoPackage does not define (VARCHAR(20), BIGINT, TIMESTAMP, …)."""
    columns = db.execute(f"PRAGMA table_info({_quoted(layer)})").fetchall()
    lost = [f"{name!r} ({kind or 'no type'})" for _, name, kind, *_ in columns if name not in read]
    if lost:
        raise GPKG_COLUMN_TYPES(file=file, layer=layer, columns=", ".join(lost))


def _check_nulls(table: _FeatureTable, nulls: RowNumbers, file: str) -> None:
    """Prove that geometries were read as null, in those rows, only where the table has null."""
    if table.rows - table.geometries == len(nulls):
        return
    rowid, geom = _quoted(table.key or "_rowid_"), _quoted(table.geometry)
    with closing(_connect(table.path)) as db:
        known = db.execute(f"SELECT {geom} IS NULL FROM {_quoted(table.name)} ORDER BY {rowid}")  # noqa: S608
        is_null = np.fromiter((row[0] for row in known), bool, table.rows)
    row = next((int(row) for row in nulls if not is_null[row]), "?")
    raise GEOMETRY_DAMAGED(file=file, row=row, problem="GDAL reads it as null")


def _misfit(column: str, kind: pa.DataType) -> str:  # noqa: PLR0911 - one for each type
    """SQL that is true where a value of the column does not come out of GDAL's Arrow route as itself; null is fine."""
    if pa.types.is_boolean(kind):
        return f"{column} NOT IN (0, 1)"
    if pa.types.is_integer(kind):
        test = f"{column} IS NOT NULL AND typeof({column}) <> 'integer'"
        if kind.bit_width < 64:
            most = 2 ** (kind.bit_width - 1)
            test += f" OR {column} NOT BETWEEN {-most} AND {most - 1}"
        return f"({test})"
    if pa.types.is_floating(kind):
        test = f"{column} IS NOT NULL AND typeof({column}) <> 'real' AND (typeof({column}) <> 'integer' "
        test += f"OR {column} NOT BETWEEN {-(2**53)} AND {2**53})"
        if kind.bit_width == 32:
            test += f" OR abs({column}) BETWEEN {_LARGEST_FLOAT32} AND {np.finfo(float).max}"
        return f"({test})"
    if pa.types.is_date(kind):
        # Without a modifier date() takes the 30th of February as it is.
        return f"({column} IS NOT date({column}, '+0 days') OR substr({column}, 1, 4) = '0000')"
    if pa.types.is_timestamp(kind):
        day = f"substr({column}, 1, 10)"
        form = f"CASE length({column}) WHEN 20 THEN '%Y-%m-%dT%H:%M:%SZ' ELSE '%Y-%m-%dT%H:%M:%fZ' END"
        return (
            # What the standard asks for is settled by one function, the rest is for its variants.
            f"({column} IS NOT strftime({form}, {column}, '+0 days') "
            f"AND (typeof({column}) <> 'text' OR julianday({column}) IS NULL "
            f"OR {day} IS NOT date({day}, '+0 days') OR substr({column}, 11, 1) NOT IN ('', 'T', ' ') "
            f"OR substr({column}, 12, 2) > '23') OR substr({column}, 1, 4) = '0000')"
        )
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return f"({column} IS NOT NULL AND typeof({column}) <> 'text' OR instr({column}, char(0)))"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return f"{column} IS NOT NULL AND typeof({column}) <> 'blob'"
    return ""


def _type_name(kind: pa.DataType) -> str:
    """The type in words, as far as `_misfit` tells types apart."""
    if pa.types.is_integer(kind):
        return f"{kind.bit_width}-bit integer"
    if pa.types.is_floating(kind):
        return f"{kind.bit_width}-bit float"
    if pa.types.is_date(kind):
        return "date (YYYY-MM-DD)"
    if pa.types.is_timestamp(kind):
        return "timestamp (YYYY-MM-DDTHH:MM:SS.SSSZ)"
    if pa.types.is_boolean(kind):
        return "boolean (0 or 1)"
    return "text without NUL characters" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else "blob"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _connect(path: Path) -> sqlite3.Connection:
    """Read-only, taking the file as it is: no lock, no journal, and none of its functions in the schema's SQL."""
    db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)
    db.execute("PRAGMA trusted_schema = OFF")
    db.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return db
