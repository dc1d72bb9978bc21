"""Geometries with their coordinates at hand: what is handed on as it came is what would be written."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pytest
import shapely

from app.pipelines.common.findings import Findings
from app.pipelines.common.shapes import from_wkb, to_wkb

OPEN_RING = struct.pack("<BIII8d", 1, 3, 1, 4, 0, 0, 1, 0, 1, 1, 0, 1)
# Two rings, the second one open.
OPEN_RINGS = struct.pack("<BIII8dI8d", 1, 3, 2, 4, 0, 0, 9, 0, 9, 9, 0, 0, 4, 2, 1, 3, 1, 3, 2, 2, 1.5)
EMPTY_POINT = struct.pack("<BI2d", 1, 1, float("nan"), float("nan"))


def wkb(*texts: str | bytes | None) -> pa.Array:
    made = [shapely.to_wkb(shapely.from_wkt(text)) if isinstance(text, str) else text for text in texts]
    return pa.array(made, pa.binary())


@pytest.mark.parametrize(
    "texts",
    [
        ("POINT (1 2)", "POINT (3 4)"),
        ("LINESTRING (0 0, 1 1)", "LINESTRING (0 0, 1 1, 0 0)"),
        ("POLYGON ((0 0, 1 0, 1 1, 0 0))", "POLYGON ((0 0, 1 0, 1 1, 0 1, 0 0))"),
        ("MULTIPOINT ((1 2))", "MULTIPOINT ((3 4))"),
        ("MULTILINESTRING ((0 0, 1 1))",),
        ("MULTIPOLYGON (((0 0, 1 0, 1 1, 0 0)))", "MULTIPOLYGON (((5 5, 6 5, 6 6, 5 5)))"),
        ("POLYGON ((0 0, 1 0, 1 1, 0 0))", "POLYGON ((0 0, 9 0, 9 9, 0 0), (2 1, 3 1, 3 2, 2 1))"),
        ("POINT (1 2)", None, "LINESTRING (0 0, 1 1)", "POINT (5 6)"),
    ],
    ids=lambda texts: texts[0].split()[0],
)
def test_geometries_are_handed_on_as_they_came(texts: tuple[str | None, ...]) -> None:
    given = wkb(None, *texts, None).slice(1, len(texts))
    shapes = from_wkb(given, "f", 0, Findings())
    assert shapes.source() is given
    assert shapes.wkb().equals(to_wkb(shapes.build(None)))


@pytest.mark.parametrize(
    "texts",
    [
        (OPEN_RING,),
        (OPEN_RING, "POLYGON ((0 0, 1 0, 1 1, 0 0))"),
        ("POLYGON ((0 0, 1 0, 1 1, 0 0))", OPEN_RING),
        (EMPTY_POINT, "POINT (1 2)"),
        ("POLYGON ((0 0, 1 0, 1 1, 0 0))", "POLYGON ((0 0, 1 0, 1 1, 0 0))", OPEN_RINGS),
        ("POINT Z (1 2 3)",),
        ("POLYGON ((0 0, 9 0, 9 9, 0 0), (2 1, 3 1, 3 2, 2 1))",),
        ("GEOMETRYCOLLECTION (POINT (1 2))",),
        (struct.pack(">BI2d", 0, 1, 1.0, 2.0),),
    ],
    ids=lambda texts: repr(texts[0])[:24],
)
def test_others_are_written(texts: tuple[str | bytes | None, ...]) -> None:
    shapes = from_wkb(wkb(*texts), "f", 0, Findings())
    assert shapes.source() is None
    written = shapes.wkb()
    assert written.equals(to_wkb(shapes.build(None)))
    assert (written.null_count > 0) == (None in texts)
    for text, found in zip(texts, shapely.from_wkb(written.to_numpy(zero_copy_only=False)), strict=True):
        if isinstance(text, str):
            assert found == shapely.from_wkt(text)


def test_many_plain_polygons() -> None:
    rng = np.random.default_rng(1)
    shapes = shapely.buffer(shapely.points(rng.uniform(0, 9, (200, 2))), rng.uniform(0.1, 1, 200), quad_segs=2)
    found = from_wkb(to_wkb(shapes), "f", 0, Findings())
    assert found.source() is not None
    assert shapely.equals_exact(found.build(None), shapes).all()
