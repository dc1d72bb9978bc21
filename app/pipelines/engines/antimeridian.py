"""Lines and polygons that cross the antimeridian: after reprojection they would span the whole world."""

from __future__ import annotations

from collections.abc import Callable

import antimeridian
import numpy as np
import numpy.typing as npt
import shapely

from app.errors import RunRefused
from app.pipelines.formats.findings import Findings

Coordinates = npt.NDArray[np.float64]

# great_circle=False: edges stay straight in longitude and latitude, as they are between all other vertices.
# fix_winding=False: rings come counterclockwise on the ground, which tells the pole that they enclose from the other.
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
    """`after` with its crossing lines and polygons split at ±180°; all others untouched. Counts `antimeridian_split`.

    before: the same rows in the projected source CRS; after: in a geographic CRS, longitude before latitude. An edge
    crosses when the middle of it, transformed, lies on the other side of the world from the middle of its transformed
    ends; so an edge that is really more than 180° long stays whole.
    Raises RunRefused antimeridian_unsplittable for a crossing collection, or where splitting fails.
    """
    boxes = shapely.bounds(after)
    wide = np.flatnonzero(boxes[:, 2] - boxes[:, 0] > 180)
    crossing = [row for row in wide if _crosses(before[row], after[row], transform)]
    result = after.copy()
    for row in crossing:
        turned = shapely.orient_polygons(before[row], exterior_cw=False)
        moved = shapely.set_coordinates(shapely.force_2d(turned), transform(shapely.get_coordinates(turned)))
        try:
            flat = _SPLIT[moved.geom_type](moved)
        except (KeyError, ValueError) as err:
            raise RunRefused(
                f"{file}: the {moved.geom_type} of row {first_row + row} crosses the antimeridian and cannot be split "
                f"({err!r}; rows count from 0).",
                "Split it at 180° in the source.",
                reason="antimeridian_unsplittable",
                file=file,
            ) from None
        result[row] = _with_heights(flat, after[row]) if shapely.has_z(after[row]) else flat
    findings.add("antimeridian_split", np.array(crossing, np.intp), first_row)
    return result


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
    """The rings and lines that a geometry is made of."""
    parts = [geometry]
    while any(part.geom_type.startswith(("Multi", "GeometryCollection")) for part in parts):
        parts = list(shapely.get_parts(parts))
    lines: list[shapely.Geometry] = []
    for part in parts:
        lines += shapely.get_rings(part).tolist() if part.geom_type == "Polygon" else [part]
    return [line for line in lines if line.geom_type in ("LineString", "LinearRing")]


def _with_heights(flat: shapely.Geometry, high: shapely.Geometry) -> shapely.Geometry:
    """`flat` with the z of the vertices that it shares with `high`; between them, at the cut, z runs evenly."""
    known = {(x % 360, y): z for x, y, z in shapely.get_coordinates(high, include_z=True).tolist()}
    xy = shapely.get_coordinates(flat)
    z = np.array([known.get((x % 360, y), np.nan) for x, y in xy.tolist()])
    found = np.isfinite(z)
    if found.any():
        z[~found] = np.interp(np.flatnonzero(~found), np.flatnonzero(found), z[found])
    return shapely.set_coordinates(shapely.force_3d(flat), np.column_stack([xy, z]))
