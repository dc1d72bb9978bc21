"""Overlaps among polygons that share edges: the short way finds what a comparison of all pairs finds."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import geopandas
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from app.pipelines.common.shared_edges import exposed
from tests.pipelines.conftest import Bench

Shapes = npt.NDArray[np.object_]
_SIDE = 6


def coverage(seed: int, side: int = _SIDE) -> list[shapely.Geometry]:
    """Neighbours with the same corners; a square with a hole and what fills it; two that are one geometry."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(side + 1.0), np.arange(side + 1.0), indexing="ij")
    corners = np.stack([x, y], -1) + rng.uniform(-0.3, 0.3, (side + 1, side + 1, 2))
    rings = np.stack([corners[:-1, :-1], corners[1:, :-1], corners[1:, 1:], corners[:-1, 1:]], 2).reshape(-1, 4, 2)
    made = list(shapely.polygons(rings))
    core = _shrunk(made[3])
    made[3] = shapely.Polygon(made[3].exterior.coords, [core.exterior.coords])
    made.append(core)
    made[7] = shapely.MultiPolygon([made[7], made.pop(20)])
    return [each.reverse() if rng.random() < 0.5 else each for each in made]


def _shrunk(polygon: shapely.Polygon) -> shapely.Polygon:
    middle = np.array(polygon.centroid.coords[0])
    return shapely.transform(polygon, lambda points: middle + 0.3 * (points - middle))


# What is put among them: each overlaps some of them.
INTRUDERS: dict[str, Callable[[list[shapely.Geometry]], shapely.Geometry]] = {
    "a copy": lambda made: made[14],
    "its reverse": lambda made: made[14].reverse(),
    "one inside": lambda made: _shrunk(made[14]),
    "one around": lambda _: shapely.box(-9, -9, 19, 19),
    "a neighbour with more corners": lambda made: shapely.segmentize(made[14], 0.1),
    "two of them together": lambda made: shapely.union_all([made[14], made[15]]),
    "one across": lambda _: shapely.box(2.5, 2.5, 3.5, 3.5),
    "a collection": lambda made: shapely.GeometryCollection([made[14], shapely.Point(0, 0)]),
    "an invalid one": lambda _: shapely.Polygon([(1, 1), (4, 4), (4, 1), (1, 4)]),
    "what fills a hole": lambda made: made[-1],
    "a hole alone": lambda made: shapely.Polygon(shapely.box(-9, -9, 19, 19).exterior, [made[14].exterior.coords]),
}  # fmt: skip


def as_wkb(shapes: Shapes) -> pa.Array:
    return pa.array(shapely.to_wkb(shapes, flavor="iso"), pa.binary())


def overlapping(shapes: Shapes) -> set[tuple[int, int]]:
    """The oracle: each pair for itself."""
    whole = shapely.make_valid(shapes)
    pairs = np.array(list(combinations(range(len(shapes)), 2)))
    shared = shapely.relate_pattern(whole[pairs[:, 0]], whole[pairs[:, 1]], "2********")
    return {(int(one), int(other)) for one, other in pairs[shared]}


def holds(shapes: Shapes) -> bool:
    """Whether a look at the exposed ones finds out if there are overlaps."""
    alone = exposed(as_wkb(shapes), shapely.is_valid(shapes))
    pairs = overlapping(shapes)
    return bool(pairs) == any(alone[one] or alone[other] for one, other in pairs)


@pytest.mark.parametrize("intruder", INTRUDERS)
def test_an_exposed_polygon_is_among_those_that_overlap(intruder: str) -> None:
    made = coverage(1)
    shapes = np.array([*made, INTRUDERS[intruder](made)], dtype=object)
    assert overlapping(shapes)
    assert holds(shapes)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6), st.sets(st.integers(0, 30), max_size=12),
    st.lists(st.sampled_from(sorted(INTRUDERS)), max_size=3),
)  # fmt: skip
def test_so_it_is_where_some_are_missing_and_some_too_many(seed: int, missing: set[int], more: list[str]) -> None:
    made = coverage(seed)
    kept = [each for number, each in enumerate(made) if number not in missing]
    assert holds(np.array([*kept, *(INTRUDERS[name](made) for name in more)], dtype=object))


def test_within_a_coverage_the_rim_is_exposed() -> None:
    made = np.array(coverage(2, 20), dtype=object)
    alone = exposed(as_wkb(made), np.ones(len(made), np.bool_))
    rim = shapely.length(shapely.intersection(made, shapely.union_all(made).boundary)) > 0
    assert (alone == rim).all()
    assert rim.sum() < 80


@pytest.mark.parametrize("rows", [7, 64, 32_768])
@pytest.mark.parametrize("more", [(), ("a copy",), ("one across", "an invalid one", "one around")])
def test_a_run_finds_the_pairs(bench: Bench, monkeypatch: pytest.MonkeyPatch, rows: int, more: tuple[str, ...]) -> None:
    monkeypatch.setattr("app.pipelines.common.check_overlaps._BATCH_ROWS", rows)
    made = coverage(3, 12)
    shapes = np.array([*made, *(INTRUDERS[name](made) for name in more), shapely.Point(1, 1)], dtype=object)
    wanted, compared = overlapping(shapes), list[int]()
    real = shapely.relate_pattern
    monkeypatch.setattr(
        "app.pipelines.common.check_overlaps.shapely.relate_pattern",
        lambda left, right, pattern: compared.append(len(left)) or real(left, right, pattern),
    )
    geopandas.GeoDataFrame(geometry=shapes, crs=4326).to_parquet(bench.landing / "c.parquet")
    file: dict[str, Any] = {"path": "c.parquet", "format": "GeoParquet"}
    for repair in ("linework", "off"):
        compared.clear()
        asked = {"recipe": {"crs": "source", "repair": repair}, "checks": [{"check": "no_overlaps"}]}
        (found,) = bench.run(file, **asked).product.checks
        assert found.found == len(wanted)
        pairs = {tuple(each["rows"]) for each in found.samples}
        assert pairs <= wanted
        assert len(pairs) == min(5, found.found)
        # Neighbours within the coverage are not compared.
        assert more or rows < len(shapes) or sum(compared) < 2 * len(shapes)
