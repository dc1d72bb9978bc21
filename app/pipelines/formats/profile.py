"""A short profile of every column of a finished Parquet file, the same one for the same file."""

from __future__ import annotations

import math
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from app.errors import RunRefused

_COLUMNS_AT_ONCE = 100
_MOST_TEXT = 200


def profile(path: Path, schema: pa.Schema, rows: int, threads: int) -> dict[str, dict[str, Any]]:
    """{column: {count, nulls, min, max, distinct}}. distinct is an estimate (HyperLogLog, some percent off).

    min and max are null for nested, binary and boolean columns; text is compared by bytes, cut after 200 characters.
    DuckDB, which had no part in writing the file, counts its rows: RunRefused rows_lost when they are not `rows`.
    """
    ranges = _ranges(path, schema)
    found: dict[str, dict[str, Any]] = {}
    config: dict[str, Any] = {"threads": threads, "memory_limit": "256MB", "autoload_known_extensions": False}
    # Its own choice would be a folder of the working directory.
    config["temp_directory"] = str(path.parent / "profile")
    # By their places: to DuckDB a name must not be empty, and names that differ in their case only are the same.
    aliases = ", ".join(f"c{n}" for n in range(len(schema.names)))
    with duckdb.connect(":memory:", config=config) as connection:
        for start in range(0, len(schema.names), _COLUMNS_AT_ONCE):
            names = schema.names[start : start + _COLUMNS_AT_ONCE]
            asked = ", ".join(f"count(c{n}), approx_count_distinct(c{n})" for n in range(start, start + len(names)))
            query = f"SELECT count(*), {asked} FROM read_parquet(?) AS t({aliases})"  # noqa: S608 # made of numbers
            total, *numbers = connection.execute(query, [str(path)]).fetchall()[0]
            if total != rows:
                detail = f"{rows} rows were written, {total} are in the file."
                raise RunRefused(detail, "This is a defect of the service.", reason="rows_lost")
            for name, count, distinct in zip(names, numbers[0::2], numbers[1::2], strict=True):
                low, high = ranges[name]
                estimate = min(distinct, count)
                found[name] = {"count": count, "nulls": total - count, "min": low, "max": high, "distinct": estimate}
    return found


def _ranges(path: Path, schema: pa.Schema) -> dict[str, tuple[Any, Any]]:
    """(least, greatest) of each column, as the row groups' statistics have them."""
    ranges: dict[str, tuple[Any, Any]] = dict.fromkeys(schema.names, (None, None))
    first = 0
    with pq.ParquetFile(path) as file:
        metadata = file.metadata
        for field in schema:
            leaf, first = first, first + _leaves(field.type)
            if not _is_ordered(field.type):
                continue
            found = [metadata.row_group(group).column(leaf) for group in range(metadata.num_row_groups)]
            ranges[field.name] = _range([each.statistics for each in found if _has_values(each)])
    return ranges


def _leaves(kind: pa.DataType) -> int:
    """How many columns a Parquet file has for this type. By their names they cannot be told apart: `a.b` is one within
    `a`, or a name with a dot."""
    if not pa.types.is_nested(kind):
        return 1
    return sum(_leaves(kind.field(i).type) for i in range(kind.num_fields))


def _range(statistics: list[Any]) -> tuple[Any, Any]:
    if not statistics or not all(each is not None and each.has_min_max for each in statistics):
        return None, None
    try:
        return _plain(min(each.min for each in statistics)), _plain(max(each.max for each in statistics))
    except (OverflowError, ValueError):  # times that Python's calendar does not reach
        return None, None


def _has_values(column: Any) -> bool:
    """Whether the column of this row group has a value, or may have one."""
    statistics = column.statistics
    return statistics is None or not statistics.has_null_count or statistics.null_count < column.num_values


def _is_ordered(kind: pa.DataType) -> bool:
    types = pa.types
    asked = (
        types.is_integer, types.is_float32, types.is_float64, types.is_decimal, types.is_temporal, types.is_string,
        types.is_large_string,
    )  # fmt: skip
    return any(ask(kind) for ask in asked)


def _plain(value: Any) -> Any:
    """As every ledger can keep it: decimals and what is beyond 64 bits as text, with all digits."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    return str(value)[:_MOST_TEXT].replace("\x00", "\\x00")
