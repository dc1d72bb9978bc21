"""INT96 timestamps of Parquet files: Spark, Impala and Hive write moments that 64 bits of nanoseconds cannot hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from app.messages.common import INT96_TOO_FAR, TIMESTAMPS_CUT
from app.models.runs.run import RunWarning

_BATCH_ROWS = 65_536
_MOST = 2**63 - 1
_MILLIS_OF_YEAR = 31_556_952_000


def int96_unit(path: Path, file: str) -> tuple[str, list[RunWarning]]:
    """The unit in which INT96 timestamps are read: `ns`, or `us` where a moment lies outside 1677 to 2262.

    Reads the INT96 columns, also within lists and structs; a file without any is not read.

    Args:
        path: a Parquet file.
        file: the key in the landing zone, for messages.

    Returns:
        (the unit, a warning where moments have digits that it does not hold).

    Raises:
        RunRefused: value_invalid for a moment that microseconds cannot hold. pyarrow's exceptions and OSError for a
            damaged file.
    """
    columns = _int96_columns(path)
    if not columns:
        return "ns", []
    is_far = False
    for name, millis, _ in _leaves(path, columns, ("ms", "ns")):
        low, high = (int(millis.min()), int(millis.max())) if len(millis) else (0, 0)
        if high >= _MOST // 1_000:
            raise INT96_TOO_FAR(file=file, column=name, year=1970 + high // _MILLIS_OF_YEAR)
        is_far = is_far or low <= -(_MOST // 1_000_000) or high >= _MOST // 1_000_000
    if not is_far:
        return "ns", []
    # In nanoseconds pyarrow's moments are right modulo 2**64.
    cut = sum(
        int(np.count_nonzero(nanos.view(np.uint64) - micros.view(np.uint64) * np.uint64(1_000)))
        for _, micros, nanos in _leaves(path, columns, ("us", "ns"))
    )
    return "us", [TIMESTAMPS_CUT(file=file, count=cut)] if cut else []


def _int96_columns(path: Path) -> list[str]:
    """Columns whose type depends on how INT96 is read."""
    with pq.ParquetFile(path) as fine, pq.ParquetFile(path, coerce_int96_timestamp_unit="s") as coarse:
        pairs = zip(fine.schema_arrow, coarse.schema_arrow, strict=True)
        return list(dict.fromkeys(one.name for one, other in pairs if one.type != other.type))


def _leaves(
    path: Path, columns: list[str], units: tuple[str, str]
) -> Iterator[tuple[str, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """(column, its INT96 timestamps that are not null in the one unit, in the other), batch by batch."""
    with ExitStack() as stack:
        files = [stack.enter_context(pq.ParquetFile(path, coerce_int96_timestamp_unit=unit)) for unit in units]
        for batches in zip(*(each.iter_batches(_BATCH_ROWS, columns=columns) for each in files), strict=True):
            for place, field in enumerate(batches[0].schema):
                for pair in zip(*(_timestamps(batch.column(place)) for batch in batches), strict=True):
                    if pair[0].type != pair[1].type:
                        one, other = (each.drop_null().cast(pa.int64()).to_numpy() for each in pair)
                        yield field.name, one, other


def _timestamps(array: pa.Array) -> Iterator[pa.Array]:
    """The arrays of timestamps in a column, at any depth."""
    if pa.types.is_timestamp(array.type):
        yield array
    elif pa.types.is_struct(array.type):
        for child in array.flatten():
            yield from _timestamps(child)
    elif pa.types.is_map(array.type):
        yield from _timestamps(array.keys)
        yield from _timestamps(array.items)
    elif pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        yield from _timestamps(array.flatten())
