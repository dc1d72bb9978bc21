"""Columns of Parquet files as attributes of vector sources."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.pipelines.common.parquet_types import logical_types, values_of


def attribute(field: pa.Field) -> pa.Field:
    """The attribute of a vector source that a column of a Parquet file becomes: without dictionaries and extensions.

    A UUID becomes its text.
    """
    kind = field.type
    if isinstance(kind, pa.UuidType):
        return pa.field(field.name, pa.string(), True, {"logical_type": "uuid"})
    if isinstance(kind, pa.BaseExtensionType):
        mark = {"logical_type": "json"} if isinstance(kind, pa.JsonType) else None
        return pa.field(field.name, kind.storage_type, True, mark)
    known = logical_types(pa.schema([field])).get(0)
    mark = {"logical_type": known} if known else None
    return pa.field(field.name, kind.value_type if pa.types.is_dictionary(kind) else kind, True, mark)


def attribute_values(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column of a Parquet file as values of the type that `attribute` gave it."""
    if isinstance(array.type, pa.UuidType):
        return _uuid_text(array.storage)
    if isinstance(array, pa.ExtensionArray):
        return array.storage
    return array.cast(kind) if pa.types.is_dictionary(array.type) else values_of(array, kind)


# Where the hyphens of a UUID stand, and its digits (RFC 9562).
_HYPHENS = np.array([8, 13, 18, 23])
_DIGITS = np.delete(np.arange(36), _HYPHENS)
_HEXADECIMAL = np.frombuffer(b"0123456789abcdef", np.uint8)


def _uuid_text(array: pa.Array) -> pa.Array:
    """The text of UUIDs. array: 16 bytes in each row. Nulls stay."""
    found = np.frombuffer(array.buffers()[1] or b"", np.uint8)[16 * array.offset : 16 * (array.offset + len(array))]
    text = np.full((len(array), 36), ord("-"), np.uint8)
    text[:, _DIGITS] = _HEXADECIMAL[np.stack([found >> 4, found & 15], axis=1).reshape(len(array), 32)]
    ends = pa.array(np.arange(len(array) + 1, dtype=np.int32) * 36)
    made = pa.StringArray.from_buffers(len(array), ends.buffers()[1], pa.py_buffer(text.tobytes()))
    return pc.if_else(array.is_valid(), made, pa.scalar(None, pa.string()))
