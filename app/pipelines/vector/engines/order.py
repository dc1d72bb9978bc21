"""The order of the rows in a product: as they come, or along a Hilbert curve."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.messages.common import ROWS_TOO_MANY
from app.models.recipes.steps import HilbertOrder, Recipe
from app.pipelines.common.geoparquet_writer import GeoParquetWriter
from app.pipelines.vector.engines.external_sort import Keys, Spool, sort_batches
from app.pipelines.vector.engines.hilbert import places

_MOST_ROWS = 1 << 31


class RowWriter(Protocol):
    """Takes rows; see GeoParquetWriter.write."""

    def write(
        self,
        attributes: tuple[pa.Array, ...],
        wkb: pa.Array,
        boxes: npt.NDArray[np.float64],
        types: set[str],
        heights: tuple[float, float] | None = None,
    ) -> None: ...


@contextmanager
def rows_in_order(
    writer: GeoParquetWriter, recipe: Recipe, scratch: Path, tick: Callable[[], None]
) -> Iterator[RowWriter]:
    """Where to write rows so that `writer` gets them in order.

    Args:
        writer: of the product.
        recipe: with `HilbertOrder` rows go by `hilbert.places`. Rows of one place keep the order in which they come;
            rows without coordinates are last.
        scratch: for a directory with as much as the rows take, twice; it is empty at the end.
        tick: called now and then while rows are sorted; what it raises passes through.

    Raises:
        RunRefused: rows_too_many for more rows than can be sorted.
    """
    if HilbertOrder() not in recipe.steps:
        yield writer
        return
    folder = scratch / "order"
    folder.mkdir()
    sorter = _Sorter(writer, folder)
    yield sorter
    sorter.finish(tick)
    folder.rmdir()


@dataclass(slots=True)
class _Sorter:
    """Keeps rows in scratch until their bounds are known."""

    writer: GeoParquetWriter
    folder: Path
    _spool: Spool | None = None
    _types: set[str] = field(default_factory=set)
    _heights: list[float] = field(default_factory=list)
    _low: npt.NDArray[np.float64] = field(default_factory=lambda: np.full(2, np.inf))
    _high: npt.NDArray[np.float64] = field(default_factory=lambda: np.full(2, -np.inf))

    def write(
        self,
        attributes: tuple[pa.Array, ...],
        wkb: pa.Array,
        boxes: npt.NDArray[np.float64],
        types: set[str],
        heights: tuple[float, float] | None = None,
    ) -> None:
        """See RowWriter."""
        sides = [pa.array(np.ascontiguousarray(side)) for side in boxes.T]
        # Large binary, because batches are put together.
        arrays = [*attributes, wkb.cast(pa.large_binary()), *sides]
        if self._spool is None:
            self._spool = Spool(self.folder / "rows", pa.schema([(str(n), a.type) for n, a in enumerate(arrays)]))
        self._spool.write(pa.record_batch(arrays, schema=self._spool.schema))
        if self._spool.rows > _MOST_ROWS:
            raise ROWS_TOO_MANY(file="recipe.order: the result", limit=_MOST_ROWS)
        self._types |= types
        self._heights += heights or ()
        self._heights = [min(self._heights), max(self._heights)] if self._heights else []
        if not np.isnan(boxes[:, 0]).all():
            self._low = np.minimum(self._low, np.nanmin(boxes[:, :2], axis=0))
            self._high = np.maximum(self._high, np.nanmax(boxes[:, 2:], axis=0))

    def finish(self, tick: Callable[[], None]) -> None:
        """Write all rows to the writer, in order."""
        if self._spool is None:
            return
        bounds = (*self._low.tolist(), *self._high.tolist()) if np.isfinite(self._low[0]) else None

        def key(batch: pa.RecordBatch, before: int) -> Keys:
            order = np.arange(before, before + batch.num_rows, dtype=np.uint64)
            return places(_boxes(batch), bounds) << np.uint64(31) | order

        heights = (self._heights[0], self._heights[1]) if self._heights else None
        for batch in sort_batches(self._spool.read(), key, self.folder, tick):
            wkb = batch.column(batch.num_columns - 5).cast(pa.binary())
            self.writer.write(batch.columns[:-5], wkb, _boxes(batch), self._types, heights)


def _boxes(batch: pa.RecordBatch) -> npt.NDArray[np.float64]:
    return np.column_stack([side.to_numpy(zero_copy_only=False) for side in batch.columns[-4:]])
