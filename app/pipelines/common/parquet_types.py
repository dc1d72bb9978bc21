"""Types of Parquet that Arrow does not have: INTERVAL, and times of day in UTC."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.messages.common import INTERVALS_AS_BYTES, INTERVALS_AS_TEXT, TIMES_IN_UTC
from app.models.runs.run import RunWarning

INTERVAL, TIME_UTC = "interval", "time_utc"
_BYTES = pa.binary(12)
# With a schema of Arrow's in its metadata, a file's times of day have no zone, although old writers declare UTC.
_ARROW_SCHEMA = b"ARROW:schema"
_LISTED = 10


def meanings(parquet: pq.ParquetFile) -> dict[str, str]:
    """{path of a column, also within others: `interval` or `time_utc`} for types that Arrow does not have."""
    has_arrow_schema = _ARROW_SCHEMA in (parquet.metadata.metadata or {})
    found = {}
    for number in range(len(parquet.schema)):
        column = parquet.schema.column(number)
        logical = json.loads(column.logical_type.to_json())
        if logical.get("Type") == "Interval" or column.converted_type == "INTERVAL":
            found[column.path] = INTERVAL
        elif logical.get("Type") == "Time" and logical.get("isAdjustedToUTC") and not has_arrow_schema:
            found[column.path] = TIME_UTC
    return found


def type_of(field: pa.Field, meaning: dict[str, str]) -> pa.Field:
    """The field as it is kept, with what it means in its metadata: INTERVAL is text."""
    known = meaning.get(field.name)
    if known == INTERVAL and field.type == _BYTES:
        return pa.field(field.name, pa.string(), field.nullable, {"logical_type": INTERVAL})
    if known == TIME_UTC and pa.types.is_time(field.type):
        return field.with_metadata({"logical_type": TIME_UTC})
    return field


def logical_types(schema: pa.Schema) -> dict[int, str]:
    """{number of a field: what it means}, of those that `type_of` marked."""
    marks = [(field.metadata or {}).get(b"logical_type", b"").decode() for field in schema]
    return {number: mark for number, mark in enumerate(marks) if mark in (INTERVAL, TIME_UTC)}


def type_warnings(meaning: dict[str, str], schema: pa.Schema, file: str) -> Iterator[RunWarning]:
    """What has another type in the product."""
    intervals = [path for path, known in meaning.items() if known == INTERVAL]
    for notice, columns in (
        (INTERVALS_AS_TEXT, [path for path in intervals if path in schema.names]),
        (INTERVALS_AS_BYTES, [path for path in intervals if path not in schema.names]),
        (TIMES_IN_UTC, [path for path, known in meaning.items() if known == TIME_UTC]),
    ):
        if columns:
            listed = ", ".join(map(repr, columns[:_LISTED]))
            more = f" and {len(columns) - _LISTED} more" if len(columns) > _LISTED else ""
            yield notice(file=file, count=len(columns), columns=listed + more, samples=columns)


def values_of(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column as values of the type that `type_of` gave it."""
    return interval_text(array) if array.type == _BYTES and pa.types.is_string(kind) else array


def interval_text(array: pa.Array) -> pa.Array:
    """INTERVAL as ISO 8601 writes it, such as P1M2DT3.5S. Nulls stay.

    Args:
        array: 12 bytes in each row: months, days and milliseconds, as Parquet stores them.
    """
    found = np.frombuffer(array.buffers()[1] or b"", "<u4")[3 * array.offset : 3 * (array.offset + len(array))]
    months, days, millis = found.reshape(-1, 3).T
    fraction = pc.utf8_rtrim(pc.utf8_lpad(_digits(millis % 1000), 3, "0"), characters="0")
    fraction = pc.if_else(pa.array(millis % 1000 > 0), _joined(".", fraction), "")
    time = _joined("T", _digits(millis // 1000), fraction, "S")
    has_time = (millis > 0) | ((months == 0) & (days == 0))
    parts = [
        pc.if_else(pa.array(has), text, "")
        for has, text in (
            (months > 0, _joined(_digits(months), "M")),
            (days > 0, _joined(_digits(days), "D")),
            (has_time, time),
        )
    ]
    return pc.if_else(array.is_valid(), _joined("P", *parts), pa.scalar(None, pa.string()))


def _digits(numbers: npt.NDArray[np.uint32]) -> pa.Array:
    return pc.cast(pa.array(numbers), pa.string())


def _joined(*texts: pa.Array | str) -> pa.Array:
    return pc.binary_join_element_wise(*texts, "")
