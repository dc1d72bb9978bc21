"""The bounds of a raster in its CRS."""

from __future__ import annotations

from affine import Affine

from app.models.asset import Bounds


def bounds_of(transform: Affine, width: int, height: int) -> Bounds:
    """The box around all four corners, in the CRS of the transform: larger than the raster if that is rotated."""
    corners = [transform @ (x, y) for x in (0, width) for y in (0, height)]
    (minx, miny), (maxx, maxy) = map(min, zip(*corners, strict=True)), map(max, zip(*corners, strict=True))
    return Bounds(minx=minx, miny=miny, maxx=maxx, maxy=maxy)
