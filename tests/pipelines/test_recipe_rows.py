"""Which columns and rows a recipe takes, and in which order, over every engine."""

from __future__ import annotations

from typing import Any

import geopandas
import numpy as np
import pytest
import shapely

from app.errors import RunRefused
from tests.pipelines.conftest import Bench
from tests.pipelines.test_formats import put
from tests.pipelines.test_recipes import run


@pytest.mark.parametrize("fmt", ["GPKG", "GeoParquet", "GeoJSON"])
def test_selected_and_renamed_columns(bench: Bench, parcels: geopandas.GeoDataFrame, fmt: str) -> None:
    """In the order of `select`, by the new names, which the catalogue relates to those of the source."""
    frame = parcels.iloc[:20].to_crs(4326)
    columns = {"select": ["area", "name"], "rename": {"area": "name", "name": "Straße"}}
    found = run(bench, frame, fmt, columns=columns)
    assert list(found.frame.columns) == ["name", "Straße", "geom"]
    assert found.frame["name"].tolist() == frame["area"].tolist()
    assert [each or None for each in found.frame["Straße"]] == frame["name"].tolist()
    assert dict(found.product.header_mapping) == {"area": "name", "name": "Straße"}
    assert [each.title for each in found.product.column_schema.values()][:2] == ["area", "name"]
    assert found.product.statistics["columns"].keys() == {"name", "Straße"}
    assert len(found.frame) == 20


@pytest.mark.parametrize("columns", [{"drop": ["name", "area"]}, {"select": ["count"]}])
def test_left_out_columns(bench: Bench, parcels: geopandas.GeoDataFrame, columns: dict[str, Any]) -> None:
    found = run(bench, parcels, columns=columns)
    assert list(found.frame.columns) == ["count", "geom"]
    assert found.frame["count"].tolist() == parcels["count"].tolist()
    assert dict(found.product.header_mapping) == {}


def test_no_column_but_the_geometry(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    found = run(bench, parcels, columns={"select": []})
    assert list(found.frame.columns) == ["geom"]
    assert len(found.frame) == len(parcels)


def test_files_that_differ_in_columns_that_are_left_out(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    put(bench, parcels, "GeoParquet", "a")
    put(bench, parcels.assign(extra=1).drop(columns="area"), "GeoParquet", "b")
    files = [{"path": f"{name}.parquet", "format": "GeoParquet"} for name in ("a", "b")]
    assert len(bench.run(*files, recipe={"columns": {"select": ["name", "count"]}}).frame) == 1200


@pytest.mark.parametrize(
    "columns", [{"select": ["nam", "x"]}, {"drop": ["nam", "x"]}, {"rename": {"nam": "a", "x": "b"}}]
)
def test_columns_that_the_source_does_not_have(
    bench: Bench, parcels: geopandas.GeoDataFrame, columns: dict[str, Any]
) -> None:
    file = {"path": put(bench, parcels, "GPKG"), "format": "GPKG"}
    with pytest.raises(RunRefused) as caught:
        bench.run(file, recipe={"columns": columns})
    refused: list[Any] = [caught.value, *bench.plan(file, recipe={"columns": columns}).refusals]
    for each in refused:
        assert each.reason == "column_unknown"
        assert "no columns 'nam', 'x', which recipe.columns names" in each.detail
        assert each.fix == (
            "Did you mean 'name' instead of 'nam'? Its columns, as they are named in the source: 'name', 'count', "
            "'area'."
        )
    assert len(refused) == 2


def test_new_names_that_collide_with_other_columns(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    file = {"path": put(bench, parcels, "GPKG"), "format": "GPKG"}
    for rename in ({"name": "AREA"}, {"name": "area", "count": "x"}):
        with pytest.raises(RunRefused) as caught:
            bench.run(file, recipe={"columns": {"rename": rename}})
        assert caught.value.reason == "columns_collide"
        assert [each.reason for each in bench.plan(file, recipe={"columns": {"rename": rename}}).refusals] == [
            "columns_collide"
        ]
    found = bench.run(file, recipe={"columns": {"drop": ["area"], "rename": {"name": "area"}}})
    assert list(found.frame.columns) == ["area", "count", "geom"]


def test_the_plan_foretells_columns(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    file = {"path": put(bench, parcels, "GPKG"), "format": "GPKG"}
    columns = {"select": ["area", "name"], "rename": {"name": "street"}}
    found, plan = bench.run(file, recipe={"columns": columns}), bench.plan(file, recipe={"columns": columns})
    assert [(each.name, each.title) for each in plan.columns] == [
        (name, each.title) for name, each in found.product.column_schema.items()
    ]
    assert plan.steps[0] == "keep the columns 'area', 'name'; rename 'name' to 'street'"
    assert [each.name for each in plan.files[0].columns] == ["name", "count", "area"]


def along_a_curve(geometries: Any) -> list[int]:
    """The rows in the order of geopandas' Hilbert distances; those without coordinates last, in their own order."""
    series = geopandas.GeoSeries(geometries)
    full = np.flatnonzero(~(series.isna() | series.is_empty))
    distances = series.iloc[full].hilbert_distance(series.iloc[full].total_bounds)
    rest = sorted(set(range(len(series))) - set(full))
    return [*full[np.argsort(distances.to_numpy(), kind="stable")].tolist(), *rest]


@pytest.mark.parametrize("crs", ["EPSG:4326", "source"])
def test_rows_along_a_hilbert_curve(bench: Bench, parcels: geopandas.GeoDataFrame, crs: str) -> None:
    frame = parcels.copy()
    frame.loc[[3, 100], "geometry"] = None
    frame.loc[50, "geometry"] = shapely.Polygon()
    frame.loc[range(20, 30), "geometry"] = frame.geometry[20]
    plain = run(bench, frame, "GeoParquet", crs=crs).frame
    found = run(bench, frame, "GeoParquet", crs=crs, order="hilbert")
    order = along_a_curve(plain.geometry)
    assert order[-3:] == [3, 50, 100]
    assert order != sorted(order)
    wanted = plain.iloc[order].reset_index(drop=True)
    assert found.frame.drop(columns="geom").equals(wanted.drop(columns="geom"))
    bench.agree(found.frame.geometry, wanted.geometry.to_numpy())
    assert found.product.bounds is not None
    assert found.watch.warnings["null_geometries"][2][0]["row"] == 3


def test_without_any_coordinates_rows_stay_in_order(bench: Bench) -> None:
    frame = geopandas.GeoDataFrame({"n": [2, 1, 3]}, geometry=[None, shapely.Point(), None], crs=4326)
    found = run(bench, frame, "GeoParquet", order="hilbert")
    assert found.frame["n"].tolist() == [2, 1, 3]
    assert found.product.bounds is None


def test_points_of_one_place_stay_in_order(bench: Bench) -> None:
    frame = geopandas.GeoDataFrame({"n": range(100)}, geometry=[shapely.Point(9, 50)] * 100, crs=4326)
    assert run(bench, frame, "GPKG", order="hilbert").frame["n"].tolist() == list(range(100))


def test_the_order_is_part_of_the_plan(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    plan = bench.plan({"path": put(bench, parcels, "GPKG"), "format": "GPKG"}, recipe={"order": "hilbert"})
    assert plan.steps[-1] == "order the rows along a Hilbert curve"
    assert plan.counts == {"rows_in": 600, "rows_out": 600}
