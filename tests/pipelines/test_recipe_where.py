"""The condition of a recipe over every engine: which rows are kept, how they are counted, and what is refused."""

from __future__ import annotations

import json

import geopandas
import numpy as np
import pytest
import shapely
from pandas.testing import assert_frame_equal

from app.errors import RunRefused
from tests.pipelines.conftest import Bench
from tests.pipelines.engines import assert_same_geometries
from tests.pipelines.test_engine import frame_of
from tests.pipelines.test_formats import put
from tests.pipelines.test_recipes import run


@pytest.mark.parametrize("fmt", ["GPKG", "GeoParquet", "GeoJSON", "FlatGeobuf"])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3035"])
def test_rows_for_which_it_is_true_are_kept(bench: Bench, parcels: geopandas.GeoDataFrame, fmt: str, crs: str) -> None:
    frame = parcels.to_crs(4326) if fmt == "GeoJSON" else parcels
    where = "count > 1000 AND (name LIKE 'Straße 1%' OR NOT area < 50)"
    keep = (frame["count"] > 1000) & (frame["name"].fillna("").str.startswith("Straße 1") | (frame["area"] >= 50))
    kept = run(bench, frame, fmt, crs=crs).frame[keep].reset_index(drop=True)
    found = run(bench, frame, fmt, where=where, crs=crs)
    assert 0 < keep.sum() < 500
    assert_frame_equal(found.frame.drop(columns="geom"), kept.drop(columns="geom"))
    assert_same_geometries(found.frame.geometry, kept.geometry)
    counts = found.counts
    assert (counts["rows_in"], counts["rows_out"], counts["rows_filtered"]) == (600, keep.sum(), 600 - keep.sum())
    assert found.product.statistics["rows_by_file"].popitem()[1] == keep.sum()
    assert found.watch.progress[-1] == (600, 600)


def test_a_condition_its_negation_and_its_nulls_are_all_rows(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    where = "name > 'Straße 3' OR s_intersects(geom, BBOX(450000, 5500000, 550000, 5600000))"
    found, areas = [], []
    for each in (where, f"NOT ({where})", f"({where}) IS NULL"):
        found.append(run(bench, parcels, "GeoParquet", where=each))
        areas += found[-1].frame["area"].tolist()
    assert sum(each.counts["rows_out"] for each in found) == 600
    assert sorted(areas) == sorted(parcels["area"])
    unknown = found[2].counts["rows_out"]
    assert unknown > 0
    for each in found[:2]:
        assert each.counts["rows_filtered_null"] == unknown
        message, count, samples = each.watch.warnings["rows_filtered_null"]
        assert (count, message) == (unknown, f"Left out {unknown} rows for which recipe.where is null, because a value "
                                    "that it needs is.")  # fmt: skip
        assert parcels["name"][[sample["row"] for sample in samples]].isna().sum() == 5
    assert "rows_filtered_null" not in found[2].counts


def test_coordinates_are_in_the_crs_of_the_source(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    box = shapely.box(450_000, 5_500_000, 550_000, 5_600_000)
    inside = shapely.within(parcels.geometry.to_numpy(), box)
    found = run(bench, parcels, where="s_within(geom, BBOX(450000, 5500000, 550000, 5600000))")
    assert 0 < inside.sum() < 600
    assert found.frame["area"].tolist() == parcels["area"][inside].tolist()
    assert found.product.crs == "EPSG:4326"
    with pytest.raises(RunRefused) as caught:  # degrees
        run(bench, parcels, where="s_intersects(geom, BBOX(9, 48, 10, 52))")
    assert caught.value.reason == "where_no_rows"
    assert "EPSG:25832" in caught.value.fix


def test_messages_name_the_rows_of_the_source(bench: Bench) -> None:
    bow = "POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))"
    frame = frame_of("POINT (1 1)", bow, None, "POINT (2 2)", bow, "POINT EMPTY", None)
    frame["n"] = range(7)
    found = run(bench, frame, "GeoParquet", where="n >= 2 AND n <> 3")
    assert found.frame["n"].tolist() == [2, 4, 5, 6]
    warnings = {code: [each["row"] for each in samples] for code, (_, _, samples) in found.watch.warnings.items()}
    assert (warnings["repaired"], warnings["null_geometries"], warnings["empty_geometries"]) == ([4], [2, 6], [5])
    assert json.loads(json.dumps(warnings)) == warnings  # as they go to the job
    frame.loc[6, "geometry"] = shapely.Point(np.inf, 1)
    with pytest.raises(RunRefused) as caught:
        run(bench, frame, "GeoParquet", where="n >= 2 AND n <> 3")
    assert caught.value.reason == "coordinates_not_finite"
    assert "the first is row 6 " in caught.value.detail


def test_what_is_left_out_may_be_what_no_run_could_take(bench: Bench) -> None:
    frame = frame_of("POINT (1 1)", "POINT (2 2)")
    frame.loc[1, "geometry"] = shapely.Point(np.inf, 1)
    frame["ok"] = [True, False]
    assert len(run(bench, frame, "GeoParquet", where="ok").frame) == 1


def test_chunks_without_a_row(bench: Bench) -> None:
    """40,000 rows are three chunks, of which two keep none."""
    frame = geopandas.GeoDataFrame({"n": range(40_000)}, geometry=shapely.points(np.arange(40_000) / 1e3, 50), crs=4326)
    found = run(bench, frame, "GeoParquet", where="n BETWEEN 20000 AND 20004", order="hilbert", multi="promote")
    assert sorted(found.frame["n"]) == [20_000, 20_001, 20_002, 20_003, 20_004]
    assert found.counts["rows_filtered"] == 39_995


def test_columns_that_are_left_out_can_be_asked(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    columns = {"select": ["area"], "rename": {"area": "count"}}
    found = run(bench, parcels, where="count > 2500", columns=columns)
    assert found.frame["count"].tolist() == parcels["area"][parcels["count"] > 2500].tolist()


def test_rows_without_a_geometry_can_be_left_out(bench: Bench) -> None:
    frame = frame_of("POINT (1 1)", None, "POINT EMPTY")
    frame["geom"] = [1, None, 3]
    file = put(bench, frame.set_geometry("geometry"), "GeoParquet")
    found = bench.run({"path": file, "format": "GeoParquet"}, recipe={"where": "geom IS NOT NULL"})
    assert found.frame["geom_1"].tolist() == [1, 3]


@pytest.mark.parametrize(
    ("where", "reason", "detail"),
    [
        ("nam = 'x' AND cont > 1", "column_unknown", "no columns 'nam', 'cont', which recipe.where names"),
        ("geometry IS NULL", "column_unknown", "no column 'geometry', which recipe.where names"),
        (
            "name > 5 OR count = 'x'",
            "where_types",
            "'name' is a text and the value 5.0 a number. 'count' is a",
        ),
        ("name AND area", "where_types", "What AND is used with has to be a condition; 'name' is a text."),
        ("s_within(geom, POLYGON((0 0, 1 1)))", "where_geometry", "a geometry in recipe.where cannot be used"),
        ("s_within(geom, POLYGON((0 0, 2 2, 2 0, 0 2, 0 0)))", "where_geometry", "Self-intersection"),
    ],
)
def test_what_does_not_fit_the_columns(
    bench: Bench, parcels: geopandas.GeoDataFrame, where: str, reason: str, detail: str
) -> None:
    file = {"path": put(bench, parcels, "GPKG"), "format": "GPKG"}
    with pytest.raises(RunRefused) as caught:
        bench.run(file, recipe={"where": where})
    (planned,) = bench.plan(file, recipe={"where": where}).refusals
    for each in (caught.value, planned):
        assert each.reason == reason
        assert detail in each.detail
        assert each.file == file["path"]
        assert each.fix


def test_a_condition_that_is_true_for_no_row(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    with pytest.raises(RunRefused) as caught:
        run(bench, parcels, where="name = 'x' OR count < -100")
    assert caught.value.reason == "where_no_rows"
    assert "true for none of 600 rows: name = 'x' OR count < -100" in caught.value.detail


def test_files_of_several_crss_have_no_common_coordinates(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    put(bench, parcels, "GeoParquet", "a")
    put(bench, parcels.to_crs(25833), "GeoParquet", "b")
    files = [{"path": f"{name}.parquet", "format": "GeoParquet"} for name in ("a", "b")]
    assert bench.run(*files, recipe={"where": "count > 2500"}).counts["rows_in"] == 1200
    where = "s_intersects(geom, BBOX(450000, 5500000, 550000, 5600000))"
    with pytest.raises(RunRefused) as caught:
        bench.run(*files, recipe={"where": where})
    for each in (caught.value, *bench.plan(*files, recipe={"where": where}).refusals):
        assert each.reason == "crs_differs"
        assert "Coordinates in recipe.where are in the CRS of the files" in each.detail


def test_the_plan_shows_the_condition(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    plan = bench.plan({"path": put(bench, parcels, "GPKG"), "format": "GPKG"}, recipe={"where": "count > 5"})
    assert plan.would == "succeed"
    assert plan.steps[0] == "keep the rows where count > 5"
    assert plan.counts == {"rows_in": 600}
    assert plan.not_looked_at[0] == "Rows: for which of them recipe.where is true."
