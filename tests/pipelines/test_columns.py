"""Columns of vector files: declared types, and several files of different columns as one."""

from __future__ import annotations

from typing import Any

import geopandas
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import RunRefused
from tests.pipelines.conftest import Bench, Result
from tests.service import geojson, point

FMT = {"format": "GeoParquet"}


def put(bench: Bench, name: str, **columns: Any) -> dict[str, Any]:
    """A GeoParquet file with these columns, and as many points; its entry in the manifest."""
    table = pa.table(columns)
    points = geopandas.GeoDataFrame(geometry=[shapely.Point(1, i) for i in range(table.num_rows)], crs=4326)
    (bench.landing / name).parent.mkdir(parents=True, exist_ok=True)
    points.to_parquet(bench.landing / name)
    written = pq.read_table(bench.landing / name)
    for field in table.schema:
        written = written.append_column(field, table[field.name])
    pq.write_table(written, bench.landing / name)
    return {"path": name, **FMT}


def run(bench: Bench, *files: dict[str, Any], **options: Any) -> Result:
    """Over the files, all with these options."""
    return bench.run(*({**file, "options": options} for file in files))


def columns(result: Result) -> dict[str, tuple[str, list[Any]]]:
    table = pq.read_table(result.path).drop_columns(["geom", "bbox"])
    return {name: (str(table[name].type), table[name].to_pylist()) for name in table.column_names}


def refused(bench: Bench, *files: dict[str, Any], **options: Any) -> RunRefused:
    for earlier in bench.lake.iterdir():
        earlier.unlink()
    with pytest.raises(RunRefused) as caught:
        run(bench, *files, **options)
    assert caught.value.fix
    assert not list(bench.lake.iterdir())
    return caught.value


def test_declared_types(bench: Bench) -> None:
    file = put(bench, "a", code=["007", None], n=[1, 2], price=[1.5, 2.25], kept=[1.5, 2.5])
    found = columns(run(bench, file, types={"code": "int64", "n": "text", "price": "decimal(12,2)"}))
    assert {name: kind for name, (kind, _) in found.items()} == {
        "code": "int64", "n": "string", "price": "decimal128(12, 2)", "kept": "double",
    }  # fmt: skip
    assert found["code"][1] == [7, None]
    assert [str(each) for each in found["price"][1]] == ["1.50", "2.25"]


@pytest.mark.parametrize(
    ("values", "kind", "row", "shown"),
    [
        (["1", None, "x"], "int64", 2, "'x'"),
        ([1.0, 2.5], "int64", 1, "2.5"),
        ([1, 2**53 + 1], "float64", 1, str(2**53 + 1)),
        ([1.005], "decimal(5,2)", 0, "1.005"),
        (["2026-02-30"], "date", 0, "'2026-02-30'"),
        (["1"] * 40_000 + ["é"], "int64", 40_000, "'é'"),
    ],
)
def test_a_value_of_another_type_is_named(bench: Bench, values: list[Any], kind: str, row: int, shown: str) -> None:
    put(bench, "in/a", c=values)
    error = refused(bench, {"path": "in/a", **FMT}, types={"c": kind})
    assert (error.reason, error.file) == ("value_invalid", "in/a")
    assert all(text in error.detail for text in ("in/a", "'c'", f"row {row} ", shown, kind))


def test_a_type_that_cannot_be(bench: Bench) -> None:
    file = put(bench, "a", when=[1, 2], raw=[b"x", b"y"])
    assert refused(bench, file, types={"when": "timestamp"}).reason == "type_impossible"
    assert refused(bench, file, types={"raw": "text"}).reason == "type_impossible"
    error = refused(bench, file, types={"wen": "text"})
    assert (error.reason, "Did you mean 'when'?" in error.fix) == ("column_unknown", True)


def test_types_of_a_format_that_gdal_reads(bench: Bench) -> None:
    frame = geopandas.GeoDataFrame(
        {"zip": ["01067", "10115"], "n": pd.array([1, 2], "int32"), "big": [2**53 + 1, 0]},
        geometry=[shapely.Point(1, 1), shapely.Point(2, 2)],
        crs=4326,
    )
    frame.to_file(bench.landing / "a.gpkg", driver="GPKG")
    file = {"path": "a.gpkg", "format": "GPKG"}
    assert columns(run(bench, file, types={"zip": "int64", "big": "text"}))["big"][1] == [str(2**53 + 1), "0"]
    assert "row 1 " in refused(bench, file, types={"n": "bool"}).detail


def test_a_union_by_name(bench: Bench) -> None:
    one = put(bench, "a", n=pa.array([1, None], pa.int32()), only_a=["x", "y"], x=[1.5, 2.5])
    two = put(bench, "b", x=[3.5], n=pa.array([2**40], pa.int64()), only_b=[True])
    result = run(bench, one, two, union="by_name")
    assert columns(result) == {
        "n": ("int64", [1, None, 2**40]),
        "only_a": ("string", ["x", "y", None]),
        "x": ("double", [1.5, 2.5, 3.5]),
        "only_b": ("bool", [None, None, True]),
    }
    assert (result.counts["columns_filled"], result.counts["columns_widened"]) == (2, 1)
    text, count, samples = result.watch.warnings["columns_filled"]
    assert (count, "'only_a' (1 of 2 files), 'only_b' (1 of 2 files)" in text) == (2, True)
    assert samples[0] == {"column": "only_a", "files": 2, "files_without": 1}
    assert "'n' (int32, int64: int64)" in result.watch.warnings["columns_widened"][0]


def test_strict_is_the_default_and_names_by_name(bench: Bench) -> None:
    one, two = put(bench, "a", n=[1]), put(bench, "b", n=[1], m=[2])
    for options in ({}, {"union": "strict"}):
        error = refused(bench, one, two, **options)
        assert error.reason == "schema_mismatch"
        assert "by_name" in error.fix
    # Same columns in another order are the same by name, and nothing to warn of.
    result = run(bench, put(bench, "c", m=[3], n=[4]), two, union="by_name")
    assert columns(result) == {"m": ("int64", [3, 2]), "n": ("int64", [4, 1])}
    assert not result.watch.warnings.keys() & {"columns_filled", "columns_widened"}


def test_integers_beside_floats(bench: Bench) -> None:
    """Exact, or refused with the value: a float64 has no room for every integer."""
    floats, small, large = put(bench, "f", n=[0.5]), put(bench, "s", n=[2**53]), put(bench, "l", n=[1, 2**53 + 1])
    assert columns(run(bench, floats, small, union="by_name"))["n"] == ("double", [0.5, 2.0**53])
    error = refused(bench, floats, small, large, union="by_name")
    assert (error.reason, error.file) == ("value_invalid", "l")
    assert all(text in error.detail for text in ("'n'", "row 1 ", str(2**53 + 1), "float64"))
    # As the message advises.
    found = columns(run(bench, floats, small, large, union="by_name", types={"n": "text"}))
    assert found["n"] == ("string", ["0.5", str(2**53), "1", str(2**53 + 1)])


def test_types_that_have_no_wider_one(bench: Bench) -> None:
    one, two = put(bench, "a", n=[True]), put(bench, "b", n=[1.5])
    error = refused(bench, one, two, union="by_name")
    assert (error.reason, error.file) == ("schema_mismatch", "b")
    assert all(text in error.detail for text in ("'n'", "double", "bool", "a", "b"))
    assert columns(run(bench, one, two, union="by_name", types={"n": "text"}))["n"][1] == ["true", "1.5"]


def test_types_of_columns_that_one_file_lacks(bench: Bench) -> None:
    one, two = put(bench, "a", n=["1"]), put(bench, "b", m=[2])
    assert columns(run(bench, one, two, union="by_name", types={"n": "int64"}))["n"] == ("int64", [1, None])
    assert refused(bench, one, two, union="by_name", types={"k": "int64"}).reason == "column_unknown"
    assert refused(bench, one, put(bench, "c", n=["2"]), types={"k": "int64"}).reason == "column_unknown"


def test_one_file_states_the_union_for_all(bench: Bench) -> None:
    one, two = put(bench, "a", n=[1]), put(bench, "b", m=[2])
    result = bench.run(one, {**two, "options": {"union": "by_name"}})
    assert set(columns(result)) == {"n", "m"}


def test_files_of_several_crss_and_formats(bench: Bench) -> None:
    frame = geopandas.GeoDataFrame({"n": [7]}, geometry=[shapely.Point(1, 1)], crs=4326)
    frame.to_crs(3857).to_file(bench.landing / "m.gpkg", driver="GPKG")
    bench.write("j.geojson", geojson((point(1, 1), {"n": 1.5, "name": "x"})))
    files = {"path": "m.gpkg", "format": "GPKG"}, {"path": "j.geojson", "format": "GeoJSON"}
    result = run(bench, *files, union="by_name")
    assert columns(result) == {"n": ("double", [7.0, 1.5]), "name": ("string", [None, "x"])}
    assert shapely.equals_exact(*result.frame.geometry, 1e-9)
    assert result.product.statistics["rows_by_file"] == {"m.gpkg": 1, "j.geojson": 1}


def test_a_column_without_values_has_no_type_to_widen(bench: Bench) -> None:
    """Of GeoJSON, where the type of a column is known by its values alone."""
    rows = {"a": {"n": None, "m": None, "t": [1]}, "b": {"n": 5, "m": None, "t": [2]}, "c": {"n": None, "t": "x"}}
    for name, properties in rows.items():
        bench.write(f"{name}.geojson", geojson((point(1, 1), properties)))
    entries = {name: {"path": f"{name}.geojson", "format": "GeoJSON"} for name in rows}
    result = run(bench, entries["a"], entries["b"], union="by_name")
    assert columns(result) == {
        "n": ("int64", [None, 5]),
        "m": ("string", [None, None]),
        "t": ("list<element: int64>", [[1], [2]]),
    }
    assert "columns_widened" not in result.watch.warnings
    assert refused(bench, entries["a"], entries["c"], union="by_name").reason == "schema_mismatch"


VALUES = {
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3),
    pa.float64(): st.floats(allow_nan=False) | st.integers(-3, 3).map(float),
    pa.string(): st.text("ab1.", max_size=3),
    pa.bool_(): st.booleans(),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(1, 3))
    names = draw(st.lists(st.sampled_from("abcd"), unique=True, min_size=1, max_size=4))
    kinds = {name: draw(st.sampled_from(list(VALUES))) for name in names}
    return pa.table(
        {
            name: pa.array(draw(st.lists(st.none() | VALUES[kind], min_size=rows, max_size=rows)), kind)
            for name, kind in kinds.items()
        }
    )


def written(value: Any) -> Any:
    """A value that may have become text."""
    if isinstance(value, bool):
        return str(value).lower()
    return value


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(tables(), min_size=1, max_size=3))
def test_a_union_by_name_loses_no_value(bench: Bench, made: list[pa.Table]) -> None:
    """Every value comes out where it belongs, or the run is refused and says why."""
    files = [put(bench, f"p{number}", **{name: t[name] for name in t.column_names}) for number, t in enumerate(made)]
    refusal = None
    try:
        found = columns(run(bench, *files, union="by_name"))
    except RunRefused as error:
        refusal = error.reason
    assert refusal in (None, "schema_mismatch", "value_invalid")
    if refusal is not None:
        return
    assert list(found) == list(dict.fromkeys(name for table in made for name in table.column_names))
    for name, (kind, values) in found.items():
        wanted = [
            value
            for table in made
            for value in (table[name].to_pylist() if name in table.column_names else [None] * table.num_rows)
        ]
        for value, source in zip(values, wanted, strict=True):
            if kind == "string" and source is not None and not isinstance(source, str):
                assert value == written(source) or type(source)(value) == source
            else:
                assert value == source
