"""Reads rows of a Parquet file by their numbers, in any order, without the whole file in memory.

The columns are written once to scratch as uncompressed Arrow batches, which are mapped into memory: the operating
system caches what is read, and may drop it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as kinds

_STAGED_ROWS = 16_384

Numbers = npt.NDArray[np.int64]


def batches_of(parquet: pq.ParquetFile, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
    """Batches of one row group each: writers limit its bytes, and Arrow cannot read some nested types across two."""
    for group in range(parquet.num_row_groups):
        yield from parquet.iter_batches(rows, row_groups=[group], columns=list(columns))


class RowReader:
    """Random access to some columns of a Parquet file."""

    def __init__(self, path: Path, columns: Sequence[str], staged: Path, tick: Callable[[], None]) -> None:
        """tick: called for each batch while the columns are written to scratch; its exceptions pass through."""
        self._places: list[tuple[int, int]] = []
        counts = [0]
        with pq.ParquetFile(path, pre_buffer=False) as parquet, pa.OSFile(str(staged), "wb") as file:
            schema = parquet.schema_arrow
            self.schema = pa.schema([schema.field(name) for name in columns])
            self._staged = pa.schema([field.with_type(_type_for_take(field.type)) for field in self.schema])
            for batch in batches_of(parquet, columns, _STAGED_ROWS):
                start = file.tell()
                # One stream for each batch, because dictionaries may differ between batches.
                with pa.ipc.new_stream(file, self._staged) as writer:
                    writer.write_batch(batch.select(list(columns)).cast(self._staged))
                self._places.append((start, file.tell()))
                counts.append(batch.num_rows)
                tick()
        self._map = pa.memory_map(str(staged))
        # The mapping keeps the data after the file is unlinked.
        staged.unlink()
        whole = self._map.read_buffer() if self._places else pa.py_buffer(b"")
        self._batches = [
            pa.ipc.open_stream(whole.slice(start, stop - start)).read_next_batch() for start, stop in self._places
        ]
        self._starts = np.cumsum(counts)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def sizes(self, numbers: Numbers) -> Numbers:
        """The approximate size of each of these rows in bytes; 0 for -1."""
        order, pieces = self._pieces(numbers)
        found = np.zeros(len(numbers), np.int64)
        for piece in pieces:
            found[order[piece.start : piece.stop]] = _sizes(piece.batch, piece.rows)
        return found

    def take(self, numbers: Numbers) -> list[pa.Array]:
        """The rows of these numbers, in their order, as one array per column; a row of nulls for -1."""
        order, pieces = self._pieces(numbers)
        parts = [piece.batch.take(pa.array(piece.rows)) for piece in pieces]
        whole = pa.concat_batches(parts) if parts else pa.RecordBatch.from_pylist([], schema=self._staged)
        if whole.num_rows < len(numbers) or not np.array_equal(order, np.arange(len(order))):
            place = np.empty(len(numbers), np.int64)
            place[order] = np.arange(len(numbers)) - (len(numbers) - whole.num_rows)
            whole = whole.take(pa.array(place, mask=place < 0))
        return [
            column if column.type == field.type else column.cast(field.type)
            for column, field in zip(whole.columns, self.schema, strict=True)
        ]

    def _pieces(self, numbers: Numbers) -> tuple[Numbers, list[_Piece]]:
        """(positions of the numbers in ascending order, what to take from which batch). -1 is in no piece."""
        order = np.argsort(numbers, kind="stable")
        wanted = numbers[order]
        missing = int(np.searchsorted(wanted, 0))
        batch_of = np.searchsorted(self._starts, wanted[missing:], side="right") - 1
        edges = np.flatnonzero(np.diff(batch_of, prepend=-1, append=-1)) + missing
        return order, [
            _Piece(start, stop, self._batches[number], wanted[start:stop] - self._starts[number])
            for start, stop in pairwise(edges.tolist())
            for number in [int(batch_of[start - missing])]
        ]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows of one batch, and their positions among the sorted numbers."""

    start: int
    stop: int
    batch: pa.RecordBatch
    rows: Numbers


def _sizes(batch: pa.RecordBatch, rows: Numbers) -> Numbers:
    """Exact for text and bytes, an average for nested values."""
    found = np.zeros(len(rows), np.int64)
    for column in batch.columns:
        width = _offset_width(column.type)
        if width is None:
            found += column.nbytes // max(len(column), 1) + 1
        elif len(column):
            offsets = np.frombuffer(column.buffers()[1], f"<i{width}", len(column) + 1, column.offset * width)
            found += offsets[rows + 1] - offsets[rows]
    return found


def _offset_width(kind: pa.DataType) -> int | None:
    if kinds.is_string(kind) or kinds.is_binary(kind):
        return 4
    return 8 if kinds.is_large_string(kind) or kinds.is_large_binary(kind) else None


def _type_for_take(kind: pa.DataType) -> pa.DataType:
    """The type without views, because Arrow cannot take rows of them."""
    if kinds.is_string_view(kind):
        return pa.large_string()
    if kinds.is_binary_view(kind):
        return pa.large_binary()
    if kinds.is_struct(kind):
        return pa.struct([field.with_type(_type_for_take(field.type)) for field in kind])
    for is_kind, make in ((kinds.is_list, pa.list_), (kinds.is_large_list, pa.large_list)):
        if is_kind(kind):
            return make(kind.value_field.with_type(_type_for_take(kind.value_type)))
    return kind
