"""Writes Parquet as a stream: the same rows give the same bytes in any batches."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from app.settings import MiB

ROW_GROUP_ROWS = 131_072
ROW_GROUP_BYTES = 128 * MiB


class TableWriter:
    """Writes row groups of 131,072 rows, or fewer when they reach 128 MiB."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._pending: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=_dictionaries(schema))
        self.rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def write(self, batch: pa.RecordBatch) -> None:
        start = 0
        while start < batch.num_rows:
            size = min(ROW_GROUP_ROWS - self._rows, batch.num_rows - start)
            part = batch.slice(start, size)
            self._pending.append(part)
            self._rows += size
            self._bytes += part.nbytes
            start += size
            if self._rows == ROW_GROUP_ROWS or self._bytes >= ROW_GROUP_BYTES:
                self._flush()

    def _flush(self) -> None:
        if self._rows:
            table = pa.Table.from_batches(self._pending, self._schema)
            self._writer.write_table(table, row_group_size=self._rows)
            self.rows += self._rows
        self._pending.clear()
        self._rows = self._bytes = 0


def _dictionaries(schema: pa.Schema) -> list[str]:
    """Columns with dictionary encoding: text, which often repeats."""
    return [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
