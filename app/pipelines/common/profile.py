"""A profile of every column of a finished Parquet file: counts, range and number of distinct values."""

from __future__ import annotations

import math
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from app.messages.common import ROWS_NOT_IN_FILE

_COLUMNS_AT_ONCE = 100
_MOST_TEXT = 200


def profile(path: Path, schema: pa.Schema, rows: int, threads: int) -> dict[str, dict[str, Any]]:
    """Profile all columns. The same file gives the same profile.

    Args:
        path: the Parquet file.
        schema: its Arrow schema.
        rows: how many rows were written. DuckDB, which did not write the file, counts them again.
        threads: for DuckDB.

    Returns:
        {column: {count, nulls, min, max, distinct}}. count is of values that are not null. distinct is an estimate
        (HyperLogLog, a few percent off). min and max are null for nested, binary and boolean columns; text is compared
        by bytes and cut after 200 characters.

    Raises:
        RunRefused: rows_lost when the file has not `rows` rows.
    """
    ranges = _ranges(path, schema)
    found: dict[str, dict[str, Any]] = {}
    config: dict[str, Any] = {"threads": threads, "memory_limit": "256MB", "autoload_known_extensions": False}
    # The default is a directory in the working directory.
    config["temp_directory"] = str(path.parent / "profile")
    # Columns are numbered: DuckDB allows no empty names, and no names that differ only in case.
    aliases = ", ".join(f"c{n}" for n in range(len(schema.names)))
    with duckdb.connect(":memory:", config=config) as connection:
        for start in range(0, len(schema.names), _COLUMNS_AT_ONCE):
            names = schema.names[start : start + _COLUMNS_AT_ONCE]
            asked = ", ".join(f"count(c{n}), approx_count_distinct(c{n})" for n in range(start, start + len(names)))
            query = f"SELECT count(*), {asked} FROM read_parquet(?) AS t({aliases})"  # noqa: S608 # made of numbers
            total, *numbers = connection.execute(query, [str(path)]).fetchall()[0]
            if total != rows:
                raise ROWS_NOT_IN_FILE(written=rows, found=total)
            for name, count, distinct in zip(names, numbers[0::2], numbers[1::2], strict=True):
                low, high = ranges[name]
                estimate = min(distinct, count)
                found[name] = {"count": count, "nulls": total - count, "min": low, "max": high, "distinct": estimate}
    return found


def _ranges(path: Path, schema: pa.Schema) -> dict[str, tuple[Any, Any]]:
    """(min, max) of each column, from the statistics of the row groups."""
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
    """How many Parquet columns this type has. Names are ambiguous: `a.b` is a field of `a`, or a name with a dot."""
    if not pa.types.is_nested(kind):
        return 1
    return sum(_leaves(kind.field(i).type) for i in range(kind.num_fields))


def _range(statistics: list[Any]) -> tuple[Any, Any]:
    if not statistics or not all(each is not None and each.has_min_max for each in statistics):
        return None, None
    try:
        return _plain(min(each.min for each in statistics)), _plain(max(each.max for each in statistics))
    except (OverflowError, ValueError):  # times outside the years 1 to 9999
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
    """A value that every ledger can store: decimals and integers beyond 64 bits become text with all digits."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    return str(value)[:_MOST_TEXT].replace("\x00", "\\x00")
