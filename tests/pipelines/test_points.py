"""Tables with coordinates become vector versions, over every engine and in every table format."""

from __future__ import annotations

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from tests.pipelines.conftest import Bench
from tests.pipelines.points import WRITERS, table

PLACES = {
    "name": ["München", "Köln", "nowhere", "Zugspitze"],
    "Ost Wert": [691608.25, 356000.0, None, 650000.5],
    "hoch": [5334760.75, 5645000.5, None, 5253000.25],
}
UTM = {"x": "Ost Wert", "y": "hoch", "crs": "EPSG:25832"}


@pytest.mark.parametrize("fmt", WRITERS)
def test_points_of_every_format_are_reprojected_as_geopandas_does(bench: Bench, fmt: str) -> None:
    bench.write("t", WRITERS[fmt](PLACES))
    found = bench.run(table("t", fmt, UTM))
    there = [0, 1, 3]
    wanted = np.full(4, None, object)
    points = geopandas.points_from_xy(
        [PLACES["Ost Wert"][n] for n in there], [PLACES["hoch"][n] for n in there], crs=25832
    )
    wanted[there] = points.to_crs(4326)
    bench.agree(found.frame.geometry.to_numpy(), wanted)
    assert (found.product.crs, found.product.geometry_type) == ("EPSG:4326", "Point")
    assert found.frame["name"].tolist() == PLACES["name"]
    assert found.frame["ost_wert"].dropna().tolist() == [PLACES["Ost Wert"][n] for n in there]
    assert found.product.header_mapping == {"Ost Wert": "ost_wert"}
    assert found.product.column_schema["ost_wert"].title == "Ost Wert"
    assert found.counts["null_geometries"] == 1
    assert found.watch.warnings["null_geometries"][2] == ({"file": "t", "row": 2},)
    assert (found.counts["rows_in"], found.counts["rows_out"]) == (4, 4)


def test_shapes_of_wkt_are_repaired_and_keep_their_heights(bench: Bench) -> None:
    shapes = ["POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))", "POINT Z (1 2 3)", "POINT ZM (1 2 3 4)", "", "POINT EMPTY"]
    bench.write("t", WRITERS["TSV"]({"id": list("abcde"), "shape": shapes}))
    found = bench.run(table("t", "TSV", {"wkt": "shape", "crs": "EPSG:4326"}))
    frame = found.frame
    assert list(frame.columns) == ["id", "geom"]
    assert [None if each is None else each.wkt for each in frame.geometry[1:]] == [
        "POINT Z (1 2 3)",
        "POINT Z (1 2 3)",
        None,
        "POINT EMPTY",
    ]
    assert frame.geometry[0].equals(shapely.make_valid(shapely.from_wkt(shapes[0])))
    assert {name: found.counts[name] for name in ("repaired", "m_dropped", "null_geometries", "empty_geometries")} == {
        "repaired": 1, "m_dropped": 1, "null_geometries": 1, "empty_geometries": 1,
    }  # fmt: skip


def test_rows_that_cannot_be_read_are_quarantined(bench: Bench) -> None:
    bench.write("a.csv", "n,lon,lat\n1,11.5,48.1\n2,here,48\n3,11,47,9\n")
    bench.write("b.csv", "n,lon,lat\n4,11.5,48.1\n5,there,48\n")
    one = bench.run(table("a.csv", quarantine_share=1))
    assert (one.counts["rows_in"], one.counts["rows_out"], one.counts["rows_quarantined"]) == (3, 1, 2)
    rows = pq.read_table(one.product.companions["quarantine.parquet"]).to_pylist()
    assert [(each["line"], each["reason"]) for each in rows] == [
        (3, "column 'lon': 'here' is not a number"),
        (4, "4 fields instead of 3"),
    ]
    both = bench.run(table("a.csv", quarantine_share=1), table("b.csv", quarantine_share=1))
    assert both.frame["n"].tolist() == [1, 4]
    assert list(both.product.companions) == ["quarantine.1.parquet", "quarantine.2.parquet"]
    assert (both.counts["rows_in"], both.counts["rows_quarantined"]) == (5, 3)


def test_a_recipe_is_carried_out(bench: Bench) -> None:
    bench.write("t", WRITERS["CSV"](PLACES))
    found = bench.run(table("t", "CSV", UTM), recipe={"crs": "source", "multi": "promote"})
    assert found.product.crs == "EPSG:25832"
    assert found.frame.geometry[0].wkt == "MULTIPOINT ((691608.25 5334760.75))"
