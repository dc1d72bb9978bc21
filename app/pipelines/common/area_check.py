"""Whether data lie where their CRS, and that of the result, are meant for: silent errors of CRS and axis order."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from app.pipelines.common.crs import Box, area_of_use, same_crs
from app.pipelines.common.findings import Findings
from app.pipelines.common.shapes import Coordinates, Geometries

# A feature farther than this outside an area of use, in degrees, counts as misplaced: one UTM zone. Whole countries are
# commonly stored in the zone of their middle.
FAR_DEGREES = 6.0
# Names of findings: features outside the area of use of the source's CRS, or of the result's, and those far outside.
OUTSIDE, FAR = "outside_area_of_use", "far_outside_area_of_use"
RESULT_OUTSIDE, RESULT_FAR = "result_outside_area_of_use", "result_far_outside_area_of_use"

# What rounding may add to the edge of an area of use.
EDGE_DEGREES = 1e-6
Mask = npt.NDArray[np.bool_]


@dataclass(slots=True)
class AreaCheck:
    """Compares features in the CRS `target` with the areas of use of `source` and `target`. Threads may share it."""

    source: CRS
    target: CRS
    _areas: list[tuple[Box, str, str]] = field(init=False)
    _is_degrees: bool = field(init=False)
    _local: threading.local = field(init=False, default_factory=threading.local)

    def __post_init__(self) -> None:
        found = [(area_of_use(self.source), OUTSIDE, FAR)]
        if not same_crs(self.source, self.target):
            found.append((area_of_use(self.target), RESULT_OUTSIDE, RESULT_FAR))
        # Degrees are those of longitude and latitude in any datum: an area of use is no more exact than that.
        self._is_degrees = degrees_of(self.target) == (1.0, 0.0)
        known = self._is_degrees or self._transformer() is not None
        self._areas = [(area, *names) for area, *names in found if area is not None and known]  # type: ignore[misc] # three

    def check(self, geometries: Geometries, first_row: int, findings: Findings) -> None:
        """Count features outside the areas of use, and those more than 6° outside.

        Args:
            geometries: in the CRS `target`; null and empty ones lie nowhere.
            first_row: number of the first feature within the file.
            findings: where to count them, under the names above.
        """
        boxes = shapely.bounds(geometries)
        if not self._areas or np.isnan(boxes[:, 0]).all():
            return
        low, high = np.nanmin(boxes[:, :2], axis=0), np.nanmax(boxes[:, 2:], axis=0)
        whole = self._whole(low, high)
        if whole is not None and all(_contains(area, whole) for area, *_ in self._areas):
            return
        points, rows = self._corners(boxes) if self._is_degrees else self._vertices(geometries)
        for area, outside, far in self._areas:
            for name, margin in ((outside, EDGE_DEGREES), (far, FAR_DEGREES)):
                at = np.unique(rows[is_outside(points, area, margin)])
                findings.add(name, at, first_row, bounds=(box.tolist() for box in boxes[at[:5]]))

    def holds(self, boxes: Coordinates) -> bool:
        """Whether (n, 4) boxes lie in all areas; False where that is not plain to see."""
        if not self._is_degrees or not len(boxes):
            return False
        whole: Box = (*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist())
        return all(_contains(area, whole) for area, *_ in self._areas)

    def _whole(self, low: Coordinates, high: Coordinates) -> Box | None:
        """The box around all features in degrees; None if they have no coordinates or cross the antimeridian."""
        if self._is_degrees:
            return (*low.tolist(), *high.tolist())
        transformer = self._transformer()
        if transformer is None:
            return None
        try:
            west, south, east, north = transformer.transform_bounds(low[0], low[1], high[0], high[1], errcheck=True)
        except ProjError:
            return None
        return (west, south, east, north) if west <= east and math.isfinite(west + south + east + north) else None

    def _corners(self, boxes: Coordinates) -> tuple[Coordinates, npt.NDArray[np.intp]]:
        """(lower left and upper right corners, their rows)."""
        rows = np.flatnonzero(~np.isnan(boxes[:, 0]))
        return np.concatenate([boxes[rows, :2], boxes[rows, 2:]]), np.concatenate([rows, rows])

    def _vertices(self, geometries: Geometries) -> tuple[Coordinates, npt.NDArray[np.intp]]:
        """(all vertices in degrees, their rows). What cannot be transformed is infinite, and outside of every area."""
        points, rows = shapely.get_coordinates(geometries, return_index=True)
        if (transformer := self._transformer()) is None:
            raise RuntimeError("there are no areas to compare with")
        return np.column_stack(transformer.transform(points[:, 0], points[:, 1])), rows

    def _transformer(self) -> Transformer | None:
        """From the target to degrees; None where PROJ has no transformation."""
        if not hasattr(self._local, "transformer"):
            try:
                self._local.transformer = Transformer.from_crs(self.target, CRS.from_epsg(4326), always_xy=True)
            except ProjError:
                self._local.transformer = None
        found: Transformer | None = self._local.transformer
        return found


def degrees_of(crs: CRS) -> tuple[float, float] | None:
    """(factor, offset) from longitudes of a geographic CRS to degrees from Greenwich; None for any other CRS."""
    geodetic = crs.geodetic_crs
    if not crs.is_geographic or geodetic is None or not geodetic.axis_info:
        return None
    meridian = geodetic.prime_meridian
    offset = math.degrees(meridian.longitude * float(meridian.unit_conversion_factor)) if meridian is not None else 0.0
    return math.degrees(geodetic.axis_info[0].unit_conversion_factor), offset


def _contains(area: Box, box: Box) -> bool:
    return area[0] <= box[0] and box[2] <= area[2] and area[1] <= box[1] and box[3] <= area[3]


def is_outside(points: Coordinates, area: Box, margin: float) -> Mask:
    """Which (n, 2) points in degrees lie more than `margin` degrees outside the area; one with NaN does."""
    west, south, east, north = area
    x, y = points.T
    inside: Mask = (y >= south - margin) & (y <= north + margin)
    if west <= east:
        inside &= (x >= west - margin) & (x <= east + margin)
    else:  # the area crosses the antimeridian
        inside &= (x >= west - margin) | (x <= east + margin)
    return ~inside
