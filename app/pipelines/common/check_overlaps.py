"""The check `no_overlaps`: a sweep from the lowest to the highest x, which holds the polygons that it is in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from app.messages.checks import CHECK_TOO_LARGE
from app.messages.message import MOST_SAMPLES
from app.models.checks.kinds import CheckResult, NoOverlaps, unanswered
from app.models.products import GEOMETRY
from app.pipelines.common.check_database import CheckedFile
from app.pipelines.common.check_geometry import type_ids
from app.pipelines.common.ordered_map import in_order
from app.pipelines.common.shapes import Coordinates, Geometries
from app.pipelines.common.shared_edges import exposed

# Rows and bytes that are looked at together, besides those that are held.
_BATCH_ROWS = 65_536
_BATCH_BYTES = 16 * 2**20
# Vertices of the polygons that are held at a time: about half a gigabyte with those of GEOS.
MOST_VERTICES = 8_000_000
_BYTES_A_VERTEX = 16
_AREAL = (3, 6, 7)
# DE-9IM: the interiors share an area.
_OVERLAP = "2********"

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Pairs = tuple[Rows, Rows]


@dataclass(frozen=True, slots=True)
class _Beside:
    """Polygons that share a range of x, in a table: wkb, row, and the sides of their boxes.

    held: the first of them, which were among those before; the others are new.
    """

    table: pa.Table
    held: int

    @property
    def wkb(self) -> pa.Array:
        return _column(self.table, "wkb")

    @property
    def boxes(self) -> Coordinates:
        return np.column_stack([_column(self.table, side).to_numpy() for side in ("xmin", "ymin", "xmax", "ymax")])

    def geometries(self, at: Rows | None = None) -> Geometries:
        """All of them; with `at` those at these places, and null for the others."""
        if at is None:
            found: Geometries = shapely.from_wkb(self.wkb.to_numpy(zero_copy_only=False))
            return found
        found = np.full(self.table.num_rows, None, object)
        found[at] = shapely.from_wkb(self.wkb.take(pa.array(at)).to_numpy(zero_copy_only=False))
        return found


def answer_overlaps(
    index: int, check: NoOverlaps, file: CheckedFile, box: str, threads: int, *, is_valid: bool = False
) -> CheckResult:
    """Count the pairs of rows whose polygons share a part of their interior.

    Args:
        index: of the check in the manifest.
        check: for its severity.
        file: the product.
        box: the name of its column with the boxes of the geometries.
        threads: that compare polygons.
        is_valid: whether all geometries are known to be valid.

    Raises:
        RunRefused: check_too_large.
    """
    found, samples = 0, list[dict[str, Any]]()

    def overlapping(part: _Beside) -> tuple[int, list[dict[str, Any]]]:
        may_be_too_many = part.wkb.nbytes > _BYTES_A_VERTEX * MOST_VERTICES
        if may_be_too_many and shapely.get_num_coordinates(part.geometries()).sum() > MOST_VERTICES:
            raise CHECK_TOO_LARGE(index=index, limit=MOST_VERTICES)
        first, second = _overlapping(part, is_valid=is_valid)
        return len(first), _shown(part, first[:MOST_SAMPLES], second[:MOST_SAMPLES])

    for number, shown in in_order(overlapping, _swept(file, index, box), threads):
        found += number
        samples += shown[: MOST_SAMPLES - len(samples)]
    return unanswered(check).model_copy(update={"passed": not found, "found": found, "samples": tuple(samples)})


def _swept(file: CheckedFile, index: int, box: str) -> Iterator[_Beside]:
    """All polygons by their lowest x: the new ones of each part beside those before that reach them."""
    geometry, bounds = (f"c{file.columns.number(name, index, 'no_overlaps')}" for name in (GEOMETRY, box))
    rest = f"WHERE {bounds}.xmin IS NOT NULL ORDER BY {bounds}.xmin, file_row_number"
    sides = ", ".join(f"{bounds}.{side} AS {side}" for side in ("xmin", "ymin", "xmax", "ymax"))
    held: pa.Table | None = None
    found = file.select(f"{geometry} AS wkb, file_row_number AS row, {sides}", rest)
    for batch in found.fetch_record_batch(_rows_at_once(file)):
        new = pa.Table.from_batches([batch])
        areal = np.isin(type_ids(batch.column(0)), _AREAL)
        new = new if areal.all() else new.filter(pa.array(areal))
        if not new.num_rows:
            continue
        if held is not None:
            held = held.filter(pa.array(_column(held, "xmax").to_numpy() > new.column("xmin")[0].as_py()))
        both = new if held is None else pa.concat_tables([held, new])
        yield _Beside(both, both.num_rows - new.num_rows)
        held = both


def _rows_at_once(file: CheckedFile) -> int:
    with pq.ParquetFile(file.path) as parquet:
        groups = [parquet.metadata.row_group(number) for number in range(parquet.num_row_groups)]
    size: int = sum(group.total_byte_size for group in groups)
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES * file.rows // max(size, 1)))


def _column(table: pa.Table, name: str) -> pa.Array:
    return table.column(name).combine_chunks()


def _overlapping(part: _Beside, *, is_valid: bool) -> Pairs:
    """Places of two polygons that overlap, the first of them a new one, each pair once."""
    valid = np.ones(part.table.num_rows, np.bool_) if is_valid else shapely.is_valid(part.geometries())
    alone = exposed(part.wkb, valid)
    # Neighbours that share all of their edges need not be compared one by one.
    if 2 * alone.sum() < len(alone) and not len(_compared(part, _near(part.boxes, alone))[0]):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    first, second = _near(part.boxes, np.ones(len(alone), np.bool_))
    new = first >= part.held
    return _compared(part, (first[new], second[new]))


def _near(boxes: Coordinates, chosen: Mask) -> Pairs:
    """Places of two boxes that share an area, one of them at least a chosen one; the higher place first."""
    at, made = np.flatnonzero(chosen), shapely.box(*boxes.T)
    places, found = shapely.STRtree(made[at]).query(made)
    others = at[found]
    once = (others < places) | ((others != places) & ~chosen[places])
    first, second = np.maximum(places, others)[once], np.minimum(places, others)[once]
    low = np.maximum(boxes[first, :2], boxes[second, :2])
    high = np.minimum(boxes[first, 2:], boxes[second, 2:])
    near = (low < high).all(axis=1)
    return first[near], second[near]


def _compared(part: _Beside, pairs: Pairs) -> Pairs:
    """Those of the pairs that overlap."""
    first, second = pairs
    geometries = part.geometries(np.unique(np.concatenate(pairs)))
    overlapping = _overlap(geometries[first], geometries[second])
    return first[overlapping], second[overlapping]


def _overlap(left: Geometries, right: Geometries) -> Mask:
    try:
        return np.asarray(shapely.relate_pattern(left, right, _OVERLAP), np.bool_)
    except shapely.errors.GEOSException:
        # GEOS relates valid geometries only; a recipe may keep invalid ones.
        return np.asarray(
            shapely.relate_pattern(shapely.make_valid(left), shapely.make_valid(right), _OVERLAP), np.bool_
        )


def _shown(part: _Beside, first: Rows, second: Rows) -> list[dict[str, Any]]:
    geometries, rows = (
        part.geometries(np.unique(np.concatenate([first, second]))),
        _column(part.table, "row").to_numpy(),
    )
    return [
        {
            "rows": sorted((int(rows[one]), int(rows[other]))),
            "area": float(
                shapely.area(shapely.intersection(*shapely.make_valid([geometries[one], geometries[other]])))
            ),
        }
        for one, other in zip(first, second, strict=True)
    ]
