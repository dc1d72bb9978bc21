"""Reprojection of whole chunks: one PROJ call for all coordinates, and checks for silent errors."""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pyproj import CRS, Transformer, network
from pyproj.exceptions import ProjError
from pyproj.transformer import TransformerGroup

from app.messages.common import (
    COORDINATES_LOST,
    COORDINATES_NOT_FINITE,
    COORDINATES_NOT_TRANSFORMABLE,
    CRS_NOT_TRANSFORMABLE,
    DATUM_GRID_MISSING,
    RESULT_MISPLACED,
)
from app.messages.message import Refusal
from app.models.runs.run import RunWarning
from app.pipelines.common.antimeridian import split_at_antimeridian, wrap_longitudes
from app.pipelines.common.area_check import OUTSIDE, RESULT_OUTSIDE, AreaCheck
from app.pipelines.common.areas import degrees_of, shown_distance
from app.pipelines.common.crs import Box, area_of_use, crs_name, same_crs
from app.pipelines.common.findings import Findings
from app.pipelines.common.round_trip import ACCURACY_METRES, RoundTrip
from app.pipelines.common.shapes import Coordinates, Geometries, Rows, Shapes, vertices_of
from app.pipelines.common.world_edges import WorldEdges, world_edges

HALF_TURN = 180.0


@dataclass(slots=True)
class Reprojector:
    """Transforms coordinates from `source` to `target`, x before y in both. Make one per file; threads may share it.

    Attributes:
        source: CRS of the file.
        target: CRS of the product.
        file: the key of the source, for messages.
        ignores_area: the data are meant to lie outside the areas of use.
        is_identity: both CRSs are the same, so coordinates stay.
        area_check: finds features that lie outside the areas of use of the two.

    Raises:
        RunRefused: crs_not_transformable when it is made and PROJ has no transformation.
    """

    source: CRS
    target: CRS
    file: str
    ignores_area: bool = False
    is_identity: bool = field(init=False)
    area_check: AreaCheck = field(init=False)
    _source_trip: RoundTrip = field(init=False)
    _target_trip: RoundTrip = field(init=False)
    _area: Box | None = field(init=False)
    _local: threading.local = field(init=False, default_factory=threading.local)
    _may_wrap: bool = field(init=False)
    _degrees: tuple[float, float] | None = field(init=False)
    _edges: WorldEdges | None = field(init=False)

    def __post_init__(self) -> None:
        network.set_network_enabled(False)  # type: ignore[attr-defined] # documented, not in __all__
        self.is_identity = same_crs(self.source, self.target)
        self._may_wrap = self.source.is_projected and self.target.is_geographic
        # Degrees of the result only: others are rare, and would need another grid of places.
        self._edges = world_edges(self._back) if self._may_wrap and degrees_of(self.target) == (1.0, 0.0) else None
        self._degrees = degrees_of(self.source) if self.target.is_geographic else None
        self._area = area_of_use(self.source) if self.target.is_geographic else None
        self._transformer()
        self._source_trip, self._target_trip = RoundTrip(self.source), RoundTrip(self.target)
        self.area_check = AreaCheck(self.source, self.target, self.ignores_area)

    def warnings(self) -> list[RunWarning]:
        """What a user should know about the transformation, independent of the rows: `datum_grid_missing`."""
        if self.is_identity:
            return []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            group = TransformerGroup(self.source, self.target, always_xy=True)
        if group.best_available or not group.transformers:
            return []
        grids = sorted({g.short_name for op in group.unavailable_operations for g in op.grids if not g.available})
        used = group.transformers[0]
        accuracy = f"{used.accuracy:g} m" if used.accuracy is not None and used.accuracy >= 0 else "unknown accuracy"
        return [
            DATUM_GRID_MISSING(
                file=self.file,
                source=crs_name(self.source),
                target=crs_name(self.target),
                grids=", ".join(grids) or "a grid",
                used=used.description,
                accuracy=accuracy,
            )
        ]

    def apply(self, shapes: Shapes, first_row: int, findings: Findings) -> Geometries:
        """The geometries of a chunk in the target CRS, one per row; null and empty geometries stay.

        Z is transformed where it is finite. Lines and polygons that cross the antimeridian are split there, and
        longitudes beyond ±180° are moved within, also those of a projected source that goes on beyond the world.

        Args:
            shapes: the chunk, in the source CRS.
            first_row: number of its first row within the file.
            findings: counts `antimeridian_split`, `longitudes_wrapped` and `repaired`.

        Raises:
            RunRefused: coordinates_not_finite, coordinates_not_transformable, antimeridian_unsplittable.
        """
        coords = shapes.coordinates
        self._check_finite(shapes, first_row)
        if self.is_identity:
            if self._degrees is None or not len(coords) or np.abs(coords[:, 0]).max() <= HALF_TURN:
                return shapes.build(None)
            return wrap_longitudes(shapes.build(None), self.file, first_row, findings)
        moved = self._transform(coords)
        self._check_transformed(shapes, moved, first_row)
        if self._degrees is not None and len(moved):
            # PROJ wraps each vertex separately. Undo that, then wrap whole geometries.
            factor, offset = self._degrees
            turns = np.round((coords[:, 0] * factor + offset - moved[:, 0]) / 360)
            if turns.any() or np.abs(moved[:, 0]).max() > HALF_TURN:
                moved[:, 0] += 360 * turns
                return wrap_longitudes(shapes.build(moved), self.file, first_row, findings)
        result = shapes.build(moved)
        if self._may_wrap and len(moved) and np.ptp(moved[:, 0]) > 180:
            result = split_at_antimeridian(shapes.build(None), result, self._transform, self.file, first_row, findings)
        if self._edges is not None and not self._edges.holds(coords):
            findings.add("longitudes_wrapped", self._edges.turned(shapes, moved, result), first_row)
        return result

    def check_places(self, shapes: Shapes, geometries: Geometries, first_row: int, findings: Findings) -> None:
        """Count the features that lie outside the areas of use, and prove that their coordinates are not lost.

        Args:
            shapes: the chunk, in the source CRS.
            geometries: what `apply` made of it.
            first_row: number of its first row within the file.
            findings: see `AreaCheck.check`.

        Raises:
            RunRefused: coordinates_not_transformable and result_misplaced where coordinates that are taken to degrees
                and back come back elsewhere.
        """
        outside = self.area_check.check(shapes, geometries, first_row, findings)
        if self.is_identity:
            return
        if (rows := outside.get(OUTSIDE)) is not None:
            vertices, index = vertices_of(shapes, rows)
            off = self._source_trip.off_from_crs(vertices)
            self._check_off(COORDINATES_LOST, off, vertices, index, first_row)
        if (rows := outside.get(RESULT_OUTSIDE)) is not None and self._target_trip.base is not None:
            vertices, index = vertices_of(shapes, rows)
            off = self._target_trip.off_from_base(self._degrees_of_result(vertices, self._target_trip.base))
            self._check_off(RESULT_MISPLACED, off, vertices, index, first_row)

    def _check_off(
        self, refusal: Refusal, off: npt.NDArray[np.float64], vertices: Coordinates, index: Rows, first_row: int
    ) -> None:
        """Refuse coordinates that come back too many metres off. index: the row of each in the chunk."""
        lost = np.flatnonzero(off > ACCURACY_METRES)
        if not len(lost):
            return
        rows = np.unique(index[lost])
        worst = lost[index[lost] == rows[0]][0]
        distance = shown_distance(off[worst] / 1000) if np.isfinite(off[worst]) else "infinitely far"
        raise refusal(
            file=self.file, source=crs_name(self.source), target=crs_name(self.target), rows=len(rows),
            first=int(first_row + rows[:1][0]), x=float(vertices[worst, 0]), y=float(vertices[worst, 1]),
            distance=distance,
        )  # fmt: skip

    @property
    def area(self) -> Box | None:
        """(west, south, east, north) of the source's area of use in degrees; None where it is unknown or the target is
        projected."""
        return self._area

    def is_plain(self, boxes: Coordinates, margin: float) -> bool:
        """Whether no check can find anything in these transformed features, so that checks can be skipped.

        True when all (n, 4) boxes lie in the area of use, at least `margin` degrees from its edge, and none is wide
        enough to cross the antimeridian.
        """
        boxes = boxes[~np.isnan(boxes[:, 0])]
        if self._area is None or not np.isfinite(boxes).all() or not self.area_check.holds(boxes):
            return False
        west, south, east, north = self._area
        inside = (boxes[:, :2] >= (west + margin, south + margin)) & (boxes[:, 2:] <= (east - margin, north - margin))
        return bool(inside.all() and (boxes[:, 2] - boxes[:, 0] < HALF_TURN - 1).all())

    def is_plain_source(self, coords: Coordinates) -> bool:
        """A quick estimate of `is_plain` from (n, 2) source coordinates.

        False for coordinates that are not finite or have z, and for longitudes of a geographic source near ±180°.
        """
        if self._area is None or self._area[0] > self._area[2] or coords.shape[1] != 2 or not len(coords):
            return False
        low, high = coords.min(axis=0), coords.max(axis=0)
        if not np.isfinite([low, high]).all() or (self._edges is not None and not self._edges.holds(coords)):
            return False
        if self._degrees is not None:
            factor, offset = self._degrees
            if max(abs(low[0] * factor + offset), abs(high[0] * factor + offset)) > HALF_TURN - 1:
                return False
        try:
            box = self._transformer().transform_bounds(low[0], low[1], high[0], high[1], errcheck=True)
        except ProjError:
            return False
        return bool(box[0] < box[2]) and self.is_plain(np.array([box]), 0.0)

    def move(self, coords: Coordinates) -> Coordinates:
        """(n, 2) coordinates in the target CRS, without checks: infinite where PROJ has no answer."""
        return self._transform(coords)

    def points_of_use(self, side: int = 25) -> Coordinates:
        """Up to side² points in the source CRS, spread evenly over the area of use."""
        if self._area is None or self._area[0] > self._area[2]:
            return np.empty((0, 2))
        west, south, east, north = self._area
        steps = (np.arange(side) + 0.5) / side
        x, y = np.meshgrid(west + (east - west) * steps, south + (north - south) * steps)
        points: Coordinates = np.column_stack(self._transformer().transform(x.ravel(), y.ravel(), direction="INVERSE"))
        return points[np.isfinite(points).all(axis=1)]

    def _transformer(self) -> Transformer:
        found: Transformer | None = getattr(self._local, "transformer", None)
        if found is None:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = Transformer.from_crs(self.source, self.target, always_xy=True)
            except ProjError:
                raise CRS_NOT_TRANSFORMABLE(
                    file=self.file, source=crs_name(self.source), target=crs_name(self.target)
                ) from None
            self._local.transformer = found
        return found

    def _degrees_of_result(self, points: Coordinates, base: CRS) -> Coordinates:
        """(n, 2) source coordinates in the geographic CRS that the target is a projection of."""
        if not hasattr(self._local, "to_base"):
            self._local.to_base = Transformer.from_crs(self.source, base, always_xy=True)
        return np.column_stack(self._local.to_base.transform(points[:, 0], points[:, 1]))

    def _back(self, degrees: Coordinates) -> Coordinates:
        """(n, 2) coordinates of the target in the source CRS."""
        return np.column_stack(self._transformer().transform(degrees[:, 0], degrees[:, 1], direction="INVERSE"))

    def _transform(self, coords: Coordinates) -> Coordinates:
        """Transform (n, 2) or (n, 3) coordinates. A z that is not finite is not transformed and stays as it is."""
        out = np.empty_like(coords)
        transform = self._transformer().transform
        if coords.shape[1] == 2:
            out[:, 0], out[:, 1] = transform(coords[:, 0], coords[:, 1])
            return out
        high = np.isfinite(coords[:, 2])
        out[:, 2] = coords[:, 2]
        if high.any():
            x, y, z = coords[high].T
            out[high] = np.column_stack(transform(x, y, z))
        if not high.all():
            out[~high, 0], out[~high, 1] = transform(coords[~high, 0], coords[~high, 1])
        return out

    def _check_finite(self, shapes: Shapes, first_row: int) -> None:
        finite = np.isfinite(shapes.coordinates[:, :2])
        if not finite.all():
            rows = first_row + np.unique(shapes.rows()[~finite.all(axis=1)])
            raise COORDINATES_NOT_FINITE(file=self.file, rows=len(rows), first=int(rows[0]))

    def _check_transformed(self, shapes: Shapes, moved: Coordinates, first_row: int) -> None:
        finite = np.isfinite(moved[:, :2])
        if finite.all():
            return
        bad = ~finite.all(axis=1)
        rows = first_row + np.unique(shapes.rows()[bad])
        x, y = shapes.coordinates[bad][0, :2]
        raise COORDINATES_NOT_TRANSFORMABLE(
            file=self.file, source=crs_name(self.source), target=crs_name(self.target), rows=len(rows),
            first=int(rows[0]), x=float(x), y=float(y),
        )  # fmt: skip
