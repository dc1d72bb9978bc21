"""The check `within` of a dataset: every geometry lies in the area that the geometries of a version cover together.

Those are held as a whole if they have few enough vertices. If not, both sides are read from the lowest to the highest
x, and those are held that share a range of x with the rows that are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from app.messages.checks import CHECK_AREA_TOO_LARGE
from app.messages.message import MOST_SAMPLES
from app.models.checks.kinds import CheckResult, Within, unanswered
from app.models.products import GEOMETRY
from app.pipelines.common.check_database import CheckedFile
from app.pipelines.common.check_geometry import geometry_batches
from app.pipelines.common.crs import Box
from app.pipelines.common.ordered_map import in_order
from app.pipelines.common.shapes import Geometries

_BATCH_ROWS = 4_096
# Vertices of the geometries that are held at a time: about half a gigabyte with those of GEOS.
MOST_VERTICES = 8_000_000
# Unions of neighbours that are kept for further rows.
_MOST_UNIONS = 64

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class BoxedFile:
    """A GeoParquet file as SQL sees it. box: the name of the column with the boxes of the geometries."""

    file: CheckedFile
    box: str

    def read(self, around: Box | None = None, *, from_west: bool = False) -> Iterator[tuple[Geometries, Rows]]:
        """(geometries that have coordinates, numbers of their rows).

        Args:
            around: reads those only whose boxes meet this one.
            from_west: by their lowest x; else in the order of the file.
        """
        names = self.file.columns.names
        geometry, box = (f"c{list(names).index(name)}" for name in (GEOMETRY, self.box))
        where = f"WHERE {box}.xmin IS NOT NULL"
        if around is not None:
            west, south, east, north = (f"{side!r}::DOUBLE" for side in around)
            where += f" AND {box}.xmin <= {east} AND {box}.xmax >= {west} AND {box}.ymin <= {north}"
            where += f" AND {box}.ymax >= {south}"
        order = f" ORDER BY {box}.xmin, file_row_number" if from_west else ""
        found = self.file.select(f"{geometry}, file_row_number", where + order)
        for batch in found.fetch_record_batch(_BATCH_ROWS):
            yield _decoded(batch.column(0)), batch.column(1).to_numpy()


@dataclass
class Cover:
    """The area that geometries cover together. geometries: valid ones."""

    geometries: Geometries
    _unions: dict[tuple[int, ...], shapely.Geometry] = field(default_factory=dict)

    @cached_property
    def tree(self) -> shapely.STRtree:
        shapely.prepare(self.geometries)
        return shapely.STRtree(self.geometries)

    def outside(self, geometries: Geometries) -> Mask:
        """Which of these geometries do not lie in the area, borders included."""
        rows, near = self.tree.query(geometries)
        inside = np.zeros(len(geometries), np.bool_)
        inside[rows[_covers(self.geometries[near], geometries[rows])]] = True
        # A point that no geometry covers is not covered by all of them either.
        several = ~inside & (shapely.get_type_id(geometries) != shapely.GeometryType.POINT)
        several &= np.bincount(rows, minlength=len(geometries)) > 1
        for row in np.flatnonzero(several):
            begin, end = np.searchsorted(rows, (row, row + 1))
            inside[row] = self._is_covered(geometries[row], near[begin:end])
        return ~inside

    def place_outside(self, geometry: shapely.Geometry) -> dict[str, Any]:
        """A point of the geometry that does not lie in the area, and its distance from it in units of the CRS."""
        near = self.tree.query(geometry)
        parts = shapely.get_parts(shapely.make_valid(geometry))
        if len(near):
            rest = shapely.difference(parts, shapely.union_all(self.geometries[near]))
            parts = shapely.get_parts(rest[~shapely.is_empty(rest)])
        if not len(parts):
            return {}
        largest = parts[np.lexsort((shapely.length(parts), shapely.area(parts)))[-1]]
        point = shapely.point_on_surface(largest)
        found: dict[str, Any] = {"at": [float(point.x), float(point.y)]}
        if len(self.geometries):
            found["distance"] = float(shapely.distance(point, self.geometries[self.tree.nearest(point)]))
        return found

    def _is_covered(self, geometry: shapely.Geometry, near: Rows) -> bool:
        near = near[shapely.intersects(self.geometries[near], geometry)]
        if not len(near):
            return False
        west, south, east, north = shapely.bounds(geometry)
        boxes = shapely.bounds(self.geometries[near])
        low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        if west < low[0] or south < low[1] or east > high[0] or north > high[1]:
            return False
        key = tuple(sorted(near.tolist()))
        if key not in self._unions:
            if len(self._unions) >= _MOST_UNIONS:
                self._unions.clear()
            self._unions[key] = shapely.union_all(self.geometries[list(key)])
            shapely.prepare(self._unions[key])
        return bool(_covers(np.array([self._unions[key]]), np.array([geometry]))[0])


def answer_area(
    index: int, check: Within, product: BoxedFile, area: BoxedFile, around: Box, threads: int
) -> CheckResult:
    """Count the rows whose geometries do not lie in the area that those of `area` cover together.

    Args:
        index: of the check in the manifest.
        check: for its severity.
        product: the product.
        area: geometries in the CRS of the product.
        around: (minx, miny, maxx, maxy) of the product.
        threads: that read the product.

    Raises:
        RunRefused: check_too_large.
    """
    found, samples = 0, list[dict[str, Any]]()
    for cover, geometries, rows in _compared(index, check, product, area, around, threads):
        outside = np.flatnonzero(cover.outside(geometries))
        found += len(outside)
        for at in outside[: MOST_SAMPLES - len(samples)]:
            samples.append({"row": int(rows[at]), **cover.place_outside(geometries[at])})
    return unanswered(check).model_copy(update={"passed": not found, "found": found, "samples": tuple(samples)})


def _compared(
    index: int, check: Within, product: BoxedFile, area: BoxedFile, around: Box, threads: int
) -> Iterator[tuple[Cover, Geometries, Rows]]:
    """Each row of the product, beside the geometries of the area that it can meet."""
    whole = _whole(area, around)
    if whole is not None:
        cover = Cover(whole)
        for geometries, rows in in_order(_with_coordinates, geometry_batches(product.file.path), threads):
            yield cover, geometries, rows
        return
    held: Geometries = np.empty(0, object)
    coming = area.read(around, from_west=True)
    following = next(coming, None)
    for geometries, rows in product.read(from_west=True):
        boxes = shapely.bounds(geometries)
        west, east = boxes[0, 0], boxes[:, 2].max()
        parts = [held[shapely.bounds(held)[:, 2] >= west]]
        while following is not None and shapely.bounds(following[0][0])[0] <= east:
            parts.append(_valid(following[0][shapely.bounds(following[0])[:, 2] >= west]))
            if _vertices(parts) > MOST_VERTICES:
                raise CHECK_AREA_TOO_LARGE(index=index, dataset=check.dataset, limit=MOST_VERTICES)
            following = next(coming, None)
        held = np.concatenate(parts)
        yield Cover(held), geometries, rows


def _whole(area: BoxedFile, around: Box) -> Geometries | None:
    """All geometries of the area; None if they have too many vertices."""
    parts: list[Geometries] = [np.empty(0, object)]
    vertices = 0
    for geometries, _ in area.read(around):
        vertices += _vertices([geometries])
        if vertices > MOST_VERTICES:
            return None
        parts.append(_valid(geometries))
    return np.concatenate(parts)


def _vertices(parts: list[Geometries]) -> int:
    return sum(int(shapely.get_num_coordinates(part).sum()) for part in parts)


def _with_coordinates(batch: tuple[int, pa.Array]) -> tuple[Geometries, Rows]:
    first, wkb = batch
    geometries = _decoded(wkb)
    there = np.flatnonzero(~(shapely.is_missing(geometries) | shapely.is_empty(geometries)))
    return geometries[there], first + there


def _decoded(wkb: pa.Array) -> Geometries:
    found: Geometries = shapely.from_wkb(wkb.to_numpy(zero_copy_only=False))
    return found


def _valid(geometries: Geometries) -> Geometries:
    """GEOS covers and unites valid geometries only; a recipe may keep invalid ones."""
    invalid = ~shapely.is_valid(geometries)
    geometries[invalid] = shapely.make_valid(geometries[invalid])
    return geometries


def _covers(areas: Geometries, geometries: Geometries) -> Mask:
    try:
        return np.asarray(shapely.covers(areas, geometries), np.bool_)
    except shapely.errors.GEOSException:
        return np.asarray(shapely.covers(areas, _valid(geometries.copy())), np.bool_)
