"""Reading GeoParquet 1.0 and 1.1 with WKB geometries."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyproj import CRS

from app.messages.common import CONTENT_MISMATCH, END_MARK_MISSING
from app.messages.vector import COLUMNS_DUPLICATE, EDGES_PLANAR, FILE_DAMAGED, NO_LAYERS, OTHER_GEOMETRIES
from app.messages.vector_formats import (
    GEOPARQUET_CRS,
    GEOPARQUET_ENCODING,
    GEOPARQUET_METADATA,
    GEOPARQUET_NO_METADATA,
    GEOPARQUET_VERSION,
)
from app.models.run import RunWarning
from app.pipelines.common.content import looks_like
from app.pipelines.common.crs import parse_crs, resolve_crs
from app.pipelines.common.parquet_attributes import attribute, attribute_values
from app.pipelines.common.parquet_times import int96_unit
from app.pipelines.vector.formats.reader import SourceFile, only_layer
from app.pipelines.vector.source import Batch, VectorSource, cut
from app.settings import MiB
from app.system.memory import raise_lack_of_memory

list_layers = only_layer
_BATCH_ROWS = 16_384
_BATCH_BYTES = 16 * MiB
# (type in Python, type in JSON) of the members of a column's metadata.
_TYPES: dict[str, tuple[type, str]] = {
    "encoding": (str, "a string"),
    "edges": (str, "a string"),
    "orientation": (str, "a string"),
    "bbox": (list, "an array"),
    "covering": (dict, "an object"),
}


def check_content(source: SourceFile, head: bytes) -> None:
    """See VectorFormat: Parquet's signature at both ends."""
    if not head.startswith(b"PAR1"):
        raise CONTENT_MISMATCH(file=source.file, format=source.format.name, found=looks_like(head))
    with source.path.open("rb") as stream:
        stream.seek(max(source.size - 4, 0))
        if source.size < 12 or stream.read() != b"PAR1":
            raise END_MARK_MISSING(file=source.file, size=source.size, mark="the closing `PAR1` of Parquet")


def open_sources(source: SourceFile) -> list[VectorSource]:
    """See VectorFormat. Describes a file from its footer.

    A `crs` of null means unknown, a missing `crs` OGC:CRS84, as the specification says. The bbox covering column is
    left out (it is derived, and written again); further geometry columns stay as binary attributes, with a warning.
    Dictionary-encoded columns become columns of their values.

    Raises:
        RunRefused: geoparquet_metadata, geoparquet_version, geoparquet_encoding, layer_unknown, file_damaged,
            columns_duplicate, value_invalid, crs_*.
    """
    path, declared, file = source.path, source.declared, source.file
    try:
        unit, cut_times = int96_unit(path, file)
        with pq.ParquetFile(path, coerce_int96_timestamp_unit=unit) as parquet:
            schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
            raw = (parquet.metadata.metadata or {}).get(b"geo")
    except (pa.ArrowException, OSError) as err:
        raise_lack_of_memory(err)
        raise FILE_DAMAGED(file=file, error=" ".join(str(err).split())[:200]) from None
    name, column, covering, warnings = _geometry_column(raw, schema, file)
    if declared.named_layers:
        raise NO_LAYERS(file=file, layer=declared.named_layers[0])
    keep = [i for i, field in enumerate(schema) if field.name not in (name, covering)]
    fields = pa.schema([attribute(schema[i]) for i in keep])
    types = column.get("geometry_types") or ["Unknown"]
    opened = VectorSource(
        file=file,
        path=path,
        format=source.format.name,
        driver="pyarrow",
        layer=None,
        crs=resolve_crs(_crs(column, file), declared.crs, file),
        schema=fields,
        rows=rows,
        geometry_type=types[0] if len(types) == 1 else "Unknown",
        encoding="utf-8",
        warnings=(*warnings, *cut_times),
        counted=Counter(),
        open_chunks=lambda: cut(_read(path, unit, [schema[i].name for i in keep], name, fields, file), file),
    )
    return [opened]


def _read(
    path: Path, unit: str, names: list[str], geometry: str, fields: pa.Schema, file: str
) -> Generator[Batch, None, None]:
    try:
        # A read buffer instead of whole column chunks in memory: row groups may be of any size.
        with pq.ParquetFile(path, buffer_size=MiB, pre_buffer=False, coerce_int96_timestamp_unit=unit) as parquet:
            meta = parquet.metadata
            size = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
            mean = size // max(meta.num_rows, 1)
            rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(mean, 1)))
            for batch in parquet.iter_batches(rows, columns=[*names, geometry]):
                attributes = tuple(attribute_values(batch.column(f.name), f.type) for f in fields)
                yield attributes, _binary(batch.column(geometry))
    except (pa.ArrowException, OSError) as err:
        raise_lack_of_memory(err)
        raise FILE_DAMAGED(file=file, error=" ".join(str(err).split())[:200]) from None


def _geometry_column(
    raw: bytes | None, schema: pa.Schema, file: str
) -> tuple[str, dict[str, Any], str | None, list[RunWarning]]:
    """(name, metadata, covering column, warnings) of the primary geometry column."""
    if raw is None:
        raise GEOPARQUET_NO_METADATA(file=file)
    try:
        geo = json.loads(raw)
        name, version = geo["primary_column"], str(geo["version"])
        column = geo["columns"][name]
        encoding = column["encoding"]
        wrong = _wrong_type(geo)
    except KeyError as err:
        raise GEOPARQUET_METADATA(file=file, error=f"the member {err} is missing") from None
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise GEOPARQUET_METADATA(file=file, error="it is not the JSON that the specification describes") from None
    if wrong:
        raise GEOPARQUET_METADATA(file=file, error=wrong)
    if version.partition(".")[0] != "1":
        raise GEOPARQUET_VERSION(file=file, version=version)
    if encoding != "WKB":
        raise GEOPARQUET_ENCODING(file=file, encoding=json.dumps(encoding))
    if twice := sorted(n for n, k in Counter(schema.names).items() if k > 1):
        raise COLUMNS_DUPLICATE(file=file, names=", ".join(twice))
    kind = schema.field(name).type if name in schema.names else None
    if kind is None or not _is_binary(kind):
        raise GEOPARQUET_METADATA(file=file, error=f"its geometry column {name!r} is {kind or 'missing'}")
    return name, column, _covering(column, schema), list(_warnings(geo, name, schema, file))


def _warnings(geo: dict[str, Any], name: str, schema: pa.Schema, file: str) -> Iterator[RunWarning]:
    edges = geo["columns"][name].get("edges")
    if edges not in (None, "planar"):
        yield EDGES_PLANAR(file=file, edges=edges)
    others = [other for other in geo["columns"] if other != name and other in schema.names]
    if others:
        yield OTHER_GEOMETRIES(file=file, geometry=name, names=", ".join(others))


def _wrong_type(geo: dict[str, Any]) -> str | None:
    """The first member of the metadata that is not of the type that the specification gives it, in words."""
    for name, column in geo["columns"].items():
        if not isinstance(column, dict):
            return f"column {name!r} is not an object"
        types = column.get("geometry_types") or []
        if not isinstance(types, list) or not all(isinstance(kind, str) for kind in types):
            return f"geometry_types of {name!r} is not an array of strings"
        for member, (kind, words) in _TYPES.items():
            if column.get(member) is not None and not isinstance(column[member], kind):
                return f"{member} of {name!r} is not {words}"
    return None


def _covering(column: dict[str, Any], schema: pa.Schema) -> str | None:
    """The struct column with the bounding boxes, when it is exactly that."""
    try:
        paths = list(column["covering"]["bbox"].values())
        name = paths[0][0]
        kind = schema.field(name).type
        fields = {kind.field(i).name for i in range(kind.num_fields)}
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    return name if pa.types.is_struct(kind) and fields == {path[1] for path in paths} else None


def _crs(column: dict[str, Any], file: str) -> CRS | None:
    if "crs" not in column:
        return CRS.from_user_input("OGC:CRS84")
    if column["crs"] is None:
        return None
    if not isinstance(column["crs"], dict):
        found = json.dumps(column["crs"])[:80]
        raise GEOPARQUET_METADATA(file=file, error=f"its `crs` must be a PROJJSON object, found {found}")
    try:
        return parse_crs(json.dumps(column["crs"]), file, "in its `geo` metadata")
    except (TypeError, AttributeError, KeyError):
        raise GEOPARQUET_CRS(file=file) from None


def _is_binary(kind: pa.DataType) -> bool:
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _binary(array: pa.Array) -> pa.Array:
    array = array.storage if isinstance(array, pa.ExtensionArray) else array
    return array if pa.types.is_binary(array.type) else array.cast(pa.binary())
