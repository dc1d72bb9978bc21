"""Curves within collections: they become lines as plain curves do, against the circle that they are part of."""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely

from tests.pipelines.conftest import Bench
from tests.pipelines.test_xml import GML_HEAD

RECIPE = {"crs": "source"}
# Half of the circle of 100 m around 500100, 5500000, from west over north to east, and one of its centre.
ARC = (500_000.0, 5_500_000.0, 500_100.0, 5_500_100.0, 500_200.0, 5_500_000.0)
CENTRE = (500_100.0, 5_500_000.0)
# GDAL's default step, in degrees.
STEP = 4.0


def assert_arc(vertices: Any, turn: float) -> None:
    """Vertices along the circle, turning clockwise by so many degrees altogether, in steps of GDAL's size."""
    away = np.asarray(vertices) - CENTRE
    assert np.hypot(*away.T) == pytest.approx(100, abs=1e-6)
    angles = np.unwrap(np.arctan2(away[:, 1], away[:, 0]))
    assert np.degrees(angles[0] - angles[-1]) == pytest.approx(turn)
    assert np.degrees(-np.diff(angles)).min() > 0
    assert np.degrees(-np.diff(angles)).max() <= STEP + 1e-6


def circular_string(*values: float, code: int = 8) -> bytes:
    width = 3 if code > 1000 else 2
    return struct.pack(f"<BII{len(values)}d", 1, code, len(values) // width, *values)


def many(code: int, *parts: bytes) -> bytes:
    return struct.pack("<BII", 1, code, len(parts)) + b"".join(parts)


def geopackage(bench: Bench, *geometries: bytes) -> dict[str, Any]:
    """A GeoPackage of these WKB geometries, in EPSG:25832."""
    path = bench.landing / "c.gpkg"
    points = geopandas.points_from_xy([500_000] * len(geometries), [5_500_000] * len(geometries))
    frame = geopandas.GeoDataFrame({"n": range(len(geometries))}, geometry=points, crs=25832)
    frame.to_file(path, driver="GPKG", geometry_type="Unknown", layer="t", SPATIAL_INDEX="NO")
    with closing(sqlite3.connect(path)) as db, db:
        for row, wkb in enumerate(geometries):
            blob = b"GP\0\1" + struct.pack("<i", 25832) + wkb
            assert db.execute("UPDATE t SET geom = ? WHERE n = ?", (blob, row)).rowcount == 1
    return {"path": "c.gpkg", "format": "GPKG"}


def test_an_arc_in_a_gml_collection(bench: Bench) -> None:
    positions = " ".join(f"{each:g}" if each < 1e6 else str(int(each)) for each in ARC)
    bench.write(
        "m.gml",
        GML_HEAD + '<ogr:featureMember><ogr:t gml:id="t.0"><ogr:geom><gml:MultiGeometry gml:id="m" '
        'srsName="EPSG:25832"><gml:geometryMember><gml:Curve gml:id="k"><gml:segments><gml:Arc><gml:posList>'
        f"{positions}</gml:posList></gml:Arc></gml:segments></gml:Curve></gml:geometryMember><gml:geometryMember>"
        '<gml:Point gml:id="p"><gml:pos>500000 5500000</gml:pos></gml:Point></gml:geometryMember></gml:MultiGeometry>'
        "</ogr:geom><ogr:n>1</ogr:n></ogr:t></ogr:featureMember></ogr:FeatureCollection>",
    )
    found = bench.run({"path": "m.gml", "format": "GML"}, recipe=RECIPE)
    (made,) = found.frame.geometry
    line, point = made.geoms
    assert (made.geom_type, line.geom_type, point.wkt) == (
        "GeometryCollection", "LineString", "POINT (500000 5500000)",
    )  # fmt: skip
    assert_arc(line.coords, 180)
    assert (found.counts["curved_linearized"], found.watch.warnings["curved_linearized"][1]) == (1, 1)


def test_every_kind_of_curve_in_a_collection(bench: Bench) -> None:
    """Beside rows that have none, which stay as they are."""
    back = struct.pack("<BII4d", 1, 2, 2, ARC[4], ARC[5], ARC[0], ARC[1])
    compound = many(9, circular_string(*ARC), back)
    circle = circular_string(*ARC, 500_100.0, 5_499_900.0, *ARC[:2])
    plain = shapely.to_wkb(shapely.from_wkt("GEOMETRYCOLLECTION (POINT (1 2), LINESTRING (1 2, 3 4))"))
    heights = circular_string(*(v for i in range(3) for v in (*ARC[2 * i : 2 * i + 2], 7.0)), code=1008)
    found = bench.run(
        geopackage(
            bench,
            many(7, many(10, circle)),
            plain,
            many(7, many(7, compound)),
            many(7, many(11, circular_string(*ARC), back), many(12, many(10, compound))),
            many(1007, heights),
            shapely.to_wkb(shapely.Point(1, 2)),
            circular_string(*ARC),
        ),
        recipe={**RECIPE, "repair": "off"},
    )
    made = found.frame.geometry.to_numpy()
    assert [each.geom_type for each in made[:5]] == ["GeometryCollection"] * 5
    inside = [[part.geom_type for part in each.geoms] for each in made[:5]]
    assert inside == [
        ["Polygon"], ["Point", "LineString"], ["GeometryCollection"], ["MultiLineString", "MultiPolygon"],
        ["LineString"],
    ]  # fmt: skip
    assert shapely.to_wkb(made[1]) == plain
    assert_arc(made[0].geoms[0].exterior.coords, 360)
    assert_arc(made[2].geoms[0].geoms[0].coords[:-1], 180)
    assert_arc(made[3].geoms[0].geoms[0].coords, 180)
    assert_arc(made[3].geoms[1].geoms[0].exterior.coords[:-1], 180)
    assert_arc(np.asarray(made[4].geoms[0].coords)[:, :2], 180)
    assert set(np.asarray(made[4].geoms[0].coords)[:, 2]) == {7.0}
    # As curves that are in no collection.
    assert made[2].geoms[0].geoms[0].coords[:-1] == made[6].coords[:]
    assert found.counts["curved_linearized"] == 5
