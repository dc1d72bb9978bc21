"""Rows that a recipe does not change, and heights that are not known, over every engine, byte by byte."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from tests.pipelines.conftest import Bench, Result
from tests.pipelines.test_engine import frame_of
from tests.pipelines.test_recipes import run

SIMPLIFY = {"simplify": {"tolerance": 0.1, "unit": "crs"}}
# GEOS leaves out the middle vertex; shapely gives the heights of the others where the first is known.
BENT = "LINESTRING Z (0 0 540, 1 0.01 540.5, 2 0 541)"
BOWS = (
    "POLYGON Z ((20 20 1, 21 21 NaN, 21 20 1, 20 21 1, 20 20 1))",
    "POLYGON Z ((30 30 NaN, 31 31 NaN, 31 30 NaN, 30 31 NaN, 30 30 NaN))",
    "POLYGON Z ((40 40 NaN, 41 41 2, 41 40 3, 40 41 4, 40 40 NaN))",
    "MULTIPOLYGON Z (((0 0 1, 2 0 1, 2 2 1, 0 2 1, 0 0 1)), ((1 1 5, 3 1 NaN, 3 3 5, 1 3 5, 1 1 5)))",
)


def written(found: Result) -> list[bytes]:
    """The geometries as they are in the product."""
    values: list[bytes] = pq.read_table(found.path).column("geom").to_pylist()
    return values


def heights(geometry: Any) -> dict[tuple[float, float], float]:
    return {(x, y): z for x, y, z in shapely.get_coordinates(geometry, include_z=True).tolist()}


@pytest.mark.parametrize("dimensions", ["source", "2d"])
def test_rows_that_are_not_simplified_stay_as_they_are(bench: Bench, dimensions: str) -> None:
    frame = frame_of(
        "MULTIPOINT ((9 48))",
        "MULTIPOINT Z ((9 48 NaN))",
        "LINESTRING Z (7.4386 46.9511 NaN, 7.6 47.952 540.5, 7.4518 48.9511 541)",
        "GEOMETRYCOLLECTION (MULTIPOINT ((1 1)), LINESTRING (0 0, 1 0))",
        "MULTILINESTRING ((0 0, 1 0))",
        "POLYGON ((0 0, 0 9, 9 9, 0 0))",
        "POINT EMPTY",
        BENT,
    )
    found = run(bench, frame, "GeoParquet", dimensions=dimensions, **SIMPLIFY)
    flat = shapely.force_2d if dimensions == "2d" else (lambda each: each)
    wanted = shapely.to_wkb(flat(frame.geometry.to_numpy()), flavor="iso").tolist()
    assert written(found)[:-1] == wanted[:-1]
    assert shapely.from_wkb(written(found)[-1]).equals(shapely.LineString([(0, 0), (2, 0)]))
    assert found.counts["simplified"] == 1


@pytest.mark.parametrize("first", ["NaN", "7"])
def test_simplified_rows_keep_the_heights_that_are_known(bench: Bench, first: str) -> None:
    line = f"LINESTRING Z (0 0 {first}, 1 0.01 NaN, 2 0 541, 3 0.01 6, 4 0 NaN)"
    shape = f"MULTIPOLYGON Z (((0 0 {first}, 0 9 1, 5 9.01 2, 9 9 3, 9 0 4, 0 0 {first})))"
    found = run(bench, frame_of(line, shape), "GeoParquet", **SIMPLIFY)
    for made, before in zip(shapely.from_wkb(written(found)), shapely.from_wkt([line, shape]), strict=True):
        assert made.geom_type == before.geom_type
        assert made.has_z
        known = heights(before)
        assert len(heights(made)) < len(known)
        assert all(np.array_equal(z, known[at], equal_nan=True) for at, z in heights(made).items())
    assert found.counts["simplified"] == 2


def test_simplified_together_keep_them_too(bench: Bench) -> None:
    shape = "POLYGON Z ((0 0 NaN, 0 9 1, 5 9.01 2, 9 9 3, 9 0 4, 0 0 NaN))"
    found = run(bench, frame_of(shape), "GeoParquet", simplify={"tolerance": 1, "unit": "crs", "coverage": True})
    (made,) = shapely.from_wkb(written(found))
    known = heights(shapely.from_wkt(shape))
    assert (made.has_z, len(heights(made))) == (True, 4)
    assert all(np.array_equal(z, known[at], equal_nan=True) for at, z in heights(made).items())


@pytest.mark.parametrize("crs", [4326, 3857])
def test_repair_with_heights_that_are_not_known(bench: Bench, crs: int) -> None:
    """The shapes are those of the same polygons without heights; vertices of the source keep theirs."""
    plain = [
        "POINT (1 1)", None, "POLYGON ((50 50, 51 51, 51 50, 50 51, 50 50))", "POLYGON EMPTY",
        "POLYGON Z ((60 50 1, 61 51 2, 61 50 3, 60 51 4, 60 50 1))",
    ]  # fmt: skip
    frame = frame_of(*BOWS, *plain, crs=crs)
    found = run(bench, frame, "GeoParquet", crs="source")
    made, before = shapely.from_wkb(written(found)), frame.geometry.to_numpy()
    wanted = shapely.make_valid(shapely.force_2d(before))
    for row, source in enumerate(before[: len(BOWS)]):
        assert made[row].geom_type == "MultiPolygon"
        assert made[row].has_z
        assert shapely.force_2d(made[row]).equals(wanted[row])
        known = heights(source)
        kept = {at: z for at, z in heights(made[row]).items() if at in known}
        assert len(kept) >= 4
        assert all(np.array_equal(z, known[at], equal_nan=True) for at, z in kept.items())
    assert shapely.equals(shapely.force_2d(made[len(BOWS) :]), wanted[len(BOWS) :]).tolist() == [
        True, False, True, True, True,
    ]  # fmt: skip
    assert made[len(BOWS) + 1] is None
    assert (found.counts["repaired"], found.counts["repaired_type_changed"]) == (6, 5)
    rows = [each["row"] for each in found.watch.warnings["repaired"][2]]
    assert rows == [0, 1, 2, 3, 6]


def test_one_row_with_unknown_heights_among_many(bench: Bench) -> None:
    """PostGIS ends its statement, and so refused all rows: `lwcollection_construct: mixed dimension geometries`."""
    squares = [f"POLYGON Z (({x} 0 1, {x + 0.5} 0 2, {x + 0.5} 1 3, {x} 1 4, {x} 0 1))" for x in range(60)]
    mixed = f"GEOMETRYCOLLECTION Z (LINESTRING Z (2 0 NaN, 5 4 5), {BOWS[0]})"
    frame = frame_of(*squares, mixed)
    found = run(bench, frame, "GeoParquet")
    assert written(found)[:-1] == shapely.to_wkb(frame.geometry.to_numpy()[:-1], flavor="iso").tolist()
    made = shapely.from_wkb(written(found)[-1])
    assert shapely.force_2d(made).equals(shapely.make_valid(shapely.from_wkt(mixed)))
    assert found.counts["repaired"] == 1
