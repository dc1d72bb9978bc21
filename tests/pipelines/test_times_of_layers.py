"""Times that GDAL hands over, against the text in the file: what is no moment becomes null, and no other moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet
import pyogrio
import pytest
import shapely

from app.pipelines.vector.formats.times import time_types, to_times
from tests.pipelines.conftest import Bench

FIRST = datetime(2023, 2, 11, 10, 0, 0, tzinfo=UTC)
MISFITS = ("2023-02-30T10:00:00Z", "2023", "2023-02", "nonsense", "2023-13-01T10:00:00Z", "2023-02-17T25:00:00Z")


def flatgeobuf(bench: Bench, texts: dict[int, str]) -> None:
    """x.fgb with ten moments, some of them overwritten: the format keeps them as text of any length."""
    moments = pa.array([FIRST + timedelta(hours=i) for i in range(10)], pa.timestamp("ms", "UTC"))
    points = pa.array(shapely.to_wkb(shapely.points([[9 + i, 48] for i in range(10)])).tolist())
    table = pa.table({"t": moments, "geometry": points})
    path = bench.landing / "x.fgb"
    options = {"SPATIAL_INDEX": "NO"}
    pyogrio.write_arrow(
        table, path, driver="FlatGeobuf", geometry_name="geometry", geometry_type="Point", crs="EPSG:4326", **options
    )
    raw = path.read_bytes()
    for row, text in texts.items():
        written = f"{FIRST + timedelta(hours=row):%Y-%m-%dT%H:%M:%SZ}".encode()
        assert raw.count(written) == 1
        raw = raw.replace(written, text.encode().ljust(len(written)))
    path.write_bytes(raw)


@pytest.mark.parametrize("text", MISFITS)
def test_text_that_is_no_moment_is_null_and_counted(bench: Bench, text: str) -> None:
    flatgeobuf(bench, {3: text, 7: ""})
    result = bench.one("x.fgb", "FlatGeobuf")
    found = pyarrow.parquet.read_table(result.path)["t"].to_pylist()
    assert found == [None if i in (3, 7) else FIRST + timedelta(hours=i) for i in range(10)]
    message, count, samples = result.watch.warnings["values_nulled"]
    assert "'t'" in message
    assert (count, samples) == (1, ({"column": "t", "row": 3, "value": text},))


def test_a_column_that_is_declared_as_text_keeps_it(bench: Bench) -> None:
    flatgeobuf(bench, {3: "2023"})
    result = bench.one("x.fgb", "FlatGeobuf", options={"types": {"t": "text"}})
    assert pyarrow.parquet.read_table(result.path)["t"].to_pylist()[2:4] == ["2023-02-11T12:00:00Z", "2023"]
    assert not result.watch.warnings


@pytest.mark.parametrize(
    ("texts", "kind", "values"),
    [
        (["2023-02-11T10:00:00.25Z", None], pa.timestamp("ms", "UTC"), [FIRST + timedelta(milliseconds=250), None]),
        (["2023-02-11T10:00:00.250000+00:00"], pa.timestamp("ms", "UTC"), [FIRST + timedelta(milliseconds=250)]),
        (["2023-02-11T10:00:00.000251Z"], pa.timestamp("us", "UTC"), [FIRST + timedelta(microseconds=251)]),
        (["2023-02-11T10:00:00.000251999+00"], pa.timestamp("us", "UTC"), [FIRST + timedelta(microseconds=251)]),
        (["2023-02-11T12:00:00+0200"], pa.timestamp("ms", "UTC"), [FIRST]),
        (["2023-02-11 10:00", "0000-01-01"], pa.timestamp("ms"), [FIRST.replace(tzinfo=None), None]),
        (["2023-02-11", "2023-02-11T10:00:00Z"], pa.string(), ["2023-02-11", "2023-02-11T10:00:00Z"]),
    ],
)
def test_the_type_holds_every_digit_up_to_a_microsecond(
    texts: list[str | None], kind: pa.DataType, values: list[object]
) -> None:
    column = pa.array(texts, pa.string())
    types, _ = time_types(["t"], [pa.record_batch([column], ["t"])])
    assert types == {"t": kind}
    assert to_times(column, kind).to_pylist() == values
