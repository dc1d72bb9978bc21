"""Every format of the table, in and out: attributes exactly, geometries equal to an independent computation."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely

from app.models import formats
from app.models.formats import FORMATS, Format
from tests.pipelines.conftest import Bench, expected

# format → (driver that writes it for the test, suffix, attributes keep their exact names and types)
WRITERS = {
    "GeoJSON": ("GeoJSON", ".geojson", {"COORDINATE_PRECISION": 15}),
    "GeoJSONSeq": ("GeoJSONSeq", ".geojsonl", {"COORDINATE_PRECISION": 15}),
    "GPKG": ("GPKG", ".gpkg", {}),
    "SHP": ("ESRI Shapefile", ".shp", {}),
    "FlatGeobuf": ("FlatGeobuf", ".fgb", {"SPATIAL_INDEX": "NO"}),
    "KML": ("LIBKML", ".kml", {}),
    "GML": ("GML", ".gml", {}),
    "OpenFileGDB": ("OpenFileGDB", ".gdb", {"TARGET_ARCGIS_VERSION": "ARCGIS_PRO_3_2_OR_LATER"}),
    "GeoParquet": (None, ".parquet", {}),
}
LONLAT_ONLY = ("GeoJSON", "GeoJSONSeq", "KML")
# {format: module in tests/pipelines} of formats that cannot hold the layers of this module.
TESTED_ELSEWHERE: dict[str, str] = {}


def put(bench: Bench, frame: geopandas.GeoDataFrame, fmt: str, stem: str = "data") -> str:
    """Write the frame into the landing zone; directories go into a zip archive."""
    driver, suffix, options = WRITERS[fmt]
    target = bench.landing / f"{stem}{suffix}"
    if fmt in LONLAT_ONLY:
        frame = frame.to_crs(4326)
    if fmt == "KML":  # LIBKML writes no polygon that crosses itself
        frame = frame.set_geometry(frame.geometry.where(frame.geometry.is_valid, frame.geometry.make_valid()))
    if driver is None:
        frame.to_parquet(target)
    else:
        if fmt == "OpenFileGDB" and frame.geom_type.str.contains("Polygon").all():
            options = {**options, "promote_to_multi": True, "geometry_type": "MultiPolygon"}
        frame.to_file(target, driver=driver, use_arrow="raw" in frame, **options)
    if target.is_dir():
        shutil.make_archive(str(target), "zip", bench.landing, target.name)
        return f"{target.name}.zip"
    return target.name


def test_the_table_of_writers_covers_the_table_of_formats() -> None:
    covered = {fmt.name for fmt in FORMATS if fmt.type == "vector" and fmt.available}
    assert set(WRITERS) | set(TESTED_ELSEWHERE) == covered
    assert all((Path(__file__).parent / f"{module}.py").is_file() for module in TESTED_ELSEWHERE.values())


@pytest.mark.parametrize("fmt", WRITERS)
def test_round_trip(bench: Bench, parcels: geopandas.GeoDataFrame, fmt: str) -> None:
    name = put(bench, parcels, fmt)
    result = bench.one(name, fmt)
    found = result.frame
    assert found.crs == "EPSG:4326"
    assert result.counts["rows_in"] == result.counts["rows_out"] == len(found) == len(parcels)
    wanted = parcels.to_crs(4326) if fmt in LONLAT_ONLY else parcels
    # text formats and the integer coordinates of OpenFileGDB do not keep the last bits; the topology of these shapes
    # is far coarser than that
    tolerance = {"OpenFileGDB": 1e-7, "GML": 1e-9, "KML": 1e-9, "GeoJSON": 1e-9, "GeoJSONSeq": 1e-9}.get(fmt, 0.0)
    if fmt != "GeoParquet":  # writing changes ring order or makes single polygons multi
        independent = geopandas.read_file(bench.landing / name)
        wanted = independent.assign(geometry=shapely.force_2d(independent.geometry.to_numpy()))
        found = found.assign(geom=shapely.force_2d(found.geometry.to_numpy())).set_geometry("geom")
    bench.agree(found.geometry, expected(wanted), tolerance)
    assert shapely.is_valid(found.geometry.to_numpy()).all()
    for column in ("name", "count", "area"):
        source = "Name" if fmt == "KML" and column == "name" else column
        values = found[source].astype(object).where(found[source].notna(), None).tolist()
        truth = parcels[column].astype(object).where(parcels[column].notna(), None).tolist()
        if fmt == "KML" and column != "name":
            values = [type(t)(v) for v, t in zip(values, truth, strict=True)]
        assert values == truth, column
    assert [(d, t) for d, t in result.watch.progress][-1] == (600, 600)
    assert result.steps == ["load", "transform", "export"]


@pytest.mark.parametrize("fmt", [fmt.name for fmt in FORMATS if fmt.zipped and fmt.name in WRITERS])
def test_zipped(bench: Bench, countries: geopandas.GeoDataFrame, fmt: str) -> None:
    folder = bench.landing / "deep" / "er"
    folder.mkdir(parents=True)
    inner = Bench.__new__(Bench)
    inner.landing = folder
    name = put(inner, countries, fmt)
    if not name.endswith(".zip"):
        shutil.make_archive(str(bench.landing / "z"), "zip", bench.landing, "deep")
        name = "z.zip"
    else:
        shutil.copy(folder / name, bench.landing / name)
    result = bench.one(name, fmt)
    assert len(result.frame) == 177


def test_countries_equal_geopandas(bench: Bench, countries: geopandas.GeoDataFrame) -> None:
    source = Path(pyogrio.__file__).parent / "tests" / "fixtures" / "naturalearth_lowres"
    shutil.make_archive(str(bench.landing / "ne"), "zip", source.parent, source.name)
    result = bench.one("ne.zip", "ESRI Shapefile")
    bench.agree(result.frame.geometry, expected(countries))
    assert result.frame.drop(columns="geom").equals(countries.drop(columns="geometry"))
    assert result.product.geometry_type == "MultiPolygon"
    assert result.product.crs == "EPSG:4326"


def many_types() -> geopandas.GeoDataFrame:
    return geopandas.GeoDataFrame(
        {
            "i16": pd.array([1, None, -3], "Int16"),
            "i32": pd.array([2**31 - 1, None, -5], "Int32"),
            "i64": pd.array([2**53 + 1, None, -(2**62)], "Int64"),
            "f32": np.array([1.5, np.nan, 3.25], "float32"),
            "f64": [0.1, None, 1e300],
            "flag": pd.array([True, None, False], "boolean"),
            "day": [dt.date(1969, 7, 20), None, dt.date(2026, 11, 22)],
            "when": pd.to_datetime(["1999-12-31T23:59:59.123Z", None, "2026-01-01T00:00:00.000Z"]).astype(
                "datetime64[ms, UTC]"
            ),
            "text": ["", None, "Zürich"],
            "raw": [b"\x00\xff", None, b""],
        },
        geometry=shapely.points([[9.0, 48.0], [10.0, 49.0], [11.0, 50.0]]),
        crs=4326,
    )


@pytest.mark.parametrize("fmt", ["GPKG", "FlatGeobuf", "OpenFileGDB", "GeoParquet"])
def test_types_are_kept(bench: Bench, fmt: str) -> None:
    frame = many_types()
    if fmt in ("OpenFileGDB", "FlatGeobuf"):  # have no Boolean with null, no date, or no short integer with null
        frame = frame.drop(columns=["flag", "day"])
    name = put(bench, frame, fmt)
    table = pq.read_table(bench.one(name, fmt).path)
    wanted: dict[str, Any] = {
        "i64": ("int64", [2**53 + 1, None, -(2**62)]),
        "i32": ("int32", [2**31 - 1, None, -5]),
        "f64": ("double", [0.1, None, 1e300]),
        "text": ("string", ["", None, "Zürich"]),
        "raw": ("binary", [b"\x00\xff", None, b""]),
        "flag": ("bool", [True, None, False]),
        "day": ("date32[day]", [dt.date(1969, 7, 20), None, dt.date(2026, 11, 22)]),
    }
    for column, (kind, values) in wanted.items():
        if column not in frame:
            continue
        found = table.column(column)
        assert str(found.type).removeprefix("large_") == kind, column
        assert found.to_pylist() == values, column
    when = table.column("when")
    assert when.type.tz == "UTC"
    assert when.to_pylist()[0] == dt.datetime(1999, 12, 31, 23, 59, 59, 123000, dt.UTC)
    assert table.column("i16").to_pylist() == [1, None, -3]
    assert table.column("f32").type == "float32" or str(table.column("f32").type) == "float"
    assert table.column_names[: len(frame.columns) - 1] == [c for c in frame.columns if c != "geometry"]


def test_a_named_primary_key_is_an_attribute(bench: Bench, countries: geopandas.GeoDataFrame) -> None:
    countries.head(3).to_file(bench.landing / "k.gpkg", driver="GPKG", FID="parcel_id")
    assert bench.one("k.gpkg", "GPKG").frame["parcel_id"].tolist() == [1, 2, 3]
    countries.head(3).to_file(bench.landing / "f.gpkg", driver="GPKG")
    assert "fid" not in bench.one("f.gpkg", "GPKG").frame


def test_lists_and_structs_are_kept(bench: Bench) -> None:
    truth = pa.table(
        {
            "numbers": pa.array([[1, None], [], None], pa.list_(pa.int32())),
            "words": pa.array([["a"], None, ["", "ü"]], pa.large_list(pa.string())),
            "pair": pa.array([{"a": 1}, None, {"a": None}], pa.struct([("a", pa.int8())])),
            "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
            "geometry": pa.array([shapely.Point(i, i).wkb for i in range(3)], pa.binary()),
        }
    )
    geo = {
        "version": "1.0.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": []}},
    }
    pq.write_table(truth.replace_schema_metadata({"geo": json.dumps(geo)}), bench.landing / "l.parquet")
    found = pq.read_table(bench.one("l.parquet", "GeoParquet").path)
    for name in ("numbers", "words", "pair", "kind"):
        assert found.column(name).to_pylist() == truth.column(name).to_pylist()
    for name in ("numbers", "words", "pair"):
        assert found.column(name).type == truth.column(name).type


@pytest.mark.parametrize("fmt", ["GPKG", "FlatGeobuf", "GML", "OpenFileGDB", "GeoParquet"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "+05:30"])
def test_instants_are_kept(bench: Bench, fmt: str, zone: str) -> None:
    """GDAL's Arrow route drops the zone and keeps the wall clock; the instant must survive."""
    moments = pd.to_datetime(["1999-07-31T23:59:59.000Z", None, "2026-01-01T00:00:00.000Z"])
    frame = geopandas.GeoDataFrame(
        {"when": moments.astype("datetime64[ms, UTC]").tz_convert(zone)},
        geometry=shapely.points([[9.0, 48.0], [10.0, 49.0], [11.0, 50.0]]),
        crs=4326,
    )
    found = pq.read_table(bench.one(put(bench, frame, fmt), fmt).path).column("when")
    assert found.type.tz is not None
    assert [v and v.astimezone(dt.UTC) for v in found.to_pylist()] == [
        dt.datetime(1999, 7, 31, 23, 59, 59, tzinfo=dt.UTC),
        None,
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    ]


@pytest.mark.parametrize("fmt", ["FlatGeobuf", "GML", "GeoParquet"])
def test_times_without_zone_get_none(bench: Bench, fmt: str) -> None:
    frame = geopandas.GeoDataFrame(
        {"when": pd.to_datetime(["1999-07-31T23:59:59.123"]).astype("datetime64[ms]")},
        geometry=shapely.points([[9.0, 48.0]]),
        crs=4326,
    )
    found = pq.read_table(bench.one(put(bench, frame, fmt), fmt).path).column("when")
    assert found.type.tz is None
    assert found.to_pylist() == [pd.Timestamp("1999-07-31T23:59:59.123").to_pydatetime()]


def test_times_of_which_some_have_a_zone_stay_text(bench: Bench) -> None:
    moments = pd.Series([pd.Timestamp("1999-07-31T12:00:00+02:00"), pd.Timestamp("1999-07-31T12:00:00")], dtype=object)
    frame = geopandas.GeoDataFrame({"when": moments}, geometry=shapely.points([[9.0, 48.0], [9.0, 49.0]]), crs=4326)
    frame.to_file(bench.landing / "x.fgb", driver="FlatGeobuf", SPATIAL_INDEX="NO")
    found = pq.read_table(bench.one("x.fgb", "FlatGeobuf").path).column("when")
    assert found.to_pylist() == ["1999-07-31T12:00:00+02:00", "1999-07-31T12:00:00"]


def test_a_format_that_gdal_reads_as_it_is_takes_one_row(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Format(
        "GMT",
        "vector",
        ("OGR_GMT",),
        (".gmt",),
        signatures=(b"# @VGMT1.0",),
        reader="app.pipelines.vector.formats.ogr",
    )
    monkeypatch.setitem(formats._BY_NAME, "gmt", row)
    bench.write("x.gmt", "# @VGMT1.0 @GPOINT\n# @Je4326\n# @Nname\n# @Tstring\n# FEATURE_DATA\n>\n# @Da\n9 48\n")
    frame = bench.one("x.gmt", "GMT").frame
    assert frame["name"].tolist() == ["a"]
    assert frame.geometry.iloc[0].coords[:] == [(9, 48)]


def test_an_archive_of_windows(bench: Bench) -> None:
    """With backslashes, as .NET before 4.6.1 wrote them, and an entry for the folder."""
    points = geopandas.GeoDataFrame({"n": [1]}, geometry=[shapely.Point(9, 48)], crs=4326)
    put(bench, points, "SHP", "roads")
    members = {f"out\\gis\\{each.name}": each.read_bytes() for each in bench.landing.glob("roads.*")}
    name = bench.zip("w.zip", {"out\\": b"", "out\\gis\\": b"", **members})
    assert b"out\\gis\\roads.shp" in (bench.landing / name).read_bytes()
    assert bench.one(name, "SHP").frame["n"].tolist() == [1]
    for member in ("out/gis/roads.shp", "out\\gis\\roads.shp"):
        assert bench.one(name, "SHP", member=member).frame["n"].tolist() == [1]
    (bench.lake / "v1.parquet").unlink()
    error = bench.refused(bench.zip("x.zip", {"a\\b.geojson": b"{}", "a/B.geojson": b"{}"}), "GeoJSON")
    assert error.reason == "archive_duplicate"
