"""Timestamps with a zone: GDAL's Arrow route gives the wall-clock time and drops the zone, for all but GeoPackage.

So they are read as text, where the zone still is, and become instants again here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

_ZONE = r"(Z|[+-]\d\d(:?\d\d)?)$"


def time_types(names: Sequence[str], batches: Iterable[pa.RecordBatch]) -> dict[str, pa.DataType]:
    """The type of each column of ISO 8601 text: timestamp in UTC where every value has a zone, without zone where none
    has, text where some have."""
    zoned = dict.fromkeys(names, 0)
    filled = dict.fromkeys(names, 0)
    for batch in batches:
        for name in names:
            column = batch.column(name)
            zoned[name] += pc.sum(pc.match_substring_regex(_trimmed(column), _ZONE)).as_py() or 0
            filled[name] += len(column) - column.null_count
    return {name: _type(zoned[name], filled[name]) for name in names}


def to_times(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """ISO 8601 text as `kind`, one of those that `time_types` gives."""
    return _trimmed(texts).cast(kind)


def _trimmed(texts: pa.Array) -> pa.Array:
    # GDAL pads some of them.
    return pc.utf8_trim(texts, " \x00")


def _type(zoned: int, filled: int) -> pa.DataType:
    if 0 < zoned < filled:
        return pa.string()
    return pa.timestamp("ms", "UTC") if zoned else pa.timestamp("ms")
