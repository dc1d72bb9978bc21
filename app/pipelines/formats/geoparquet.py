"""Writing GeoParquet 1.1 as a stream, the same bytes for the same rows."""

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

from app.settings import MiB

GEOMETRY = "geom"
ROW_GROUP_ROWS = 65_536
ROW_GROUP_BYTES = 16 * MiB
_BOX = pa.struct([(side, pa.float64()) for side in ("xmin", "ymin", "xmax", "ymax")])


def column_names(names: Sequence[str]) -> tuple[list[str], str, dict[str, str]]:
    """(attribute names, name of the covering column, {name in the source: name here} for those that changed).

    The geometry column is always `geom`: an attribute of that name (case aside) gets `_1`, `_2`, … at its end,
    whichever is free. The covering column is `bbox`; where the source has an attribute of that name `geom_bbox`,
    `geom_bbox_1`, ….
    """
    taken = {name.casefold() for name in names} | {GEOMETRY}
    renamed: dict[str, str] = {}
    for name in names:
        if name.casefold() == GEOMETRY:
            renamed[name] = _free(f"{name}_{{}}", taken)
    boxes = ["bbox", "geom_bbox"]
    free = [box for box in boxes if box not in taken]
    return [renamed.get(name, name) for name in names], free[0] if free else _free("geom_bbox_{}", taken), renamed


def _free(pattern: str, taken: set[str]) -> str:
    number = 1
    while pattern.format(number).casefold() in taken:
        number += 1
    taken.add(pattern.format(number).casefold())
    return pattern.format(number)


def product_schema(attributes: pa.Schema, box: str) -> pa.Schema:
    """The columns of the file: attributes, geometry, box."""
    return pa.schema([*attributes, pa.field(GEOMETRY, pa.binary()), pa.field(box, _BOX)])


class GeoParquetWriter:
    """Writes rows in order into row groups of 65,536 rows, fewer where they would pass 16 MiB.

    Coordinates are x before y in `crs`, whatever its axis order, as GeoParquet has it. A row without geometry, or with
    an empty one, has no box. The footer says which geometry types and which bounds the rows really have.
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
        return self._schema

    @property
    def bounds(self) -> tuple[float, float, float, float] | None:
        """(minx, miny, maxx, maxy) of all rows so far; None without any coordinates."""
        if not np.isfinite(self._low[0]):
            return None
        return float(self._low[0]), float(self._low[1]), float(self._high[0]), float(self._high[1])

    @property
    def geometry_types(self) -> list[str]:
        """Names as GeoParquet spells them (`Polygon`, `MultiPolygon Z`), sorted."""
        return sorted(self._types)

    def write(
        self,
        attributes: Sequence[pa.Array],
        wkb: pa.Array,
        boxes: npt.NDArray[np.float64],
        types: set[str],
        heights: tuple[float, float] | None = None,
    ) -> None:
        """Append rows. boxes: (n, 4) minx, miny, maxx, maxy, NaN where there is none; heights: lowest and highest z."""
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
