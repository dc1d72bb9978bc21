"""INT96 timestamps, as Spark, Impala and Hive write them, against their twelve bytes and DuckDB."""

# ruff: noqa: DTZ001 # these moments have no zone

from __future__ import annotations

import datetime as dt
import struct
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from tests.pipelines.conftest import Bench
from tests.pipelines.tables import ingest, refused

EPOCH = 2_440_588  # Julian day of 1970-01-01
END = (dt.date(9999, 12, 31).toordinal() - dt.date(1970, 1, 1).toordinal(), 7_200 * 10**9)
OLD = (dt.date(1000, 1, 1).toordinal() - dt.date(1970, 1, 1).toordinal(), 0)


def int96(path: Path, moments: list[tuple[int, int] | None], *, nested: bool = False, geo: bool = False) -> Path:
    """A file with a column of these (days since 1970, nanoseconds of the day), written byte by byte."""
    marks = [None if moment is None else 1_000 + row for row, moment in enumerate(moments)]
    times = pa.array(marks, pa.timestamp("us"))
    column = pa.array([[mark] for mark in marks], pa.list_(pa.timestamp("us"))) if nested else times
    table = pa.table({"id": list(range(len(marks))), "at": column})
    if geo:
        points = geopandas.GeoDataFrame(geometry=shapely.points([[9, 48]] * len(marks)), crs=4326)
        points.to_parquet(path)
        written = pq.read_table(path)
        table = written.append_column("id", table["id"]).append_column("at", table["at"])
    pq.write_table(
        table, path, use_deprecated_int96_timestamps=True, use_dictionary=False, compression="none",
        write_statistics=False,
    )  # fmt: skip
    raw = path.read_bytes()
    for mark, moment in zip(marks, moments, strict=True):
        if mark is not None and moment is not None:
            before = struct.pack("<qI", mark * 1_000, EPOCH)
            assert raw.count(before) == 1
            raw = raw.replace(before, struct.pack("<qI", moment[1], EPOCH + moment[0]))
    path.write_bytes(raw)
    return path


def read(path: Path) -> list[Any]:
    """The column as DuckDB reads it."""
    return [row[0] for row in duckdb.sql('SELECT "at" FROM read_parquet(?) ORDER BY id', params=[str(path)]).fetchall()]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("fmt", ["Parquet", "GeoParquet"])
def test_moments_outside_the_years_of_nanoseconds(bench: Bench, tmp_path: Path, fmt: str, nested: bool) -> None:
    made = int96(tmp_path / "x", [(18_787, 123_456_000), END, None, OLD], nested=nested, geo=fmt == "GeoParquet")
    wanted = [
        dt.datetime(2021, 6, 9, 0, 0, 0, 123_456), dt.datetime(9999, 12, 31, 2), None, dt.datetime(1000, 1, 1),
    ]  # fmt: skip
    wanted = [[each] for each in wanted] if nested else wanted
    assert read(made) == wanted
    if fmt == "Parquet":
        found = ingest(bench, made.read_bytes(), "Parquet")
        path, warnings = found.product.path, found.warnings
    else:
        result = bench.one(bench.write("t", made.read_bytes()), "GeoParquet")
        path, warnings = result.path, result.watch.warnings
    assert pq.read_table(path)["at"].to_pylist() == wanted
    assert read(path) == wanted
    assert "timestamps_cut" not in warnings


def test_digits_that_microseconds_do_not_hold_are_counted(bench: Bench, tmp_path: Path) -> None:
    made = int96(tmp_path / "x", [(18_787, 123_456_789), END, (-1, 86_399_999_999_999), (0, 1_000)], geo=True)
    result = bench.one(bench.write("t", made.read_bytes()), "GeoParquet")
    message, count, _ = result.watch.warnings["timestamps_cut"]
    assert count == 2
    assert "t to the microsecond" in message
    assert pq.read_table(result.path)["at"].to_pylist() == [
        dt.datetime(2021, 6, 9, 0, 0, 0, 123_456), dt.datetime(9999, 12, 31, 2),
        dt.datetime(1969, 12, 31, 23, 59, 59, 999_999), dt.datetime(1970, 1, 1, 0, 0, 0, 1),
    ]  # fmt: skip
    assert ingest(bench, made.read_bytes(), "Parquet", name="u").warnings["timestamps_cut"][1] == 2


@pytest.mark.parametrize("day", [-106_751, 106_750])
def test_nanoseconds_are_kept_where_they_hold_all_moments(bench: Bench, tmp_path: Path, day: int) -> None:
    found = ingest(bench, int96(tmp_path / "x", [(day, 1), (0, 123_456_789)]).read_bytes(), "Parquet")
    assert found.types["at"] == "timestamp[ns]"
    assert found.table["at"].cast(pa.int64()).to_pylist() == [day * 86_400 * 10**9 + 1, 123_456_789]
    assert found.warnings == {}


def test_a_moment_that_nothing_holds_is_refused(bench: Bench, tmp_path: Path) -> None:
    made = int96(tmp_path / "x", [(0, 0), (2**32 - 1 - EPOCH, 5)]).read_bytes()
    error = refused(bench, made, "Parquet")
    assert error.reason == "value_invalid"
    assert "'at'" in error.detail
    assert "about the year 11754508," in error.detail
    made = int96(tmp_path / "x", [(0, 0), (2**32 - 1 - EPOCH, 5)], geo=True).read_bytes()
    assert bench.refused(bench.write("g", made), "GeoParquet").reason == "value_invalid"
