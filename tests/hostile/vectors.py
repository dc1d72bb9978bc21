"""Hostile vector files."""

from __future__ import annotations

import io
import json
import sqlite3
import struct
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely

from tests.hostile.case import Bait, Hostile, Maker, always, zipped

POINT = {"type": "Point", "coordinates": [9, 48]}
# A CRS whose text is what every driver takes, with a grid that is another file.
WKT_GRID = (
    'GEOGCS["x",DATUM["x",SPHEROID["x",6377397.155,299.15],EXTENSION["PROJ4_GRIDS","{path}"]],'
    'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]]'
)
GRID = "+proj=longlat +ellps=bessel +nadgrids={path} +no_defs +type=crs"


def case(fmt: str, name: str, tries: str, make: Maker, outcome: str | int, **more: Any) -> Hostile:
    return Hostile(f"{fmt.lower()}-{name}", "vector", fmt, tries, make, outcome, more)


@cache
def written(driver: str, suffix: str, crs: str = "EPSG:4326") -> dict[str, bytes]:
    """Three points with a text column, as GDAL writes them: {suffix or name within: bytes}."""
    table = pa.table({"name": ["a", "b", "c"], "geometry": shapely.to_wkb(shapely.points(np.eye(3)[:, :2]))})
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, f"s{suffix}")
        pyogrio.write_arrow(
            table, path, driver=driver, geometry_name="geometry", geometry_type="Point", crs=crs, layer="s"
        )
        if path.is_dir():
            return {f"s{suffix}/{part.name}": part.read_bytes() for part in sorted(path.iterdir())}
        return {part.suffix: part.read_bytes() for part in Path(directory).iterdir()}


def changed(body: bytes, at: int, new: bytes) -> bytes:
    """`body` with `new` at a place, counted from the end where negative."""
    at %= len(body)
    return body[:at] + new + body[at + len(new) :]


# --- GeoJSON


def collection(*features: dict[str, Any], **more: Any) -> str:
    return json.dumps({"type": "FeatureCollection", **more, "features": list(features)})


def feature(geometry: Any = POINT, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def crs_member(kind: str, properties: dict[str, str]) -> str:
    return collection(feature(a=1), crs={"type": kind, "properties": properties})


VRT = "<OGRVRTDataSource><OGRVRTLayer name='a'><SrcDataSource>{0}</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>"

GEOJSON = [
    case("GeoJSON", "vrt", "a VRT that names a file", lambda b: VRT.format(b.path).encode(), "content_mismatch"),
    case("GeoJSON", "vsicurl", "a path of an address", lambda b: f"/vsicurl/{b.url}/x".encode(), "content_mismatch"),
    case("GeoJSON", "url", "an address", lambda b: b.url.encode(), "content_mismatch"),
    case("GeoJSON", "crs-link", "a CRS behind a link",
         lambda b: crs_member("link", {"href": f"{b.url}/crs", "type": "ogcwkt"}).encode(), "crs_unknown"),
    case("GeoJSON", "crs-name-url", "a CRS named by an address",
         lambda b: crs_member("name", {"name": f"{b.url}/crs"}).encode(), "crs_unknown"),
    case("GeoJSON", "crs-grid", "a CRS with a grid that is another file",
         lambda b: crs_member("name", {"name": GRID.format(path=b.path)}).encode(), "crs_unknown"),
    case("GeoJSON", "crs-init", "a CRS out of an init file",
         lambda b: crs_member("name", {"name": f"+init={b.path}:4326"}).encode(), "crs_unknown"),
    case("GeoJSON", "nested-values", "100,000 arrays in one another",
         always(collection(feature(a=1)).replace('"a": 1', '"a": ' + "[" * 100_000 + "]" * 100_000)), "json_invalid"),
    case("GeoJSON", "nested-geometry", "100,000 geometry collections in one another",
         always('{"type":"FeatureCollection","features":[{"type":"Feature","properties":{},"geometry":'
                + '{"type":"GeometryCollection","geometries":[' * 100_000 + "]}" * 100_000 + "}]}"), "json_invalid"),
    case("GeoJSON", "nested-coordinates", "coordinates 100,000 deep",
         always(collection(feature()).replace("[9, 48]", "[" * 100_000 + "]" * 100_000)), "json_invalid"),
    case("GeoJSON", "long-number", "a number of a million digits",
         always(collection(feature(a=1)).replace('"a": 1', '"a": ' + "9" * 1_000_000)), "json_invalid"),
    case("GeoJSON", "infinite", "coordinates that are not finite",
         always(collection(feature()).replace("48]", "1e999]")), "coordinates_not_finite"),
    case("GeoJSON", "nul", "a zero byte in a text", always(collection(feature(a="x\x00y"))), 1),
    case("GeoJSON", "surrogate", "half a character", always(collection(feature(a="\ud800"))), "json_invalid"),
    case("GeoJSON", "many-columns", "10,000 properties",
         always(collection(*(feature(**{f"p{i}": 1}) for i in range(10_000)))), "columns_too_many"),
    case("GeoJSON", "twice", "two lists of features",
         always(collection(feature(a=1))[:-1] + ', "features": []}'), "json_invalid"),
]  # fmt: skip


# ruff: noqa: S608 # the statements are the attack


# --- GeoPackage


def gpkg(*statements: str, with_bait: bool = False) -> Maker:
    """The GeoPackage after statements; {path} and {url} in them are the bait's."""

    def make(bait: Bait) -> bytes:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "x.gpkg")
            path.write_bytes(written("GPKG", ".gpkg")[".gpkg"])
            database = sqlite3.connect(path)
            database.execute("PRAGMA trusted_schema = ON")
            for name in ("ST_IsEmpty", "ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):
                database.create_function(name, 1, lambda _: 0)
            for statement in statements:
                database.execute(statement.format(path=bait.path, url=bait.url) if with_bait else statement)
            database.commit()
            database.close()
            return path.read_bytes()

    return make


LISTED = (
    "INSERT INTO gpkg_contents (table_name, data_type, identifier, srs_id) SELECT name, 'features', name, 4326 "
    "FROM sqlite_master WHERE rootpage = 0 AND type = 'table' AND name LIKE 'v%'",
    "INSERT INTO gpkg_geometry_columns SELECT table_name, 'geom', 'POINT', 4326, 0, 0 FROM gpkg_contents "
    "WHERE table_name LIKE 'v%'",
)


def virtual(using: str, *more: str, create: str = "CREATE VIRTUAL TABLE v", name: str = "v") -> Maker:
    """more: statements behind it."""
    return gpkg(
        "PRAGMA writable_schema = ON",
        f"INSERT INTO sqlite_master VALUES ('table', '{name}', '{name}', 0, '{create} USING {using}')",
        *more,
        with_bait=True,
    )


SPY = (
    "CREATE VIEW spy AS SELECT fid, geom, {} AS name FROM s",
    "INSERT INTO gpkg_contents (table_name, data_type, identifier, srs_id) VALUES ('spy', 'features', 'spy', 4326)",
    "INSERT INTO gpkg_geometry_columns VALUES ('spy', 'geom', 'POINT', 4326, 0, 0)",
)


def spy(expression: str) -> Maker:
    return gpkg(SPY[0].replace("{}", expression), *SPY[1:], with_bait=True)


def srs(definition: str, kind: str = "TEXT") -> Maker:
    value = f"CAST('{definition}' AS {kind})"
    update = f"UPDATE gpkg_spatial_ref_sys SET organization='NONE', definition={value} WHERE srs_id = 4326"
    return gpkg(update, with_bait=True)


GPKG = [
    case("GPKG", "vrt", "a VRT", lambda b: VRT.format(b.path).encode(), "content_mismatch"),
    case("GPKG", "view-load-extension", "a view that loads an extension", spy("load_extension('{path}')"),
         "gpkg_view", layer="spy"),
    case("GPKG", "view-readfile", "a view that reads a file", spy("readfile('{path}')"), "gpkg_view", layer="spy"),
    case("GPKG", "view-pixel", "a view that has GDAL open a raster",
         spy("gdal_get_pixel_value('{path}', 1, 'pixel', 0, 0)"), "gpkg_view", layer="spy"),
    case("GPKG", "view-unasked", "such a view beside a layer that is asked for", spy("load_extension('{path}')"),
         3, layer="s"),
    case("GPKG", "virtual-ogr", "a virtual table over an address", virtual("VirtualOGR(''/vsicurl/{url}/x'')"), 3),
    case("GPKG", "virtual-csv", "a virtual table over a file", virtual("csv(filename=''{path}'')"), 3),
    case("GPKG", "virtual-layer", "a layer that is a virtual table over an address",
         virtual("VirtualOGR(''/vsicurl/{url}/x'')", *LISTED), "gpkg_virtual_table"),
    case("GPKG", "virtual-comments", "a virtual table behind comments",
         virtual("VirtualOGR(''/vsicurl/{url}/x'')", *LISTED, create="CREATE/**/VIRTUAL/**/TABLE v"),
         "gpkg_virtual_table"),
    case("GPKG", "virtual-quoted", "a virtual table whose name has a harmless module",
         virtual("VirtualOGR(''/vsicurl/{url}/x'')", *LISTED, create='CREATE VIRTUAL TABLE "v using rtree("',
                 name="v using rtree("),
         "gpkg_virtual_table"),
    case("GPKG", "trigger", "triggers that load an extension",
         gpkg("CREATE TRIGGER t AFTER UPDATE ON gpkg_contents BEGIN SELECT load_extension('{path}'); END",
              "CREATE TRIGGER u AFTER INSERT ON s BEGIN SELECT load_extension('{path}'); END", with_bait=True), 3),
    case("GPKG", "default", "a default value that is a function",
         gpkg("ALTER TABLE s ADD COLUMN d TEXT DEFAULT NULL", "PRAGMA writable_schema = ON",
              "UPDATE sqlite_master SET sql = replace(sql, 'DEFAULT NULL', 'DEFAULT (load_extension(''{path}''))') "
              "WHERE name = 's'", with_bait=True), 3),
    case("GPKG", "generated", "a column that is computed by a function",
         gpkg("ALTER TABLE s ADD COLUMN d TEXT DEFAULT NULL", "PRAGMA writable_schema = ON",
              "UPDATE sqlite_master SET sql = replace(sql, 'DEFAULT NULL', 'AS (load_extension(''{path}''))') "
              "WHERE name = 's'", with_bait=True), "content_mismatch"),
    case("GPKG", "srs-url", "a CRS behind an address", srs("{url}/crs"), "crs_missing"),
    case("GPKG", "srs-grid", "a CRS with a grid that is another file", srs(GRID), "crs_unknown"),
    case("GPKG", "srs-wkt-grid", "a CRS with an extension that names a file", srs(WKT_GRID), "crs_unknown"),
    case("GPKG", "srs-blob-grid", "the same as bytes", srs(WKT_GRID, "BLOB"), "crs_unknown"),
    case("GPKG", "srs-file", "a CRS out of a file", srs("{path}"), "crs_missing"),
    case("GPKG", "huge", "a header that says 16 TB",
         lambda _: changed(written("GPKG", ".gpkg")[".gpkg"], 28, struct.pack(">L", 2**32 - 2)), "file_truncated"),
    case("GPKG", "cut", "half a database", lambda _: written("GPKG", ".gpkg")[".gpkg"][:40_000], "file_truncated"),
    case("GPKG", "scrambled", "pages that are not what they say",
         lambda _: changed(written("GPKG", ".gpkg")[".gpkg"], 4096, bytes(range(256)) * 64), "content_mismatch"),
    case("GPKG", "name", "a layer that is called like a path",
         gpkg("UPDATE gpkg_contents SET identifier = '../../x'"), 3),
    case("GPKG", "rows", "a count of features that lies",
         gpkg("UPDATE gpkg_ogr_contents SET feature_count = 4611686018427387904"), 3),
    case("GPKG", "blob", "a geometry of two gigabytes that is not there",
         gpkg("UPDATE s SET geom = zeroblob(50000000) WHERE fid = 2"), "geometry_damaged"),
]  # fmt: skip


# --- Shapefile


def shp(**changes: Callable[[bytes, Bait], bytes] | None) -> Maker:
    """changes: by suffix, what becomes of that part; None leaves it out."""

    def make(bait: Bait) -> dict[str, bytes]:
        parts = dict(written("ESRI Shapefile", ".shp"))
        for suffix, change in changes.items():
            if change is None:
                del parts[f".{suffix}"]
            else:
                parts[f".{suffix}"] = change(parts.get(f".{suffix}", b""), bait)
        return {f"s{suffix}": parts[suffix] for suffix in sorted(parts, key=lambda s: s != ".shp")}

    return make


def put(at: int, layout: str, *values: int) -> Callable[[bytes, Bait], bytes]:
    return lambda body, _: changed(body, at, struct.pack(layout, *values))


SHP = [
    case("SHP", "cut", "half of the geometries", shp(shp=lambda body, _: body[:120]), "file_truncated"),
    case("SHP", "long-record", "a record of 4 GB", shp(shp=put(104, ">l", 2**31 - 1)), 3),
    case("SHP", "negative-record", "a record of less than nothing", shp(shp=put(104, ">l", -100)), 3),
    case("SHP", "offsets", "an index that points behind the end", shp(shx=put(100, ">l", 2**30)), "file_damaged"),
    case("SHP", "index-count", "an index of 2 GB", shp(shx=put(24, ">l", 2**30)), "content_mismatch"),
    case("SHP", "type", "a type of geometry that is none", shp(shp=put(32, "<l", 77)), "file_damaged"),
    case("SHP", "dbf-rows", "a table of 2^32 rows", shp(dbf=put(4, "<L", 2**32 - 1)), "file_truncated"),
    case("SHP", "dbf-width", "rows of 0 bytes", shp(dbf=put(10, "<H", 0)), "file_damaged"),
    case("SHP", "dbf-field", "a field wider than its row", shp(dbf=put(48, "<B", 255)), "file_damaged"),
    case("SHP", "dbf-header", "a header longer than its file", shp(dbf=put(8, "<H", 65_535)), "file_truncated"),
    case("SHP", "prj-grid", "a CRS with a grid that is another file",
         shp(prj=lambda _, b: GRID.format(path=b.path).encode()), "crs_unknown"),
    case("SHP", "prj-wkt-grid", "a CRS with an extension that names a file",
         shp(prj=lambda _, b: WKT_GRID.format(path=b.path).encode()), "crs_unknown"),
    case("SHP", "prj-url", "a CRS behind an address", shp(prj=lambda _, b: f"{b.url}/crs".encode()), "crs_missing"),
    case("SHP", "cpg-path", "an encoding that is a path", shp(cpg=lambda _, b: b.path.encode()), "encoding_unknown"),
    case("SHP", "memo", "a sidecar that another driver would follow",
         shp(qix=lambda _, b: VRT.format(b.path).encode(), sbn=lambda *_: b"x" * 100), 3),
]  # fmt: skip


# --- FlatGeobuf


def fgb(*changes: tuple[int, bytes]) -> Maker:
    def make(_: Bait) -> bytes:
        body = written("FlatGeobuf", ".fgb")[".fgb"]
        for at, new in changes:
            body = changed(body, at, new)
        return body

    return make


def _fgb_header() -> int:
    return int(struct.unpack("<L", written("FlatGeobuf", ".fgb")[".fgb"][8:12])[0])


FGB = [
    case("FlatGeobuf", "header", "a header of 4 GB", fgb((8, b"\xff\xff\xff\xff")), "file_truncated"),
    case("FlatGeobuf", "root", "a root table elsewhere", fgb((12, b"\xff\xff\xff\x7f")), "geometry_missing"),
    case("FlatGeobuf", "tables", "a header of nonsense", fgb((16, bytes(range(256))[:60])), "geometry_missing"),
    case("FlatGeobuf", "index", "an index that points behind the end",
         lambda _: changed(written("FlatGeobuf", ".fgb")[".fgb"], 12 + _fgb_header() + 32, b"\xff" * 8), 3),
    case("FlatGeobuf", "feature", "a feature of 4 GB",
         lambda _: changed(written("FlatGeobuf", ".fgb")[".fgb"], 12 + _fgb_header() + 160, b"\xff\xff\xff\x7f"),
         "file_damaged"),
    case("FlatGeobuf", "crs-wkt-grid", "a CRS with an extension that names a file",
         lambda b: written("FlatGeobuf", ".fgb", WKT_GRID.format(path=b.path))[".fgb"], "crs_unknown"),
    case("FlatGeobuf", "cut", "no features behind the index",
         lambda _: written("FlatGeobuf", ".fgb")[".fgb"][: 12 + _fgb_header() + 165], "file_damaged"),
]  # fmt: skip


# --- File Geodatabase


def gdb(change: Callable[[str, bytes], bytes]) -> Maker:
    return lambda _: zipped({name: change(name, body) for name, body in written("OpenFileGDB", ".gdb").items()})


def _in_table(at: int, new: bytes) -> Callable[[str, bytes], bytes]:
    return lambda name, body: changed(body, at, new) if name.endswith(".gdbtable") else body


GDB = [
    case("OpenFileGDB", "garbage", "tables of nonsense",
         gdb(lambda name, body: bytes(range(256)) * 8 if name.endswith(".gdbtable") else body), "content_mismatch"),
    case("OpenFileGDB", "crs-wkt-grid", "a CRS with an extension that names a file",
         lambda b: zipped(written("OpenFileGDB", ".gdb", WKT_GRID.format(path=b.path))), "crs_unknown"),
    case("OpenFileGDB", "cut", "tables that end early", gdb(lambda _, body: body[: len(body) // 2]),
         "content_mismatch"),
    case("OpenFileGDB", "rows", "two thousand million rows", gdb(_in_table(4, b"\xff\xff\xff\x7f")),
         3),
    case("OpenFileGDB", "fields", "a description of fields elsewhere", gdb(_in_table(32, b"\xff" * 8)),
         "content_mismatch"),
    case("OpenFileGDB", "index", "offsets behind the end",
         gdb(lambda name, body: changed(body, 16, b"\xff" * 64) if name.endswith(".gdbtablx") else body),
         "content_mismatch"),
]  # fmt: skip


# --- GeoParquet


def geoparquet(wkb: Iterable[bytes], **column: Any) -> Maker:
    def make(bait: Bait) -> bytes:
        described = {"encoding": "WKB", "geometry_types": [], **column}
        geo = json.dumps({"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": described}})
        geo = geo.replace("{path}", bait.path).replace("{url}", bait.url)
        out = io.BytesIO()
        pq.write_table(pa.table({"geometry": list(wkb)}).replace_schema_metadata({"geo": geo}), out)
        return out.getvalue()

    return make


def with_geo(text: str) -> Maker:
    def make(_: Bait) -> bytes:
        out = io.BytesIO()
        pq.write_table(pa.table({"geometry": [ONE]}).replace_schema_metadata({"geo": text}), out)
        return out.getvalue()

    return make


ONE = bytes(shapely.to_wkb(shapely.Point(9, 48)))
BOUND = {
    "type": "BoundCRS",
    "source_crs": {"type": "GeographicCRS", "name": "x", "datum": {"type": "GeodeticReferenceFrame", "name": "x",
        "ellipsoid": {"name": "x", "semi_major_axis": 6377397.155, "inverse_flattening": 299.15}},
        "coordinate_system": {"subtype": "ellipsoidal", "axis": [
            {"name": "Longitude", "abbreviation": "lon", "direction": "east", "unit": "degree"},
            {"name": "Latitude", "abbreviation": "lat", "direction": "north", "unit": "degree"}]}},
    "target_crs": {"type": "GeographicCRS", "name": "WGS 84", "datum": {"type": "GeodeticReferenceFrame", "name": "x",
        "ellipsoid": {"name": "x", "semi_major_axis": 6378137, "inverse_flattening": 298.257223563}},
        "coordinate_system": {"subtype": "ellipsoidal", "axis": [
            {"name": "Longitude", "abbreviation": "lon", "direction": "east", "unit": "degree"},
            {"name": "Latitude", "abbreviation": "lat", "direction": "north", "unit": "degree"}]}},
    "transformation": {"name": "x", "method": {"name": "NTv2", "id": {"authority": "EPSG", "code": 9615}},
        "parameters": [{"name": "Latitude and longitude difference file", "value": "{path}",
                        "id": {"authority": "EPSG", "code": 8656}}]},
}  # fmt: skip
DEEP = struct.pack("<BLL", 1, 7, 1) * 100_000 + ONE

GEOPARQUET = [
    case("GeoParquet", "crs-grid", "a CRS with a grid that is another file", geoparquet([ONE], crs=BOUND),
         "crs_unknown"),
    case("GeoParquet", "crs-url", "a CRS that is an address", geoparquet([ONE], crs="{url}/crs"),
         "geoparquet_metadata"),
    case("GeoParquet", "wkb-count", "a geometry of four thousand million points",
         geoparquet([struct.pack("<BLL", 1, 2, 2**32 - 1)]), "geometry_damaged"),
    case("GeoParquet", "wkb-deep", "100,000 geometry collections in one another", geoparquet([DEEP]),
         "geometry_damaged"),
    case("GeoParquet", "geo-deep", "metadata 100,000 deep", with_geo("[" * 100_000 + "]" * 100_000),
         "geoparquet_metadata"),
    case("GeoParquet", "geo-primary", "a geometry column that is not there",
         with_geo('{"version":"1.1.0","primary_column":"other","columns":{"other":{"encoding":"WKB"}}}'),
         "geoparquet_metadata"),
    case("GeoParquet", "geo-types", "metadata of other types",
         with_geo('{"version":1,"primary_column":[],"columns":7}'), "geoparquet_metadata"),
    case("GeoParquet", "footer", "a footer of 4 GB",
         lambda b: changed(bytes(geoparquet([ONE])(b)), -8, b"\xff\xff\xff\xff"), "file_damaged"),
]  # fmt: skip

CASES = [*GEOJSON, *GPKG, *SHP, *FGB, *GDB, *GEOPARQUET]
