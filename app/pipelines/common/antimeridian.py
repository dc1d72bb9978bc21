"""Splitting of lines and polygons at the antimeridian, which would span the whole world otherwise."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import antimeridian
import numpy as np
import numpy.typing as npt
import shapely

from app.messages.common import ANTIMERIDIAN_UNSPLITTABLE
from app.pipelines.common.findings import Findings

Coordinates = npt.NDArray[np.float64]

# great_circle=False: edges stay straight in longitude and latitude, as they are between all other vertices.
# fix_winding=False: rings are counterclockwise on the ground already, which decides which pole they enclose.
_SPLIT: dict[str, Callable[[shapely.Geometry], shapely.Geometry]] = {
    "Polygon": lambda g: antimeridian.fix_polygon(g, fix_winding=False, great_circle=False),
    "MultiPolygon": lambda g: antimeridian.fix_multi_polygon(g, fix_winding=False, great_circle=False),
    "LineString": lambda g: antimeridian.fix_line_string(g, great_circle=False),
    "MultiLineString": lambda g: antimeridian.fix_multi_line_string(g, great_circle=False),
}


def split_at_antimeridian(
    before: npt.NDArray[np.object_],
    after: npt.NDArray[np.object_],
    transform: Callable[[Coordinates], Coordinates],
    file: str,
    first_row: int,
    findings: Findings,
) -> npt.NDArray[np.object_]:
    """Split lines and polygons that cross ±180° after reprojection from a projected CRS.

    An edge crosses when its transformed middle lies on the other side of the world from the middle of its transformed
    ends. So an edge that is really longer than 180° stays whole.

    Args:
        before: geometries in the projected source CRS; null for rows without one.
        after: the same rows in a geographic CRS, longitude before latitude, in degrees.
        transform: from coordinates of `before` to those of `after`.
        file: the key of the source, for messages.
        first_row: number of the first row within the file.
        findings: counts `antimeridian_split`.

    Returns:
        `after` with the crossing geometries split; same length, all others unchanged.

    Raises:
        RunRefused: antimeridian_unsplittable for a collection that crosses, or where splitting fails.
    """
    boxes = shapely.bounds(after)
    wide = np.flatnonzero(boxes[:, 2] - boxes[:, 0] > 180)
    crossing = [row for row in wide if _crosses(before[row], after[row], transform)]
    result = after.copy()
    for row in crossing:
        oriented = shapely.orient_polygons(before[row], exterior_cw=False)
        moved = shapely.set_coordinates(shapely.force_2d(oriented), transform(shapely.get_coordinates(oriented)))
        try:
            flat = _SPLIT[moved.geom_type](moved)
        except (KeyError, ValueError):
            raise ANTIMERIDIAN_UNSPLITTABLE(file=file, kind=moved.geom_type, row=first_row + int(row)) from None
        result[row] = _with_heights(flat, after[row]) if shapely.has_z(after[row]) else flat
    findings.add("antimeridian_split", np.array(crossing, np.intp), first_row)
    return result


# Geometries beyond these degrees are left as they are, and degrees beyond ±180° that count as rounding.
_MOST = 540.0
_ROUNDING = 1e-9


def wrap_longitudes(
    geometries: npt.NDArray[np.object_], file: str, first_row: int, findings: Findings
) -> npt.NDArray[np.object_]:
    """Bring longitudes beyond ±180° back: split geometries there, or move them by multiples of 360°.

    Geometries that reach beyond ±540° stay as they are.

    Args:
        geometries: longitude before latitude, in degrees; null for rows without one.
        file: the key of the source, for messages.
        first_row: number of the first row within the file.
        findings: counts `antimeridian_split`, `longitudes_wrapped` for those that were moved whole, and `repaired` for
            invalid polygons, which must be valid before they are cut.

    Returns:
        An array of the same length.

    Raises:
        RunRefused: antimeridian_unsplittable where cutting fails.
    """
    west, _, east, _ = shapely.bounds(geometries).T
    with np.errstate(invalid="ignore"):
        rows = np.flatnonzero(
            ((west < -180 - _ROUNDING) | (east > 180 + _ROUNDING)) & (west >= -_MOST) & (east <= _MOST)
        )
    result = geometries.copy()
    split, repaired = np.zeros(len(geometries), np.bool_), np.zeros(len(geometries), np.bool_)
    for row in rows:
        geometry = geometries[row]
        has_area = geometry.geom_type in ("Polygon", "MultiPolygon", "GeometryCollection")
        if has_area and _turn(geometry) is None and not shapely.is_valid(geometry):
            geometry, repaired[row] = shapely.make_valid(geometry, method="linework"), True
        try:
            result[row] = _wrapped(geometry)
        except shapely.errors.GEOSException:
            raise ANTIMERIDIAN_UNSPLITTABLE(file=file, kind=geometry.geom_type, row=first_row + int(row)) from None
        split[row] = geometry.geom_type not in ("Point", "MultiPoint") and _turn(geometry) is None
    moved = np.zeros(len(geometries), np.bool_)
    moved[rows] = True
    findings.add("antimeridian_split", split, first_row)
    findings.add("longitudes_wrapped", moved & ~split, first_row)
    findings.add("repaired", repaired, first_row)
    return result


def _turn(geometry: shapely.Geometry) -> float | None:
    """The degrees to move the geometry by so that it lies within ±180°; None where it must be cut."""
    west, _, east, _ = shapely.bounds(geometry).tolist()
    if np.isnan(west) or (west >= -180 - _ROUNDING and east <= 180 + _ROUNDING):
        return 0.0
    turn = 360.0 * float(np.floor((west + 180 + _ROUNDING) / 360))
    return -turn if east - turn <= 180 + _ROUNDING else None


def _wrapped(geometry: shapely.Geometry) -> shapely.Geometry:
    kind = geometry.geom_type
    turn = _turn(geometry)
    if turn is not None and kind != "MultiPoint":
        return _moved(geometry, turn) if turn else geometry
    if kind == "GeometryCollection":
        return shapely.GeometryCollection([_wrapped(part) for part in geometry.geoms])
    if kind == "MultiPoint":
        return shapely.MultiPoint([_wrapped(part) for part in geometry.geoms])
    if kind == "MultiLineString":
        return shapely.MultiLineString([line for part in geometry.geoms for line in _cut_line(part)])
    if kind in ("LineString", "LinearRing"):
        return shapely.MultiLineString(_cut_line(geometry))
    return _cut_polygons(geometry)


def _cut_polygons(geometry: shapely.Geometry) -> shapely.Geometry:
    west, south, east, north = shapely.bounds(geometry).tolist()
    parts: list[shapely.Geometry] = []
    for turn in range(int((west + 180) // 360), int((east + 180) // 360) + 1):
        window = shapely.box(360 * turn - 180, south - 1, 360 * turn + 180, north + 1)
        found = _moved(shapely.intersection(geometry, window), -360.0 * turn)
        parts += [p for p in shapely.get_parts(found) if p.geom_type == "Polygon" and not p.is_empty]
    if east - west >= 360:  # the pieces touch or overlap
        parts = shapely.get_parts(shapely.union_all(parts)).tolist()
    return shapely.MultiPolygon(parts)


def _cut_line(line: shapely.Geometry) -> list[shapely.Geometry]:
    """The pieces of the line within ±180°, in its order and direction."""
    has_z = bool(shapely.has_z(line))
    points = shapely.get_coordinates(line, include_z=has_z)
    pieces: list[shapely.Geometry] = []
    run = [points[0]]

    def close() -> None:
        if len(run) > 1:
            xy = np.array(run)
            xy[:, 0] -= 360 * np.floor((xy[:, 0].min() + xy[:, 0].max() + 360) / 720)
            pieces.append(shapely.LineString(xy))

    for a, b in pairwise(points):
        low, high = sorted((a[0], b[0]))
        turns = range(int((low + 180) // 360), int((high + 180) // 360) + 1)
        edges = [edge for turn in turns if low <= (edge := 360.0 * turn - 180) <= high and low < high]
        edges = edges[:: 1 if a[0] < b[0] else -1]
        for edge in edges:
            at = b.copy() if edge == b[0] else a + (b - a) * ((edge - a[0]) / (b[0] - a[0]))
            at[0] = edge
            if edge != a[0]:
                run.append(at)
            if edge != b[0]:
                close()
                run = [at]
        if not edges or edges[-1] != b[0]:
            run.append(b)
    close()
    return pieces


def _moved(geometry: shapely.Geometry, by: float) -> shapely.Geometry:
    has_z = bool(shapely.has_z(geometry))
    coordinates = shapely.get_coordinates(geometry, include_z=has_z)
    coordinates[:, 0] += by
    return shapely.set_coordinates(geometry if has_z else shapely.force_2d(geometry), coordinates)


def _crosses(
    before: shapely.Geometry, after: shapely.Geometry, transform: Callable[[Coordinates], Coordinates]
) -> bool:
    for source, moved in zip(_lines(before), _lines(after), strict=True):
        lon = shapely.get_coordinates(moved)[:, 0]
        jumps = np.flatnonzero(np.abs(np.diff(lon)) > 180)
        if not len(jumps):
            continue
        xy = shapely.get_coordinates(source)
        middle = transform((xy[jumps] + xy[jumps + 1]) / 2)[:, 0]
        if (np.abs(middle - (lon[jumps] + lon[jumps + 1]) / 2) > 90).any():
            return True
    return False


def _lines(geometry: shapely.Geometry) -> list[shapely.Geometry]:
    """All rings and lines of a geometry."""
    parts = [geometry]
    while any(part.geom_type.startswith(("Multi", "GeometryCollection")) for part in parts):
        parts = list(shapely.get_parts(parts))
    lines: list[shapely.Geometry] = []
    for part in parts:
        lines += shapely.get_rings(part).tolist() if part.geom_type == "Polygon" else [part]
    return [line for line in lines if line.geom_type in ("LineString", "LinearRing")]


def _with_heights(flat: shapely.Geometry, high: shapely.Geometry) -> shapely.Geometry:
    """`flat` with the z of the vertices that it shares with `high`; z of new vertices is interpolated."""
    known = {(x % 360, y): z for x, y, z in shapely.get_coordinates(high, include_z=True).tolist()}
    xy = shapely.get_coordinates(flat)
    z = np.array([known.get((x % 360, y), np.nan) for x, y in xy.tolist()])
    found = np.isfinite(z)
    if found.any():
        z[~found] = np.interp(np.flatnonzero(~found), np.flatnonzero(found), z[found])
    return shapely.set_coordinates(shapely.force_3d(flat), np.column_stack([xy, z]))
