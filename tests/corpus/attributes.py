"""Every field type through every vector format, value by value; what a format has no room for is said here."""

# ruff: noqa: DTZ001 # times without zone are one of the types

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from tests.corpus.case import Case, Features, Values
from tests.corpus.layers import WRITERS, layer, points

UTC = dt.UTC
CHRISTMAS = dt.datetime(1850, 12, 25, 12)
NOW = dt.datetime(2026, 1, 1, 0, 0, 0, 123_000)

# name → (Arrow type, values, as they must come out where the format has that type)
TYPES: dict[str, tuple[pa.DataType, Sequence[Any]]] = {
    "bool": (pa.bool_(), [True, None, False]),
    "int16": (pa.int16(), [-32_768, None, 32_767]),
    "int32": (pa.int32(), [-(2**31), None, 2**31 - 1]),
    "int64": (pa.int64(), [-(2**62), None, 2**53 + 1]),
    "float32": (pa.float32(), [1.5, None, -0.25]),
    "float64": (pa.float64(), [0.1, None, -123_456.789]),
    "huge float64": (pa.float64(), [1e300, None, 5e-324]),
    "text": (pa.string(), ["Zürich 😀 <&>", None, "x\ny"]),
    "empty text": (pa.string(), ["", None, "x"]),
    "blanks": (pa.string(), [" x ", None, "\ty"]),
    "text of digits": (pa.string(), ["007", None, "1"]),
    "text like dates": (pa.string(), ["2024-01-01", None, "2024-01-02"]),
    "binary": (pa.binary(), [b"\x00\xff", None, b"x"]),
    "date": (pa.date32(), [dt.date(1850, 1, 1), None, dt.date(2026, 2, 28)]),
    "time": (pa.time32("ms"), [dt.time(23, 59, 59, 500_000), None, dt.time(0)]),
    "timestamp": (pa.timestamp("ms"), [CHRISTMAS, None, NOW]),
    "instant": (pa.timestamp("ms", "UTC"), [CHRISTMAS.replace(tzinfo=UTC), None, NOW.replace(tzinfo=UTC)]),
    "instant elsewhere": (pa.timestamp("ms", "+05:30"), [CHRISTMAS.replace(tzinfo=UTC), None, NOW.replace(tzinfo=UTC)]),
    "list of text": (pa.list_(pa.string()), [["a", "ü"], None, ["", ","]]),
    "list of int32": (pa.list_(pa.int32()), [[1, -2], None, [3]]),
    "list of int64": (pa.list_(pa.int64()), [[2**53 + 1], None, [3, 4]]),
    "list of float64": (pa.list_(pa.float64()), [[0.5, 2.0], None, [1e300]]),
    "JSON": (pa.string(), ['{"a": [1, "ü"]}', None, "[]"]),
}


def said(kind: str, *values: Any) -> Values:
    return kind, values


_CODED = {"binary": said("string", "00FF", None, "78"), "time": said("string", "23:59:59.500", None, "00:00:00")}
_LISTED = {
    "list of text": said("string", '[ "a", "ü" ]', None, '[ "", "," ]'),
    "list of int32": said("string", "[ 1, -2 ]", None, "[ 3 ]"),
    "list of int64": said("string", "[ 9007199254740993 ]", None, "[ 3, 4 ]"),
    "list of float64": said("string", "[ 0.5, 2.0 ]", None, "[ 1.0000000000000001e+300 ]"),
}
_TEXT_TIMES = {
    "timestamp": said("string", "1850-12-25T12:00:00", None, "2026-01-01T00:00:00.123"),
    "instant": said("string", "1850-12-25T12:00:00Z", None, "2026-01-01T00:00:00.123Z"),
    "instant elsewhere": said("string", "1850-12-25T17:30:00+05:30", None, "2026-01-01T05:30:00.123+05:30"),
}
_INSTANT = said("timestamp[ms, tz=UTC]", *TYPES["instant"][1])
_IN_UTC = {"timestamp": _INSTANT, "instant elsewhere": _INSTANT}
_WIDE = {"float32": said("double", 1.5, None, -0.25)}
_JSON = {
    **_CODED,
    **_TEXT_TIMES,
    **_WIDE,
    "int16": said("int64", *TYPES["int16"][1]),
    "int32": said("int64", *TYPES["int32"][1]),
    "date": said("string", "1850-01-01", None, "2026-02-28"),
    "list of int32": said("list<element: int64>", [1, -2], None, [3]),
    "JSON": said("string", '{"a":[1,"ü"]}', None, "[]"),
}
_NOTHING = {"empty text": said("string", None, None, "x")}

# What the format, or GDAL's writer for it, makes of a type that it does not have; None: it cannot be written.
OTHERWISE: dict[str, dict[str, Values | None]] = {
    "GeoJSON": _JSON,
    "GeoJSONSeq": {**_JSON, "date": said("string", "1850/01/01", None, "2026/02/28")},
    "GPKG": {**_LISTED, **_IN_UTC, "time": _CODED["time"]},
    "SHP": {
        **_CODED,
        **_LISTED,
        **_TEXT_TIMES,
        **_WIDE,
        **_NOTHING,
        "int16": said("int32", *TYPES["int16"][1]),
        "int32": said("int64", *TYPES["int32"][1]),
        "huge float64": None,
        "blanks": said("string", "x", None, "\ty"),
    },
    "FlatGeobuf": {
        **_LISTED,
        "time": _CODED["time"],
        "instant elsewhere": _INSTANT,
        "date": said("timestamp[ms]", dt.datetime(1850, 1, 1), None, dt.datetime(2026, 2, 28)),
    },
    "KML": {
        **_CODED,
        **_LISTED,
        **_TEXT_TIMES,
        **_WIDE,
        **_NOTHING,
        "int16": said("int32", *TYPES["int16"][1]),
        "int64": said("string", str(-(2**62)), None, str(2**53 + 1)),
        "date": said("string", "1850/01/01", None, "2026/02/28"),
        "blanks": said("string", "x", None, "\ty"),
    },
    "GML": {
        **_CODED,
        **_NOTHING,
        "instant elsewhere": _INSTANT,
        "blanks": None,
        "list of text": said("list<element: string>", ["a", "ü"], None, [","]),
    },
    "OpenFileGDB": {**_LISTED, **_IN_UTC, "bool": said("int32", 1, None, 0)},
    "GeoParquet": {},
}


def _case(fmt: str, name: str) -> Case | None:
    kind, values = TYPES[name]
    kept = str(kind).replace("item:", "element:")
    wanted = OTHERWISE[fmt].get(name, (kept, values))
    if wanted is None:
        return None
    put = layer(
        fmt, points(3), {"v": pa.array(values, kind)}, kind="Point", json_column="v" if name == "JSON" else None
    )
    return Case(name, "vector", fmt, put, Features({"v": wanted}, is_partial=fmt in ("KML", "GML")))


ATTRIBUTES = [made for fmt in WRITERS for name in TYPES if (made := _case(fmt, name)) is not None]
