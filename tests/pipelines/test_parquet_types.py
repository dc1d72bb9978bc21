"""Types of Parquet that Arrow does not have, written by DuckDB: they do not change in silence."""

from __future__ import annotations

import json
import re
import struct
from datetime import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from app.pipelines.common.parquet_types import interval_text
from tests.pipelines.conftest import Bench
from tests.pipelines.tables import ingest

INTERVAL = re.compile(r"P(?:(\d+)M)?(?:(\d+)D)?(?:T([\d.]+)S)?")


def written(folder: Path, columns: str, rows: int = 1, options: str = "") -> bytes:
    """A file with the columns of a SELECT, as DuckDB writes it. n is the number of the row."""
    path = folder / "duckdb.parquet"
    select = f"SELECT {columns} FROM range({rows}) AS r(n)"  # noqa: S608 # of the tests below
    duckdb.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet{options})")
    return path.read_bytes()


def described(path: Path) -> dict[str, str]:
    relation = duckdb.read_parquet(str(path))
    return dict(zip(relation.columns, map(str, relation.types), strict=True))


def test_an_interval_is_text_of_iso_8601(bench: Bench, tmp_path: Path) -> None:
    span = "to_months(n::INT) + to_days((n * 2)::INT) + to_milliseconds(n * 250)"
    found = ingest(bench, written(tmp_path, f"CASE WHEN n % 3 > 0 THEN {span} END AS i", 20_000), "Parquet")
    assert found.types == {"i": "string"}
    assert found.warnings["intervals_as_text"][1:] == (1, ("i",))
    assert found.product.column_schema["i"].logical_type == "interval"
    texts = found.table.column("i").to_pylist()
    assert texts[:6] == [None, "P1M2DT0.25S", "P2M4DT0.5S", None, "P4M8DT1S", "P5M10DT1.25S"]
    for number, text in enumerate(texts):
        match = INTERVAL.fullmatch(text) if text else None
        assert (match is None) == (number % 3 == 0)
        if match:
            assert [float(part or 0) for part in match.groups()] == [number, number * 2, number * 0.25]


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [
        ((0, 0, 0), "PT0S"),
        ((14, 0, 0), "P14M"),
        ((0, 3, 0), "P3D"),
        ((0, 0, 1), "PT0.001S"),
        ((1, 0, 61_100), "P1MT61.1S"),
        ((2**32 - 1, 2**32 - 1, 2**32 - 1), "P4294967295M4294967295DT4294967.295S"),
    ],
)
def test_every_part_of_an_interval_is_written(parts: tuple[int, int, int], wanted: str) -> None:
    array = pa.array([None, struct.pack("<3I", *parts), None], pa.binary(12))
    assert interval_text(array).to_pylist() == [None, wanted, None]
    assert interval_text(array.slice(1)).to_pylist() == [wanted, None]
    assert interval_text(array.slice(0, 0)).to_pylist() == []


def test_an_interval_within_other_values_is_said_to_be_bytes(bench: Bench, tmp_path: Path) -> None:
    body = written(tmp_path, "[INTERVAL '1 month 2 days'] AS i, {'x': INTERVAL '1 day'} AS s")
    found = ingest(bench, body, "Parquet")
    assert found.rows == [{"i": [struct.pack("<3I", 1, 2, 0)], "s": {"x": struct.pack("<3I", 0, 1, 0)}}]
    message, count, samples = found.warnings["intervals_as_text"]
    assert (count, samples) == (2, ("i.list.element", "s.x"))
    assert "12 bytes" in message


def test_twelve_bytes_that_are_no_interval_stay(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"v": pa.array([b"x" * 12, None], pa.binary(12))}), path)
    found = ingest(bench, path.read_bytes(), "Parquet")
    assert found.types == {"v": "fixed_size_binary[12]"}
    assert (found.table.column("v").to_pylist(), found.warnings) == ([b"x" * 12, None], {})


def test_times_of_day_in_utc_are_said_and_stay(bench: Bench, tmp_path: Path) -> None:
    body = written(tmp_path, "'08:00:00.5+00'::TIMETZ AS t, '09:00:00'::TIME AS p, {'q': '06:00:00+00'::TIMETZ} AS s")
    assert described(tmp_path / "duckdb.parquet")["t"] == "TIME WITH TIME ZONE"
    found = ingest(bench, body, "Parquet")
    assert found.rows == [{"t": time(8, 0, 0, 500_000), "p": time(9), "s": {"q": time(6)}}]
    assert found.warnings["times_in_utc"][1:] == (2, ("t", "s.q"))
    assert found.product.column_schema["t"].logical_type == "time_utc"
    assert found.product.column_schema["p"].logical_type is None


def test_times_that_arrow_wrote_have_no_zone(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"t": pa.array([time(8)], pa.time64("us"))}), path, write_time_adjusted_to_utc=True)
    assert described(path) == {"t": "TIME WITH TIME ZONE"}
    found = ingest(bench, path.read_bytes(), "Parquet")
    assert (found.rows, found.warnings) == ([{"t": time(8)}], {})


@pytest.mark.parametrize(
    "value",
    [
        "uuid()", "'{}'::JSON", "'a'::ENUM('a', 'b')", "1::UTINYINT", "'2020-01-01'::TIMESTAMP_NS",
        "'2020-01-01'::TIMESTAMP_MS", "'2020-01-01'::TIMESTAMPTZ", "'a'::BLOB", "MAP {'a': 1}", "[uuid()]",
        "1.5::DECIMAL(10, 3)", "'08:00:00'::TIME", "DATE '2020-01-01'",
    ],
)  # fmt: skip
def test_other_types_stay(bench: Bench, tmp_path: Path, value: str) -> None:
    found = ingest(bench, written(tmp_path, f"{value} AS v"), "Parquet")
    source = tmp_path / "duckdb.parquet"
    assert described(found.product.path) == described(source)
    made, read = (duckdb.read_parquet(str(path)).to_arrow_table() for path in (found.product.path, source))
    assert made.equals(read)
    assert found.warnings == {}


def test_attributes_of_geoparquet_are_text_and_said_as_well(bench: Bench, tmp_path: Path) -> None:
    geo = {"version": "1.1.0", "primary_column": "g", "columns": {"g": {"encoding": "WKB", "geometry_types": []}}}
    point = f"from_hex('{shapely.Point(9, 48).wkb_hex}') AS g"
    columns = f"{point}, INTERVAL '1 month 3 days' AS i, '08:00:00+00'::TIMETZ AS t"
    bench.write("t.parquet", written(tmp_path, columns, 3, f", KV_METADATA {{geo: '{json.dumps(geo)}'}}"))
    found = bench.one("t.parquet", "GeoParquet")
    table = pq.read_table(found.path)
    assert table.column("i").to_pylist() == ["P1M3D"] * 3
    assert table.column("t").to_pylist() == [time(8)] * 3
    assert {"intervals_as_text", "times_in_utc"} <= set(found.watch.warnings)
    kinds = {name: column.logical_type for name, column in found.product.column_schema.items()}
    assert (kinds["i"], kinds["t"]) == ("interval", "time_utc")
