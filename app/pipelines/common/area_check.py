"""Whether data lie where their CRS, and that of the result, are meant for: silent errors of CRS and axis order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import CRS
from pyproj.exceptions import ProjError

from app.pipelines.common.areas import (
    FAR_DEGREES,
    degrees_of,
    is_outside,
    kilometres_outside,
    known_area,
)
from app.pipelines.common.crs import Box, ThreadTransformer, area_of_use, same_crs
from app.pipelines.common.findings import Findings
from app.pipelines.common.shapes import Coordinates, Geometries, Rows, Shapes, vertices_of
from app.pipelines.common.source_places import SourcePlaces

# Names of findings: features outside the area of use of the source's CRS, or of the result's.
OUTSIDE, RESULT_OUTSIDE = "outside_area_of_use", "result_outside_area_of_use"
# Of those outside the source's: without a place on Earth; far outside, and all inside if read otherwise.
NOWHERE, AS_DEGREES, AS_SWAPPED = "nowhere_on_earth", "inside_as_degrees", "inside_as_swapped"


@dataclass(slots=True)
class AreaCheck:
    """Compares features in the CRS `target` with the areas of use of `source` and `target`. Threads may share it.

    is_ignored: the data are meant to lie outside, so only coordinates without a place on Earth are counted.
    """

    source: CRS
    target: CRS
    is_ignored: bool = False
    _areas: list[tuple[Box, str]] = field(init=False)
    _is_degrees: bool = field(init=False)
    _is_kept: bool = field(init=False)
    _places: SourcePlaces = field(init=False)
    _to_degrees: ThreadTransformer = field(init=False)

    def __post_init__(self) -> None:
        self._to_degrees = ThreadTransformer(self.target, CRS.from_epsg(4326))
        found = [(known_area(self.source), OUTSIDE)]
        self._is_kept = same_crs(self.source, self.target)
        if not self._is_kept:
            found.append((area_of_use(self.target), RESULT_OUTSIDE))
        # Degrees are those of longitude and latitude in any datum: an area of use is no more exact than that.
        self._is_degrees = degrees_of(self.target) == (1.0, 0.0)
        known = self._is_degrees or self._to_degrees.get() is not None
        self._areas = [(area, name) for area, name in found if area is not None and known]
        self._places = SourcePlaces(self.source)

    def check(self, shapes: Shapes, geometries: Geometries, first_row: int, findings: Findings) -> dict[str, Rows]:
        """Count features outside the areas of use, with the largest distance in km, and what would explain it.

        Args:
            shapes: the features in the CRS `source`.
            geometries: the same in the CRS `target`; null and empty ones lie nowhere.
            first_row: number of the first feature within the file.
            findings: where to count them, under the names above.

        Returns:
            The rows outside, by the name of the finding, also where the area is ignored.
        """
        boxes = shapely.bounds(geometries)
        if not self._areas or np.isnan(boxes[:, 0]).all():
            return {}
        low, high = np.nanmin(boxes[:, :2], axis=0), np.nanmax(boxes[:, 2:], axis=0)
        whole = self._whole(low, high)
        if whole is not None and all(_contains(area, whole) for area, _ in self._areas):
            return {}
        points, rows = self._corners(boxes) if self._is_degrees else self._vertices(geometries)
        outside = {}
        for area, name in self._areas:
            beyond = is_outside(points, area)
            at = np.unique(rows[beyond])
            if not len(at):
                continue
            outside[name] = at
            if not self.is_ignored:
                findings.add(name, at, first_row, bounds=(box.tolist() for box in boxes[at[:5]]))
                findings.reach(name, kilometres_outside(points[beyond], area))
            if name == OUTSIDE:
                margins = {AS_DEGREES: FAR_DEGREES, AS_SWAPPED: self._places.swapped_from}
                far = {each: np.unique(rows[is_outside(points, area, margin)]) for each, margin in margins.items()}
                self._explain(shapes, at, far, area, first_row, findings)
        return outside

    def _explain(
        self, shapes: Shapes, at: Rows, far: Mapping[str, Rows], area: Box, first_row: int, findings: Findings
    ) -> None:
        """Count the rows `at` with coordinates that mean nothing, and those of `far` that mean something else."""
        if self._is_kept:  # what is transformed has a place, or was refused
            vertices, rows = vertices_of(shapes, at)
            findings.add(NOWHERE, np.unique(rows[self._places.are_nowhere(vertices)]), first_row)
        if self.is_ignored:
            return
        for name, is_inside in ((AS_DEGREES, self._places.are_degrees_in), (AS_SWAPPED, self._places.are_swapped_in)):
            if not len(far[name]):
                continue
            vertices, rows = vertices_of(shapes, far[name])
            _, firsts = np.unique(rows, return_index=True)
            # Few features pass this, so few need a look at all of their vertices.
            chosen = np.isin(rows, rows[firsts][is_inside(vertices[firsts], area)])
            some, parts = rows[chosen], vertices[chosen]
            findings.add(name, np.setdiff1d(some, some[~is_inside(parts, area)]), first_row)

    def holds(self, boxes: Coordinates) -> bool:
        """Whether (n, 4) boxes lie in all areas; False where that is not plain to see."""
        if not self._is_degrees or not len(boxes):
            return False
        whole: Box = (*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist())
        return all(_contains(area, whole) for area, _ in self._areas)

    def _whole(self, low: Coordinates, high: Coordinates) -> Box | None:
        """The box around all features in degrees; None if they have no coordinates or cross the antimeridian."""
        if self._is_degrees:
            return (*low.tolist(), *high.tolist())
        transformer = self._to_degrees.get()
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
        if (transformer := self._to_degrees.get()) is None:
            raise RuntimeError("there are no areas to compare with")
        return np.column_stack(transformer.transform(points[:, 0], points[:, 1])), rows


def _contains(area: Box, box: Box) -> bool:
    return area[0] <= box[0] and box[2] <= area[2] and area[1] <= box[1] and box[3] <= area[3]
