"""Builds the rows of a join from pairs of row numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from app.models.products import GEOMETRY
from app.pipelines.join.keys import fill_keys, is_number
from app.pipelines.join.layout import JoinColumns, JoinTable, SpatialTable
from app.pipelines.join.rows import Numbers, RowReader

_STEP_BYTES = 8 * 1024 * 1024
_TYPE_NAMES = (
    "", "Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon", "GeometryCollection",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AssembledPart:
    """Some rows of the result, ready to be written.

    Attributes:
        boxes: xmin, ymin, xmax, ymax of each row; NaN without a geometry.
        types: rows by geometry type.
        heights: lowest and highest z.
        lost_keys: spatial keys that do not have the type of the tabular key.
    """

    attributes: list[pa.Array]
    wkb: pa.Array
    boxes: npt.NDArray[np.float64]
    types: Counter[str]
    heights: tuple[float, float] | None
    lost_keys: int


class Assembler:
    """Builds rows from both sides, which are laid out in scratch for random access."""

    def __init__(
        self,
        left: JoinTable,
        right: SpatialTable,
        layout: JoinColumns,
        scratch: Path,
        tick: Callable[[], None],
        *,
        fills_keys: bool,
    ) -> None:
        """fills_keys: rows without a tabular side get their key from the spatial side."""
        self._layout = layout
        self._left = RowReader(left.path, layout.left, scratch / "left.arrow", tick)
        columns = [GEOMETRY, right.box, *layout.right]
        if fills_keys and layout.right_key not in columns:
            columns.append(layout.right_key)
        self._fill_from = columns.index(layout.right_key) if fills_keys else None
        self._fill_to = layout.left.index(layout.left_key)
        self._right = RowReader(right.table.path, columns, scratch / "right.arrow", tick)
        kinds = left.attributes.field(layout.left_key).type, right.table.attributes.field(layout.right_key).type
        self._numbers = all(map(is_number, kinds))

    def parts(self, matches: Iterable[tuple[pa.Array, pa.Array]], threads: int) -> Generator[AssembledPart, None, None]:
        """All rows of the result, in order, built by `threads` threads; only a few parts are in memory."""
        waiting: list[Future[AssembledPart]] = []
        with ThreadPoolExecutor(threads, thread_name_prefix="join") as pool:
            try:
                for left, right in matches:
                    for piece in self._split(_row_numbers(left), _row_numbers(right)):
                        waiting.append(pool.submit(self._assemble, *piece))
                        if len(waiting) > threads + 1:
                            yield waiting.pop(0).result()
                while waiting:
                    yield waiting.pop(0).result()
            finally:
                for future in waiting:
                    future.cancel()

    def _split(self, left: Numbers, right: Numbers) -> Generator[tuple[Numbers, Numbers], None, None]:
        """Pieces of limited size in bytes, with at least one row each."""
        ends = np.cumsum(self._left.sizes(left) + self._right.sizes(right))
        start = 0
        while start < len(left):
            before = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + _STEP_BYTES, side="right")))
            yield left[start:stop], right[start:stop]
            start = stop

    def _assemble(self, left: Numbers, right: Numbers) -> AssembledPart:
        """Runs in any thread."""
        attributes = self._left.take(left)
        spatial_columns = self._right.take(right)
        lost = 0
        if self._fill_from is not None and (left < 0).any():
            key, other = attributes[self._fill_to], spatial_columns[self._fill_from]
            attributes[self._fill_to], lost = fill_keys(key, other, left < 0, numbers=self._numbers)
        wkb, box, *spatial = spatial_columns
        boxes = np.column_stack([_box_side(box, name) for name in ("xmin", "ymin", "xmax", "ymax")])
        types, heights = _types(wkb)
        return AssembledPart([*attributes, *spatial[: len(self._layout.right)]], wkb, boxes, types, heights, lost)


def _row_numbers(rows: pa.Array) -> Numbers:
    """Row numbers, with -1 for null."""
    found: Numbers = pc.fill_null(rows, -1).to_numpy(zero_copy_only=False)
    return found


def _box_side(box: pa.Array, name: str) -> npt.NDArray[np.float64]:
    """One side of the boxes, NaN for null."""
    values = pc.struct_field(box, name)
    found: npt.NDArray[np.float64] = pc.fill_null(values, float("nan")).to_numpy(zero_copy_only=False)
    return found


def _types(wkb: pa.Array) -> tuple[Counter[str], tuple[float, float] | None]:
    """(rows by geometry type, lowest and highest z), from ISO WKB in little-endian order, as the writers write it."""
    offsets = np.frombuffer(wkb.buffers()[1], np.int32, len(wkb) + 1, wkb.offset * 4)
    raw = np.frombuffer(wkb.buffers()[2] or b"", np.uint8)
    starts = offsets[:-1][np.asarray(wkb.is_valid())]
    codes = raw[starts[:, None] + np.arange(1, 5)].view("<u4").ravel() if len(starts) else np.zeros(0, np.uint32)
    numbers, counts = np.unique(codes, return_counts=True)
    counted = {
        f"{_TYPE_NAMES[number % 1000]}{' Z' if number >= 1000 else ''}": count
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)
    }
    return Counter(counted), _heights(wkb) if (codes >= 1000).any() else None


def _heights(wkb: pa.Array) -> tuple[float, float] | None:
    z = shapely.get_coordinates(shapely.from_wkb(wkb.to_numpy(zero_copy_only=False)), include_z=True)[:, 2]
    z = z[np.isfinite(z)]
    return (float(z.min()), float(z.max())) if len(z) else None
