"""Rows of a Parquet file by their numbers, in any order, without the file in memory.

The columns are laid out once as uncompressed Arrow batches in scratch and mapped into memory: what is read is the page
cache's, not the process's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

_STAGED_ROWS = 16_384

Numbers = npt.NDArray[np.int64]


class Rows:
    """Random access to some columns of a Parquet file."""

    def __init__(self, path: Path, columns: Sequence[str], staged: Path) -> None:
        with pq.ParquetFile(path, pre_buffer=False) as parquet:
            schema = parquet.schema_arrow
            self.schema = pa.schema([schema.field(name) for name in columns])
            with pa.OSFile(str(staged), "wb") as file, pa.ipc.new_file(file, self.schema) as writer:
                for batch in parquet.iter_batches(_STAGED_ROWS, columns=list(columns)):
                    writer.write_batch(batch.select(list(columns)).cast(self.schema))
        self._map = pa.memory_map(str(staged))
        # The mapping keeps the file for as long as it is needed.
        staged.unlink()
        reader = pa.ipc.open_file(self._map)
        self._batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def sizes(self, column: str) -> Numbers:
        """Bytes of each value of a binary column; 0 where it is null."""
        index = self.schema.get_field_index(column)
        found = [pa.compute.binary_length(batch.column(index)).fill_null(0) for batch in self._batches]
        return np.concatenate([np.asarray(each, np.int64) for each in found]) if found else np.zeros(0, np.int64)

    def take(self, numbers: Numbers) -> list[pa.Array]:
        """The rows of these numbers, in their order, as one array a column; a row of nulls for -1."""
        order = np.argsort(numbers, kind="stable")
        wanted = numbers[order]
        missing = int(np.searchsorted(wanted, 0))
        wanted = wanted[missing:]
        batch_of = np.searchsorted(self._starts, wanted, side="right") - 1
        edges = np.flatnonzero(np.diff(batch_of, prepend=-1, append=-1)) if len(wanted) else np.zeros(1, np.int64)
        parts = [
            self._batches[batch_of[start]].take(pa.array(wanted[start:stop] - self._starts[batch_of[start]]))
            for start, stop in pairwise(edges)
        ]
        whole = pa.concat_batches(parts) if parts else pa.RecordBatch.from_pylist([], schema=self.schema)
        if not missing and np.array_equal(order, np.arange(len(order))):
            return list(whole.columns)
        place = np.empty(len(numbers), np.int64)
        place[order] = np.arange(len(numbers)) - missing
        return list(whole.take(pa.array(place, mask=place < 0)).columns)
