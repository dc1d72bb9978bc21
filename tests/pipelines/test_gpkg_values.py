"""GeoPackages keep any value in any column: what comes out is what is in there, or a refusal that names the row."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely

from tests.pipelines.conftest import Bench


def sql(bench: Bench, *statements: str | tuple[str, tuple[Any, ...]]) -> None:
    """Change x.gpkg behind GDAL's back."""
    with closing(sqlite3.connect(bench.landing / "x.gpkg")) as db:
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f'DROP TRIGGER "{name}"')
        for statement in statements:
            db.execute(*([statement] if isinstance(statement, str) else statement))
        db.commit()


@pytest.fixture
def put(bench: Bench):  # type: ignore[no-untyped-def] # a small helper
    def write(kind: str | None = None, value: Any = None, rows: int = 4) -> str:
        """Four points; column v of that type is null but for row 2, which has the value."""
        frame = geopandas.GeoDataFrame(
            {"n": range(rows)}, geometry=shapely.points(np.linspace([9, 48], [10, 49], rows)), crs=4326
        )
        frame.to_file(bench.landing / "x.gpkg", layer="places")
        if kind is not None:
            sql(bench, f"ALTER TABLE places ADD COLUMN v {kind}", ("UPDATE places SET v = ? WHERE fid = 3", (value,)))
        return "x.gpkg"

    return write


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("DATE", "notadate"), ("DATE", "2020-02-30"), ("DATE", "2020-01-01T10:00:00Z"), ("DATE", ""),
        ("DATE", "0000-01-01"), ("DATE", 20200101), ("DATE", b"2020-01-01"),
        ("DATETIME", "2020/13/45"), ("DATETIME", "2020-02-30T00:00:00.000Z"), ("DATETIME", "2020-01-01T24:00:00Z"),
        ("DATETIME", "12020-01-01T00:00:00Z"), ("DATETIME", 2458849.5), ("DATETIME", "now"), ("DATETIME", "10:00"),
        ("DATETIME", "2020-01-01T00:00:00Zulu"), ("DATETIME", ""),
        ("TINYINT", "x"), ("SMALLINT", 40000), ("MEDIUMINT", 5_000_000_000), ("MEDIUMINT", -(2**31) - 1),
        ("INTEGER", "xyz"), ("INTEGER", 2.7), ("INTEGER", b"1"), ("INTEGER", 1e300),
        ("DOUBLE", "abc"), ("DOUBLE", b"1"), ("FLOAT", 1e300), ("FLOAT", -1e39), ("NUMERIC", 2**53 + 1),
        ("BOOLEAN", 7), ("BOOLEAN", -1), ("BOOLEAN", "yes"),
        ("TEXT", b"abc"), ("TEXT", "a\0b"), ("BLOB", "abc"), ("BLOB", 5),
    ],
)  # fmt: skip
def test_what_does_not_fit_its_column_is_refused(bench: Bench, put, kind: str, value: Any) -> None:  # type: ignore[no-untyped-def]
    error = bench.refused(put(kind, value), "GPKG")
    assert error.reason == "value_invalid"
    assert "'v' of row 2" in error.detail
    assert repr(value).removeprefix("b") in error.detail


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        ("DATE", "2020-02-29", pd.Timestamp("2020-02-29").date()),
        ("DATE", "0001-01-01", pd.Timestamp("0001-01-01").date()),
        ("DATETIME", "2020-01-02T03:04:05.678Z", pd.Timestamp("2020-01-02T03:04:05.678Z")),
        ("DATETIME", "2020-01-02T03:04:05Z", pd.Timestamp("2020-01-02T03:04:05Z")),
        ("DATETIME", "2020-01-02T03:04Z", pd.Timestamp("2020-01-02T03:04Z")),
        ("DATETIME", "2020-01-02T23:04:05", pd.Timestamp("2020-01-02T23:04:05Z")),
        ("DATETIME", "2020-01-02 03:04:05-05:30", pd.Timestamp("2020-01-02T08:34:05Z")),
        ("DATETIME", "2020-01-02", pd.Timestamp("2020-01-02T00:00Z")),
        ("TINYINT", 200, 200),
        ("SMALLINT", -32768, -32768),
        ("MEDIUMINT", 2**31 - 1, 2**31 - 1),
        ("INTEGER", -(2**63), -(2**63)),
        ("DOUBLE", 5, 5.0),
        ("DOUBLE", float("inf"), float("inf")),
        ("FLOAT", float("-inf"), float("-inf")),
        ("FLOAT", 1.5, 1.5),
        ("NUMERIC", 2**53, 2.0**53),
        ("BOOLEAN", 1, True),
        ("BOOLEAN", 0, False),
        ("TEXT", 5, "5"),
        ("TEXT", 2.5, "2.5"),
        ("TEXT(3)", "Ærø longer", "Ærø longer"),
        ("BLOB", b"a\0b", b"a\0b"),
    ],
)
def test_what_fits_comes_out_as_it_is(bench: Bench, put, kind: str, value: Any, read: Any) -> None:  # type: ignore[no-untyped-def]
    found = bench.one(put(kind, value), "GPKG").frame["v"]
    assert found[2] == read
    assert found.isna().tolist() == [True, True, False, True]


def test_rows_are_counted_in_reading_order(bench: Bench, put) -> None:  # type: ignore[no-untyped-def]
    name = put("INTEGER", "x")
    sql(bench, "UPDATE places SET fid = fid * 100")
    assert "row 2" in bench.refused(name, "GPKG").detail


@pytest.mark.parametrize(
    "blob", [b"", b"GP", b"XX\0\1\0\0\0\0 whatever this is", b"GP\0\1\xe6\x10\0\0", b"GP\0\1\xe6\x10\0\0\1\1", "text"]
)
def test_a_geometry_that_cannot_be_read_is_no_null(bench: Bench, put, blob: bytes | str) -> None:  # type: ignore[no-untyped-def]
    name = put()
    sql(bench, "UPDATE places SET geom = NULL WHERE fid = 1", ("UPDATE places SET geom = ? WHERE fid = 3", (blob,)))
    error = bench.refused(name, "GPKG")
    assert error.reason == "geometry_damaged"
    assert "row 2" in error.detail
    sql(bench, "UPDATE places SET geom = NULL WHERE fid = 3")
    assert bench.one(name, "GPKG").counts["null_geometries"] == 2


@pytest.mark.parametrize("count", [1, 20_000, 50_000])
def test_a_stale_feature_count_does_not_matter(bench: Bench, put, count: int) -> None:  # type: ignore[no-untyped-def]
    name = put(rows=40_000)
    sql(bench, ("UPDATE gpkg_ogr_contents SET feature_count = ?", (count,)))
    assert bench.one(name, "GPKG").frame["n"].tolist() == list(range(40_000))


@pytest.mark.parametrize("key", ["OBJECTID", "gid", "rowid"])
def test_a_chosen_primary_key_is_an_attribute(bench: Bench, put, key: str) -> None:  # type: ignore[no-untyped-def]
    name = put()
    sql(bench, "UPDATE places SET fid = fid * 10", f"ALTER TABLE places RENAME COLUMN fid TO {key}")
    frame = bench.one(name, "GPKG").frame
    assert frame[key].tolist() == [10, 20, 30, 40]
    assert frame["n"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["VARCHAR(20)", "BIGINT", "TIMESTAMP", "DECIMAL(10,2)"])
def test_a_column_that_gdal_leaves_out_is_refused_by_name(bench: Bench, put, kind: str) -> None:  # type: ignore[no-untyped-def]
    err = bench.refused(put(kind, "1"), "GPKG")
    assert err.reason == "column_type_unknown"
    assert "'v'" in err.detail
