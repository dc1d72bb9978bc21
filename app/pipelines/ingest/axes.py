"""Finds tables whose columns x and y are swapped, or whose CRS is another one: by where the points lie."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pyproj import CRS

from app.messages.message import MOST_SAMPLES
from app.messages.vector import AXES_MAYBE_SWAPPED, AXES_SWAPPED
from app.models.runs.run import RunWarning
from app.pipelines.common.area_check import AS_DEGREES, NOWHERE
from app.pipelines.common.areas import FAR_DEGREES, is_outside, known_area
from app.pipelines.common.crs import Box, crs_name
from app.pipelines.common.findings import Findings
from app.pipelines.common.reproject import HALF_TURN, Reprojector
from app.pipelines.common.shapes import Coordinates
from app.pipelines.common.source_places import SourcePlaces
from app.pipelines.vector.engines.places import refuse_misread

_WORLD = 4326
_SWAPPED = "swapped"


@dataclass(slots=True)
class AxisCheck:
    """Counts the points that lie outside the area of use of their CRS, and would lie inside with x and y swapped.

    Attributes:
        crs: of the points, x before y.
        file: the key of the source, for messages.
        x, y: names of the columns, for messages.
        is_ignored: the points are meant to lie outside, so only coordinates without a place on Earth count.
    """

    crs: CRS
    file: str
    x: str
    y: str
    is_ignored: bool = False
    _findings: Findings = field(default_factory=Findings)
    _placed: int = 0

    def look(self, chunks: Iterable[tuple[int, Coordinates]]) -> list[RunWarning]:
        """Look at all points.

        Args:
            chunks: (number of the first row within the table, (n, 2) coordinates, NaN without a point).

        Returns:
            A warning for a few points that look swapped.

        Raises:
            RunRefused: axes_swapped where most points look swapped; outside_area_of_use where most have no place on
                Earth, or lie far outside and look like degrees; crs_not_transformable.
        """
        reprojector = Reprojector(self.crs, CRS.from_epsg(_WORLD), self.file)
        area, reader = known_area(self.crs), SourcePlaces(self.crs)
        if area is None:
            return []
        for first, points in chunks:
            self._placed += int(np.isfinite(points).all(axis=1).sum())
            self._count(reprojector, reader, area, points, first)
        number = self._findings.counts[_SWAPPED]
        samples = [{**each, "file": self.file} for each in self._findings.samples.get(_SWAPPED, [])]
        values: dict[str, Any] = {"x": self.x, "y": self.y, "crs": crs_name(self.crs)}
        if number * 2 > self._placed:
            sample = samples[0]
            asked = {"x": self.y, "y": self.x, "crs": values["crs"]}
            raise AXES_SWAPPED(
                file=self.file, number=number, total=self._placed, row=sample["row"], x_value=sample["x"],
                y_value=sample["y"], swapped=json.dumps({"geometry": asked}, ensure_ascii=False), **values,
            )  # fmt: skip
        refuse_misread(self.file, self.crs, self._findings, self._placed)
        return [AXES_MAYBE_SWAPPED(file=self.file, count=number, samples=samples, **values)] if number else []

    def _count(
        self, reprojector: Reprojector, reader: SourcePlaces, area: Box, points: Coordinates, first: int
    ) -> None:
        here = np.flatnonzero(np.isfinite(points).all(axis=1))
        placed = _degrees(reprojector, points[here])
        outside = is_outside(placed, area)
        if not outside.any():
            return
        self._findings.add(NOWHERE, here[outside][reader.are_nowhere(points[here[outside]])], first)
        if self.is_ignored:
            return
        far = here[is_outside(placed, area, FAR_DEGREES)]
        self._findings.add(AS_DEGREES, far[reader.are_degrees_in(points[far], area)], first)
        here = here[outside]
        at = here[~is_outside(_degrees(reprojector, points[here][:, ::-1]), area)]
        shown = points[at[:MOST_SAMPLES]]
        self._findings.add(_SWAPPED, at, first, x=shown[:, 0].tolist(), y=shown[:, 1].tolist())


def _degrees(reprojector: Reprojector, points: Coordinates) -> Coordinates:
    """(n, 2) longitudes within ±180 and latitudes of the points."""
    moved = reprojector.move(np.ascontiguousarray(points))
    with np.errstate(invalid="ignore"):
        beyond = np.abs(moved[:, 0]) > HALF_TURN
        moved[beyond, 0] = (moved[beyond, 0] + HALF_TURN) % (2 * HALF_TURN) - HALF_TURN
    return moved
