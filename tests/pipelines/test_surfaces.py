"""Triangulated and polyhedral surfaces: each face comes out as a polygon, vertex by vertex, and they are counted."""

from __future__ import annotations

import json
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely

from app.pipelines.common.surfaces import as_polygons
from tests.pipelines.conftest import Bench, Result

Face = list[tuple[float, ...]]
A: Face = [(0, 0, 0), (1, 0, 0), (0, 1, 5), (0, 0, 0)]
B: Face = [(1, 0, 0), (1, 1, 3), (0, 1, 5), (1, 0, 0)]
WALL: Face = [(0, 0, 0), (1, 0, 0), (1, 0, 9), (0, 0, 0)]
KEPT = {"repair": "off", "crs": "source"}
TIN, POLYHEDRAL, TRIANGLE = 16, 15, 17


def wkb(kind: int, faces: list[Face], *, form: str = "iso", order: str = "<") -> bytes:
    """A surface in ISO WKB, as EWKB, or in two dimensions."""
    width = 2 if form == "flat" else 3

    def code(base: int) -> bytes:
        number = {"iso": 1_000 + base, "ewkb": 0x80000000 + base, "flat": base}[form]
        return bytes([order == "<"]) + struct.pack(f"{order}I", number)

    def face(base: int, ring: Face) -> bytes:
        points = b"".join(struct.pack(f"{order}{width}d", *point[:width]) for point in ring)
        return code(base) + struct.pack(f"{order}II", 1, len(ring)) + points

    if kind == TRIANGLE:
        return face(TRIANGLE, faces[0])
    inner = TRIANGLE if kind == TIN else 3
    return code(kind) + struct.pack(f"{order}I", len(faces)) + b"".join(face(inner, each) for each in faces)


def collection(*members: bytes) -> bytes:
    return b"\x01" + struct.pack("<II", 1_007, len(members)) + b"".join(members)


def rings(result: Result) -> list[list[Face]]:
    """The vertices of the faces of each row."""
    assert result.asset.metadata.geometry_type in ("MultiPolygon", "Polygon")
    parts = [getattr(geometry, "geoms", [geometry]) for geometry in result.frame.geometry]
    return [[list(part.exterior.coords) for part in each] for each in parts]


def checked(result: Result, wanted: list[list[Face]], counted: int) -> None:
    assert rings(result) == wanted
    message, count, samples = result.watch.warnings["surfaces_converted"]
    assert count == result.counts["surfaces_converted"] == counted
    assert samples[0]["row"] == 0
    assert "polygon for each face" in message


def written(bench: Bench, name: str, driver: str, shapes: list[bytes], **options: Any) -> str:
    pyogrio.raw.write(
        bench.landing / name, geometry=np.array(shapes, object), field_data=[np.arange(len(shapes))],
        fields=np.array(["n"], object), driver=driver,
        **{"geometry_type": "Unknown", "crs": "EPSG:4326", **options},
    )  # fmt: skip
    return name


@pytest.mark.parametrize("kind", [TIN, POLYHEDRAL, TRIANGLE])
@pytest.mark.parametrize("fmt", ["GPKG", "SHP", "GML", "GeoParquet", "FlatGeobuf"])
def test_a_surface_becomes_its_faces(bench: Bench, fmt: str, kind: int) -> None:
    faces = [A] if kind == TRIANGLE else [A, B, WALL]
    surface = wkb(kind, faces)
    if fmt == "SHP":
        name = written(bench, "t.shp", "ESRI Shapefile", [surface] * 2, SHPT="MULTIPATCH")
    elif fmt == "GeoParquet":
        name = parquet(bench, [surface] * 2)
    elif fmt == "FlatGeobuf":
        # GDAL's writer keeps heights only where the type of the layer has them.
        flat = [[point[:2] for point in face] for face in faces]
        name = written(bench, "t.fgb", fmt, [surface] * 2, SPATIAL_INDEX="NO")
        checked(bench.run({"path": name, "format": fmt}, recipe=KEPT), [flat] * 2, 2)  # type: ignore[list-item]
        return
    else:
        name = written(bench, f"t.{fmt.lower()}", fmt, [surface] * 2)
    checked(bench.run({"path": name, "format": fmt}, recipe=KEPT), [faces] * 2, 2)


def parquet(bench: Bench, shapes: list[bytes]) -> str:
    column = {"encoding": "WKB", "geometry_types": []}
    geo = {"version": "1.1.0", "primary_column": "g", "columns": {"g": column}}
    table = pa.table({"g": pa.array(shapes, pa.binary())}).replace_schema_metadata({"geo": json.dumps(geo)})
    pq.write_table(table, bench.landing / "t.parquet")
    return "t.parquet"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("form", ["iso", "ewkb", "flat"])
def test_every_form_of_wkb(bench: Bench, form: str, order: str) -> None:
    shapes = [wkb(TIN, [A, B], form=form, order=order), shapely.to_wkb(shapely.Polygon([(5, 5), (6, 5), (6, 6)]))]
    result = bench.run({"path": parquet(bench, shapes), "format": "GeoParquet"}, recipe=KEPT)
    wanted = [[point[: 2 if form == "flat" else 3] for point in face] for face in (A, B)]
    checked(result, [wanted, [[(5, 5), (6, 5), (6, 6), (5, 5)]]], 1)  # type: ignore[list-item]


@pytest.mark.parametrize("name", ["TIN", "POLYHEDRALSURFACE", "SURFACE", "TRIANGLE"])
def test_layers_that_declare_their_type(bench: Bench, name: str) -> None:
    """pyogrio has no names for these types of layers."""
    surface = wkb(TRIANGLE if name == "TRIANGLE" else TIN, [A, B])
    written(bench, "t.gpkg", "GPKG", [surface])
    with closing(sqlite3.connect(bench.landing / "t.gpkg")) as db:
        db.execute("UPDATE gpkg_geometry_columns SET geometry_type_name = ?, z = 1", (name,))
        db.commit()
    result = bench.run({"path": "t.gpkg", "format": "GPKG"}, recipe=KEPT)
    checked(result, [[A] if name == "TRIANGLE" else [A, B]], 1)
    (planned,) = bench.plan({"path": "t.gpkg", "format": "GPKG"}).files
    assert planned.layer == "t"


def test_collections_with_surfaces(bench: Bench) -> None:
    """One of nothing but polygons becomes one multi polygon: so GDAL divides a MultiPatch."""
    square = shapely.to_wkb(shapely.Polygon([(5, 5, 1), (6, 5, 1), (6, 6, 1)]), flavor="iso")
    point = shapely.to_wkb(shapely.Point(1, 2, 3), flavor="iso")
    shapes = [
        collection(wkb(TIN, [A]), square, wkb(TRIANGLE, [B])), collection(point, wkb(TIN, [A, B])),
        collection(square, square),
    ]  # fmt: skip
    for name, fmt in ((parquet(bench, shapes), "GeoParquet"), (written(bench, "t.gpkg", "GPKG", shapes), "GPKG")):
        result = bench.run({"path": name, "format": fmt}, recipe=KEPT)
        found = result.frame.geometry
        assert found.geom_type.tolist() == ["MultiPolygon", "GeometryCollection", "GeometryCollection"]
        assert [list(part.exterior.coords) for part in found[0].geoms] == [
            A, [(5, 5, 1), (6, 5, 1), (6, 6, 1), (5, 5, 1)], B,
        ]  # fmt: skip
        assert [list(part.exterior.coords) for part in found[1].geoms[1].geoms] == [A, B]
        assert result.counts["surfaces_converted"] == 2
        assert "curved_linearized" not in result.counts


def test_a_multipatch_of_strips_fans_and_rings(bench: Bench) -> None:
    """Against the rules of Esri's white paper: a strip turns every other triangle, a fan has its first point in all."""
    strip = [(0, 0, 0), (1, 0, 0), (0, 1, 1), (1, 1, 2)]
    fan = [(5, 5, 0), (6, 5, 0), (6, 6, 1), (5, 6, 1)]
    ring = [(9, 9, 0), (9, 12, 0), (12, 12, 0), (12, 9, 0), (9, 9, 0)]
    multipatch(bench.landing / "m", [(0, strip), (1, fan), (2, ring)])
    result = bench.run({"path": "m.shp", "format": "SHP", "crs": "EPSG:4326"}, recipe=KEPT)
    (faces,) = rings(result)
    triangles = [strip[:3], strip[1:], fan[:3], [fan[0], *fan[2:]], ring[:-1]]
    assert [set(face) for face in faces] == [set(corners) for corners in triangles]
    assert result.counts["surfaces_converted"] == 1


def multipatch(path: Path, parts: list[tuple[int, Any]]) -> None:
    points = [point for _, corners in parts for point in corners]
    starts = np.cumsum([0, *(len(corners) for _, corners in parts)])[:-1]
    low, high = np.min(points, axis=0), np.max(points, axis=0)
    box = struct.pack("<4d", *low[:2], *high[:2])
    body = struct.pack("<i", 31) + box + struct.pack("<2i", len(parts), len(points))
    body += struct.pack(f"<{len(parts)}i", *starts) + struct.pack(f"<{len(parts)}i", *(kind for kind, _ in parts))
    body += b"".join(struct.pack("<2d", *point[:2]) for point in points)
    body += struct.pack("<2d", low[2], high[2]) + b"".join(struct.pack("<d", point[2]) for point in points)

    def head(size: int) -> bytes:
        return struct.pack(">7i", 9994, 0, 0, 0, 0, 0, size // 2) + struct.pack("<2i", 1000, 31) + box + bytes(32)

    path.with_suffix(".shp").write_bytes(head(108 + len(body)) + struct.pack(">2i", 1, len(body) // 2) + body)
    path.with_suffix(".shx").write_bytes(head(108) + struct.pack(">2i", 50, len(body) // 2))
    field = b"n".ljust(11, b"\0") + b"N" + bytes(4) + b"\x04" + bytes(15)
    path.with_suffix(".dbf").write_bytes(
        struct.pack("<4BIHH20x", 3, 100, 1, 1, 1, 65, 5) + field + b"\r" + b"    1" + b"\x1a"
    )


TEXTS = {
    "TIN Z (((0 0 0, 1 0 0, 0 1 5, 0 0 0)), ((1 0 0, 1 1 3, 0 1 5, 1 0 0)))": [A, B],
    "SRID=4326; polyhedralsurface z (((0 0 0, 1 0 0, 0 1 5, 0 0 0)))": [A],
    "TRIANGLE Z ((0 0 0, 1 0 0, 0 1 5, 0 0 0))": [A],
}


@pytest.mark.parametrize("text", TEXTS)
def test_surfaces_in_tables(bench: Bench, text: str) -> None:
    lines = "".join(json.dumps({"g": each}) + "\n" for each in (text, wkb(TIN, [A, B]).hex()))
    for name, body, key in (("t", lines.splitlines()[0], "wkt"), ("u", lines.splitlines()[1], "wkb")):
        options = {"geometry": {key: "g", "crs": "EPSG:4326"}}
        entry = {"path": bench.write(name, body), "type": "tabular", "format": "JSONL", "options": options}
        checked(bench.run(entry, recipe=KEPT), [TEXTS[text] if key == "wkt" else [A, B]], 1)


def test_what_is_repaired(bench: Bench) -> None:
    """Two triangles with a common edge are one valid polygon; the result of the default recipe is valid."""
    name = written(bench, "t.gpkg", "GPKG", [wkb(TIN, [A, B])], crs="EPSG:4326")
    result = bench.one(name, "GPKG")
    assert result.counts["repaired"] == result.counts["surfaces_converted"] == 1
    assert shapely.is_valid(result.frame.geometry.to_numpy()).all()
    assert result.frame.geometry[0].equals(shapely.box(0, 0, 1, 1))


@pytest.mark.parametrize(
    "wrong",
    [
        wkb(TIN, [A])[:-1], wkb(TIN, [A]) + b"\0", wkb(TIN, [A])[:5] + struct.pack("<I", 2**31),
        b"\x01" + struct.pack("<II", TIN, 1) + b"\x01" + struct.pack("<II", TIN, 0),
        b"\x01" + struct.pack("<II", TIN, 1) + shapely.to_wkb(shapely.Point(1, 2)), b"\x01\x10", b"",
    ],
)  # fmt: skip
def test_damaged_surfaces(bench: Bench, wrong: bytes) -> None:
    assert as_polygons(wrong) is None
    error = bench.refused(parquet(bench, [wkb(TIN, [A]), wrong]), "GeoParquet")
    assert error.reason == "geometry_damaged"
    assert "row 1" in error.detail


def test_what_has_no_surface_stays_as_it_is() -> None:
    assert as_polygons(shapely.to_wkb(shapely.box(0, 0, 1, 1))) is None
    nested = wkb(TIN, [A])
    for _ in range(10_000):
        nested = collection(nested)
    assert as_polygons(nested) is not None  # and read no further: is_too_deep
