"""Reading GeoParquet 1.0 and 1.1 with WKB geometries."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
from pyproj import CRS

from app.errors import RunRefused
from app.models.manifest import ManifestFile
from app.pipelines.formats.crs import parse_crs, resolve_crs
from app.pipelines.formats.source import Batch, VectorSource, cut
from app.settings import MiB

_BATCH_ROWS = 16_384
_BATCH_BYTES = 16 * MiB
_TYPES: dict[str, type] = {"encoding": str, "edges": str, "orientation": str, "bbox": list, "covering": dict}


def open_source(path: Path, declared: ManifestFile) -> VectorSource:
    """Describe a GeoParquet file from its footer.

    A `crs` of null means unknown, a missing `crs` OGC:CRS84, as the specification says. The bbox covering column is
    left out (it is derived, and written anew); further geometry columns stay as binary attributes, with a note.
    Dictionary-encoded columns become columns of their values.

    Raises RunRefused: geoparquet_metadata, geoparquet_version, geoparquet_encoding, layer_unknown, file_damaged, crs_*.
    """
    file = declared.key
    try:
        with pq.ParquetFile(path) as parquet:
            schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
            raw = (parquet.metadata.metadata or {}).get(b"geo")
    except (pa.ArrowException, OSError) as err:
        _refuse(file, "file_damaged", f"is damaged: {' '.join(str(err).split())[:200]}", "Send an undamaged file.")
    name, column, covering, notes = _geometry_column(raw, schema, file)
    if declared.layer is not None:
        _refuse(file, "layer_unknown", f"has no layers, the manifest names {declared.layer!r}", "Remove files[].layer.")
    keep = [i for i, field in enumerate(schema) if field.name not in (name, covering)]
    fields = pa.schema([pa.field(schema[i].name, _value_type(schema[i].type), True, _mark(schema[i])) for i in keep])
    types = column.get("geometry_types") or ["Unknown"]
    return VectorSource(
        file=file,
        path=path,
        format="GeoParquet",
        driver="pyarrow",
        layer=None,
        crs=resolve_crs(_crs(column, file), declared.crs, file),
        schema=fields,
        rows=rows,
        geometry_type=types[0] if len(types) == 1 else "Unknown",
        encoding="utf-8",
        notes=tuple(notes),
        counted=Counter(),
        open_chunks=lambda: cut(_read(path, [schema[i].name for i in keep], name, fields, file), file),
    )


def _read(path: Path, names: list[str], geometry: str, fields: pa.Schema, file: str) -> Generator[Batch, None, None]:
    try:
        # A read buffer instead of whole column chunks in memory: row groups may be of any size.
        with pq.ParquetFile(path, buffer_size=MiB, pre_buffer=False) as parquet:
            meta = parquet.metadata
            size = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
            mean = size // max(meta.num_rows, 1)
            rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(mean, 1)))
            for batch in parquet.iter_batches(rows, columns=[*names, geometry]):
                attributes = tuple(_values(batch.column(f.name), f.type) for f in fields)
                yield attributes, _binary(batch.column(geometry))
    except (pa.ArrowException, OSError) as err:
        _refuse(file, "file_damaged", f"is damaged: {' '.join(str(err).split())[:200]}", "Send an undamaged file.")


def _geometry_column(
    raw: bytes | None, schema: pa.Schema, file: str
) -> tuple[str, dict[str, Any], str | None, list[str]]:
    """(name, metadata, covering column, notes) of the primary geometry column."""
    if raw is None:
        fix = "Write it with a tool that writes GeoParquet, for example geopandas' to_parquet."
        _refuse(file, "geoparquet_metadata", "is Parquet without the `geo` metadata of GeoParquet", fix)
    try:
        geo = json.loads(raw)
        name, version = geo["primary_column"], str(geo["version"])
        column = geo["columns"][name]
        encoding = column["encoding"]
        _check_types(geo)
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        _refuse(
            file, "geoparquet_metadata", f"has `geo` metadata that cannot be read ({err!r})", "Write the file anew."
        )
    if version.partition(".")[0] != "1":
        _refuse(file, "geoparquet_version", f"is GeoParquet {version}", "Send GeoParquet 1.0 or 1.1.")
    if encoding != "WKB":
        fix = "Write it with geometry encoding WKB."
        _refuse(file, "geoparquet_encoding", f"encodes its geometries as {encoding!r}", fix)
    if len(set(schema.names)) != len(schema.names):
        twice = sorted(n for n, k in Counter(schema.names).items() if k > 1)
        _refuse(file, "columns_duplicate", f"has columns of the same name: {', '.join(twice)}", "Rename them.")
    kind = schema.field(name).type if name in schema.names else None
    if kind is None or not _is_binary(kind):
        _refuse(
            file, "geoparquet_metadata", f"names the geometry column {name!r}, which is {kind}", "Write the file anew."
        )
    notes = []
    if column.get("edges") not in (None, "planar"):
        notes.append(f"{file}: edges are {column['edges']!r}; they are taken as straight lines between vertices.")
    others = [other for other in geo["columns"] if other != name and other in schema.names]
    if others:
        notes.append(
            f"{file}: geometry columns besides {name!r} stay as binary attributes, not reprojected: "
            f"{', '.join(others)}."
        )
    return name, column, _covering(column, schema), notes


def _check_types(geo: dict[str, Any]) -> None:
    """Raises TypeError where a member of the metadata is not of the type that the specification gives it."""
    for name, column in geo["columns"].items():
        if not isinstance(column, dict):
            raise TypeError(f"column {name!r} is no object")
        types = column.get("geometry_types") or []
        if not isinstance(types, list) or not all(isinstance(kind, str) for kind in types):
            raise TypeError(f"geometry_types of {name!r} is no list of strings")
        for member, kind in _TYPES.items():
            if column.get(member) is not None and not isinstance(column[member], kind):
                raise TypeError(f"{member} of {name!r} is no {kind.__name__}")


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
        kind = "a string" if isinstance(column["crs"], str) else f"a {type(column['crs']).__name__}"
        found = f"has a `crs` that must be a PROJJSON object, found {kind} ({repr(column['crs'])[:80]})"
        _refuse(file, "geoparquet_metadata", found, "Write the file anew, with the CRS as PROJJSON.")
    try:
        return parse_crs(json.dumps(column["crs"]), file, "in its `geo` metadata")
    except (TypeError, AttributeError, KeyError):
        _refuse(file, "crs_unknown", "has a CRS (PROJJSON) that PROJ cannot read", "Write the file anew.")


def _is_binary(kind: pa.DataType) -> bool:
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _mark(field: pa.Field) -> dict[str, str] | None:
    return {"logical_type": "json"} if isinstance(field.type, pa.JsonType) else None


def _value_type(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _values(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if isinstance(array, pa.ExtensionArray):
        return array.storage
    return array.cast(kind) if pa.types.is_dictionary(array.type) else array


def _binary(array: pa.Array) -> pa.Array:
    array = array.storage if isinstance(array, pa.ExtensionArray) else array
    return array if pa.types.is_binary(array.type) else array.cast(pa.binary())


def _refuse(file: str, reason: str, found: str, fix: str) -> NoReturn:
    raise RunRefused(f"{file} {found}.", fix, reason=reason, file=file)
