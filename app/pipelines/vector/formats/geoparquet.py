"""Reading GeoParquet, and Parquet files with a column of a geometry type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from app.messages.common import CONTENT_MISMATCH, END_MARK_MISSING
from app.messages.vector import FILE_DAMAGED, NO_LAYERS
from app.pipelines.common.content import looks_like
from app.pipelines.common.crs import resolve_crs
from app.pipelines.common.parquet_attributes import attribute, attribute_values
from app.pipelines.common.parquet_times import int96_unit
from app.pipelines.common.parquet_types import meanings, type_of, type_warnings
from app.pipelines.vector.formats.geoparquet_metadata import GeometryColumn, geometry_column
from app.pipelines.vector.formats.geoparquet_native import to_wkb
from app.pipelines.vector.formats.reader import SourceFile, only_layer
from app.pipelines.vector.source import Batch, VectorSource, cut
from app.settings import MiB
from app.system.memory import raise_lack_of_memory

list_layers = only_layer
_BATCH_ROWS = 16_384
_BATCH_BYTES = 16 * MiB


def check_content(source: SourceFile, head: bytes) -> None:
    """See VectorFormat: Parquet's signature at both ends."""
    if not head.startswith(b"PAR1"):
        raise CONTENT_MISMATCH(file=source.file, format=source.format.name, found=looks_like(head))
    with source.path.open("rb") as stream:
        stream.seek(max(source.size - 4, 0))
        if source.size < 12 or stream.read() != b"PAR1":
            raise END_MARK_MISSING(file=source.file, size=source.size, mark="the closing `PAR1` of Parquet")


def open_sources(source: SourceFile) -> list[VectorSource]:
    """See VectorFormat. Describes a file from its footer; see `geometry_column` for what it may say.

    The bbox covering column is left out (it is derived, and written again); further geometry columns stay as
    attributes, with a warning. Dictionary-encoded columns become columns of their values.

    Raises:
        RunRefused: geoparquet_metadata, geoparquet_version, geoparquet_encoding, layer_unknown, file_damaged,
            columns_duplicate, value_invalid, crs_*.
    """
    path, declared, file = source.path, source.declared, source.file
    try:
        unit, cut_times = int96_unit(path, file)
        with pq.ParquetFile(path, coerce_int96_timestamp_unit=unit) as parquet:
            schema, rows, meaning = parquet.schema_arrow, parquet.metadata.num_rows, meanings(parquet)
            column = geometry_column(parquet, file)
    except (pa.ArrowException, OSError) as err:
        raise_lack_of_memory(err)
        raise FILE_DAMAGED(file=file, error=" ".join(str(err).split())[:200]) from None
    if declared.named_layers:
        raise NO_LAYERS(file=file, layer=declared.named_layers[0])
    attributes = [field for field in schema if field.name not in (column.name, column.covering)]
    fields = pa.schema([attribute(type_of(field, meaning)) for field in attributes])
    opened = VectorSource(
        file=file,
        path=path,
        format=source.format.name,
        driver="pyarrow",
        layer=None,
        crs=resolve_crs(column.crs, declared.crs, file),
        schema=fields,
        rows=rows,
        geometry_type=column.types[0] if len(column.types) == 1 else "Unknown",
        encoding="utf-8",
        warnings=(*column.warnings, *cut_times, *type_warnings(meaning, schema, file)),
        counted=Counter(),
        open_chunks=lambda: cut(_read(path, unit, column, fields, file), file),
    )
    return [opened]


def _read(path: Path, unit: str, column: GeometryColumn, fields: pa.Schema, file: str) -> Generator[Batch, None, None]:
    done = 0
    try:
        # A read buffer instead of whole column chunks in memory: row groups may be of any size.
        with pq.ParquetFile(path, buffer_size=MiB, pre_buffer=False, coerce_int96_timestamp_unit=unit) as parquet:
            meta = parquet.metadata
            size = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
            mean = size // max(meta.num_rows, 1)
            rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(mean, 1)))
            for batch in parquet.iter_batches(rows, columns=[*fields.names, column.name]):
                attributes = tuple(attribute_values(batch.column(f.name), f.type) for f in fields)
                geometry = batch.column(column.name)
                yield (
                    attributes,
                    _binary(geometry) if column.encoding == "WKB" else to_wkb(geometry, column.encoding, file, done),
                )
                done += batch.num_rows
    except (pa.ArrowException, OSError) as err:
        raise_lack_of_memory(err)
        raise FILE_DAMAGED(file=file, error=" ".join(str(err).split())[:200]) from None


def _binary(array: pa.Array) -> pa.Array:
    array = array.storage if isinstance(array, pa.ExtensionArray) else array
    return array if pa.types.is_binary(array.type) else array.cast(pa.binary())
