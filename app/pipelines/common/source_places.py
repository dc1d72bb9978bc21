"""Where coordinates would lie if their CRS or their axis order were another: what explains data far outside an area."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pyproj import CRS

from app.pipelines.common.areas import EDGE_DEGREES, FAR_DEGREES, Coordinates, Mask, degrees_of, is_outside
from app.pipelines.common.crs import Box, ThreadTransformer
from app.pipelines.common.round_trip import ACCURACY_METRES, RoundTrip

# Longitudes are read in any turn, but no more than one and a half from Greenwich.
_MOST_DEGREES = 540.0
# Swapped coordinates of a projection lie farther away than this, in degrees; nearer, on both sides of the equator, a
# country beside its zone lies within it with y before x too.
_SWAPPED_DEGREES = 30.0


@dataclass(slots=True)
class SourcePlaces:
    """Looks at (n, 2) coordinates of one CRS, x before y. Threads may share it."""

    crs: CRS
    _round_trip: RoundTrip = field(init=False)
    _to_degrees: ThreadTransformer = field(init=False)

    def __post_init__(self) -> None:
        self._round_trip = RoundTrip(self.crs)
        self._to_degrees = ThreadTransformer(self.crs, CRS.from_epsg(4326))

    def are_nowhere(self, points: Coordinates) -> Mask:
        """Which are no place on Earth: beyond a pole, or where the projection has no place or another one."""
        degrees = degrees_of(self.crs)
        if degrees is None:
            return self._round_trip.off_from_crs(points) > ACCURACY_METRES
        factor, offset = degrees
        longitude, latitude = np.abs(points[:, 0] * factor + offset), np.abs(points[:, 1] * factor)
        return ~((longitude <= _MOST_DEGREES) & (latitude <= 90 + EDGE_DEGREES))

    def are_degrees_in(self, points: Coordinates, area: Box) -> Mask:
        """Which would lie in the area if they were longitudes and latitudes, of a CRS that has none."""
        if self.crs.is_geographic:
            return np.zeros(len(points), np.bool_)
        return ~is_outside(points, area)

    @property
    def swapped_from(self) -> float:
        """How many degrees outside an area coordinates have to lie to be looked at with y before x."""
        return FAR_DEGREES if self.crs.is_geographic else _SWAPPED_DEGREES

    def are_swapped_in(self, points: Coordinates, area: Box) -> Mask:
        """Which would lie in the area with y before x."""
        transformer = self._to_degrees.get()
        if transformer is None or not len(points):
            return np.zeros(len(points), np.bool_)
        found: npt.NDArray[np.float64] = np.column_stack(transformer.transform(points[:, 1], points[:, 0]))
        return ~is_outside(found, area)
