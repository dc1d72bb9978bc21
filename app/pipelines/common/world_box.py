"""A box in degrees around data in any CRS, by which the catalogue finds it."""

from __future__ import annotations

import math
import warnings

from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from app.models.asset import Bounds
from app.pipelines.common.crs import Box, same_crs

_HALF_TURN = 180.0


def box_4326(bounds: Bounds, crs: CRS) -> Box | None:
    """(west, south, east, north) in degrees; west > east across the antimeridian; None where PROJ has no answer."""
    box = (bounds.minx, bounds.miny, bounds.maxx, bounds.maxy)
    world = CRS.from_epsg(4326)
    if same_crs(crs, world):
        west, south, east, north = box
        if west >= -_HALF_TURN and east <= _HALF_TURN:
            return box
        wrapped = [(x + _HALF_TURN) % (2 * _HALF_TURN) - _HALF_TURN for x in (west, east)]
        return (-_HALF_TURN, south, _HALF_TURN, north) if east - west >= 360 else (wrapped[0], south, wrapped[1], north)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            box = Transformer.from_crs(crs, world, always_xy=True).transform_bounds(*box)
        except ProjError:
            return None
    return box if all(math.isfinite(value) for value in box) else None


def degrees_statistic(bounds: Bounds | None, crs: CRS) -> dict[str, dict[str, float] | None]:
    """`bounds_4326` for the statistics of a version; nothing where its own bounds are in degrees."""
    if bounds is None or same_crs(crs, CRS.from_epsg(4326)):
        return {}
    box = box_4326(bounds, crs)
    return {"bounds_4326": dict(zip(("minx", "miny", "maxx", "maxy"), box, strict=True)) if box else None}
