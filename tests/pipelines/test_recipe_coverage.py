"""Polygons that are simplified together, over every engine, against shapely."""

from __future__ import annotations

from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely

from app.errors import RunCanceled, RunRefused
from app.pipelines.vector.engines import coverage
from app.settings import Limits
from tests.pipelines.conftest import Bench, Watch
from tests.pipelines.engines import assert_same_geometries
from tests.pipelines.test_formats import put
from tests.pipelines.test_recipes import run

SIMPLIFY = {"tolerance": 40.0, "unit": "m", "coverage": True}


def mosaic(side: int = 12, corners: int = 12) -> geopandas.GeoDataFrame:
    """Squares of about 1 km with ragged borders, which neighbours share, in UTM 32."""
    rng = np.random.default_rng(5)
    along = np.linspace(0, 1, corners + 2)[1:-1]
    ragged = np.sin(along * np.pi)
    rows, columns = (rng.uniform(-0.04, 0.04, (side + 1, side + 1, corners)) * ragged for _ in range(2))
    made = []
    for i in range(side):
        for j in range(side):
            south, north = (np.column_stack([j + along, at + rows[at, j]]) for at in (i, i + 1))
            west, east = (np.column_stack([at + columns[at, i], i + along]) for at in (j, j + 1))
            parts = [[(j, i)], south, [(j + 1, i)], east, [(j + 1, i + 1)], north[::-1], [(j, i + 1)], west[::-1]]
            # Rings begin in the middle of a border, where a simplification of each alone keeps a corner.
            ring = np.roll(np.vstack(parts), corners // 2, axis=0)
            made.append(shapely.Polygon(ring * 1000 + (500_000, 5_500_000)))
    return geopandas.GeoDataFrame({"n": range(len(made))}, geometry=made, crs=25832)


@pytest.mark.parametrize("crs", ["source", "EPSG:3035"])
def test_neighbours_keep_the_borders_that_they_share(bench: Bench, crs: str) -> None:
    """Two files, so that most neighbours are in other chunks; between them rows without polygons."""
    frame = mosaic()
    assert shapely.coverage_is_valid(frame.geometry.to_numpy())
    others = geopandas.GeoDataFrame({"n": [-1, -2]}, geometry=[None, shapely.Polygon()], crs=25832)
    put(bench, pd.concat([frame[:70], others], ignore_index=True), "GeoParquet", "a")
    put(bench, frame[70:].reset_index(drop=True), "GeoParquet", "b")
    files = [{"path": f"{name}.parquet", "format": "GeoParquet"} for name in ("a", "b")]
    found = bench.run(*files, recipe={"crs": crs, "simplify": SIMPLIFY})
    result = found.frame.geometry.to_numpy()
    assert found.frame["n"].tolist() == [*range(70), -1, -2, *range(70, 144)]
    assert result[70] is None
    assert result[71].is_empty
    polygons = np.delete(result, [70, 71])
    assert shapely.coverage_is_valid(polygons)
    plain = bench.run(*files, recipe={"crs": crs}).frame.geometry.to_numpy()
    wanted = shapely.coverage_simplify(np.delete(plain, [70, 71]), 40.0)
    assert_same_geometries(polygons, wanted, 1e-6)
    alone = bench.run(*files, recipe={"crs": crs, "simplify": {"tolerance": 12}})
    assert not shapely.coverage_is_valid(np.delete(alone.frame.geometry.to_numpy(), [70, 71]))
    counts = found.counts
    assert (counts["rows_in"], counts["rows_out"], counts["simplified"]) == (146, 146, 144)
    assert counts["vertices_out"] < counts["vertices_in"] * 0.7
    assert not {"coverage_invalid_edges", "coverage_not_polygons", "simplify_kept"} & found.watch.warnings.keys()
    sizes = found.product.statistics["geometry"]
    assert sizes["area_before"] == pytest.approx(shapely.area(plain[~shapely.is_missing(plain)]).sum())
    assert sizes["area_after"] == pytest.approx(shapely.area(polygons).sum())
    assert sizes["length_after"] < sizes["length_before"]


def test_a_tolerance_in_degrees(bench: Bench) -> None:
    found = run(bench, mosaic(), simplify={"tolerance": 0.0004, "unit": "crs", "coverage": True})
    assert shapely.coverage_is_valid(found.frame.geometry.to_numpy())
    assert found.counts["simplified"] == 144


def test_polygons_that_overlap_are_warned_of(bench: Bench) -> None:
    frame = mosaic(4)
    frame.loc[5, "geometry"] = shapely.buffer(frame.geometry[5], 30)
    found = run(bench, frame, "GeoParquet", crs="source", simplify=SIMPLIFY)
    invalid = ~shapely.is_empty(shapely.coverage_invalid_edges(frame.geometry.to_numpy()))
    message, count, samples = found.watch.warnings["coverage_invalid_edges"]
    assert count == invalid.sum() == found.counts["coverage_invalid_edges"]
    assert count > 1
    assert [each["row"] for each in samples] == np.flatnonzero(invalid)[:5].tolist()
    assert "do not share the vertices" in message
    assert shapely.is_valid(found.frame.geometry.to_numpy()).all()


def test_other_geometries_stay_as_they_are(bench: Bench) -> None:
    frame = mosaic(3)
    line = shapely.LineString([(500_000, 5_500_000), (500_500, 5_500_001), (501_000, 5_500_000)])
    frame.loc[4, "geometry"] = line
    frame.loc[5, "geometry"] = shapely.Point(500_000, 5_500_000)
    found = run(bench, frame, "GeoParquet", crs="source", simplify=SIMPLIFY, multi="promote", order="hilbert")
    kept = found.frame.set_index("n").geometry
    wanted = [shapely.MultiLineString([line]), shapely.MultiPoint([(500_000, 5_500_000)])]
    assert_same_geometries(kept.loc[[4, 5]].to_numpy(), wanted)
    _, count, samples = found.watch.warnings["coverage_not_polygons"]
    assert (count, [each["row"] for each in samples]) == (2, [4, 5])


def test_repairs_are_counted_before_and_sizes_are_those_of_the_source(bench: Bench) -> None:
    frame = mosaic(3)
    frame.loc[9, "geometry"] = shapely.from_wkt("POLYGON ((600000 5500000, 600900 5500900, 600900 5500000, "
                                                "600000 5500900, 600000 5500000))")  # fmt: skip
    frame.loc[9, "n"] = 9
    found = run(bench, frame, "GeoParquet", crs="source", simplify=SIMPLIFY, where="n >= 8")
    assert (found.counts["repaired"], found.counts["rows_out"]) == (1, 2)
    assert found.watch.warnings["repaired"][2][0]["row"] == 9
    sizes = found.product.statistics["geometry"]
    assert sizes["area_before"] == pytest.approx(frame.geometry[[8, 9]].area.sum())


def test_heights_are_kept(bench: Bench) -> None:
    frame = mosaic(3)
    frame["geometry"] = shapely.force_3d(frame.geometry.to_numpy(), 7.0)
    found = run(bench, frame, "GeoParquet", crs="source", simplify=SIMPLIFY).frame.geometry.to_numpy()
    assert set(shapely.get_coordinates(found, include_z=True)[:, 2]) == {7.0}


def test_more_vertices_than_the_limit_are_refused(bench: Bench) -> None:
    file = {"path": put(bench, mosaic(3), "GeoParquet"), "format": "GeoParquet"}
    with pytest.raises(RunRefused) as caught:
        bench.run(file, recipe={"simplify": SIMPLIFY}, limits=Limits(coverage_vertices=100))
    assert caught.value.reason == "coverage_too_large"
    assert "more than 100 vertices" in caught.value.detail
    assert "SPATIAL_ETL_LIMITS__COVERAGE_VERTICES" in caught.value.fix


def test_a_run_that_simplifies_can_be_canceled(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "WATCH_SECONDS", 0)
    file = {"path": put(bench, mosaic(10), "GeoParquet"), "format": "GeoParquet"}
    with pytest.raises(RunCanceled):
        bench.run(file, recipe={"simplify": SIMPLIFY}, watch=Watch(error=RunCanceled("stop")))


def test_the_plan_says_that_it_is_done_together(bench: Bench) -> None:
    plan: Any = bench.plan({"path": put(bench, mosaic(2), "GPKG"), "format": "GPKG"}, recipe={"simplify": SIMPLIFY})
    assert plan.steps[-1] == "simplify, keeping shared borders, tolerance 40 m"


def test_an_invalid_polygon_that_geos_cannot_simplify_stays(bench: Bench) -> None:
    """A recipe without repair keeps a polygon with a spike; the others are simplified as without it."""
    frame = mosaic(3)
    corners = np.array([(0, 0), (2, 0), (2, 2), (1, 2), (1, 3), (1, 2), (0, 2)])
    spike = shapely.Polygon(corners * 1000 + (500_000, 5_600_000))
    both = geopandas.GeoDataFrame({"n": range(10)}, geometry=[*frame.geometry, spike], crs=25832)
    with pytest.raises(shapely.errors.GEOSException):
        shapely.coverage_simplify(both.geometry.to_numpy(), 40.0)
    put(bench, both, "GeoParquet", "a")
    recipe = {"crs": "source", "repair": "off", "simplify": SIMPLIFY}
    found = bench.run({"path": "a.parquet", "format": "GeoParquet"}, recipe=recipe)
    result = found.frame.geometry.to_numpy()
    assert shapely.equals_exact(result[9], spike)
    assert_same_geometries(result[:9], shapely.coverage_simplify(frame.geometry.to_numpy(), 40.0), 1e-6)
    assert (found.counts["simplify_kept"], found.counts["invalid_kept"]) == (1, 1)
