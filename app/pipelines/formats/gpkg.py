"""GeoPackages are SQLite databases: what in them is data, and what would be run."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from app.errors import RunRefused

# Virtual tables that belong to GeoPackage or to SQLite's full-text search; any other module could reach outside.
_HARMLESS_MODULES = ("rtree", "fts3", "fts4", "fts5")
_LARGEST_FLOAT32 = 3.4028235677973366e38


@dataclass(frozen=True, slots=True)
class Table:
    """A feature table as SQLite sees it. rows, geometries: how many there are, the latter without nulls."""

    path: Path
    name: str
    key: str
    geometry: str
    rows: int
    geometries: int


def check_gpkg(path: Path, layer: str, file: str) -> None:
    """Refuse what would run SQL of the file's author. Triggers are left alone: they never fire on reading."""
    try:
        with closing(connect(path)) as db:
            rows = db.execute("SELECT type, name, sql FROM sqlite_master WHERE type IN ('table', 'view')").fetchall()
    except sqlite3.Error as err:
        raise _damaged(err, file) from None
    for kind, name, sql in rows:
        words = (sql or "").lower().split()
        if words[:3] == ["create", "virtual", "table"]:
            module = (sql or "").lower().partition(" using ")[2].strip().partition("(")[0].strip()
            if module not in _HARMLESS_MODULES:
                raise RunRefused(
                    f"{file} has a virtual table {name!r} of the module {module!r}.",
                    "Send the GeoPackage without it.",
                    reason="gpkg_virtual_table",
                    file=file,
                )
        if kind == "view" and name == layer:
            raise RunRefused(
                f"{file}: layer {layer!r} is a view, that is SQL to be run, not data.",
                "Save the view as a table and send that.",
                reason="gpkg_view",
                file=file,
            )


def check_table(path: Path, layer: str, key: str, geometry: str, fields: pa.Schema, file: str) -> Table:
    """Prove that every value fits the type it is read as: SQLite keeps any value in any column, GDAL invents one then.

    key: the column with the row's number, if it has a name. Raises RunRefused: value_invalid, geometry_damaged,
    file_damaged, column_type_unknown.
    """
    rowid, geom = _quoted(key or "_rowid_"), _quoted(geometry)
    # A blob under 8 bytes has no GeoPackage header. What GDAL cannot read beyond that is found by counting the nulls.
    wrong = [("geometry", geometry, f"(typeof({geom}) NOT IN ('blob', 'null') OR length({geom}) < 8)")]
    wrong += [(_kind(f.type), f.name, test) for f in fields if (test := _misfit(_quoted(f.name), f.type))]
    cases = " ".join(f"WHEN {test} THEN {rowid}" for _, _, test in wrong)
    summary = f"SELECT count(*), count({geom}), min(CASE {cases} END) FROM {_quoted(layer)}"  # noqa: S608 - all names are quoted
    try:
        with closing(connect(path)) as db:
            _check_columns(db, layer, {key, geometry, *fields.names}, file)
            rows, geometries, found = db.execute(summary).fetchone()
            if found is not None:
                row = f"FROM {_quoted(layer)} WHERE {rowid} = ?"
                tests = db.execute(f"SELECT {', '.join(test for _, _, test in wrong)} {row}", (found,)).fetchone()
                kind, column, _ = next(it for it, is_wrong in zip(wrong, tests, strict=True) if is_wrong)
                before = f"SELECT count(*) FROM {_quoted(layer)} WHERE {rowid} < ?"  # noqa: S608
                (number,) = db.execute(before, (found,)).fetchone()
                (value,) = db.execute(f"SELECT {_quoted(column)} {row}", (found,)).fetchone()
    except sqlite3.Error as err:
        raise _damaged(err, file) from None
    if found is None:
        return Table(path, layer, key, geometry, rows, geometries)
    raise RunRefused(
        f"{file}: column {column!r} of row {number} holds {_short(value)}, which is no {kind} (rows count from 0).",
        f"Correct the value, set it to NULL, or give column {column!r} a type that fits its values.",
        reason="geometry_damaged" if kind == "geometry" else "value_invalid",
        file=file,
    )


def _check_columns(db: sqlite3.Connection, layer: str, read: set[str], file: str) -> None:
    """GDAL leaves out columns whose declared type is none of GeoPackage's (VARCHAR(20), BIGINT, TIMESTAMP, …)."""
    columns = db.execute(f"PRAGMA table_info({_quoted(layer)})").fetchall()
    lost = [f"{name!r} ({kind or 'no type'})" for _, name, kind, *_ in columns if name not in read]
    if lost:
        raise RunRefused(
            f"{file}: columns of layer {layer!r} have types that GeoPackage does not know: {', '.join(lost)}.",
            "Declare them with types of GeoPackage, such as TEXT, INTEGER, REAL, DATE or DATETIME.",
            reason="column_type_unknown",
            file=file,
        )


def check_nulls(table: Table, nulls: list[int], file: str) -> None:
    """Prove that geometries were read as null (in those rows) only where the table has null. geometry_damaged."""
    if table.rows - table.geometries == len(nulls):
        return
    rowid, geom = _quoted(table.key or "_rowid_"), _quoted(table.geometry)
    with closing(connect(table.path)) as db:
        known = db.execute(f"SELECT {geom} IS NULL FROM {_quoted(table.name)} ORDER BY {rowid}")  # noqa: S608
        is_null = np.fromiter((row[0] for row in known), bool, table.rows)
    row = next((row for row in nulls if not is_null[row]), "?")
    raise RunRefused(
        f"{file}: the geometry of row {row} cannot be read (rows count from 0).",
        "Correct the geometry, or set it to NULL.",
        reason="geometry_damaged",
        file=file,
    )


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


def _kind(kind: pa.DataType) -> str:
    """The type for people, as far as `_misfit` tells types apart."""
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


def _short(value: object) -> str:
    return repr(value[:40] if isinstance(value, str | bytes) else value)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def connect(path: Path) -> sqlite3.Connection:
    """Read-only, taking the file as it is: no lock, no journal, and none of its functions in the schema's SQL."""
    db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)
    db.execute("PRAGMA trusted_schema = OFF")
    db.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return db


def _damaged(err: sqlite3.Error, file: str) -> RunRefused:
    return RunRefused(
        f"{file} is a damaged GeoPackage: {err}.", "Send an undamaged file.", reason="file_damaged", file=file
    )
