"""What is said about the columns and places of a vector dataset, besides the dataset."""

from __future__ import annotations

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely

from tests.pipelines.conftest import Bench


@pytest.fixture
def frame() -> geopandas.GeoDataFrame:
    rng = np.random.default_rng(1)
    numbers = rng.integers(0, 50, 3000).astype(object)
    numbers[:100] = None
    return geopandas.GeoDataFrame(
        {
            "number": pd.array(numbers, dtype="Int64"),
            "share": rng.random(3000),
            "name": [f"n{i % 700}" for i in range(3000)],
            "day": pd.to_datetime(["2020-01-01", "1999-12-31", "2030-06-15"] * 1000),
        },
        geometry=shapely.points(rng.uniform(5, 15, 3000), rng.uniform(47, 55, 3000)),
        crs=4326,
    )


def test_columns_are_described(bench: Bench, frame: geopandas.GeoDataFrame) -> None:
    frame.to_file(bench.landing / "f.gpkg", layer="f", engine="pyogrio")
    columns = bench.one("f.gpkg", "GPKG").asset.statistics["columns"]
    assert set(columns) == {"number", "share", "name", "day"}
    for name in columns:
        values = frame[name]
        assert (columns[name]["count"], columns[name]["nulls"]) == (int(values.count()), int(values.isna().sum()))
        assert columns[name]["distinct"] == pytest.approx(values.nunique(), rel=0.15)
    assert (columns["number"]["min"], columns["number"]["max"]) == (0, 49)
    assert (columns["name"]["min"], columns["name"]["max"]) == ("n0", "n99")
    assert columns["share"]["min"] == frame.share.min()


def test_geometries_at_null_island_are_counted(bench: Bench, frame: geopandas.GeoDataFrame) -> None:
    frame.loc[[3, 5], "geometry"] = shapely.Point(0, 0)
    frame.loc[7, "geometry"] = None
    bench.write("f.geojson", frame.drop(columns="day").to_json(drop_id=True))
    result = bench.one("f.geojson", "GeoJSON")
    message, count, samples = result.watch.warnings["null_island"]
    assert count == 2
    assert "0, 0" in message
    assert [sample["row"] for sample in samples] == [3, 5]
