"""The check `no_overlaps`: a sweep from the lowest to the highest x, which holds the polygons that it is in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from app.messages.checks import CHECK_TOO_LARGE
from app.messages.message import MOST_SAMPLES
from app.models.checks import CheckResult, NoOverlaps, unanswered
from app.models.products import GEOMETRY
from app.pipelines.common.check_database import CheckedFile
from app.pipelines.common.shapes import Geometries

_BATCH_ROWS = 4_096
# Vertices of the polygons that are held at a time: about half a gigabyte with those of GEOS.
MOST_VERTICES = 8_000_000
_AREAL = (3, 6, 7)
# DE-9IM: the interiors share an area.
_OVERLAP = "2********"

Rows = npt.NDArray[np.int64]


def answer_overlaps(index: int, check: NoOverlaps, file: CheckedFile, box: str) -> CheckResult:
    """Count the pairs of rows whose polygons share a part of their interior.

    Args:
        index: of the check in the manifest.
        check: for its severity.
        file: the product.
        box: the name of its column with the boxes of the geometries.

    Raises:
        RunRefused: check_too_large.
    """
    held: Geometries = np.empty(0, object)
    held_rows: Rows = np.empty(0, np.int64)
    found, samples = 0, list[dict[str, Any]]()
    for geometries, rows in _sorted_polygons(file, index, box):
        west = shapely.bounds(geometries)[0, 0]
        reaches = shapely.bounds(held)[:, 2] > west
        held, held_rows = np.append(held[reaches], geometries), np.append(held_rows[reaches], rows)
        if shapely.get_num_coordinates(held).sum() > MOST_VERTICES:
            raise CHECK_TOO_LARGE(index=index, limit=MOST_VERTICES)
        new = len(held) - len(geometries)
        first, second = shapely.STRtree(held).query(geometries, predicate="intersects")
        first = first + new
        # Each pair once: with an earlier row, or within the batch in one order.
        once = second < first
        first, second = first[once], second[once]
        overlapping = np.flatnonzero(_overlap(held[first], held[second]))
        found += len(overlapping)
        for at in overlapping[: MOST_SAMPLES - len(samples)]:
            pair = sorted((int(held_rows[first[at]]), int(held_rows[second[at]])))
            area = shapely.area(shapely.intersection(*shapely.make_valid([held[first[at]], held[second[at]]])))
            samples.append({"rows": pair, "area": float(area)})
    return unanswered(check).model_copy(update={"passed": not found, "found": found, "samples": tuple(samples)})


def _sorted_polygons(file: CheckedFile, index: int, box: str) -> Iterator[tuple[Geometries, Rows]]:
    """(geometries with an area, numbers of their rows), sorted by their lowest x."""
    geometry, bounds = (f"c{file.columns.number(name, index, 'no_overlaps')}" for name in (GEOMETRY, box))
    rest = f"WHERE {bounds}.xmin IS NOT NULL ORDER BY {bounds}.xmin, file_row_number"
    for batch in file.select(f"{geometry}, file_row_number", rest).fetch_record_batch(_BATCH_ROWS):
        geometries = shapely.from_wkb(batch.column(0).to_numpy(zero_copy_only=False))
        areal = np.isin(shapely.get_type_id(geometries), _AREAL) & ~shapely.is_empty(geometries)
        if areal.any():
            yield geometries[areal], batch.column(1).to_numpy()[areal]


def _overlap(left: Geometries, right: Geometries) -> npt.NDArray[np.bool_]:
    try:
        return np.asarray(shapely.relate_pattern(left, right, _OVERLAP), np.bool_)
    except shapely.errors.GEOSException:
        # GEOS relates valid geometries only; a recipe may keep invalid ones.
        return np.asarray(
            shapely.relate_pattern(shapely.make_valid(left), shapely.make_valid(right), _OVERLAP), np.bool_
        )
