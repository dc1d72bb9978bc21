"""Parquet tables: columns are kept as they are, only their names are cleaned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from app.errors import RunRefused
from app.pipelines.context import Watch
from app.pipelines.formats.content import looks_like
from app.pipelines.formats.tabular_source import Note, check_columns, no_rows
from app.pipelines.formats.tabular_table import Outcome
from app.pipelines.formats.tabular_write import TableWriter
from app.settings import Limits

_BATCH_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class ParquetTable:
    """An opened and checked file. schema: with the names of the source."""

    file: str
    path: Path
    names: tuple[str, ...]
    schema: pa.Schema
    rows: int
    notes: list[Note] = field(default_factory=list)

    @property
    def described(self) -> Mapping[str, Any]:
        return {}


def open_parquet(path: Path, limits: Limits, file: str) -> ParquetTable:
    """Raises RunRefused: content_mismatch, file_truncated, file_damaged, columns_too_many, header_too_long,
    rows_too_many, no_rows."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(16)
        stream.seek(max(size - 4, 0))
        tail = stream.read()
    if not head.startswith(b"PAR1"):
        raise RunRefused(
            f"{file} is declared as Parquet, its content is {looks_like(head)}.",
            "Correct files[].format, or send the right file.",
            reason="content_mismatch",
            file=file,
        )
    if size < 12 or tail != b"PAR1":
        raise RunRefused(
            f"{file} is truncated: Parquet's closing mark is missing after {size} bytes.",
            "Upload the file again.",
            reason="file_truncated",
            file=file,
        )
    try:
        with pq.ParquetFile(path) as opened:
            schema, rows = opened.schema_arrow, opened.metadata.num_rows
    except (pa.ArrowException, OSError) as err:
        raise _damaged(file, err) from None
    check_columns(schema.names, limits, file)
    if rows > limits.rows:
        raise RunRefused(
            f"{file} has {rows} rows, the limit is {limits.rows}.",
            "Split it, or raise SPATIAL_ETL_LIMITS__ROWS.",
            reason="rows_too_many",
            file=file,
        )
    if rows == 0 or not schema.names:
        raise no_rows(file, "it has a schema and nothing else")
    return ParquetTable(file, path, tuple(schema.names), schema, rows)


def copy_parquet(source: ParquetTable, cleaned: Sequence[str], target: Path, watch: Watch) -> Outcome:
    """Write the rows again under the cleaned names; types, nulls and nested values stay. Column metadata of other
    programs, which may name columns by their old names, does not."""
    fields = [pa.field(name, each.type, each.nullable) for name, each in zip(cleaned, source.schema, strict=True)]
    schema = pa.schema(fields)
    rows = 0
    try:
        with pq.ParquetFile(source.path, page_checksum_verification=True) as file, TableWriter(target, schema) as out:
            for batch in file.iter_batches(_BATCH_ROWS, use_threads=True):
                out.write(pa.record_batch(batch.columns, schema=schema))
                rows += batch.num_rows
                watch.advance(rows, source.rows)
    except (pa.ArrowException, OSError) as err:
        raise _damaged(source.file, err) from None
    counts = Counter({"rows_in": source.rows, "rows_out": out.rows, "rows_quarantined": 0})
    logical = {each.name: "nested" for each in fields if pa.types.is_nested(each.type)}
    return Outcome(schema, counts, logical)


def _damaged(file: str, err: Exception) -> RunRefused:
    detail = f"{file} cannot be read as Parquet: {str(err)[:200]}."
    return RunRefused(detail, "Write and upload it again.", reason="file_damaged", file=file)
