"""Columns of one name: every product has names that are all different, also for readers that ignore case."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from app.pipelines.common.column_names import distinct_names, header_mapping, product_names
from tests.pipelines.conftest import Bench, Result
from tests.service import geojson, point


def shapefile(bench: Bench) -> str:
    """Two fields of one name: GDAL writes none, so the name of the second is changed in the .dbf."""
    frame = geopandas.GeoDataFrame({"pop": [1, 2], "qop": [30, 40]}, geometry=shapely.points([[9, 48], [10, 49]]))
    frame.set_crs(4326).to_file(bench.landing / "d.shp")
    dbf = bench.landing / "d.dbf"
    dbf.write_bytes(dbf.read_bytes().replace(b"qop\0", b"pop\0"))
    return "d.shp"


def flatgeobuf(bench: Bench) -> str:
    points = shapely.to_wkb([shapely.Point(9, 48), shapely.Point(10, 49)])
    pyogrio.raw.write(
        bench.landing / "d.fgb", geometry=points, field_data=[np.array([1, 2]), np.array([30, 40])],
        fields=np.array(["pop", "pop"], object), geometry_type="Point", crs="EPSG:4326", driver="FlatGeobuf",
        SPATIAL_INDEX="NO",
    )  # fmt: skip
    return "d.fgb"


def columns(result: Result) -> dict[str, list[Any]]:
    """The attributes as pyarrow, pandas, geopandas and DuckDB read them by name."""
    schema = result.asset.metadata.column_schema
    assert list(schema) == pq.read_schema(result.path).names
    names = [name for name, column in schema.items() if column.logical_type not in ("geometry", "bbox")]
    assert len({name.casefold() for name in names}) == len(names)
    found = {name: pq.read_table(result.path, columns=[name])[name].to_pylist() for name in names}
    frames = pd.read_parquet(result.path), geopandas.read_parquet(result.path)
    for name in names:
        quoted = '"' + name.replace('"', '""') + '"'
        rows = duckdb.sql(f"SELECT {quoted} FROM read_parquet('{result.path}')").fetchall()  # noqa: S608
        assert [row[0] for row in rows] == found[name]
        assert all(frame[name].tolist() == found[name] for frame in frames)
    return found


@pytest.mark.parametrize(("write", "fmt"), [(shapefile, "SHP"), (flatgeobuf, "FlatGeobuf")])
def test_two_columns_of_one_name(bench: Bench, write: Any, fmt: str) -> None:
    name = write(bench)
    result = bench.one(name, fmt)
    assert columns(result) == {"pop": [1, 2], "pop_1": [30, 40]}
    assert result.asset.metadata.header_mapping == {"pop [2]": "pop_1"}
    assert result.asset.metadata.column_schema["pop_1"].title == "pop"
    message, count, samples = result.watch.warnings["columns_renamed"]
    assert (count, samples) == (1, ("pop",))
    assert message.startswith(f"{name}: gave 1 column another name")
    assert "'pop' is now 'pop_1'" in message
    planned = bench.plan({"path": name, "format": fmt})
    assert [each.name for each in planned.columns] == ["pop", "pop_1", "geom", "bbox"]
    assert "columns_renamed" in [each.code for each in planned.warnings]


def test_a_recipe_can_name_the_second_of_two(bench: Bench) -> None:
    file = {"path": shapefile(bench), "format": "SHP"}
    chosen = bench.run(file, recipe={"columns": {"select": ["pop_1"], "rename": {"pop_1": "people"}}})
    assert columns(chosen) == {"people": [30, 40]}
    twice = [{**file, "options": {"union": "by_name", "types": {"pop_1": "text"}}}]
    other = bench.write("o.geojson", geojson((point(9, 48), {"pop": 5, "pop_1": "6"})))
    together = bench.run(*twice, {"path": other, "format": "GeoJSON", "options": {"union": "by_name"}})
    assert columns(together) == {"pop": [1, 2, 5], "pop_1": ["30", "40", "6"]}


def test_names_that_differ_in_case(bench: Bench) -> None:
    """DuckDB, SQL and Windows' formats take them for one."""
    properties = {"Name": "a", "name": "b", "NAME_1": "c", "Geom": "d", "geom": "e", "{0}": "f", "BBOX": "g"}
    result = bench.one(bench.write("c.geojson", geojson((point(9, 48), properties))), "GeoJSON")
    assert columns(result) == {
        "Name": ["a"], "name_2": ["b"], "NAME_1": ["c"], "Geom_1": ["d"], "geom_2": ["e"], "{0}": ["f"], "BBOX": ["g"],
    }  # fmt: skip
    assert result.asset.metadata.header_mapping == {"name": "name_2", "Geom": "Geom_1", "geom": "geom_2"}
    assert result.watch.warnings["columns_renamed"][1:] == (1, ("name",))


def test_the_id_of_features_beside_a_property_of_another_case(bench: Bench) -> None:
    document = json.loads(geojson((point(9, 48), {"ID": 7})))
    document["features"][0]["id"] = "x"
    result = bench.one(bench.write("i.geojson", json.dumps(document)), "GeoJSON")
    assert columns(result) == {"feature_id": ["x"], "ID": [7]}
    assert "columns_renamed" not in result.watch.warnings


def test_a_schema_with_names_that_gdal_does_not_tell_apart(bench: Bench) -> None:
    """GDAL leaves out the second one and its values."""
    pyogrio.raw.write(
        bench.landing / "g.gml", geometry=shapely.to_wkb([shapely.Point(9, 48)]), driver="GML",
        field_data=[np.array([1]), np.array([3])], fields=np.array(["a", "A"], object), geometry_type="Point",
        crs="EPSG:4326",
    )  # fmt: skip
    assert "<ogr:A>3</ogr:A>" in Path(bench.landing / "g.gml").read_text()
    error = bench.refused("g.gml", "GML")
    assert error.reason == "columns_duplicate"
    assert "A" in error.detail.split()[-1]


NAMES = st.lists(st.sampled_from(["a", "A", "a_1", "A_1", "a_1_1", "geom", "GEOM", "geom_1", "bbox", "geom_bbox", "ß"]))


@given(NAMES)
def test_names_of_products_are_all_different(names: list[str]) -> None:
    found, box = product_names(names)
    every = [name.casefold() for name in (*found, box, "geom")]
    assert len(set(every)) == len(every) == len(names) + 2
    first_of_each = {name.casefold(): name for name in reversed(names)}
    assert all(name in found for key, name in first_of_each.items() if key != "geom")
    mapping = header_mapping(names, found)
    assert sorted(mapping.values()) == sorted(new for old, new in zip(names, found, strict=True) if old != new)


@given(NAMES)
def test_exactly_repeated_names(names: list[str]) -> None:
    found = distinct_names(names, key=str)
    assert len(set(found)) == len(names)
    assert set(names) <= set(found)
