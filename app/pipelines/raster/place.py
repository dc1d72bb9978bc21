"""Whether a raster lies where its CRS is meant for: errors of CRS, axis order and units that no file can show."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyproj import Transformer
from pyproj.exceptions import ProjError

from app.messages.raster import BOUNDS_UNKNOWN, MISREAD, NOWHERE_ON_EARTH, REACHES_OUTSIDE_AREA_OF_USE
from app.pipelines.common.areas import (
    FAR_DEGREES,
    Coordinates,
    degrees_beyond,
    degrees_of,
    is_outside,
    kilometres_outside,
    known_area,
    shown_area,
    shown_distance,
)
from app.pipelines.common.crs import Box, crs_name
from app.pipelines.common.source_places import SourcePlaces
from app.pipelines.common.world_box import box_4326
from app.pipelines.contract.watch import Watch
from app.pipelines.raster.bounds import bounds_of
from app.pipelines.raster.grid import Grid

_WORLD = 4326
# Points along each side of a raster that are looked at.
_SIDE = 33


def check_place(grid: Grid, watch: Watch, *, is_ignored: bool) -> None:
    """Compare points all over the raster with the area of use of its CRS, where PROJ knows both.

    Longitudes of a geographic CRS count as they are: beyond ±180° they are outside of every area.

    Args:
        grid: the raster.
        watch: takes `bounds_unknown`, and `outside_area_of_use` where most of it lies outside, or a part far outside.
        is_ignored: the raster is meant to lie there.

    Raises:
        RunRefused: outside_area_of_use for a raster without a place on Earth, or inside the area if read otherwise.
    """
    file, crs, places = grid.parts[0].source.file, grid.crs, SourcePlaces(grid.crs)
    points = _points(grid)
    nowhere = places.are_nowhere(points)
    # A projection of the whole Earth has corners without a place.
    if nowhere.mean() > 0.5 if crs.is_geographic else nowhere.all():
        raise NOWHERE_ON_EARTH(file=file, crs=crs_name(crs), x=float(points[0, 0]), y=float(points[0, 1]))
    box = box_4326(bounds_of(grid.transform, grid.width, grid.height), crs)
    if box is None:
        watch.warn(BOUNDS_UNKNOWN())
    area, degrees = known_area(crs), _degrees(grid, points)
    if area is None or degrees is None or is_ignored:
        return
    known = np.isfinite(degrees).all(axis=1)
    points, degrees = points[known], degrees[known]
    outside = is_outside(degrees, area)
    if outside.mean() <= 0.5 and not is_outside(degrees, area, FAR_DEGREES).any():
        return
    values: dict[str, Any] = {"file": file, "crs": crs_name(crs), "area": shown_area(area), "box": _covered(degrees)}
    for is_inside, reading, margin in (
        (places.are_degrees_in, "as degrees", FAR_DEGREES),
        (places.are_swapped_in, "y before x", places.swapped_from),
    ):
        if (is_outside(degrees, area, margin) & is_inside(points, area)).mean() > 0.5:
            raise MISREAD(reading=reading, **values)
    distance = kilometres_outside(degrees[outside], area)
    shown = shown_distance(distance) if distance else f"{degrees_beyond(degrees, area):.4g} degrees"
    watch.warn(REACHES_OUTSIDE_AREA_OF_USE(share=float(outside.mean()), distance=shown, **values))


def _points(grid: Grid) -> Coordinates:
    """(n, 2) coordinates, x before y, from edge to edge."""
    columns, rows = np.linspace(0, grid.width, _SIDE).tolist(), np.linspace(0, grid.height, _SIDE).tolist()
    return np.array([grid.transform @ (column, row) for row in rows for column in columns])


def _degrees(grid: Grid, points: Coordinates) -> Coordinates | None:
    """The points as longitudes and latitudes, those of a geographic CRS in their own turn; None without any."""
    own = degrees_of(grid.crs)
    if own is not None:
        factor, offset = own
        return np.column_stack([points[:, 0] * factor + offset, points[:, 1] * factor])
    try:
        transformer = Transformer.from_crs(grid.crs, _WORLD, always_xy=True)
    except ProjError:
        return None
    found: Coordinates = np.column_stack(transformer.transform(points[:, 0], points[:, 1]))
    return found if np.isfinite(found).all(axis=1).any() else None


def _covered(degrees: Coordinates) -> str:
    low, high = degrees.min(axis=0).tolist(), degrees.max(axis=0).tolist()
    box: Box = (low[0], low[1], high[0], high[1])
    return shown_area(box)
