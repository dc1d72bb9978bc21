"""Geometries, names, layers and reference systems that readers lose, bend or take for something else."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyogrio
import shapely

from tests.corpus.case import Case, Features, Refused, Values, bytes_as
from tests.corpus.layers import Puts, layer, points

FIXTURES = Path(pyogrio.__file__).parent / "tests" / "fixtures"
ONE = {"i": pa.array([1], pa.int64())}
BOW, MENDED = (
    "POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))",
    "MULTIPOLYGON (((0 0, 1 1, 0 2, 0 0)), ((2 0, 2 2, 1 1, 2 0)))",
)
DONUT = "POLYGON ((0 0, 9 0, 9 9, 0 9, 0 0), (1 1, 1 2, 2 2, 2 1, 1 1))"


def good(
    fmt: str,
    name: str,
    put: Puts,
    geometry: Sequence[str | None] | None,
    warns: Iterable[str] = (),
    columns: dict[str, Values] | None = None,
    counts: dict[str, int] | None = None,
    slack: float = 1e-9,
    **more: Any,
) -> Case:
    """columns: None where the case is not about them."""
    is_partial = columns is None
    found = Features(columns or {}, frozenset(warns), (), geometry, is_partial, slack, counts or {})
    return Case(name, "vector", fmt, put, found, more)


def bad(fmt: str, name: str, put: Puts, code: str, **more: Any) -> Case:
    return Case(name, "vector", fmt, put, Refused(code), more)


def kept(name: str, *wkt: str | None, warns: Iterable[str] = (), fmt: str = "GeoParquet") -> Case:
    return good(fmt, name, layer(fmt, wkt), wkt, warns, counts=dict.fromkeys(warns, 1))


def became(name: str, before: str | bytes, after: str, *warns: str, fmt: str = "GeoParquet", **how: Any) -> Case:
    counts = {each: 1 for each in warns if each != "geometry_reduced"}  # that one is of the whole layer
    return good(fmt, name, layer(fmt, [before], ONE, **how), [after], warns, counts=counts)


def fixture(file: str) -> Puts:
    def put(landing: Path) -> str:
        shutil.copy(FIXTURES / file, landing / "f.gpkg")
        return "f.gpkg"

    return put


def ring(*xy: tuple[float, float]) -> bytes:
    """WKB of a polygon whose only ring is exactly these positions."""
    return shapely.from_wkt("POLYGON ((0 0, 1 0, 1 1, 0 0))").wkb[:9] + len(xy).to_bytes(4, "little") + _flat(xy)


def _flat(xy: Sequence[tuple[float, float]]) -> bytes:
    return b"".join(struct.pack("<2d", *each) for each in xy)


def features(*members: str, head: str = "") -> str:
    return f'{{"type":"FeatureCollection",{head}"features":[{",".join(members)}]}}'


def feature(properties: str = "{}", geometry: str = '{"type":"Point","coordinates":[9,48]}', head: str = "") -> str:
    return f'{{"type":"Feature",{head}"properties":{properties},"geometry":{geometry}}}'


def geojson(
    name: str, body: bytes | str, *, warns: Iterable[str] = (), geometry: Any = ("POINT (9 48)",), **columns: Values
) -> Case:
    return good("GeoJSON", name, bytes_as("t.geojson", body), geometry, warns, columns)


GML = """<?xml version="1.0"?><c:C xmlns:c="http://x" xmlns:gml="http://www.opengis.net/gml/3.2"><c:member>
<c:t gml:id="a"><c:i>1</c:i><c:g>{}</c:g></c:t></c:member></c:C>"""


def gml(name: str, body: str, wkt: str, *warns: str, slack: float = 1e-9) -> Case:
    return good("GML", name, bytes_as("t.gml", GML.format(body)), [wkt], warns, slack=slack)


GEOMETRIES = [
    kept("null", None, "POINT (9 48)", warns=["null_geometries"]),
    kept("every empty type", "POINT (9 48)", "POINT EMPTY", warns=["empty_geometries"]),
    *(
        kept(f"empty {kind}", f"{kind} EMPTY", warns=["empty_geometries"])
        for kind in ("LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON", "GEOMETRYCOLLECTION")
    ),
    kept("mixed types", "POINT (9 48)", "LINESTRING (0 0, 1 1)", DONUT, "MULTIPOINT ((1 2), (3 4))"),
    kept(
        "collection within a collection", "GEOMETRYCOLLECTION (POINT (1 1), GEOMETRYCOLLECTION (LINESTRING (0 0, 1 1)))"
    ),
    kept(
        "multi types of one part",
        "MULTIPOINT ((9 48))",
        "MULTILINESTRING ((0 0, 1 1))",
        "MULTIPOLYGON (((0 0, 1 0, 1 1, 0 0)))",
    ),
    kept("holes stay", DONUT),
    kept("z", "POINT Z (9 48 7.5)", "LINESTRING Z (0 0 1, 1 1 -2)", "POLYGON Z ((0 0 1, 1 0 2, 1 1 3, 0 0 1))"),
    kept("at 0, 0", "POINT (0 0)", "POINT (9 48)", warns=["null_island"]),
    kept("poles and the antimeridian", "POINT (180 90)", "POINT (-180 -90)", "LINESTRING (179 0, 180 0)"),
    became("m", shapely.to_wkb(shapely.from_wkt("POINT M (9 48 5)"), flavor="iso"), "POINT (9 48)", "m_dropped"),
    became(
        "z and m",
        shapely.to_wkb(shapely.from_wkt("POINT ZM (9 48 7 5)"), flavor="iso"),
        "POINT Z (9 48 7)",
        "m_dropped",
    ),
    became(
        "EWKB with an SRID",
        shapely.to_wkb(shapely.set_srid(shapely.Point(9, 48), 4326), include_srid=True),
        "POINT (9 48)",
    ),
    became("big-endian WKB", shapely.to_wkb(shapely.Point(9, 48), byte_order=0), "POINT (9 48)"),
    became("bow tie", BOW, MENDED, "repaired", "repaired_type_changed"),
    became(
        "hole outside its shell",
        "POLYGON ((0 0, 2 0, 2 2, 0 2, 0 0), (5 5, 6 5, 6 6, 5 6, 5 5))",
        "MULTIPOLYGON (((0 0, 2 0, 2 2, 0 2, 0 0)), ((5 5, 6 5, 6 6, 5 6, 5 5)))",
        "repaired",
        "repaired_type_changed",
    ),
    became(
        "part that is there twice",
        "MULTIPOLYGON (((0 0, 2 0, 2 2, 0 2, 0 0)), ((0 0, 2 0, 2 2, 0 2, 0 0)))",
        "MULTIPOLYGON (((0 0, 2 0, 2 2, 0 2, 0 0)))",
        "repaired",
        "geometry_reduced",
    ),
    became(
        "part that is a mere point",
        "MULTIPOLYGON (((5 5, 5 5, 5 5, 5 5)), ((0 1, 1 1, 0 2, 0 1)))",
        "GEOMETRYCOLLECTION (POINT (5 5), POLYGON ((0 1, 1 1, 0 2, 0 1)))",
        "repaired",
        "repaired_type_changed",
    ),
    became(
        "ring that is not closed",
        ring((0, 0), (2, 0), (2, 2), (0, 2)),
        "POLYGON ((0 0, 2 0, 2 2, 0 2, 0 0))",
        "rings_closed",
    ),
    became("clockwise shell", "POLYGON ((0 0, 0 2, 2 2, 2 0, 0 0))", "POLYGON ((0 0, 0 2, 2 2, 2 0, 0 0))"),
    became("a vertex near a straight line", "LINESTRING (0 0, 1 0.00001, 2 0)", "LINESTRING (0 0, 1 0.00001, 2 0)"),
    became(
        "across the antimeridian",
        "POLYGON ((179 0, 181 0, 181 1, 179 1, 179 0))",
        "MULTIPOLYGON (((179 0, 180 0, 180 1, 179 1, 179 0)), ((-180 0, -179 0, -179 1, -180 1, -180 0)))",
        "antimeridian_split",
    ),
    became(
        "ring of two positions",
        ring((0, 0), (1, 1)),
        "LINESTRING (0 0, 1 1)",
        "rings_closed",
        "repaired",
        "repaired_type_changed",
        "geometry_reduced",
    ),
    bad("GeoParquet", "bytes that are no WKB", layer("GeoParquet", [b"\x01\x63\x00\x00\x00"]), "geometry_damaged"),
    bad(
        "GeoParquet", "x that is no number", layer("GeoParquet", ["LINESTRING (NaN 1, 2 3)"]), "coordinates_not_finite"
    ),
    bad(
        "GeoParquet",
        "infinite y",
        layer("GeoParquet", [ring((0, 0), (1, float("inf")), (1, 1), (0, 0))]),
        "coordinates_not_finite",
    ),
    bad("GeoParquet", "axes the wrong way round", layer("GeoParquet", ["POINT (35.7 139.7)"]), "outside_area_of_use"),
    bad(
        "GeoParquet",
        "meters declared as degrees",
        layer("GeoParquet", ["POINT (500000 5500000)"]),
        "outside_area_of_use",
    ),
    bad(
        "GeoParquet",
        "coordinates of 1e300",
        layer("GeoParquet", ["POINT (1e300 1e300)"], crs="EPSG:25832"),
        "coordinates_not_transformable",
    ),
    good("GPKG", "curve", fixture("curve.gpkg"), None, ["curved_linearized"], counts={"curved_linearized": 1}),
    good(
        "GPKG",
        "multi surface",
        fixture("multisurface.gpkg"),
        None,
        ["curved_linearized"],
        counts={"curved_linearized": 1},
    ),
    good("GPKG", "line with z and m", fixture("line_zm.gpkg"), None, ["m_dropped"], counts={"m_dropped": 1}),
    *(
        kept("null beside a point", "POINT (9 48)", None, warns=["null_geometries"], fmt=fmt)
        for fmt in ("GPKG", "SHP", "FlatGeobuf", "GeoJSON", "GeoJSONSeq", "GML")
    ),
    good(
        "KML",
        "null beside a point",
        layer("KML", ["POINT (9 48)", None]),
        ["POINT Z (9 48 0)", None],
        ["null_geometries"],
    ),
    *(
        became("bow tie", BOW, MENDED, "repaired", "repaired_type_changed", fmt=fmt)
        for fmt in ("GPKG", "FlatGeobuf", "GeoJSON", "GML")
    ),
]

SYSTEMS = [
    *(
        bad(fmt, "no CRS", layer(fmt, points(1), ONE, crs=None, kind="Point"), "crs_missing")
        for fmt in ("GPKG", "SHP", "FlatGeobuf", "GML", "OpenFileGDB", "GeoParquet")
    ),
    *(
        good(
            fmt,
            "CRS declared",
            layer(fmt, ["POINT (500000 0)"], ONE, crs=None, kind="Point"),
            ["POINT (9 0)"],
            slack=1e-6,
            crs="EPSG:32632",
        )
        for fmt in ("GPKG", "SHP", "FlatGeobuf", "GeoParquet")
    ),
    *(
        good(
            fmt,
            "another CRS",
            layer(fmt, ["POINT (500000 0)"], ONE, crs="EPSG:32632", kind="Point"),
            ["POINT (9 0)"],
            slack=1e-6,
        )
        for fmt in ("GPKG", "SHP", "FlatGeobuf", "GML", "OpenFileGDB", "GeoParquet")
    ),
    bad("GPKG", "CRS declared otherwise", layer("GPKG", points(1), ONE), "crs_conflict", crs="EPSG:25832"),
    bad("GPKG", "CRS that nobody knows", layer("GPKG", points(1), ONE, crs=None), "crs_unknown", crs="EPSG:999999"),
    bad(
        "GPKG",
        "CRS of a building site",
        layer("GPKG", points(1), ONE, crs='LOCAL_CS["site",UNIT["metre",1]]'),
        "crs_not_transformable",
    ),
    gml(
        "URN: latitude first",
        '<gml:Point srsName="urn:ogc:def:crs:EPSG::4326"><gml:pos>48 9</gml:pos></gml:Point>',
        "POINT (9 48)",
    ),
    gml(
        "URL: latitude first",
        '<gml:Point srsName="http://www.opengis.net/def/crs/EPSG/0/4326"><gml:pos>48 9</gml:pos></gml:Point>',
        "POINT (9 48)",
    ),
    gml("short name: as written", '<gml:Point srsName="EPSG:4326"><gml:pos>9 48</gml:pos></gml:Point>', "POINT (9 48)"),
    gml(
        "CRS84",
        '<gml:Point srsName="urn:ogc:def:crs:OGC:1.3:CRS84"><gml:pos>9 48</gml:pos></gml:Point>',
        "POINT (9 48)",
    ),
    gml(
        "northing first",
        '<gml:Point srsName="urn:ogc:def:crs:EPSG::3035"><gml:pos>3210000 4321000</gml:pos></gml:Point>',
        "POINT (10 52)",
        slack=1e-9,
    ),
    geojson(
        "older crs member",
        features(
            feature(geometry='{"type":"Point","coordinates":[500000,0]}'),
            head='"crs":{"type":"name","properties":{"name":"urn:ogc:def:crs:EPSG::32632"}},',
        ),
        geometry=["POINT (9 0)"],
    ),
]

TRAPS = [*GEOMETRIES, *SYSTEMS]
