"""Finds the columns of a table that look like coordinates, so that a plan can propose to make features of its rows."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.messages.tabular import COORDINATES_FOUND
from app.models.runs.run import RunWarning
from app.pipelines.tabular.declared_types import titles_for_types

_ROWS = 1_000
# Characters of a value that show whether it is WKT.
_LOOK = 100
_WORLD = "EPSG:4326"
# What a reader of the proposal has to replace.
_UNKNOWN = "EPSG:CODE"
# Cleaned names of x and y, the surest first.
_PAIRS = (
    ("lon", "lat"), ("long", "lat"), ("lng", "lat"), ("longitude", "latitude"), ("langengrad", "breitengrad"),
    ("laengengrad", "breitengrad"), ("easting", "northing"), ("rechtswert", "hochwert"), ("ostwert", "nordwert"),
    ("x", "y"), ("coord_x", "coord_y"), ("x_coord", "y_coord"), ("point_x", "point_y"), ("xcoord", "ycoord"),
    ("koord_x", "koord_y"),
)  # fmt: skip
_SHAPES = ("wkt", "wkb", "geom", "geometry", "the_geom", "shape", "geometrie", "wkt_geom", "geom_wkt", "wkb_geometry")
# Millions of x by which a CRS is known that puts its zone before the easting.
_BY_MILLIONS = {2: 31466, 3: 31467, 4: 31468, 5: 31469, 32: 4647, 33: 5650}
_WKT = re.compile(
    r"\s*(?:SRID\s*=\s*(\d{1,10})\s*;)?\s*(?:MULTI)?(?:POINT|LINESTRING|POLYGON|GEOMETRYCOLLECTION)\b", re.IGNORECASE
)
_WKB = re.compile(r"(?:\\x|0x)?0[01](?:[0-9a-f]{2}){8,}", re.IGNORECASE)


def proposed_geometry(path: Path, schema: pa.Schema, names: Sequence[str], file: str) -> RunWarning | None:
    """The warning with files[].options.geometry for the table, ready to be pasted; None without such columns.

    Args:
        path: the typed table.
        schema: of it.
        names: of the columns in the source.
        file: the key of the source, for the message.
    """
    titles = dict(zip(schema.names, titles_for_types(names, schema.names), strict=True))
    known = {name: title for name, title in titles.items() if title is not None}
    asked = _shape(path, schema, known) or _pair(path, schema, known)
    if asked is None:
        return None
    columns = [value for key, value in asked.items() if key != "crs"]
    hint = " Put the code of their CRS in the place of CODE." if asked["crs"] == _UNKNOWN else ""
    return COORDINATES_FOUND(
        file=file,
        columns=" and ".join(map(repr, columns)),
        options=json.dumps({"geometry": asked}, ensure_ascii=False),
        hint=hint,
    )


def _shape(path: Path, schema: pa.Schema, known: dict[str, str]) -> dict[str, str] | None:
    for name in _SHAPES:
        if name not in known:
            continue
        kind = schema.field(name).type
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return {"wkb": known[name], "crs": _UNKNOWN}
        value = next((each for each in _first_rows(path, [name]).column(0).to_pylist() if each), None)
        if not isinstance(value, str):
            continue
        if (found := _WKT.match(value[:_LOOK])) is not None:
            return {"wkt": known[name], "crs": f"EPSG:{found[1]}" if found[1] not in (None, "0") else _UNKNOWN}
        if _WKB.match(value):
            return {"wkb": known[name], "crs": _UNKNOWN}
    return None


def _pair(path: Path, schema: pa.Schema, known: dict[str, str]) -> dict[str, str] | None:
    for x, y in _PAIRS:
        if x in known and y in known and all(_may_be_number(schema.field(name).type) for name in (x, y)):
            crs = _crs(_first_rows(path, [x, y]), in_degrees=y in ("lat", "latitude", "breitengrad"))
            return {"x": known[x], "y": known[y], "crs": crs}
    return None


def _crs(rows: pa.RecordBatch, *, in_degrees: bool) -> str:
    """The CRS that the values point to."""
    (left, right), (low, high) = (_range(rows.column(number)) for number in (0, 1))
    if in_degrees or None in (left, right, low, high):
        return _WORLD if in_degrees else _UNKNOWN
    if left >= -180 and right <= 180 and low >= -90 and high <= 90:
        return _WORLD
    code = _BY_MILLIONS.get(int(left // 1e6)) if left // 1e6 == right // 1e6 else None
    return f"EPSG:{code}" if code else _UNKNOWN


def _range(array: pa.Array) -> tuple[Any, Any]:
    """(least, greatest) of numbers; None for text."""
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return None, None
    found = pc.min_max(pc.cast(array, pa.float64(), safe=False)).as_py()
    return found["min"], found["max"]


def _first_rows(path: Path, names: list[str]) -> pa.RecordBatch:
    with pq.ParquetFile(path) as file:
        batch = next(file.iter_batches(_ROWS, columns=names))
    return batch.select(names)


def _may_be_number(kind: pa.DataType) -> bool:
    asked = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_decimal,
        pa.types.is_string,
        pa.types.is_large_string,
    )
    return any(ask(kind) for ask in asked)
