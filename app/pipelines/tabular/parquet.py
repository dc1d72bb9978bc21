"""Parquet tables: the columns are kept as they are."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from app.messages.common import CONTENT_MISMATCH, END_MARK_MISSING, ROWS_TOO_MANY
from app.messages.tabular import (
    SCHEMA_ONLY,
    TYPED_TABLE_DAMAGED,
)
from app.models.formats import Format
from app.models.manifests.file_options import FileOptions
from app.pipelines.common.content import looks_like
from app.pipelines.common.parquet_times import int96_unit
from app.pipelines.common.parquet_types import logical_types, meanings, type_of, type_warnings, values_of
from app.pipelines.contract.watch import Watch
from app.pipelines.tabular.source import TypedSource, check_columns
from app.settings import Limits
from app.system.memory import raise_lack_of_memory

_BATCH_ROWS = 16_384
_MAGIC = b"PAR1"


def open_source(
    path: Path, fmt: Format, _options: FileOptions, limits: Limits, file: str, _watch: Watch
) -> TypedSource:
    """See OpenSource.

    Raises:
        RunRefused: content_mismatch, file_truncated, file_damaged, columns_too_many, header_too_long, rows_too_many,
            no_rows, value_invalid.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(4096)
        stream.seek(max(size - 4, 0))
        tail = stream.read()
    if not head.startswith(_MAGIC):
        raise CONTENT_MISMATCH(file=file, format=fmt.name, found=looks_like(head))
    if size < 12 or tail != _MAGIC:
        raise END_MARK_MISSING(file=file, size=size, mark="the closing `PAR1` of Parquet")
    try:
        unit, warnings = int96_unit(path, file)
        with pq.ParquetFile(path, coerce_int96_timestamp_unit=unit) as opened:
            found, rows, meaning = opened.schema_arrow, opened.metadata.num_rows, meanings(opened)
    except (pa.ArrowException, OSError) as err:
        raise_lack_of_memory(err)
        raise TYPED_TABLE_DAMAGED(file=file, format=fmt.name) from None
    schema = pa.schema([type_of(field, meaning) for field in found])
    warnings = [*warnings, *type_warnings(meaning, found, file)]
    check_columns(schema.names, limits, file)
    if rows > limits.rows:
        raise ROWS_TOO_MANY(file=file, limit=limits.rows)
    if rows == 0 or not schema.names:
        raise SCHEMA_ONLY(file=file)
    return TypedSource(
        file, fmt.name, schema, rows, partial(_batches, path, unit, schema), warnings, logical_types(schema)
    )


def _batches(path: Path, unit: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path, page_checksum_verification=True, coerce_int96_timestamp_unit=unit) as opened:
        for batch in opened.iter_batches(_BATCH_ROWS, use_threads=True):
            columns = [values_of(array, kind) for array, kind in zip(batch.columns, schema.types, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
