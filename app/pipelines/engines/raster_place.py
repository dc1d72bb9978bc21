"""Where a raster lies, in its own CRS and in degrees."""

from __future__ import annotations

import math
import warnings
from typing import TypeAlias

from affine import Affine
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from app.models.asset import Bounds
from app.pipelines.formats.crs import same_crs

Box: TypeAlias = tuple[float, float, float, float]

_HALF_TURN = 180.0


def bounds_of(transform: Affine, width: int, height: int) -> Bounds:
    """The box around all four corners, which for a turned raster is larger than it."""
    corners = [transform @ (x, y) for x in (0, width) for y in (0, height)]
    (minx, miny), (maxx, maxy) = map(min, zip(*corners, strict=True)), map(max, zip(*corners, strict=True))
    return Bounds(minx=minx, miny=miny, maxx=maxx, maxy=maxy)


def box_4326(bounds: Bounds, crs: CRS) -> Box | None:
    """West, south, east, north; west > east across the antimeridian; None where PROJ cannot tell."""
    box = (bounds.minx, bounds.miny, bounds.maxx, bounds.maxy)
    world = CRS.from_epsg(4326)
    if same_crs(crs, world):
        west, south, east, north = box
        if west >= -_HALF_TURN and east <= _HALF_TURN:
            return box
        turned = [(x + _HALF_TURN) % (2 * _HALF_TURN) - _HALF_TURN for x in (west, east)]
        return (-_HALF_TURN, south, _HALF_TURN, north) if east - west >= 360 else (turned[0], south, turned[1], north)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            box = Transformer.from_crs(crs, world, always_xy=True).transform_bounds(*box)
        except ProjError:
            return None
    return box if all(math.isfinite(value) for value in box) else None


def area_of_use(crs: CRS) -> Box | None:
    """West, south, east, north. What a source's WKT rarely carries, its code knows."""
    code = crs.to_authority(min_confidence=70)
    found = crs.area_of_use or (CRS.from_authority(*code).area_of_use if code else None)
    return (found.west, found.south, found.east, found.north) if found else None
