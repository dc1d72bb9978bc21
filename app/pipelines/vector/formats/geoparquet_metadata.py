"""What a Parquet file says of its geometries: the `geo` metadata of GeoParquet, and Parquet's own geometry types."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyproj import CRS

from app.messages.vector import COLUMNS_DUPLICATE, EDGES_PLANAR, OTHER_GEOMETRIES
from app.messages.vector_formats import (
    GEOPARQUET_CRS,
    GEOPARQUET_ENCODING,
    GEOPARQUET_METADATA,
    GEOPARQUET_NO_METADATA,
    GEOPARQUET_VERSION,
)
from app.models.runs.run import RunWarning
from app.pipelines.common.crs import crs_name, parse_crs, same_crs
from app.pipelines.vector.formats.geoparquet_native import ENCODINGS, is_native

_MAJOR_VERSIONS = ("0", "1", "2")
# (type in Python, type in JSON) of the members of a column's metadata.
_TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "encoding": (str, "a string"),
    "edges": (str, "a string"),
    "orientation": (str, "a string"),
    "bbox": (list, "an array"),
    "covering": (dict, "an object"),
    "geometry_type": ((str, list), "a string or an array"),
}


@dataclass(frozen=True, slots=True)
class GeometryColumn:
    """The primary geometry column of a file.

    Attributes:
        name: of the column.
        encoding: WKB, or one of `geoparquet_native.ENCODINGS`.
        crs: None if it is unknown.
        types: geometry types as the file announces them; empty if it does not.
        covering: name of the column with the bounding boxes.
        warnings: what a user should know before a row is read.
    """

    name: str
    encoding: str
    crs: CRS | None
    types: tuple[str, ...]
    covering: str | None
    warnings: tuple[RunWarning, ...]


def geometry_column(parquet: pq.ParquetFile, file: str) -> GeometryColumn:
    """The primary geometry column.

    A `crs` of null means unknown, a missing one OGC:CRS84; before version 0.4 a missing one is unknown too. A file
    without `geo` metadata has the first column of Parquet's types GEOMETRY and GEOGRAPHY.

    Raises:
        RunRefused: geoparquet_metadata, geoparquet_version, geoparquet_encoding, columns_duplicate, crs_unknown.
    """
    schema, values = parquet.schema_arrow, parquet.metadata.metadata or {}
    if twice := sorted(name for name, times in Counter(schema.names).items() if times > 1):
        raise COLUMNS_DUPLICATE(file=file, names=", ".join(twice))
    own = _geometry_types(parquet)
    geo = _geo(values[b"geo"], file) if b"geo" in values else _geo_of_types(own, file)
    name, version = geo["primary_column"], geo["version"]
    column = geo["columns"][name]
    encoding = _checked_encoding(column["encoding"], schema, name, file)
    types = column.get("geometry_types") or column.get("geometry_type") or []
    return GeometryColumn(
        name=name,
        encoding=encoding,
        crs=_crs(column, str(version), own.get(name, {}), values, file),
        types=(types,) if isinstance(types, str) else tuple(types),
        covering=_covering(column, schema),
        warnings=tuple(_warnings(geo, name, own.get(name, {}), schema, file)),
    )


def _geometry_types(parquet: pq.ParquetFile) -> dict[str, dict[str, Any]]:
    """{column: its type GEOMETRY or GEOGRAPHY, as pyarrow describes it in JSON}."""
    leaves = (parquet.schema.column(number) for number in range(len(parquet.schema)))
    found = {leaf.path: json.loads(leaf.logical_type.to_json()) for leaf in leaves if leaf.name == leaf.path}
    return {name: kind for name, kind in found.items() if kind.get("Type") in ("Geometry", "Geography")}


def _geo_of_types(own: Mapping[str, Any], file: str) -> dict[str, Any]:
    """What the metadata of a file would be that has Parquet's types only."""
    if not own:
        raise GEOPARQUET_NO_METADATA(file=file)
    return {"version": "2", "primary_column": next(iter(own)), "columns": {name: {"encoding": "WKB"} for name in own}}


def _geo(raw: bytes, file: str) -> dict[str, Any]:
    """The `geo` metadata, in the form that later versions have."""
    try:
        geo: dict[str, Any] = json.loads(raw)
        geo.setdefault("version", geo.get("schema_version"))  # of 0.1
        column = geo["columns"][geo["primary_column"]]
        _ = column["encoding"]
        wrong = _wrong_type(geo)
    except KeyError as err:
        raise GEOPARQUET_METADATA(file=file, error=f"the member {err} is missing") from None
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise GEOPARQUET_METADATA(file=file, error="it is not the JSON that the specification describes") from None
    if geo["version"] is None:
        raise GEOPARQUET_METADATA(file=file, error="the member 'version' is missing")
    if wrong:
        raise GEOPARQUET_METADATA(file=file, error=wrong)
    if str(geo["version"]).partition(".")[0] not in _MAJOR_VERSIONS:
        raise GEOPARQUET_VERSION(file=file, version=geo["version"])
    return geo


def _wrong_type(geo: dict[str, Any]) -> str | None:
    """The first member of the metadata that is not of the type that the specification gives it, in words."""
    for name, column in geo["columns"].items():
        if not isinstance(column, dict):
            return f"column {name!r} is not an object"
        for member in ("geometry_types", "geometry_type"):
            types = column.get(member) or []
            if isinstance(types, list) and not all(isinstance(kind, str) for kind in types):
                return f"{member} of {name!r} is not an array of strings"
        if not isinstance(column.get("geometry_types") or [], list):
            return f"geometry_types of {name!r} is not an array of strings"
        for member, (kind, words) in _TYPES.items():
            if column.get(member) is not None and not isinstance(column[member], kind):
                return f"{member} of {name!r} is not {words}"
    return None


def _checked_encoding(encoding: str, schema: pa.Schema, name: str, file: str) -> str:
    """The encoding, if the column is of its type."""
    if encoding != "WKB" and encoding not in ENCODINGS:
        raise GEOPARQUET_ENCODING(file=file, encoding=json.dumps(encoding))
    kind = schema.field(name).type if name in schema.names else None
    if kind is None or not (_is_binary(kind) if encoding == "WKB" else is_native(kind, encoding)):
        raise GEOPARQUET_METADATA(
            file=file, error=f"its geometry column {name!r} in the encoding {encoding} is {kind or 'missing'}"
        )
    return encoding


def _is_binary(kind: pa.DataType) -> bool:
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _crs(
    column: Mapping[str, Any], version: str, own: Mapping[str, Any], values: Mapping[bytes, bytes], file: str
) -> CRS | None:
    """The CRS of a column: of its metadata, and of its type in Parquet, which must not contradict that."""
    of_type = _crs_of_type(str(own.get("crs") or ""), values, file)
    if "crs" not in column:
        if of_type is not None:
            return of_type
        return None if version.startswith(("0.1", "0.2", "0.3")) else CRS.from_user_input("OGC:CRS84")
    if column["crs"] is None:
        return of_type
    found = _crs_of_metadata(column["crs"], version, file)
    if of_type is not None and not same_crs(found, of_type):
        error = f"its `crs` is {crs_name(found)}, and the Parquet type of the column has {crs_name(of_type)}"
        raise GEOPARQUET_METADATA(file=file, error=error)
    return found


def _crs_of_metadata(crs: Any, version: str, file: str) -> CRS:
    if isinstance(crs, str) and version.startswith("0."):
        return parse_crs(crs, file, "in its `geo` metadata")
    if not isinstance(crs, dict):
        found = json.dumps(crs)[:80]
        raise GEOPARQUET_METADATA(file=file, error=f"its `crs` must be a PROJJSON object, found {found}")
    try:
        return parse_crs(json.dumps(crs), file, "in its `geo` metadata")
    except (TypeError, AttributeError, KeyError):
        raise GEOPARQUET_CRS(file=file) from None


def _crs_of_type(text: str, values: Mapping[bytes, bytes], file: str) -> CRS | None:
    """The CRS that a type of Parquet names: `srid:…`, `projjson:` with a key of the file's metadata, or any text."""
    scheme, _, rest = text.partition(":")
    if scheme == "srid":
        return None if rest == "0" else parse_crs(f"EPSG:{rest}", file, "in the Parquet type of its geometries")
    if scheme == "projjson":
        text = values.get(rest.encode(), b"").decode("utf-8", "replace")
    if not text:
        return None
    try:
        return parse_crs(text, file, "in the Parquet type of its geometries")
    except (TypeError, AttributeError, KeyError):
        raise GEOPARQUET_CRS(file=file) from None


def _covering(column: Mapping[str, Any], schema: pa.Schema) -> str | None:
    """The struct column with the bounding boxes, when it is exactly that."""
    try:
        paths = list(column["covering"]["bbox"].values())
        name = paths[0][0]
        kind = schema.field(name).type
        fields = {kind.field(i).name for i in range(kind.num_fields)}
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    return name if pa.types.is_struct(kind) and fields == {path[1] for path in paths} else None


def _warnings(
    geo: dict[str, Any], name: str, own: Mapping[str, Any], schema: pa.Schema, file: str
) -> Iterator[RunWarning]:
    edges = geo["columns"][name].get("edges")
    if edges in (None, "planar") and own.get("Type") == "Geography":
        edges = str(own.get("algorithm") or "spherical").lower()
    if edges not in (None, "planar"):
        yield EDGES_PLANAR(file=file, edges=edges)
    others = [other for other in geo["columns"] if other != name and other in schema.names]
    if others:
        yield OTHER_GEOMETRIES(file=file, geometry=name, names=", ".join(others))
