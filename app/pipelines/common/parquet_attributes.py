"""Columns of Parquet files as attributes of vector sources."""

from __future__ import annotations

import pyarrow as pa

from app.pipelines.common.parquet_types import logical_types, values_of


def attribute(field: pa.Field) -> pa.Field:
    """The attribute of a vector source that a column of a Parquet file becomes: without dictionaries and extensions."""
    kind = field.type
    if isinstance(kind, pa.BaseExtensionType):
        mark = {"logical_type": "json"} if isinstance(kind, pa.JsonType) else None
        return pa.field(field.name, kind.storage_type, True, mark)
    known = logical_types(pa.schema([field])).get(0)
    mark = {"logical_type": known} if known else None
    return pa.field(field.name, kind.value_type if pa.types.is_dictionary(kind) else kind, True, mark)


def attribute_values(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column of a Parquet file as values of the type that `attribute` gave it."""
    if isinstance(array, pa.ExtensionArray):
        return array.storage
    return array.cast(kind) if pa.types.is_dictionary(array.type) else values_of(array, kind)
