"""The product, seen by others: the specification's JSON schema, geopandas, DuckDB; and GeoParquet as a source."""

from __future__ import annotations

import json
import struct
import uuid
from pathlib import Path
from typing import Any

import duckdb
import duckdb_ext
import geopandas
import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely

from app.pipelines.common import geoparquet_writer as geoparquet
from app.pipelines.vector import source
from tests.pipelines.conftest import Bench, assert_same_geometries, expected
from tests.pipelines.test_formats import put

SCHEMA = json.loads((Path(__file__).parent / "geoparquet-1.1.schema.json").read_text())


def geo_of(path: Path) -> dict[str, Any]:
    return dict(json.loads(pq.ParquetFile(path).metadata.metadata[b"geo"]))


@pytest.mark.parametrize("fmt", ["GPKG", "GeoJSON"])
def test_metadata_follows_the_specification(bench: Bench, parcels: geopandas.GeoDataFrame, fmt: str) -> None:
    path = bench.one(put(bench, parcels, fmt), fmt).path
    geo = geo_of(path)
    jsonschema.validate(geo, SCHEMA)
    column = geo["columns"]["geom"]
    assert geo["primary_column"] == "geom"
    assert pyproj.CRS.from_json_dict(column["crs"]) == pyproj.CRS(4326)
    frame = geopandas.read_parquet(path)
    assert column["geometry_types"] == sorted(frame.geom_type.unique())
    assert column["bbox"] == frame.total_bounds.tolist()
    assert json.loads(pq.read_schema(path).metadata[b"geo"]) == geo
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_boxes_cover_their_rows(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    path = bench.one(put(bench, parcels, "GPKG"), "GPKG").path
    box = pq.read_table(path).column("bbox").combine_chunks()
    found = np.stack([box.field(side).to_numpy() for side in ("xmin", "ymin", "xmax", "ymax")], axis=1)
    assert (found == shapely.bounds(geopandas.read_parquet(path).geometry.to_numpy())).all()
    x, y = found[0, :2]
    near = geopandas.read_parquet(path, bbox=(x - 1e-9, y - 1e-9, x, y))
    assert len(near) >= 1


def test_duckdb_reads_it(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    result = bench.one(put(bench, parcels, "GPKG"), "GPKG")
    with duckdb_ext.init(duckdb.connect()) as db:
        db.execute("LOAD spatial")
        rows = db.execute(
            "SELECT ST_AsWKB(geom), name, count FROM read_parquet(?) WHERE bbox.xmin IS NOT NULL", [str(result.path)]
        ).fetchall()
    assert_same_geometries(shapely.from_wkb([bytes(row[0]) for row in rows]), result.frame.geometry)
    assert [row[1] for row in rows] == [name if isinstance(name, str) else None for name in parcels["name"]]
    assert [row[2] for row in rows] == parcels["count"].tolist()


def test_same_input_same_bytes(bench: Bench, parcels: geopandas.GeoDataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of threads."""
    monkeypatch.setattr(source, "CHUNK_ROWS", 50)
    name = put(bench, parcels, "GPKG")
    hashes = {bench.run({"path": name, "format": "GPKG"}, threads=n).asset.content_hash for n in (1, 2, 4, 2)}
    assert len(hashes) == 1


def test_row_groups_are_bounded(bench: Bench, parcels: geopandas.GeoDataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    name = put(bench, parcels, "GeoParquet")
    monkeypatch.setattr(geoparquet, "ROW_GROUP_ROWS", 250)
    wanted = bench.one(name, "GeoParquet")
    assert pq.ParquetFile(wanted.path).metadata.num_row_groups == 1  # chunks are not split: one came in
    rows = [50] * 12
    with geoparquet.GeoParquetWriter(bench.lake / "w", pa.schema([]), "bbox", pyproj.CRS(4326)) as writer:
        for size in rows:
            boxes = np.zeros((size, 4))
            writer.write([], pa.array([shapely.Point(0, 0).wkb] * size, pa.binary()), boxes, {"Point"})
    meta = pq.ParquetFile(bench.lake / "w").metadata
    assert [meta.row_group(i).num_rows for i in range(meta.num_row_groups)] == [250, 250, 100]


@pytest.mark.parametrize(
    ("names", "found", "box"),
    [
        (["a"], ["a"], "bbox"),
        (["geom", "b"], ["geom_1", "b"], "bbox"),
        (["Geom", "geom_1"], ["Geom_2", "geom_1"], "bbox"),
        (["bbox"], ["bbox"], "geom_bbox"),
        (["BBOX", "geom_bbox"], ["BBOX", "geom_bbox"], "geom_bbox_1"),
    ],
)
def test_names_that_are_taken(bench: Bench, names: list[str], found: list[str], box: str) -> None:
    features = [
        {
            "type": "Feature",
            "properties": dict.fromkeys(names, 1),
            "geometry": {"type": "Point", "coordinates": [9, 48]},
        }
    ]
    bench.write("x.json", json.dumps({"type": "FeatureCollection", "features": features}))
    result = bench.one("x.json", "GeoJSON")
    assert pq.read_schema(result.path).names == [*found, "geom", box]
    assert result.asset.metadata.header_mapping == {a: b for a, b in zip(names, found, strict=True) if a != b}
    assert geo_of(result.path)["columns"]["geom"]["covering"]["bbox"]["xmin"] == [box, "xmin"]
    jsonschema.validate(geo_of(result.path), SCHEMA)


def test_our_own_product_is_a_source(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    first = bench.one(put(bench, parcels, "GPKG"), "GPKG")
    bench.write("again.parquet", first.path.read_bytes())
    wanted = first.frame
    again = bench.one("again.parquet", "GeoParquet")
    assert pq.read_schema(again.path).names == pq.read_schema(bench.landing / "again.parquet").names
    assert_same_geometries(again.frame.geometry, expected(wanted))


def edited(bench: Bench, frame: geopandas.GeoDataFrame, change: Any) -> str:
    """The frame as GeoParquet with its `geo` metadata changed."""
    table = pq.read_table(bench.landing / put(bench, frame, "GeoParquet"))
    geo = json.loads(table.schema.metadata[b"geo"])
    geo = change(geo) or geo
    metadata = {} if geo == "none" else {"geo": geo if isinstance(geo, str) else json.dumps(geo)}
    pq.write_table(table.replace_schema_metadata(metadata), bench.landing / "x.parquet")
    return "x.parquet"


def test_uuids_are_their_text(bench: Bench) -> None:
    """Also in slices of a column, and where all or the first are null."""
    ids = [None, *(uuid.UUID(int=n * 2**100 + n) for n in range(1, 1_500)), None]
    frame = geopandas.GeoDataFrame({"n": range(len(ids))}, geometry=[shapely.Point(1, 2)] * len(ids), crs=4326)
    table = pq.read_table(bench.landing / put(bench, frame, "GeoParquet"))
    values = pa.array([each and each.bytes for each in ids], pa.uuid())
    for name, column in (("a", values), ("b", pa.nulls(len(ids), pa.uuid()))):
        table = table.append_column(name, column)
    pq.write_table(table, bench.landing / "x.parquet", row_group_size=700)
    made = bench.one("x.parquet", "GeoParquet")
    assert pq.read_table(made.path)["a"].to_pylist() == [each and str(each) for each in ids]
    assert made.frame["b"].isna().all()
    assert made.product.column_schema["a"].logical_type == "uuid"
    assert duckdb.read_parquet(str(made.path)).filter("a IS NOT NULL").project("a::UUID").fetchall() == [
        (each,) for each in ids if each
    ]


def test_crs_of_a_source(bench: Bench, countries: geopandas.GeoDataFrame) -> None:
    frame = countries.to_crs(4326).head(5)
    unknown = edited(bench, frame, lambda geo: geo["columns"]["geometry"].update(crs=None))
    assert bench.refused(unknown, "GeoParquet").reason == "crs_missing"
    assert len(bench.one(unknown, "GeoParquet", crs="EPSG:4326").frame) == 5
    (bench.lake / "v1.parquet").unlink()
    absent = edited(bench, frame, lambda geo: geo["columns"]["geometry"].pop("crs") and None)
    assert bench.refused(absent, "GeoParquet", crs="EPSG:25832").reason == "crs_conflict"
    assert len(bench.one(absent, "GeoParquet", crs="EPSG:4326").frame) == 5
    (bench.lake / "v1.parquet").unlink()
    broken = edited(bench, frame, lambda geo: geo["columns"]["geometry"].update(crs={"type": "x"}))
    assert bench.refused(broken, "GeoParquet").reason == "crs_unknown"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda _: "none", "geoparquet_metadata"),
        (lambda _: "{", "geoparquet_metadata"),
        (lambda geo: geo.update(primary_column="nope"), "geoparquet_metadata"),
        (
            lambda geo: geo.update(primary_column="name", columns={"name": {"encoding": "WKB", "geometry_types": []}}),
            "geoparquet_metadata",
        ),
        (lambda geo: geo.update(version="3.0.0"), "geoparquet_version"),
        (lambda geo: geo["columns"]["geometry"].update(encoding="polygon"), "geoparquet_metadata"),
        (lambda geo: geo["columns"]["geometry"].update(encoding="WKT"), "geoparquet_encoding"),
        (lambda geo: geo["columns"]["geometry"].update(encoding=["WKB"]), "geoparquet_metadata"),
        (lambda geo: geo["columns"]["geometry"].update(geometry_types=5), "geoparquet_metadata"),
        (lambda geo: geo["columns"]["geometry"].update(geometry_types=[5]), "geoparquet_metadata"),
        (lambda geo: geo["columns"]["geometry"].update(edges=[]), "geoparquet_metadata"),
        (lambda geo: geo["columns"].update(name=3), "geoparquet_metadata"),
        (lambda geo: geo.update(columns=[]), "geoparquet_metadata"),
        (lambda geo: geo["columns"]["geometry"].update(crs=7), "geoparquet_metadata"),
    ],
)
def test_metadata_that_is_not_ours_to_guess(
    bench: Bench, countries: geopandas.GeoDataFrame, change: Any, reason: str
) -> None:
    assert bench.refused(edited(bench, countries.head(3), change), "GeoParquet").reason == reason


def test_crs_as_a_string(bench: Bench, countries: geopandas.GeoDataFrame) -> None:
    path = edited(bench, countries.head(3), lambda geo: geo["columns"]["geometry"].update(crs="EPSG:4326"))
    error = bench.refused(path, "GeoParquet")
    assert error.reason == "geoparquet_metadata"
    assert 'PROJJSON object, found "EPSG:4326"' in error.detail


def test_z_bounds(bench: Bench) -> None:
    frame = geopandas.GeoDataFrame(
        {"a": [1, 2]}, geometry=shapely.from_wkt(["POINT Z (1 2 3)", "POINT (4 5)"]), crs=4326
    )
    column = geo_of(bench.one(put(bench, frame, "GeoParquet"), "GeoParquet").path)["columns"]["geom"]
    assert column["geometry_types"] == ["Point", "Point Z"]
    assert column["bbox"] == [1, 2, 3, 4, 5, 3]


@pytest.mark.parametrize("nested", [False, True])
def test_curves_are_refused_with_their_row(bench: Bench, nested: bool) -> None:
    """WKB of a CIRCULARSTRING, which the specification does not allow: GEOS has no objects for it."""
    curve = struct.pack("<BII6d", 1, 8, 3, 0, 0, 1, 1, 2, 0)
    wkb = struct.pack("<BII", 1, 7, 1) + curve if nested else curve
    points = geopandas.GeoDataFrame({"a": [1, 2]}, geometry=geopandas.points_from_xy([1, 2], [3, 4]), crs=4326)
    path = bench.landing / put(bench, points, "GeoParquet")
    table = pq.read_table(path)
    geometries = pa.array([table["geometry"][0].as_py(), wkb], pa.binary())
    at = table.schema.get_field_index("geometry")
    pq.write_table(table.set_column(at, table.schema.field("geometry"), geometries), path)
    error = bench.refused(path.name, "GeoParquet")
    assert (error.reason, "row 1" in error.detail, "is curved" in error.detail) == ("geometry_damaged", True, True)
