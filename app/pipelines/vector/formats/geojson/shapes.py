"""Geometries of GeoJSON features: in bulk from the numbers of a whole chunk, one by one where they are not plain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely.errors import ShapelyError
from shapely.geometry import shape

from app.pipelines.common.findings import Findings
from app.pipelines.common.shapes import Coordinates, Geometries, Shapes, damaged, from_geometries
from app.pipelines.vector.formats.geojson.scan import Positions, read_positions
from app.pipelines.vector.formats.geojson.values import as_json

Ints = npt.NDArray[np.intp]

# GeoJSON type → (shapely type, brackets around a position besides its own, positions of the smallest line or ring)
_NESTING = {
    "Point": (shapely.GeometryType.POINT, 0, 0),
    "MultiPoint": (shapely.GeometryType.MULTIPOINT, 1, 1),
    "LineString": (shapely.GeometryType.LINESTRING, 1, 2),
    "Polygon": (shapely.GeometryType.POLYGON, 2, 4),
    "MultiLineString": (shapely.GeometryType.MULTILINESTRING, 2, 2),
    "MultiPolygon": (shapely.GeometryType.MULTIPOLYGON, 3, 4),
}
BULK_TYPES = frozenset(_NESTING)


def bulk_shapes(kind: str, texts: Sequence[bytes]) -> tuple[Ints, Shapes] | None:
    """(which of the texts, their geometries) of one GeoJSON type from their `coordinates`; those with open or too short
    rings, or wrongly nested, are not among them. None where the text is not plain."""
    positions = read_positions(b"".join(texts), len(texts))
    if positions is None:
        return None
    good = _good(kind, positions, len(texts))
    members = np.flatnonzero(good)
    if len(members) < len(texts):
        positions = (
            read_positions(b"".join([texts[i] for i in members.tolist()]), len(members)) if len(members) else None
        )
        if positions is None or not _good(kind, positions, len(members)).all():
            return None
    geometry_type, nesting, _ = _NESTING[kind]
    values, offsets = positions.values, tuple(_offsets(positions, nesting))
    ends = (positions.before + positions.leaf)[_closings(positions, 0)]

    def build(moved: Coordinates | None) -> Geometries:
        chosen = values if moved is None else np.ascontiguousarray(moved)
        return np.asarray(shapely.from_ragged_array(geometry_type, chosen, offsets or None), dtype=object)

    def rows() -> Ints:
        return np.repeat(np.arange(len(members)), np.diff(np.append(0, ends)))

    return members, Shapes(len(members), values, rows, build)


def _closings(positions: Positions, depth: int) -> Ints:
    return np.flatnonzero((positions.delta == -1) & (positions.depth == depth))


def _good(kind: str, positions: Positions, arrays: int) -> npt.NDArray[np.bool_]:
    """Which arrays have all their positions at the depth of their type, and lines and rings that are long enough and
    closed."""
    _, nesting, least = _NESTING[kind]
    member = np.cumsum((positions.delta == 1) & (positions.depth == 1)) - 1
    good = np.ones(arrays, np.bool_)
    good[member[positions.leaf & (positions.depth != nesting + 1)]] = False
    if not nesting or not good.all():
        return good
    ends = _closings(positions, nesting - 1)
    stops = positions.before[ends]
    starts = np.append(0, stops[:-1])
    good[member[ends[stops - starts < max(least, 1)]]] = False
    if least == 4 and good.all():
        is_open = (positions.values[starts] != positions.values[stops - 1]).any(axis=1)
        good[member[ends[is_open]]] = False
    return good


def _offsets(positions: Positions, nesting: int) -> list[npt.NDArray[np.int64]]:
    """shapely's offsets, innermost first: positions of each ring, rings of each polygon, …; one for each level."""
    levels = []
    counts = positions.before
    for depth in range(nesting - 1, -1, -1):
        ends = _closings(positions, depth)
        levels.append(np.append(0, counts[ends]).astype(np.int64))
        closed = np.zeros(len(positions.delta), np.int64)
        closed[ends] = 1
        counts = np.cumsum(closed) - closed
    return levels


def single_shapes(
    geometries: Sequence[Mapping[str, Any] | None], rows: Ints, file: str, first_row: int, findings: Findings
) -> Shapes:
    """Shapes one feature at a time, for all that GeoJSON allows. Counts rings_closed, m_dropped (a fourth number),
    empty_parts_skipped (of a multi geometry).

    rows: where in the chunk the geometries stand. Raises RunRefused geometry_damaged, naming the row.
    """
    made = np.empty(len(geometries), object)
    changed: dict[str, list[int]] = {"rings_closed": [], "m_dropped": [], "empty_parts_skipped": []}
    for index, geometry in enumerate(geometries):
        if geometry is None:
            continue
        row = int(rows[index])
        try:
            made[index] = shape(_plain(geometry, row, changed))
        except (ShapelyError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as err:
            raise damaged(file, first_row + row, " ".join(str(err).split())[:200]) from None
    for name, at in changed.items():
        findings.add(name, np.unique(np.array(at, np.intp)), first_row)
    return from_geometries(made)


def _plain(geometry: Mapping[str, Any], row: int, changed: dict[str, list[int]]) -> dict[str, Any]:
    """The geometry with closed rings and two or three numbers for each position; an empty one is kept as such.

    Raises ValueError, with a text for users.
    """
    kind = _checked_type(geometry)
    if kind == "GeometryCollection":
        return {"type": kind, "geometries": [_plain(part, row, changed) for part in geometry["geometries"]]}
    nesting = _NESTING[kind][1]
    coordinates = _positions(geometry["coordinates"], nesting, row, changed)
    sizes: set[int] = set()
    _collect_sizes(coordinates, nesting, sizes)
    if len(sizes) > 1:
        raise ValueError("some of its positions have a height and others have none")
    if kind.startswith("Multi"):
        parts = [part for part in coordinates if part and (kind != "MultiPolygon" or any(part))]
        if len(parts) != len(coordinates):
            changed["empty_parts_skipped"].append(row)
        coordinates = parts
    lines = coordinates if kind == "MultiLineString" else [coordinates] if kind == "LineString" else []
    if any(len(line) == 1 for line in lines):
        raise ValueError("a line of one position")
    polygons = coordinates if kind == "MultiPolygon" else [coordinates] if kind == "Polygon" else []
    for ring in (ring for polygon in polygons for ring in polygon if ring):
        if ring[0] != ring[-1]:
            ring.append(ring[0])
            changed["rings_closed"].append(row)
    return {"type": kind, "coordinates": coordinates}


def _checked_type(geometry: Any) -> str:
    """The geometry's type. Raises ValueError for what is not a GeoJSON geometry."""
    if not isinstance(geometry, Mapping):
        raise ValueError(f"a geometry in its collection is {as_json(geometry)[:40]}")
    kind = geometry.get("type")
    member = "geometries" if kind == "GeometryCollection" else "coordinates"
    if kind != "GeometryCollection" and kind not in _NESTING:
        raise ValueError(f"its type {as_json(kind)[:40]} is not a type of GeoJSON (types are case-sensitive)")
    if not isinstance(geometry.get(member), list):
        raise ValueError(f"a {kind} without an array of {member}")
    return str(kind)


def _positions(values: Any, nesting: int, row: int, changed: dict[str, list[int]]) -> Any:
    if not isinstance(values, list):
        raise ValueError(f"found {as_json(values)[:40]} where an array of coordinates should be")
    if nesting:
        return [_positions(value, nesting - 1, row, changed) for value in values]
    if not values:
        return []
    if not all(type(number) in (int, float) for number in values) or len(values) < 2:
        raise ValueError(f"found {as_json(values)[:40]} where a position should be, of two numbers or more")
    if len(values) > 3:
        changed["m_dropped"].append(row)
    return [float(number) for number in values[:3]]


def _collect_sizes(values: list[Any], nesting: int, sizes: set[int]) -> None:
    if nesting:
        for value in values:
            _collect_sizes(value, nesting - 1, sizes)
    elif values:
        sizes.add(len(values))
