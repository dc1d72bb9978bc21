"""Writes the rows that cannot be read to a file beside the product: position, reason and text of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from app.messages.message import MOST_SAMPLES
from app.pipelines.tabular.source import BadRow

SCHEMA = pa.schema(
    [
        pa.field("line", pa.int64(), nullable=False),
        pa.field("byte_offset", pa.int64()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("raw", pa.string(), nullable=False),
    ]
)


class Quarantine:
    """Writes quarantine.parquet. The file exists only if there is a row for it.

    Attributes:
        samples: the first few rows, for messages.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer: pq.ParquetWriter | None = None
        self.samples: list[dict[str, object]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def restart(self) -> None:
        """Delete what was written, because the source is read again from the beginning."""
        self._close()
        self.path.unlink(missing_ok=True)
        self.samples.clear()

    def add(self, rows: Sequence[BadRow]) -> None:
        if not rows:
            return
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, SCHEMA, compression="zstd")
        columns = [
            [each.line for each in rows],
            [each.offset for each in rows],
            [each.reason for each in rows],
            [each.raw for each in rows],
        ]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA))
        for each in rows[: MOST_SAMPLES - len(self.samples)]:
            self.samples.append({"line": each.line, "reason": each.reason, "raw": each.raw[:200]})

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
