"""Writing GeoParquet 1.1 as a stream. The same rows give the same bytes."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyproj import CRS

from app.models.asset import Bounds
from app.models.products import GEOMETRY
from app.settings import MiB

ROW_GROUP_ROWS = 65_536
ROW_GROUP_BYTES = 16 * MiB
_BOX = pa.struct([(side, pa.float64()) for side in ("xmin", "ymin", "xmax", "ymax")])


def product_schema(attributes: pa.Schema, box: str) -> pa.Schema:
    """The columns of the file: attributes, geometry (ISO WKB), covering box."""
    return pa.schema([*attributes, pa.field(GEOMETRY, pa.binary()), pa.field(box, _BOX)])


class GeoParquetWriter:
    """Writes rows in order, in row groups of at most 65,536 rows and about 16 MiB.

    Coordinates are x before y, as GeoParquet requires, even if `crs` declares another axis order. The box of a row
    without coordinates is null. The footer has the geometry types and the bounds of the rows that were written.
    """

    def __init__(self, path: Path, attributes: pa.Schema, box: str, crs: CRS) -> None:
        self._box, self._crs = box, crs
        self._schema = product_schema(attributes, box)
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = self._pending_bytes = 0
        self._types: set[str] = set()
        self._low = np.full(3, np.inf)
        self._high = np.full(3, -np.inf)
        self._writer = pq.ParquetWriter(
            path,
            self._schema,
            compression="zstd",
            use_dictionary=[field.name for field in attributes],
            write_statistics=[*(f.name for f in attributes), *(f"{box}.{side.name}" for side in _BOX)],
            store_schema=False,  # written with the `geo` metadata when closing
        )
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        self._writer.close()

    @property
    def schema(self) -> pa.Schema:
        """The columns of the file."""
        return self._schema

    @property
    def bounds(self) -> tuple[float, float, float, float] | None:
        """(minx, miny, maxx, maxy) of all rows so far; None without any coordinates."""
        if not np.isfinite(self._low[0]):
            return None
        return float(self._low[0]), float(self._low[1]), float(self._high[0]), float(self._high[1])

    @property
    def geometry_types(self) -> list[str]:
        """GeoParquet's names of the types so far (`Polygon`, `MultiPolygon Z`), sorted."""
        return sorted(self._types)

    def write(
        self,
        attributes: Sequence[pa.Array],
        wkb: pa.Array,
        boxes: npt.NDArray[np.float64],
        types: set[str],
        heights: tuple[float, float] | None = None,
    ) -> None:
        """Append rows.

        Args:
            attributes: arrays of the attribute columns, in order.
            wkb: ISO WKB, null for rows without geometry.
            boxes: (n, 4) minx, miny, maxx, maxy; NaN for rows without coordinates.
            types: GeoParquet's names of the geometry types in these rows.
            heights: lowest and highest z of these rows.
        """
        missing = np.isnan(boxes[:, 0])
        sides = [pa.array(np.ascontiguousarray(boxes[:, i])) for i in range(4)]
        box = pa.StructArray.from_arrays(sides, fields=list(_BOX), mask=pa.array(missing) if missing.any() else None)
        batch = pa.record_batch([*attributes, wkb, box], schema=self._schema)
        if self._pending and self._is_full(batch):
            self._flush()
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        self._pending_bytes += batch.nbytes
        self._types |= types
        if not missing.all():
            self._low[:2] = np.minimum(self._low[:2], np.nanmin(boxes[:, :2], axis=0))
            self._high[:2] = np.maximum(self._high[:2], np.nanmax(boxes[:, 2:], axis=0))
        if heights is not None:
            self._low[2], self._high[2] = min(self._low[2], heights[0]), max(self._high[2], heights[1])

    def _is_full(self, batch: pa.RecordBatch) -> bool:
        if self._pending_rows + batch.num_rows > ROW_GROUP_ROWS:
            return True
        return bool(self._pending_bytes + batch.nbytes > ROW_GROUP_BYTES)

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._pending, self._schema)
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self.rows += table.num_rows
        self._pending.clear()
        self._pending_rows = self._pending_bytes = 0

    def _finish(self) -> None:
        if self._pending:
            self._flush()
        geo = json.dumps(self._geo(), sort_keys=True, separators=(",", ":"))
        # Readers look for `geo` in the footer or in the Arrow schema: both are complete only now.
        schema = self._schema.with_metadata({"geo": geo})
        stored = base64.b64encode(schema.serialize().to_pybytes()).decode()
        self._writer.add_key_value_metadata({"ARROW:schema": stored, "geo": geo})

    def _geo(self) -> dict[str, Any]:
        column: dict[str, Any] = {
            "encoding": "WKB",
            "crs": self._crs.to_json_dict(),
            "geometry_types": self.geometry_types,
            "covering": {"bbox": {side.name: [self._box, side.name] for side in _BOX}},
        }
        if (bounds := self.bounds) is not None:
            has_z = any(name.endswith(" Z") for name in self._types) and bool(np.isfinite(self._low[2]))
            low, high = list(bounds[:2]), list(bounds[2:])
            if has_z:
                low.append(float(self._low[2]))
                high.append(float(self._high[2]))
            column["bbox"] = low + high
        return {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}


def bounds_of(bounds: tuple[float, float, float, float] | None) -> Bounds | None:
    """The model of (minx, miny, maxx, maxy)."""
    return Bounds(minx=bounds[0], miny=bounds[1], maxx=bounds[2], maxy=bounds[3]) if bounds else None


def one_type(names: Sequence[str]) -> str | None:
    """One geometry type for all rows: the multi type where both occur, `Geometry` for a mixture, None without any."""
    flat = {name.removesuffix(" Z") for name in names}
    singles = {name.removeprefix("Multi") for name in flat}
    if len(flat) <= 1:
        return next(iter(flat), None)
    return f"Multi{singles.pop()}" if len(singles) == 1 else "Geometry"
