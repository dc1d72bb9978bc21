"""Coordinates of a projected CRS that go on beyond the ends of the world, as those of a map that repeats do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from pyproj.exceptions import ProjError

from app.pipelines.common.shapes import Coordinates, Geometries, Shapes

# A turn around the Earth is longer in any unit of length; what is nearer is rounding, or lost for other reasons.
_SHORTEST_TURN = 1e6
_POINT_TYPES = (shapely.GeometryType.POINT, shapely.GeometryType.MULTIPOINT)


@dataclass(frozen=True, slots=True)
class WorldEdges:
    """The least and greatest x of the whole world in a projected CRS.

    Attributes:
        to_source: (n, 2) degrees of the result in the source's CRS; infinite where PROJ has no answer.
    """

    west: float
    east: float
    to_source: Callable[[Coordinates], Coordinates]

    def holds(self, coords: Coordinates) -> bool:
        """Whether no coordinate lies beyond the edges."""
        x = coords[:, 0]
        return not len(x) or bool(x.min() >= self.west and x.max() <= self.east)

    def turned(self, shapes: Shapes, moved: Coordinates, result: Geometries) -> npt.NDArray[np.bool_]:
        """Which features PROJ moved by whole turns, although the antimeridian cuts none of their lines or polygons.

        Args:
            shapes: the features in the projected CRS.
            moved: their coordinates in degrees.
            result: the finished features.
        """
        x = shapes.coordinates[:, 0]
        beyond = np.flatnonzero((x < self.west) | (x > self.east))
        back = self.to_source(moved[beyond, :2])[:, 0]
        with np.errstate(invalid="ignore"):
            turned = beyond[np.abs(back - x[beyond]) > _SHORTEST_TURN]
        rows = shapes.rows()
        vertices, found = (np.bincount(each, minlength=shapes.size) for each in (rows, rows[turned]))
        is_whole = (found == vertices) | np.isin(shapely.get_type_id(result), _POINT_TYPES)
        mask: npt.NDArray[np.bool_] = (found > 0) & is_whole
        return mask


def world_edges(to_source: Callable[[Coordinates], Coordinates]) -> WorldEdges | None:
    """The edges, from places all over the world; None where PROJ has no way back, or none of them has coordinates."""
    lon, lat = np.meshgrid(np.linspace(-180, 180, 73), np.linspace(-85, 85, 35))
    try:
        x = to_source(np.column_stack([lon.ravel(), lat.ravel()]))[:, 0]
    except ProjError:
        return None
    x = x[np.isfinite(x)]
    return WorldEdges(float(x.min()), float(x.max()), to_source) if len(x) else None
