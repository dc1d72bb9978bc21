"""Names, layers, encodings and documents by hand: what a vector file says besides its coordinates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyogrio
import shapely

from tests.corpus.case import Case, bytes_as, text, whole
from tests.corpus.layers import Puts, layer, points
from tests.corpus.traps import GML, ONE, bad, feature, features, geojson, good

KML = '<kml xmlns="http://www.opengis.net/kml/2.2"><Document><Placemark>{}</Placemark></Document></kml>'


def no_geojson(name: str, body: bytes | str, code: str) -> Case:
    return bad("GeoJSON", name, bytes_as("t.geojson", body), code)


def shp(name: str, change: Any) -> Puts:
    """A shapefile that `change(landing)` has been at."""

    def put(landing: Path) -> str:
        key = layer("SHP", points(1), {name: pa.array(["Köln"])}, kind="Point")(landing)
        change(landing)
        return key

    return put


def without(*suffixes: str) -> Any:
    return lambda landing: [(landing / f"data{suffix}").unlink() for suffix in suffixes]


def cp1252(said: str | None) -> Any:
    """The text of the shapefile in CP1252; its .cpg says `said`, or is not there."""

    def change(landing: Path) -> None:
        table = landing / "data.dbf"
        table.write_bytes(table.read_bytes().replace("Köln".encode(), "Köln ".encode("cp1252")))
        if said is None:
            (landing / "data.cpg").unlink()
        else:
            (landing / "data.cpg").write_text(said)

    return change


def two_layers(landing: Path) -> str:
    key = layer("GPKG", points(1), ONE)(landing)
    wkb = pa.array([shapely.Point(1, 2).wkb], pa.binary())
    pyogrio.write_arrow(
        pa.table({"j": [7], "geometry": wkb}),
        landing / key,
        layer="other",
        driver="GPKG",
        geometry_name="geometry",
        geometry_type="Point",
        crs="EPSG:4326",
        append=True,
    )
    return key


def aspatial(landing: Path) -> str:
    pyogrio.write_arrow(pa.table({"a": [1]}), landing / "data.gpkg", driver="GPKG", layer="t")
    return "data.gpkg"


def kml(name: str, body: str, wkt: str | None, *warns: str) -> Case:
    return good("KML", name, bytes_as("t.kml", KML.format(body)), [wkt], warns)


NAMES = ("Größe", "名前", "a b", "select", "A", "x" * 80)
TABLES = [
    *(
        good(
            fmt,
            "names of all kinds",
            layer(fmt, points(1), {name: pa.array([name]) for name in NAMES}, kind="Point"),
            points(1),
            columns={name: text(name) for name in NAMES},
        )
        for fmt in ("GPKG", "FlatGeobuf", "GeoJSON", "GeoJSONSeq", "GeoParquet")
    ),
    good(
        "GeoParquet",
        "attributes called geom and bbox",
        layer("GeoParquet", points(1), {"geom": pa.array(["x"]), "bbox": pa.array(["y"])}),
        points(1),
        columns=None,
    ),
    good("GPKG", "the layer that is named", two_layers, ["POINT (1 2)"], columns={"j": whole(7)}, layer="other"),
    bad("GPKG", "several layers", two_layers, "layer_ambiguous"),
    bad("GPKG", "layer that is not there", two_layers, "layer_unknown", layer="Other"),
    bad("GPKG", "table without geometry", aspatial, "geometry_missing"),
    good(
        "GPKG",
        "chosen primary key",
        layer("GPKG", points(2), {"v": pa.array(["a", "b"])}, FID="parcel"),
        points(2),
        columns={"parcel": whole(1, 2), "v": text("a", "b")},
    ),
    *(
        bad(fmt, "no features", layer(fmt, [], {"v": pa.array([], pa.string())}, kind="Point"), "no_features")
        for fmt in ("GPKG", "SHP", "FlatGeobuf", "GeoJSON", "OpenFileGDB", "GeoParquet")
    ),
    # shapefiles
    good("SHP", "CP1252 by .cpg", shp("v", cp1252("CP1252")), points(1), columns={"v": text("Köln")}),
    bad("SHP", "CP1252 that nothing says", shp("v", cp1252(None)), "encoding_missing"),
    good(
        "SHP",
        "CP1252 by option",
        shp("v", cp1252(None)),
        points(1),
        columns={"v": text("Köln")},
        options={"encoding": "CP1252"},
    ),
    bad("SHP", "CP1252 declared as UTF-8", shp("v", cp1252("UTF-8")), "encoding_wrong"),
    bad("SHP", "without .shx", shp("v", without(".shx")), "sidecar_missing"),
    bad("SHP", "without .dbf", shp("v", without(".dbf")), "sidecar_missing"),
    # GeoJSON by hand
    geojson("ids", features(feature(head='"id":"x7",')), id=text("x7")),
    geojson("duplicate keys", features(feature('{"a":1,"a":2}')), a=whole(2), warns=["members_repeated"]),
    geojson("no properties", features(feature("null"))),
    geojson(
        "whole numbers past 64 bits", features(feature('{"a":18446744073709551616}')), a=text("18446744073709551616")
    ),
    geojson("z", features(feature(geometry='{"type":"Point","coordinates":[9,48,0]}')), geometry=["POINT Z (9 48 0)"]),
    geojson(
        "fourth number",
        features(feature(geometry='{"type":"Point","coordinates":[9,48,7,5]}')),
        warns=["m_dropped"],
        geometry=["POINT Z (9 48 7)"],
    ),
    geojson(
        "empty coordinates",
        features(feature(geometry='{"type":"Polygon","coordinates":[]}')),
        warns=["empty_geometries"],
        geometry=["POLYGON EMPTY"],
    ),
    geojson(
        "missing geometry",
        '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{}}]}',
        warns=["null_geometries"],
        geometry=[None],
    ),
    geojson("one geometry", '{"type":"Point","coordinates":[9,48]}'),
    geojson("byte order mark", "\ufeff" + features(feature('{"a":"ü"}')), a=text("ü")),
    no_geojson("Latin-1", features(feature('{"a":"ü"}')).encode("latin-1"), "encoding_wrong"),
    no_geojson("NaN", features(feature(geometry='{"type":"Point","coordinates":[NaN,48]}')), "coordinates_not_finite"),
    no_geojson(
        "numbers in quotes", features(feature(geometry='{"type":"Point","coordinates":["9","48"]}')), "geometry_damaged"
    ),
    no_geojson(
        "latitude first", features(feature(geometry='{"type":"Point","coordinates":[35,139]}')), "outside_area_of_use"
    ),
    no_geojson("truncated", features(feature())[:-9], "file_truncated"),
    no_geojson("TopoJSON", json.dumps({"type": "Topology", "objects": {}, "arcs": []}), "content_mismatch"),
    # KML and GML by hand
    kml("altitude", "<Point><coordinates>9,48,7.5</coordinates></Point>", "POINT Z (9 48 7.5)"),
    kml(
        "multi geometry",
        "<MultiGeometry><Point><coordinates>9,48</coordinates></Point><LineString><coordinates>0,0 1,1</coordinates>"
        "</LineString></MultiGeometry>",
        "GEOMETRYCOLLECTION (POINT (9 48), LINESTRING (0 0, 1 1))",
    ),
    good(
        "GML",
        "arc",
        bytes_as(
            "t.gml",
            GML.format(
                '<gml:Curve srsName="EPSG:4326"><gml:segments><gml:Arc><gml:posList>0 0 1 1 2 0'
                "</gml:posList></gml:Arc></gml:segments></gml:Curve>"
            ),
        ),
        None,
        ["curved_linearized"],
        counts={"curved_linearized": 1},
    ),
    good(
        "GML",
        "triangulated surface",
        bytes_as(
            "t.gml",
            GML.format(
                '<gml:Tin srsName="EPSG:4326"><gml:trianglePatches><gml:Triangle>'
                "<gml:exterior><gml:LinearRing><gml:posList>0 0 1 0 1 1 0 0</gml:posList></gml:LinearRing>"
                "</gml:exterior></gml:Triangle></gml:trianglePatches></gml:Tin>"
            ),
        ),
        ["MULTIPOLYGON (((0 0, 1 0, 1 1, 0 0)))"],
        ["surfaces_converted"],
        counts={"surfaces_converted": 1},
    ),
    good(
        "GML",
        "text that is blank or empty",
        bytes_as(
            "t.gml",
            GML.format('<gml:Point srsName="EPSG:4326"><gml:pos>9 48</gml:pos></gml:Point>').replace(
                "<c:i>1</c:i>", "<c:i> x </c:i><c:j></c:j><c:k>  </c:k>"
            ),
        ),
        points(1),
        columns={"gml_id": text("a"), "i": text("x "), "k": text("")},
    ),
]
