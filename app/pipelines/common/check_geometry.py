"""Checks of the geometries of a product, by GEOS, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from app.messages.message import MOST_SAMPLES
from app.models.checks.kinds import CheckResult, GeometryTypes, ValidGeometry, unanswered
from app.models.products import GEOMETRY
from app.pipelines.common.ordered_map import in_order

GEOMETRY_CHECKS = (ValidGeometry, GeometryTypes)
GeometryCheck = ValidGeometry | GeometryTypes
_BATCH_ROWS = 8_192
_TYPE_NAMES = (
    "Point", "LineString", "LinearRing", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon",
    "GeometryCollection",
)  # fmt: skip
_NO_TYPE = -1
_MOST_REASON = 200

Failed = npt.NDArray[np.bool_]


def answer_geometries(checks: Sequence[tuple[int, GeometryCheck]], path: Path, threads: int) -> dict[int, CheckResult]:
    """Results by the index of the check. Null geometries pass; empty ones are valid, and have a type."""
    found = {index: 0 for index, _ in checks}
    samples: dict[int, list[dict[str, Any]]] = {index: [] for index, _ in checks}

    def failures(batch: tuple[int, pa.Array]) -> tuple[int, pa.Array, list[Failed]]:
        first, wkb = batch
        return first, wkb, [_failed(check, wkb) for _, check in checks]

    for first, wkb, failed in in_order(failures, geometry_batches(path), threads):
        for (index, check), mask in zip(checks, failed, strict=True):
            rows = np.flatnonzero(mask)
            found[index] += len(rows)
            kept = samples[index]
            kept += [
                {"row": first + int(row), **_seen(check, wkb[int(row)].as_py())}
                for row in rows[: MOST_SAMPLES - len(kept)]
            ]
    return {
        index: unanswered(check).model_copy(
            update={"passed": not found[index], "found": found[index], "samples": tuple(samples[index])}
        )
        for index, check in checks
    }


def geometry_batches(path: Path) -> Iterator[tuple[int, pa.Array]]:
    """(number of the first row, WKB) of a few thousand rows at a time."""
    first = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=[GEOMETRY]):
            yield first, batch.column(0)
            first += batch.num_rows


def _failed(check: GeometryCheck, wkb: pa.Array) -> Failed:
    if isinstance(check, GeometryTypes):
        allowed = [_TYPE_NAMES.index(name) for name in check.types]
        # Nulls pass.
        return ~np.isin(type_ids(wkb), [*allowed, _NO_TYPE])
    geometries = shapely.from_wkb(wkb.to_numpy(zero_copy_only=False))
    return np.asarray(~shapely.is_missing(geometries) & ~shapely.is_valid(geometries), np.bool_)


def type_ids(wkb: pa.Array) -> npt.NDArray[np.int64]:
    """The types of ISO WKB by shapely's numbers, read from the heads; -1 for nulls."""
    found = np.full(len(wkb), _NO_TYPE, np.int64)
    present = np.flatnonzero(wkb.is_valid().to_numpy(zero_copy_only=False))
    if len(present):
        _, offsets, data = wkb.buffers()
        starts = np.frombuffer(offsets, np.int32)[wkb.offset : wkb.offset + len(wkb)][present].astype(np.int64)
        head = np.frombuffer(data, np.uint8)[starts[:, None] + np.arange(5)].astype(np.int64)
        digits = np.where(head[:, :1] == 1, head[:, 1:], head[:, :0:-1])
        codes = digits @ (256 ** np.arange(4)) % 1000
        found[present] = np.where(codes <= 2, codes - 1, codes)
    return found


def _seen(check: GeometryCheck, wkb: bytes) -> dict[str, str]:
    geometry = shapely.from_wkb(wkb)
    if isinstance(check, ValidGeometry):
        return {"reason": str(shapely.is_valid_reason(geometry))[:_MOST_REASON]}
    return {"type": _TYPE_NAMES[shapely.get_type_id(geometry)]}
