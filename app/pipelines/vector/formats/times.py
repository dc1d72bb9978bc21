"""Timestamps with a zone: GDAL's Arrow route gives the wall-clock time and drops the zone, for all but GeoPackage.

So they are read as text, where the zone still is, and become instants again here. Text that is no moment becomes null:
GDAL makes 2 March of 30 February, and 1970 of a year alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from app.pipelines.vector.formats.misfits import Misfits

_ZONE = r"[T ].*(Z|[+-]\d\d(:?\d\d)?)$"
_MOMENT = r"^\d{4}-\d\d-\d\d([T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?(Z|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?)?$"
_FINER_THAN_MS = r"\.\d{3}\d*[1-9]"
_BEYOND_US = r"(\.\d{6})\d+"
_BEYOND_MS = r"(\.\d{3})\d+"


def time_types(
    names: Sequence[str], batches: Iterable[pa.RecordBatch]
) -> tuple[dict[str, pa.DataType], dict[str, Misfits]]:
    """The type of each column of ISO 8601 text, and the texts that are no moments.

    A column is a timestamp in UTC where every value has a zone, without zone where none has, text where some have. Its
    unit is a millisecond, or a microsecond where some value needs it.
    """
    zoned, filled, fine = dict.fromkeys(names, 0), dict.fromkeys(names, 0), dict.fromkeys(names, False)
    misfits = {name: Misfits() for name in names}
    first_row = 0
    for batch in batches:
        for name in names:
            texts, wrong = _moments(batch.column(name))
            for row in wrong.tolist():
                misfits[name].add(first_row + row, _trimmed(batch.column(name))[row].as_py())
            zoned[name] += pc.sum(pc.match_substring_regex(texts, _ZONE)).as_py() or 0
            filled[name] += len(texts) - texts.null_count
            fine[name] |= pc.any(pc.match_substring_regex(texts, _FINER_THAN_MS)).as_py() or False
        first_row += batch.num_rows
    types = {name: _type(zoned[name], filled[name], "us" if fine[name] else "ms") for name in names}
    return types, {name: misfits[name] for name in names if not pa.types.is_string(types[name])}


def to_times(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """ISO 8601 text as `kind`, one of those that `time_types` gives. Text that is no moment becomes null."""
    if not pa.types.is_timestamp(kind):
        return _trimmed(texts)
    moments, _ = _moments(texts)
    return pc.replace_substring_regex(moments, _BEYOND_MS if kind.unit == "ms" else _BEYOND_US, r"\1").cast(kind)


def _moments(texts: pa.Array) -> tuple[pa.Array, npt.NDArray[np.intp]]:
    """(the texts that are moments, null for the others; the rows of those that are neither moments nor blank)."""
    trimmed = _trimmed(texts)
    is_moment = pc.and_not(pc.match_substring_regex(trimmed, _MOMENT), pc.starts_with(trimmed, "0000"))
    is_moment = is_moment.fill_null(False)
    found = pc.if_else(is_moment, trimmed, pa.scalar(None, trimmed.type))
    days = pc.utf8_slice_codeunits(found, 0, 10)
    try:
        days.cast(pa.date32())
    except pa.ArrowInvalid:
        is_day = {day: _is_day(day) for day in pc.unique(days).to_pylist() if day is not None}
        is_moment = pa.array([is_day.get(day, False) for day in days.to_pylist()], pa.bool_())
        found = pc.if_else(is_moment, trimmed, pa.scalar(None, trimmed.type))
    is_other = pc.and_not(pc.greater(pc.utf8_length(trimmed), 0).fill_null(False), is_moment)
    return found, np.flatnonzero(is_other.to_numpy(zero_copy_only=False))


def _is_day(text: str) -> bool:
    try:
        return bool(date.fromisoformat(text))
    except ValueError:
        return False


def _trimmed(texts: pa.Array) -> pa.Array:
    # GDAL pads some of them.
    return pc.utf8_trim(texts, " \x00")


def _type(zoned: int, filled: int, unit: str) -> pa.DataType:
    if 0 < zoned < filled:
        return pa.string()
    return pa.timestamp(unit, "UTC") if zoned else pa.timestamp(unit)
