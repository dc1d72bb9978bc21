"""What is found in the coordinates of a table: numbers written otherwise, swapped axes, other CRSs, other columns."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
import shapely

from app.errors import RunRefused
from app.pipelines.ingest.why_no_number import shortened
from tests.pipelines.conftest import Bench, Result
from tests.pipelines.points import LON_LAT, WRITERS, table

WKT, WKB = {"wkt": "g", "crs": "EPSG:4326"}, {"wkb": "g", "crs": "EPSG:4326"}


def texts_of(found: Result) -> list[str | None]:
    return [None if each is None else each.wkt for each in found.frame.geometry]


def refused(bench: Bench, body: bytes | str, fmt: str = "CSV", geometry: Any = None, **options: Any) -> RunRefused:
    """The refusal of a run; its plan has the same."""
    entry = table(bench.write("t", body), fmt, geometry, **options)
    error = bench.refused("t", fmt, type="tabular", options=entry["options"])
    planned = bench.plan(entry)
    assert planned.would == "be refused"
    assert [(each.reason, each.detail, each.fix) for each in planned.refusals] == [
        (error.reason, error.detail, error.fix)
    ]
    return error


NO_NUMBERS = {
    "48°08'N": "convert it to decimal degrees, for example 48.1333333",
    "48 8 30 N": "convert it to decimal degrees, for example 48.1416667",
    "S 48°08'30.5\"": "for example -48.1418056",
    "48.5° N": "for example 48.5",
    "48:30": "for example 48.5",
    "11,5": 'set files[].options {"decimal": ","}',
    "4.470.000,5": 'set files[].options {"decimal": ",", "thousands": "."}',
    "4,470,000.5": 'set files[].options {"thousands": ","}',
    "NaN": "is not a finite number",
    "-inf": "is not a finite number",
    "48.1, 11.5": "has two numbers",
    "1e999": "is not a number",
    "here": "is not a number",
    "1" + " " * 50_000 + "2x": "is not a number",
}


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: value[:20])
def test_text_that_is_no_number_is_named_with_what_to_do(bench: Bench, value: str) -> None:
    body = WRITERS["TSV"]({"lon": [1.5, value], "lat": [2, 3]})
    error = refused(bench, body, "TSV")
    assert error.reason == "rows_quarantined"
    assert f"t: 1 of 2 lines cannot be read as rows (line 3: column 'lon': {shortened(value)} " in error.detail
    assert NO_NUMBERS[value] in error.detail
    body = WRITERS["Parquet"]({"lon": ["1.5", value], "lat": [2, 3]})
    error = refused(bench, body, "Parquet")
    assert error.reason == "geometry_damaged"
    assert f"t: row 1 cannot be read: column 'lon': {shortened(value)} " in error.detail


def test_numbers_as_the_manifest_says_they_are_written(bench: Bench) -> None:
    bench.write("t", "x;y\n4.470.000,50;5.330.000\n 4470001 ;+5330001,00\n")
    geometry = {"x": "x", "y": "y", "crs": "EPSG:31468"}
    found = bench.run(table("t", "CSV", geometry, decimal=",", thousands="."), recipe={"crs": "source"})
    assert [each.wkt for each in found.frame.geometry] == ["POINT (4470000.5 5330000)", "POINT (4470001 5330001)"]
    # Blanks and a plus sign are no part of a number for the type of the column.
    assert found.frame["x"].tolist() == ["4.470.000,50", " 4470001 "]


def test_swapped_axes_are_refused(bench: Bench) -> None:
    error = refused(bench, "lon,lat\n48.1,111.5\n48.2,112\n1,2\n")
    assert error.reason == "axes_swapped"
    assert "2 of 3 points" in error.detail
    assert "row 0 with 'lon' = 48.1 and 'lat' = 111.5" in error.detail
    assert '{"geometry": {"x": "lat", "y": "lon", "crs": "EPSG:4326"}}' in error.fix
    gauss = {"x": "hoch", "y": "rechts", "crs": "EPSG:31468"}
    error = refused(bench, "rechts,hoch\n4470000,5330000\n4470001.5,5330001\n", "CSV", gauss)
    assert (error.reason, "'hoch' = 5330000" in error.detail) == ("axes_swapped", True)
    error = refused(bench, "lon,lat\n48.1,11.5\n", "CSV", {**LON_LAT, "crs": "EPSG:4258"})
    assert error.reason == "axes_swapped"


def test_a_few_swapped_points_are_warned_of(bench: Bench) -> None:
    bench.write("t", "lon,lat\n11.5,48.1\n11.6,48.2\n48.3,11.7\n,\n")
    found = bench.run(table("t", "CSV", {**LON_LAT, "crs": "EPSG:4258"}))
    message, count, samples = found.watch.warnings["axes_maybe_swapped"]
    assert (count, samples) == (1, ({"row": 2, "x": 48.3, "y": 11.7, "file": "t"},))
    assert "'lon' and 'lat' of t" in message


def test_another_crs_is_refused(bench: Bench) -> None:
    error = refused(bench, "lon,lat\n4470000,5330000\n4470000,5330001\n")
    assert (error.reason, "2 of 2 geometries" in error.detail) == ("outside_area_of_use", True)


def test_degrees_under_a_projection_are_refused(bench: Bench) -> None:
    error = refused(bench, "x,y\n9,48\n10,49\n", geometry={"x": "x", "y": "y", "crs": "EPSG:25832"})
    assert error.reason == "outside_area_of_use"
    assert "2 of 2 geometries lie far outside the area of use of EPSG:25832" in error.detail
    assert "are read as degrees, for example row 0" in error.detail


@pytest.mark.parametrize(
    ("body", "crs"),
    [
        ("lon,lat\n48.1,11.5\n", "EPSG:4258"),
        ("lon,lat\n9,48\n10,49\n", "EPSG:25832"),
        ("lon,lat\n-229000,6758000\n", "EPSG:25833"),
    ],
)
def test_points_that_are_meant_to_lie_outside(bench: Bench, body: str, crs: str) -> None:
    """Neither refused nor warned of; the plan has the option too."""
    bench.write("t", body)
    entry = table("t", "CSV", {**LON_LAT, "crs": crs}, area_of_use="ignore")
    plan = bench.plan(entry)
    assert (plan.would, plan.refusals) == ("succeed", ())
    options = plan.files[0].editable.options
    assert options is not None
    assert options.area_of_use == "ignore"
    found = bench.run(entry, recipe={"crs": "source"})
    assert found.watch.warnings == {}
    given = [tuple(map(float, line.split(","))) for line in body.split()[1:]]
    assert [(each.x, each.y) for each in found.frame.geometry] == given


def test_points_without_a_place_on_earth_cannot_be_meant(bench: Bench) -> None:
    error = refused(bench, "lon,lat\n4470000,5330000\n", area_of_use="ignore")
    assert (error.reason, "no place on Earth" in error.detail) == ("outside_area_of_use", True)


def test_longitudes_up_to_360_are_no_other_crs(bench: Bench) -> None:
    bench.write("t", "lon,lat\n350,10\n200,-10\n")
    found = bench.run(table("t"))
    assert [each.wkt for each in found.frame.geometry] == ["POINT (-10 10)", "POINT (-160 -10)"]


def test_unknown_columns(bench: Bench) -> None:
    error = refused(bench, "Länge,lat\n1,2\n")
    assert (error.reason, "'lange', 'lat'" in error.fix) == ("column_unknown", True)
    assert "files[].options.geometry names" in error.detail
    assert "Did you mean 'lon'?" in refused(bench, "lon,lat\n1,2\n", geometry={**LON_LAT, "x": "lons"}).fix
    bench.write("t", "Länge,Breite\n1,2\n")
    found = bench.run(table("t", geometry={"x": "lange", "y": "Breite", "crs": "EPSG:4326"}))
    assert found.frame.geometry[0].wkt == "POINT (1 2)"
    bench.write("t", "1,2\n3,4\n")
    found = bench.run(table("t", geometry={"x": "column_1", "y": "column_2", "crs": "EPSG:4326"}, header=False))
    assert found.frame.geometry[1].wkt == "POINT (3 4)"


def test_columns_of_other_types_are_refused(bench: Bench) -> None:
    body = WRITERS["Parquet"]({"lon": [True, False], "lat": [1, 2], "g": [1, 2]})
    error = refused(bench, body, "Parquet")
    assert (error.reason, "'lon'" in error.detail, "numbers" in error.fix) == ("geometry_column_invalid", True, True)
    assert refused(bench, body, "Parquet", WKB).reason == "geometry_column_invalid"
    error = refused(bench, WRITERS["Parquet"]({"g": [b"POINT (1 2)"]}), "Parquet", WKT)
    assert (error.reason, error.fix) == ("geometry_column_invalid", "Name a column with text.")
    error = refused(bench, "Lon,lat\n1,2\n", geometry={**LON_LAT, "x": "Lon", "y": "lon"})
    assert (error.reason, "as both x and y" in error.detail) == ("geometry_column_invalid", True)
    error = refused(bench, "lon,lat\n20260101,1\n", date_format="%Y%m%d")
    assert error.reason == "geometry_column_invalid"


def test_columns_of_nulls_are_rows_without_geometries(bench: Bench) -> None:
    for fmt in ("CSV", "Parquet"):
        empty = pa.nulls(2) if fmt == "Parquet" else ["", ""]
        bench.write("t", WRITERS[fmt]({"n": [1, 2], "lon": empty, "lat": empty}))
        for geometry in (LON_LAT, {**WKT, "wkt": "lon"}, {**WKB, "wkb": "lat"}):
            found = bench.run(table("t", fmt, geometry))
            assert (found.counts["null_geometries"], texts_of(found)) == (2, [None, None])


def test_columns_of_any_kind_of_number(bench: Bench) -> None:
    lon = pa.array(["1.5", None], pa.large_string()).dictionary_encode()
    lat = pa.array([2, 3], pa.int8())
    bench.write("t", WRITERS["Parquet"]({"lon": lon, "lat": lat, "big": pa.array([2**60 + 1, 1])}))
    found = bench.run(table("t", "Parquet"))
    assert texts_of(found) == ["POINT (1.5 2)", None]
    assert found.frame["big"].tolist() == [2**60 + 1, 1]
    bench.write(
        "u", WRITERS["Parquet"]({"lon": pa.array([2**60 + 1]), "lat": pa.array(["0.10"]).cast(pa.decimal128(38, 30))})
    )
    found = bench.run(table("u", "Parquet", {**LON_LAT, "crs": "EPSG:3857"}), recipe={"crs": "source"})
    assert found.frame.geometry[0].equals(shapely.Point(2**60, 0.1))


SHAPES = {
    "x": "'x' is not WKT",
    "POINT (1 2": "is not WKT",
    "POINT (nan 2)": "not finite numbers",
    "LINESTRING (0 0, 1e400 1)": "not finite numbers",
    "POLYGON ((0 0, 1 0, 1 1))": "has a ring that does not end where it begins",
    "CIRCULARSTRING (0 0, 1 1, 2 0)": "is curved",
    "GEOMETRYCOLLECTION (CURVEPOLYGON EMPTY)": "is curved",
    "TIN (((0 0, 1 0, 1 1)))": "has a ring that does not end where it begins",
    "GEOMETRYCOLLECTION (" * 300 + "POINT (1 2)" + ")" * 300: "more than 200 nested collections",
    "GEOMETRYCOLLECTION (" * 100_000: "more than 200 nested collections",
    "0101000000000000000000F03F0000000000000040": 'name the column as "wkb"',
    "SRID=" + "9" * 5_000 + ";POINT (1 2)": "is not WKT",
    " " * 9 + "POINT" + " " * 50_000 + "x": "is not WKT",
    '{"type": "Point", "coordinates": [1, 2]}': "looks like GeoJSON",
}


@pytest.mark.parametrize("value", SHAPES, ids=lambda value: value[:30])
def test_wkt_that_cannot_be_read(bench: Bench, value: str) -> None:
    bench.write("t", WRITERS["JSONL"]({"n": [1, 2], "g": ["POINT (1 2)", value]}))
    found = bench.run(table("t", "JSONL", WKT, quarantine_share=1))
    assert found.frame["n"].tolist() == [1]
    (sample,) = found.watch.warnings["rows_quarantined"][2]
    assert sample["line"] == 2
    assert sample["reason"].startswith("column 'g': '")
    assert SHAPES[value] in sample["reason"]
    assert len(sample["reason"]) < 250


BYTES = {
    "zz": "is not WKB in hexadecimal digits",
    "0101": "is not WKB",
    "01080000000300000000000000000000000000000000000000000000000000F03F000000000000F03F00000000000000400000000000000000":
        "is curved",
    shapely.to_wkb(shapely.from_wkt("GEOMETRYCOLLECTION (CIRCULARSTRING (0 0, 1 1, 2 0))"), hex=True): "is curved",
    "0111000000010000000400000000000000": "is not WKB",
    "0101000000000000000000F07F0000000000000040": "not finite numbers",
}  # fmt: skip


@pytest.mark.parametrize("value", BYTES, ids=lambda value: value[:20])
def test_wkb_that_cannot_be_read(bench: Bench, value: str) -> None:
    good = "0101000000000000000000F03F0000000000000040"
    if value != "zz":
        body = WRITERS["Parquet"]({"g": [bytes.fromhex(good), bytes.fromhex(value)]})
        error = refused(bench, body, "Parquet", WKB)
        assert (error.reason, "t: row 1 cannot be read: column 'g': '01" in error.detail) == ("geometry_damaged", True)
    bench.write("t", WRITERS["CSV"]({"n": [1, 2], "g": [good, value]}))
    found = bench.run(table("t", "CSV", WKB, quarantine_share=1))
    assert found.frame["n"].tolist() == [1]
    assert BYTES[value] in found.watch.warnings["rows_quarantined"][2][0]["reason"]


def test_wkb_of_every_kind(bench: Bench) -> None:
    point = shapely.Point(1, 2, 3)
    values = [
        shapely.to_wkb(point, byte_order=0),
        shapely.to_wkb(shapely.set_srid(point, 4326), include_srid=True),
        shapely.to_wkb(shapely.from_wkt("POINT ZM (1 2 3 4)"), flavor="iso"),
        None,
        b"",
    ]
    for kind in (pa.binary(), pa.large_binary()):
        bench.write("t", WRITERS["Parquet"]({"n": range(5), "g": pa.array(values, kind)}))
        found = bench.run(table("t", "Parquet", WKB))
        assert texts_of(found) == ["POINT Z (1 2 3)"] * 3 + [None] * 2
    texts = ["\\x" + values[1].hex(), "0x" + values[0].hex().upper(), " " + values[2].hex() + " ", None, ""]
    for fmt in ("JSONL", "XLSX", "CSV"):
        bench.write("t", WRITERS[fmt]({"n": list(range(5)), "g": texts}))
        found = bench.run(table("t", fmt, WKB))
        assert texts_of(found) == ["POINT Z (1 2 3)"] * 3 + [None] * 2
        assert found.counts["m_dropped"] == 1


def test_an_srid_that_contradicts_is_refused(bench: Bench) -> None:
    error = refused(bench, "g\nSRID=3857;POINT (1 2)\n", "TSV", WKT)
    assert error.reason == "crs_conflict"
    assert "SRID 3857, 'SRID=3857;POINT (1 2)'" in error.detail
    value = shapely.to_wkb(shapely.set_srid(shapely.Point(1, 2), 25832), include_srid=True)
    assert "SRID 25832" in refused(bench, WRITERS["Parquet"]({"g": [value]}), "Parquet", WKB).detail
    assert refused(bench, f"g\n{value.hex()}\n", "CSV", WKB).reason == "crs_conflict"
    bench.write("t", "g\nsrid = 4326 ;POINT (1 2)\nSRID=0;POINT (3 4)\n")
    assert texts_of(bench.run(table("t", "TSV", WKT))) == ["POINT (1 2)", "POINT (3 4)"]


def test_a_layer_is_refused(bench: Bench) -> None:
    bench.write("t", "lon,lat\n1,2\n")
    with pytest.raises(RunRefused) as caught:
        bench.run({**table("t"), "layer": "a"})
    assert caught.value.reason == "layer_unknown"


def test_a_crs_that_only_proj_knows_to_be_none(bench: Bench) -> None:
    error = refused(bench, "lon,lat\n1,2\n", geometry={**LON_LAT, "crs": "+proj=nothing"})
    assert (error.reason, "options.geometry.crs" in error.detail) == ("crs_unknown", True)


def test_tables_without_a_row_are_refused(bench: Bench) -> None:
    assert refused(bench, "lon,lat\n").reason == "no_rows"
    assert refused(bench, "lon,lat\nx,1\n", quarantine_share=1).reason == "no_rows"
