"""Points made of a table are those that geopandas makes of the same numbers, in every format."""

from __future__ import annotations

from collections.abc import Sequence

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pipelines.conftest import Bench
from tests.pipelines.points import WRITERS, table

# One directory for all examples: each overwrites the file of the one before.
PROPERTY = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PLANE = {"x": "e", "y": "n", "crs": "EPSG:3857"}
NUMBERS = st.one_of(
    st.integers(-(10**6), 10**6),
    st.floats(-1e6, 1e6, allow_subnormal=False),
    st.decimals(-(10**6), 10**6, places=3).map(float),
)
PLACES = st.lists(st.tuples(st.none() | NUMBERS, st.none() | NUMBERS), min_size=1, max_size=12)


@pytest.mark.parametrize("fmt", WRITERS)
@PROPERTY
@given(places=PLACES)
def test_points_equal_those_of_geopandas(
    bench: Bench, fmt: str, places: Sequence[tuple[float | None, float | None]]
) -> None:
    easts, norths = ([None if pair[side] is None else float(pair[side]) for pair in places] for side in (0, 1))  # type: ignore[arg-type]
    bench.write("t", WRITERS[fmt]({"row": list(range(len(places))), "e": easts, "n": norths}))
    found = bench.run(table("t", fmt, PLANE), recipe={"crs": "source"}).frame
    there = [east is not None and north is not None for east, north in zip(easts, norths, strict=True)]
    made = geopandas.points_from_xy(np.array(easts, float)[there], np.array(norths, float)[there])
    wanted = np.full(len(places), None, object)
    wanted[there] = np.asarray(made)
    assert found["row"].tolist() == list(range(len(places)))
    assert (shapely.is_missing(found.geometry.to_numpy()) == ~np.array(there)).all()
    assert shapely.equals_exact(found.geometry.to_numpy()[there], wanted[there]).all()


@pytest.mark.parametrize("fmt", ["XLSX", "JSONL"])
@PROPERTY
@given(places=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=12))
def test_wkt_and_wkb_are_the_same_shapes(bench: Bench, fmt: str, places: list[tuple[float, float]]) -> None:
    shapes = [shapely.Point(places[0]), shapely.MultiPoint(places), None]
    for kind, texts in (
        ("wkt", [each and shapely.to_wkt(each, rounding_precision=-1) for each in shapes]),
        ("wkb", [each and shapely.to_wkb(each, hex=True) for each in shapes]),
    ):
        bench.write("t", WRITERS[fmt]({"n": [1, 2, 3], "g": texts}))
        found = bench.run(table("t", fmt, {kind: "g", "crs": "EPSG:3857"}), recipe={"crs": "source"}).frame.geometry
        assert shapely.equals_exact(found.to_numpy()[:2], shapes[:2]).all()
        assert found[2] is None
