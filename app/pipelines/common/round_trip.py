"""Whether coordinates come back from a projection: far from where it is made for, PROJ may give wrong places."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pyproj import CRS

from app.pipelines.common.areas import degrees_of
from app.pipelines.common.crs import ThreadTransformer, metres_per_unit

Coordinates = npt.NDArray[np.float64]

# Coordinates that come back farther off are lost: more than rounding takes in any projection, and less than the
# accuracy of most transformations between datums.
ACCURACY_METRES = 0.1
# The least metres of a turn around the Earth in projections that go on beyond it, such as Mercator's.
_SHORTEST_TURN = 1e6


@dataclass(slots=True)
class RoundTrip:
    """Between a CRS and the geographic CRS that it is a projection of, x before y. Threads may share it.

    Attributes:
        crs: any CRS.
        base: longitudes and latitudes of its datum; None for a CRS that is no projection.
    """

    crs: CRS
    base: CRS | None = field(init=False)
    _to_base: ThreadTransformer | None = field(init=False)

    def __post_init__(self) -> None:
        flat = self.crs.sub_crs_list[0] if self.crs.is_compound else self.crs
        flat = flat.source_crs if flat.is_bound and flat.source_crs is not None else flat
        self.crs = flat
        self.base = None if flat.is_geographic else flat.geodetic_crs
        self._to_base = None if self.base is None else ThreadTransformer(self.crs, self.base)

    def off_from_crs(self, points: Coordinates) -> Coordinates:
        """How many metres (n, 2) coordinates of `crs` come back from degrees off; infinite where PROJ has no answer.

        Whole turns around the Earth are no difference: a map may go on beyond ±180°.
        """
        transformer = self._to_base.get() if self._to_base is not None else None
        if transformer is None:
            return np.zeros(len(points))
        metres = metres_per_unit(self.crs)
        place = np.column_stack(transformer.transform(points[:, 0], points[:, 1]))
        back = np.column_stack(transformer.transform(place[:, 0], place[:, 1], direction="INVERSE"))
        with np.errstate(invalid="ignore", divide="ignore"):
            across, along = (points - back).T
            off = np.hypot(across, along) * metres
            lost = np.flatnonzero(~(off <= ACCURACY_METRES))
            turn = self._turn(*place[lost].T)
            turn[turn * metres < _SHORTEST_TURN] = np.inf
            beyond = across[lost] - np.nan_to_num(np.round(across[lost] / turn) * turn)
            off[lost] = np.fmin(off[lost], np.hypot(beyond, along[lost]) * metres)
        return np.where(np.isfinite(off), off, np.inf)

    def off_from_base(self, points: Coordinates) -> Coordinates:
        """How many metres (n, 2) coordinates of `base` come back from `crs` off; infinite where PROJ has no answer."""
        transformer = self._to_base.get() if self._to_base is not None else None
        if transformer is None or self.base is None:
            return np.zeros(len(points))
        x, y = points.T
        east, north = transformer.transform(*transformer.transform(x, y, direction="INVERSE"))
        turn, metres = self._units_of_turn(), metres_per_unit(self.base)
        with np.errstate(invalid="ignore"):
            across = ((east - x + turn / 2) % turn - turn / 2) * np.cos(y / turn * 2 * np.pi)
            off = np.hypot(across, north - y) * metres
        return np.where(np.isfinite(off), off, np.inf)

    def _turn(self, x: Coordinates, y: Coordinates) -> Coordinates:
        """How far one turn around the Earth is in units of `crs`, from degrees, as if it were a straight line."""
        transformer = self._to_base.get() if self._to_base is not None else None
        if transformer is None:
            raise RuntimeError("a CRS that is no projection has no turn")
        turn = self._units_of_turn()
        step = np.where(np.abs(x + turn / 360) < turn / 2, 1.0, -1.0) * turn / 360
        here, there = (transformer.transform(each, y, direction="INVERSE")[0] for each in (x, x + step))
        found: Coordinates = np.abs(there - here) * 360
        return found

    def _units_of_turn(self) -> float:
        factor = degrees_of(self.base) if self.base is not None else None
        return 360 / factor[0] if factor is not None else 360.0
