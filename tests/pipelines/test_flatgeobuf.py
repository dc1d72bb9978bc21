"""FlatGeobuf: features without geometry or text in the middle of a file leave all others as they were."""

from __future__ import annotations

import geopandas
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from shapely.geometry import Point, Polygon

from tests.pipelines.conftest import Bench

POINTS = [Point(n, n) for n in range(1, 9)]


@pytest.mark.parametrize("kind", ["Unknown", "Point"])
@pytest.mark.parametrize("holes", [(0,), (3,), (7,), (0, 1, 4), (2, 3, 6, 7)])
def test_rows_without_geometry_do_not_move_the_others(bench: Bench, kind: str, holes: tuple[int, ...]) -> None:
    nothing = Polygon() if kind == "Unknown" else Point()
    geometries = [(None if row % 2 else nothing) if row in holes else point for row, point in enumerate(POINTS)]
    names = [None if row in holes else f"n{row}" for row in range(len(POINTS))]
    frame = geopandas.GeoDataFrame({"name": names, "n": range(len(POINTS))}, geometry=geometries, crs=4326)
    pyogrio.write_dataframe(frame, bench.landing / "x.fgb", driver="FlatGeobuf", geometry_type=kind, SPATIAL_INDEX="NO")
    result = bench.one("x.fgb", "FlatGeobuf")
    table = pq.read_table(result.path)
    assert table.column("n").to_pylist() == list(range(len(POINTS)))
    assert table.column("name").to_pylist() == names
    found = [None if wkb is None else shapely.from_wkb(wkb) for wkb in table.column("geom").to_pylist()]
    assert found == [None if row in holes else point for row, point in enumerate(POINTS)]
    assert result.counts["null_geometries"] == len(holes)
