"""GeoParquet in all its versions and encodings, and Parquet's own geometry types, against geopandas and the values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from app.pipelines.vector.formats.geoparquet_native import ENCODINGS, is_native, to_wkb
from tests.pipelines.conftest import Bench, Result

KEPT = {"repair": "off", "crs": "source"}
SHAPES = {
    "point": ["POINT (9 48)", None, "POINT (-1 2.5)"],
    "linestring": ["LINESTRING (0 0, 1 1, 2 0)", "LINESTRING EMPTY", None, "LINESTRING (5 5, 6 6)"],
    "polygon": [
        "POLYGON ((0 0, 4 0, 4 4, 0 4, 0 0), (1 1, 2 1, 2 2, 1 1), (3 3, 3.5 3, 3.5 3.5, 3 3))", None, "POLYGON EMPTY",
        "POLYGON ((5 5, 6 5, 6 6, 5 5))",
    ],
    "multipoint": ["MULTIPOINT ((1 2), (3 4))", "MULTIPOINT EMPTY", None, "MULTIPOINT ((5 6))"],
    "multilinestring": ["MULTILINESTRING ((0 0, 1 1), (2 2, 3 3, 4 4))", None, "MULTILINESTRING EMPTY"],
    "multipolygon": [
        "MULTIPOLYGON (((0 0, 4 0, 4 4, 0 0), (2 1, 3 1, 3 2, 2 1)), ((9 9, 10 9, 10 10, 9 9)))", None,
        "MULTIPOLYGON EMPTY", "MULTIPOLYGON (((5 5, 6 5, 6 6, 5 5)))",
    ],
}  # fmt: skip


def frame(texts: list[str | None], *, high: bool = False) -> geopandas.GeoDataFrame:
    made = shapely.from_wkt(np.array(texts, object))
    if high:
        made = shapely.force_3d(made, z=np.arange(len(made)) + 0.5)
    return geopandas.GeoDataFrame({"n": range(len(made))}, geometry=made, crs=4326)


def exact(result: Result, wanted: Any) -> None:
    """The same vertices in the same order."""
    found = result.frame
    assert found["n"].tolist() == list(range(len(found)))
    assert shapely.to_wkb(found.geometry.to_numpy()).tolist() == shapely.to_wkb(np.asarray(wanted)).tolist()


def change_geo(path: Path, change: Any) -> None:
    """Change the `geo` metadata of a file."""
    table = pq.read_table(path)
    geo = json.loads(table.schema.metadata[b"geo"])
    change(geo)
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), path)


@pytest.mark.parametrize("high", [False, True])
@pytest.mark.parametrize("encoding", SHAPES)
def test_native_encodings(bench: Bench, encoding: str, high: bool) -> None:
    """As geopandas writes them, in several batches; nulls and empties stay what they are."""
    source = frame(SHAPES[encoding] * 3, high=high)
    source.to_parquet(bench.landing / "t.parquet", geometry_encoding="geoarrow", row_group_size=5)
    geo = json.loads(pq.read_schema(bench.landing / "t.parquet").metadata[b"geo"])
    assert geo["columns"]["geometry"]["encoding"] == encoding
    result = bench.run({"path": "t.parquet", "format": "GeoParquet"}, recipe=KEPT)
    exact(result, source.geometry)
    assert result.counts["null_geometries"] == 3
    again = geopandas.read_parquet(bench.landing / "t.parquet").geometry
    if not high:  # geopandas gives empty ones two dimensions
        exact(result, again)


def test_native_points_with_m(bench: Bench) -> None:
    """M is dropped and counted, as in other formats."""
    geometry = pa.array([{"x": 9.0, "y": 48.0, "z": 5.0, "m": 7.0}, None])
    column = {"encoding": "point", "geometry_types": ["Point ZM"]}
    geo = {"version": "1.1.0", "primary_column": "g", "columns": {"g": column}}
    table = pa.table({"n": [0, 1], "g": geometry}).replace_schema_metadata({"geo": json.dumps(geo)})
    pq.write_table(table, bench.landing / "t.parquet")
    result = bench.run({"path": "t.parquet", "format": "GeoParquet"}, recipe=KEPT)
    exact(result, [shapely.Point(9, 48, 5), None])
    assert result.counts["m_dropped"] == 1


@pytest.mark.parametrize(
    ("geometry", "encoding", "reason"),
    [
        (pa.array([[{"x": 1.0, "y": 2.0}, None]]), "linestring", "geometry_damaged"),
        (pa.array([[[{"x": 1.0, "y": 2.0}], None]]), "polygon", "geometry_damaged"),
        (pa.array([{"x": 1.0, "y": 2.0}, {"x": 1.0, "y": None}]), "point", "geometry_damaged"),
        (pa.array([{"x": 1.0, "y": 2.0}]), "linestring", "geoparquet_metadata"),
        (pa.array([{"x": 1, "y": 2}]), "point", "geoparquet_metadata"),
        (pa.array([{"y": 1.0, "x": 2.0}]), "point", "geoparquet_metadata"),
        (pa.array([[1.0, 2.0]]), "point", "geoparquet_metadata"),
        (pa.array([b"x"]), "point", "geoparquet_metadata"),
        (pa.array([{"x": 1.0, "y": 2.0}]), "geometrycollection", "geoparquet_encoding"),
    ],
)
def test_native_encodings_that_are_damaged(bench: Bench, geometry: pa.Array, encoding: str, reason: str) -> None:
    column = {"encoding": encoding, "geometry_types": []}
    geo = {"version": "1.1.0", "primary_column": "g", "columns": {"g": column}}
    pq.write_table(
        pa.table({"g": geometry}).replace_schema_metadata({"geo": json.dumps(geo)}), bench.landing / "t.parquet"
    )
    assert bench.refused("t.parquet", "GeoParquet").reason == reason


def native(geometries: Any, encoding: str) -> pa.Array:
    """By GeoArrow's layout, from Python's own lists."""

    def points(line: Any) -> list[dict[str, float]]:
        return [{"x": x, "y": y} for x, y in line.coords]

    def rings(polygon: Any) -> list[Any]:
        return [] if polygon.is_empty else [points(ring) for ring in (polygon.exterior, *polygon.interiors)]

    made = {
        "point": lambda each: points(each)[0],
        "linestring": points,
        "polygon": rings,
        "multipoint": lambda each: [points(part)[0] for part in each.geoms],
        "multilinestring": lambda each: [points(part) for part in each.geoms],
        "multipolygon": lambda each: [rings(part) for part in each.geoms],
    }[encoding]
    kind = pa.struct([("x", pa.float64()), ("y", pa.float64())])
    for _ in range({"point": 0, "linestring": 1, "multipoint": 1, "multipolygon": 3}.get(encoding, 2)):
        kind = pa.list_(kind)
    return pa.array([None if each is None else made(each) for each in geometries], kind)


@given(st.data())
def test_any_selection_of_native_geometries(data: st.DataObject) -> None:
    """Also of slices: the offsets of an array need not begin at 0."""
    encoding = data.draw(st.sampled_from(sorted(ENCODINGS)))
    texts = data.draw(st.lists(st.sampled_from(SHAPES[encoding]), max_size=8))
    first = data.draw(st.integers(0, len(texts)))
    array = native(shapely.from_wkt(np.array(texts, object)), encoding)
    assert is_native(array.type, encoding)
    found = to_wkb(array.slice(first), encoding, "t", 0)
    found.validate(full=True)
    wanted = shapely.to_wkb(shapely.from_wkt(np.array(texts[first:], object)), byte_order=1)
    assert found.to_pylist() == wanted.tolist()


@pytest.mark.parametrize("version", ["0.1.0", "0.4.0", "1.0.0-beta.1", "1.0.0", "1.1.0"])
def test_versions_that_geopandas_writes(bench: Bench, version: str) -> None:
    source = frame(["POINT (500000 5400000)", None]).set_crs(25832, allow_override=True)
    source.to_parquet(bench.landing / "t.parquet", schema_version=version)
    result = bench.run({"path": "t.parquet", "format": "GeoParquet"}, recipe=KEPT)
    exact(result, source.geometry)
    assert result.asset.crs == "EPSG:25832"


def test_what_older_versions_call_otherwise(bench: Bench) -> None:
    """0.1 has `schema_version`, 0.1 to 0.3 a CRS in WKT and no default for it, up to 0.4 `geometry_type`."""
    source = frame(["POINT (500000 5400000)"]).set_crs(25832, allow_override=True)
    file = {"path": "t.parquet", "format": "GeoParquet"}

    def written(**changes: Any) -> None:
        source.to_parquet(bench.landing / "t.parquet")

        def change(geo: dict[str, Any]) -> None:
            geo["columns"]["geometry"] = {"encoding": "WKB", **changes.pop("column")}
            del geo["version"]
            geo.update(changes)

        change_geo(bench.landing / "t.parquet", change)

    wkt = pyproj.CRS(25832).to_wkt()
    for kind in ("Point", ["Point", "MultiPoint"], "Unknown"):
        written(schema_version="0.1.0", column={"crs": wkt, "geometry_type": kind})
        assert bench.run(file, recipe=KEPT).asset.crs == "EPSG:25832"
    for version in ("0.2.0", "0.3.0"):
        written(version=version, column={"geometry_type": "Point"})
        assert bench.run({**file, "crs": "EPSG:25832"}, recipe=KEPT).asset.crs == "EPSG:25832"
    (bench.lake / "v1.parquet").unlink()
    assert bench.refused("t.parquet", "GeoParquet").reason == "crs_missing"
    written(version="0.4.0", column={"geometry_type": "Point", "crs": wkt[:40]})
    assert bench.refused("t.parquet", "GeoParquet").reason == "crs_unknown"
    written(version="1.0.0", column={"crs": wkt})
    assert bench.refused("t.parquet", "GeoParquet").reason == "geoparquet_metadata"
    written(column={"crs": None})
    assert "'version' is missing" in bench.refused("t.parquet", "GeoParquet").detail
    written(version="3.0.0", column={})
    assert bench.refused("t.parquet", "GeoParquet").reason == "geoparquet_version"


class Wkb(pa.ExtensionType):  # type: ignore[misc] # untyped
    """Arrow writes this extension as Parquet's type GEOMETRY or GEOGRAPHY."""

    def __init__(self, **metadata: Any) -> None:
        self.metadata = metadata
        super().__init__(pa.binary(), "geoarrow.wkb")

    def __arrow_ext_serialize__(self) -> bytes:
        return json.dumps(self.metadata).encode()

    @classmethod
    def __arrow_ext_deserialize__(cls, _storage: pa.DataType, serialized: bytes) -> Wkb:
        return cls(**json.loads(serialized))


def typed(path: Path, points: Any, geo: Any = None, **metadata: Any) -> None:
    """Points as a column of a geometry type of Parquet; with `geo` metadata or without."""
    geometry = pa.ExtensionArray.from_storage(Wkb(**metadata), pa.array(shapely.to_wkb(points), pa.binary()))
    table = pa.table({"n": np.arange(len(points)), "g": geometry})
    with pq.ParquetWriter(path, table.schema, store_schema=False) as writer:
        writer.write_table(table)
        if geo is not None:
            writer.add_key_value_metadata({"geo": json.dumps(geo)})
    with pq.ParquetFile(path) as parquet:
        assert parquet.schema.column(1).logical_type.type in ("GEOMETRY", "GEOGRAPHY")


UTM = shapely.points([[500_000, 5_400_000], [500_001, 5_400_000]])
DEGREES = shapely.points([[9, 48], [10, 49]])


@pytest.mark.parametrize(
    ("crs", "wanted"),
    [
        (None, "OGC:CRS84"), ("EPSG:25832", "EPSG:25832"), (pyproj.CRS(25832).to_json_dict(), "EPSG:25832"),
    ],
)  # fmt: skip
def test_parquets_own_type(bench: Bench, crs: Any, wanted: str) -> None:
    typed(bench.landing / "t.parquet", DEGREES if crs is None else UTM, **({} if crs is None else {"crs": crs}))
    result = bench.run({"path": "t.parquet", "format": "GeoParquet"}, recipe=KEPT)
    assert result.asset.crs == wanted
    exact(result, DEGREES if crs is None else UTM)
    assert "reader_note" not in result.watch.warnings


def test_edges_on_a_sphere_are_warned_of(bench: Bench) -> None:
    typed(bench.landing / "t.parquet", DEGREES, edges="spherical")
    result = bench.run({"path": "t.parquet", "format": "GeoParquet"}, recipe=KEPT)
    exact(result, DEGREES)
    assert "edges are 'spherical'" in result.watch.warnings["reader_note"][0]


def test_version_2_has_both(bench: Bench) -> None:
    column = {"encoding": "WKB", "geometry_types": ["Point"], "crs": pyproj.CRS(25832).to_json_dict()}
    geo = {"version": "2.0.0", "primary_column": "g", "columns": {"g": column}}
    typed(bench.landing / "t.parquet", UTM, geo, crs="EPSG:25832")
    result = bench.run({"path": "t.parquet", "format": "GeoParquet"}, recipe=KEPT)
    assert result.asset.crs == "EPSG:25832"
    exact(result, UTM)
    (bench.lake / "v1.parquet").unlink()
    typed(bench.landing / "t.parquet", UTM, geo, crs="EPSG:25833")
    error = bench.refused("t.parquet", "GeoParquet")
    assert error.reason == "geoparquet_metadata"
    assert "EPSG:25832" in error.detail
    assert "EPSG:25833" in error.detail
