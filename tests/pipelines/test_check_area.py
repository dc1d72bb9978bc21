"""The check `within` of a dataset: which rows lie in the area of its version, in every CRS, and what is refused."""

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

from app.errors import RunRefused
from app.models.asset import ParentInput
from app.models.checks.kinds import CheckResult
from tests.pipelines.conftest import Bench, Result
from tests.pipelines.engines import ENGINES
from tests.pipelines.joins import Lake

WITHIN = {"check": "within", "dataset": "areas"}
# Two squares with a common border, and one apart.
AREAS = [shapely.box(0, 0, 1, 1), shapely.box(1, 0, 2, 1), None, shapely.box(5, 0, 6, 1)]
# (geometry, whether it lies in them).
ROWS: list[tuple[shapely.Geometry | None, bool]] = [
    (shapely.box(0.2, 0.2, 0.8, 0.8), True),
    (shapely.box(0, 0, 1, 1), True),
    (shapely.box(0.5, 0, 1.5, 1), True),
    (shapely.box(0.5, 0.5, 1.5, 1.25), False),
    (shapely.box(1.5, 0, 5.5, 1), False),
    (shapely.box(8, 8, 9, 9), False),
    (shapely.Point(1, 0.5), True),
    (shapely.Point(2, 1), True),
    (shapely.Point(2, 1.5), False),
    (shapely.MultiPoint([(0.5, 0.5), (1.5, 0.5)]), True),
    (shapely.MultiPoint([(0.5, 0.5), (3, 0.5)]), False),
    (shapely.LineString([(0, 1), (2, 1)]), True),
    (shapely.LineString([(0.5, 0.5), (1.5, 0.5), (1.5, 2)]), False),
    (shapely.MultiPolygon([shapely.box(0, 0, 0.5, 0.5), shapely.box(5, 0, 6, 1)]), True),
    (shapely.GeometryCollection([shapely.Point(5.5, 0.5), shapely.LineString([(0, 0), (2, 0)])]), True),
    (shapely.Polygon([(0, 0), (1, 0), (1, 1), (0, 1)], [[(0.2, 0.2), (0.2, 0.4), (0.4, 0.4)]]), True),
    (None, True),
    (shapely.Point(), True),
]  # fmt: skip
OUTSIDE = [row for row, (_, inside) in enumerate(ROWS) if not inside]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    (tmp_path / "others").mkdir()
    return Lake(tmp_path / "others")


def areas(lake: Lake, geometries: Any, **more: Any) -> None:
    lake.spatial(pa.table({"name": [str(n) for n in range(len(geometries))]}), geometries, "areas", **more)


def run(bench: Bench, lake: Lake, geometries: Any, *checks: dict[str, Any], crs: Any = 4326, **more: Any) -> Result:
    frame = geopandas.GeoDataFrame({"n": range(len(geometries))}, geometry=list(geometries), crs=crs)
    frame.to_parquet(bench.landing / "rows.parquet")
    file = {"path": "rows.parquet", "format": "GeoParquet"}
    return bench.run(file, checks=checks or [WITHIN], parents=lake.parents, **more)


def result(bench: Bench, lake: Lake, geometries: Any, **more: Any) -> CheckResult:
    (found,) = run(bench, lake, geometries, **more).product.checks
    return found


def failing(product: Path, cover: shapely.Geometry) -> list[int]:
    """The oracle: one union, one comparison for each row."""
    frame = geopandas.read_parquet(product)
    there = [each is not None and not each.is_empty for each in frame.geometry]
    return [n for n, each in enumerate(frame.geometry) if there[n] and not shapely.covers(cover, each)]


def test_rows_outside_are_counted_and_shown(bench: Bench, lake: Lake) -> None:
    areas(lake, AREAS)
    made = run(bench, lake, [geometry for geometry, _ in ROWS])
    (found,) = made.product.checks
    assert (found.passed, found.found, found.expected) == (False, len(OUTSIDE), "within areas")
    assert [each["row"] for each in found.samples] == OUTSIDE[:5]
    cover = shapely.union_all([each for each in AREAS if each is not None])
    for each in found.samples:
        place = shapely.Point(each["at"])
        assert not shapely.covers(cover, place)
        assert shapely.covers(ROWS[each["row"]][0], place)
        assert each["distance"] == pytest.approx(shapely.distance(place, cover))
    assert failing(made.path, cover) == OUTSIDE


def test_the_version_is_an_input_of_the_run(bench: Bench, lake: Lake) -> None:
    areas(lake, AREAS, version=7)
    checks = [
        WITHIN,
        {**WITHIN, "severity": "warn"},
        {**WITHIN, "version": 7},
        {"check": "within", "bbox": [0, 0, 9, 9]},
    ]
    made = run(bench, lake, [shapely.Point(0.5, 0.5)], *checks)
    assert [each.passed for each in made.product.checks] == [True] * 4
    assert [each.expected for each in made.product.checks][1:3] == ["within areas", "within areas version 7"]
    parents = [each for each in made.asset.inputs if isinstance(each, ParentInput)]
    assert set(parents) == {ParentInput(dataset_id="areas", version=7, role="within")}
    assert len(made.asset.inputs) == 1 + len(parents)


@pytest.mark.parametrize("crs", [3857, 25832])
def test_a_version_in_another_crs(bench: Bench, lake: Lake, countries: geopandas.GeoDataFrame, crs: int) -> None:
    """Of the whole world, parts of which have no place in the CRS of the product."""
    areas(lake, countries.geometry.to_numpy())
    rng = np.random.default_rng(5)
    places = geopandas.GeoSeries(shapely.points(rng.uniform((5, 46), (16, 56), (400, 2))), crs=4326)
    box = shapely.box(8, 48, 10, 50)
    moved = geopandas.GeoSeries([*places, box], crs=4326).to_crs(crs)
    made = run(bench, lake, moved, crs=crs, recipe={"crs": "source"})
    near = countries[countries.intersects(shapely.box(4, 45, 17, 57)) & (countries["name"] != "Russia")]
    wanted = failing(made.path, near.to_crs(crs).union_all())
    (found,) = made.product.checks
    assert 10 < found.found == len(wanted) < 390
    assert [each["row"] for each in found.samples] == wanted[:5]
    assert not pyproj.CRS(made.product.crs).is_geographic


def test_a_large_version_is_swept(bench: Bench, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways find the same rows."""
    rng = np.random.default_rng(7)
    corners = rng.uniform(0, 40, (500, 2))
    squares = shapely.box(*np.hstack([corners, corners + rng.uniform(0.2, 3, (500, 2))]).T)
    corners = rng.uniform(0, 40, (800, 2))
    rows = shapely.box(*np.hstack([corners, corners + rng.uniform(0.01, 1, (800, 2))]).T)
    areas(lake, squares)
    whole = run(bench, lake, rows)
    wanted = failing(whole.path, shapely.union_all(squares))
    assert 100 < len(wanted) < 700
    monkeypatch.setattr("app.pipelines.common.check_area.MOST_VERTICES", 1_000)
    monkeypatch.setattr("app.pipelines.common.check_area._BATCH_ROWS", 16)
    swept = run(bench, lake, rows)
    assert [each.product.checks[0].found for each in (whole, swept)] == [len(wanted)] * 2
    assert {each["row"] for each in swept.product.checks[0].samples} <= set(wanted)
    monkeypatch.setattr("app.pipelines.common.check_area.MOST_VERTICES", 200)
    with pytest.raises(RunRefused) as caught:
        run(bench, lake, rows)
    assert (caught.value.reason, "dataset.checks[0] (within)" in caught.value.detail) == ("check_too_large", True)


def test_invalid_geometries_of_both_sides(bench: Bench, lake: Lake) -> None:
    """A bow tie covers its two triangles."""
    areas(lake, [shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)]), shapely.box(2, 0, 3, 2)])
    bow_tie = shapely.Polygon([(0.1, 0.2), (2.5, 1.5), (2.5, 0.5), (0.1, 1.8)])
    rows = [shapely.Point(0.2, 1), shapely.Point(1, 0.1), bow_tie, shapely.box(1.9, 0.5, 2.5, 1.5)]
    found = result(bench, lake, rows, recipe={"repair": "off"})
    assert [each["row"] for each in found.samples] == [1, 2]


def test_no_rows_and_no_areas(bench: Bench, lake: Lake) -> None:
    areas(lake, [None, shapely.Polygon()])
    assert result(bench, lake, [None, shapely.Point()]).passed is True
    found = result(bench, lake, [shapely.Point(1, 2)])
    assert (found.found, found.samples) == (1, ({"row": 0, "at": [1.0, 2.0]},))


def test_a_join(lake: Lake) -> None:
    lake.tabular(pa.table({"k": ["a", "b", "c"]}))
    lake.spatial(pa.table({"k": ["a", "b"]}), [shapely.Point(0.5, 0.5), shapely.Point(3, 3)])
    areas(lake, AREAS)
    ctx = lake.join(checks=[WITHIN])
    (found,) = ctx.made.checks
    assert (found.found, [each["row"] for each in found.samples]) == (1, [1])
    assert ctx.asset is not None
    assert [(each.dataset_id, each.role) for each in ctx.asset.inputs if isinstance(each, ParentInput)] == [
        ("people", "tabular"), ("places", "spatial"), ("areas", "within"),
    ]  # fmt: skip


def _without_crs(lake: Lake) -> None:
    areas(lake, AREAS)
    path = lake.parents["areas"].path
    table = pq.read_table(path)
    geo = table.schema.metadata[b"geo"].decode()
    document = json.loads(geo)
    document["columns"]["geom"]["crs"] = None
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(document)}), path)


LOCAL = 'LOCAL_CS["site",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'
IMPOSSIBLE: dict[str, Any] = {
    "check_kind_wrong": lambda lake: lake.tabular(pa.table({"a": [1]}), "areas"),
    "check_crs_missing": _without_crs,
    "crs_not_transformable": lambda lake: areas(lake, AREAS, crs=LOCAL),
}


@pytest.mark.parametrize("code", IMPOSSIBLE)
def test_what_cannot_be_compared_is_refused_by_run_and_plan(bench: Bench, lake: Lake, code: str) -> None:
    IMPOSSIBLE[code](lake)
    with pytest.raises(RunRefused) as caught:
        run(bench, lake, [shapely.Point(0.5, 0.5)])
    assert caught.value.reason == code
    assert "areas" in caught.value.detail
    plan = bench.plan({"path": "rows.parquet", "format": "GeoParquet"}, checks=[WITHIN], parents=lake.parents)
    assert [(each.reason, each.detail) for each in plan.refusals] == [(code, caught.value.detail)]


def test_a_plan_names_the_version(bench: Bench, lake: Lake) -> None:
    areas(lake, AREAS)
    run(bench, lake, [shapely.Point(0.5, 0.5)])
    plan = bench.plan({"path": "rows.parquet", "format": "GeoParquet"}, checks=[WITHIN], parents=lake.parents)
    assert plan.would == "succeed"
    assert [(each.role, each.dataset_id, each.rows) for each in plan.parents] == [("within", "areas", 4)]
    assert [each.passed for each in plan.checks] == [None]


@pytest.mark.parametrize("bench", ENGINES, indirect=True)
def test_checks_of_geometries_with_every_engine(bench: Bench, lake: Lake) -> None:
    """The bow tie is repaired by the engine, and then overlaps what it overlapped."""
    areas(lake, AREAS)
    rows = [shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]), shapely.box(0.5, 0, 1.5, 1), shapely.box(5, 0, 6, 2)]
    made = run(bench, lake, rows, WITHIN, {"check": "valid_geometry"}, {"check": "no_overlaps"})
    assert [each.found for each in made.product.checks] == [1, 0, 1]
    assert [[each.get("row", each.get("rows")) for each in one.samples] for one in made.product.checks] == [
        [2], [], [[0, 1]],
    ]  # fmt: skip
    assert failing(made.path, shapely.union_all([each for each in AREAS if each is not None])) == [2]
