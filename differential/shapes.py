"""Random geometries of one kind, valid, with coordinates of full precision."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Literal

import shapely
from shapely.geometry.base import BaseGeometry

ShapeKind = Literal["Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon"]


def shapes(
    rng: random.Random, rows: int, kind: ShapeKind, *, heights: bool, missing: bool
) -> list[BaseGeometry | None]:
    """One geometry for each row, in degrees of central Europe.

    Args:
        kind: of all geometries.
        heights: all have a Z.
        missing: some rows after the first have no geometry.
    """
    made: list[BaseGeometry | None] = []
    for row in range(rows):
        if row and missing and rng.random() < 0.15:
            made.append(None)
            continue
        found = _MAKERS[kind](rng, rng.uniform(6, 12), rng.uniform(46, 54))
        made.append(_with_heights(rng, found) if heights else found)
    return made


def _with_heights(rng: random.Random, geometry: BaseGeometry) -> BaseGeometry:
    """Rings stay closed: the same place has the same height."""
    heights: dict[tuple[float, float], float] = {}

    def height(x: float, y: float) -> float:
        return heights.setdefault((x, y), round(rng.uniform(-100, 4_000), 3))

    return shapely.transform(
        shapely.force_3d(geometry), lambda found: [(x, y, height(x, y)) for x, y, _ in found], include_z=True
    )


def _point(_: random.Random, x: float, y: float) -> BaseGeometry:
    return shapely.Point(x, y)


def _line(rng: random.Random, x: float, y: float) -> BaseGeometry:
    steps = rng.randint(2, 8)
    return shapely.LineString([(x + 0.01 * n, y + rng.uniform(0, 0.1)) for n in range(steps)])


def _ring(rng: random.Random, x: float, y: float, radius: float) -> list[tuple[float, float]]:
    corners = rng.randint(3, 9)
    found = [
        (x + radius * math.cos(math.tau * n / corners), y + radius * math.sin(math.tau * n / corners))
        for n in range(corners)
    ]
    return [*found, found[0]]


def _polygon(rng: random.Random, x: float, y: float) -> BaseGeometry:
    holes = [_ring(rng, x, y, 0.002)] if rng.random() < 0.4 else []
    return shapely.Polygon(_ring(rng, x, y, 0.01), holes)


def _several(
    make: Callable[[random.Random, float, float], BaseGeometry], of: type[BaseGeometry]
) -> Callable[..., BaseGeometry]:
    """Parts that lie apart, so that the whole is valid."""
    return lambda rng, x, y: of([make(rng, x + 0.2 * n, y) for n in range(rng.randint(1, 3))])


_MAKERS: Mapping[ShapeKind, Callable[[random.Random, float, float], BaseGeometry]] = {
    "Point": _point,
    "LineString": _line,
    "Polygon": _polygon,
    "MultiPoint": _several(_point, shapely.MultiPoint),
    "MultiLineString": _several(_line, shapely.MultiLineString),
    "MultiPolygon": _several(_polygon, shapely.MultiPolygon),
}
KINDS: tuple[ShapeKind, ...] = tuple(_MAKERS)
