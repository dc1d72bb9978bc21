"""What is said about the columns and places of a vector dataset, besides the dataset."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from app.errors import RunRefused
from app.pipelines.common.profile import profile
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


def test_names_that_others_cannot_tell_apart(bench: Bench) -> None:
    names = ["", "a", "A", "a.b", "bbox.xmin", 'q"', "count"]
    # The column in place p is null in the first p rows.
    features = [
        {
            "type": "Feature",
            "properties": {name: 100 * place + row if row >= place else None for place, name in enumerate(names)},
            "geometry": {"type": "Point", "coordinates": [9, 48]},
        }
        for row in range(20)
    ]
    bench.write("x.json", json.dumps({"type": "FeatureCollection", "features": features}))
    columns = bench.one("x.json", "GeoJSON").asset.statistics["columns"]
    for place, name in enumerate(names):
        found = dict(columns["A_1" if name == "A" else name])  # readers that fold case would take it for `a`
        assert found.pop("distinct") == pytest.approx(20 - place, rel=0.3)
        assert found == {"count": 20 - place, "nulls": place, "min": 101 * place, "max": 100 * place + 19}, name


def test_columns_behind_nested_ones(tmp_path: Path) -> None:
    table = pa.table(
        {
            "s": pa.array(
                [{"x": 1, "y": [{"z": 2.5, "m": [("k", 1)]}]}] * 2,
                pa.struct(
                    {
                        "x": pa.int64(),
                        "y": pa.list_(pa.struct({"z": pa.float64(), "m": pa.map_(pa.string(), pa.int32())})),
                    }
                ),
            ),
            "d": pa.array(["v", "w"]).dictionary_encode(),
            "n": [7, 9],
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    found = profile(tmp_path / "x.parquet", table.schema, 2, 1)
    assert (found["n"]["min"], found["n"]["max"]) == (7, 9)
    assert (found["s"]["min"], found["s"]["count"]) == (None, 2)


def test_a_file_with_other_rows_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [7, 9]}), tmp_path / "x.parquet")
    with pytest.raises(RunRefused) as caught:
        profile(tmp_path / "x.parquet", pa.schema([("n", pa.int64())]), 3, 1)
    assert caught.value.reason == "rows_lost"
