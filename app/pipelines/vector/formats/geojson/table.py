"""Features whose columns are known, read by Arrow's JSON parser without making a Python object of each value.

That parser gets every name and type in advance and refuses all others. Features that it refuses are read by
`geojson.text.parse` instead, which gives the same values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json

from app.pipelines.common.utf8 import is_utf8
from app.pipelines.vector.formats.geojson.text import JsonLayout
from app.settings import MiB

_TYPES = (pa.string(), pa.int64(), pa.float64(), pa.bool_())
# Its parser calls itself for every bracket.
_DEEPEST = 64
# Its block sizes end at 2 GiB; features this large gain nothing anyway.
_MOST_BYTES = 64 * MiB
# From here on a number that is read as a fraction may be an integer of more digits.
_EXACT = 2.0**53
_GEOMETRY = pa.struct([("type", pa.string()), ("coordinates", pa.list_(pa.null()))])
_BOX = pa.list_(pa.float64())


@dataclass(frozen=True, slots=True)
class Columns:
    """properties: (name, type), in order; id: the type of the features' `id`, None where none has one."""

    properties: Sequence[tuple[str, pa.DataType]]
    id: pa.DataType | None


@dataclass(frozen=True, slots=True)
class TypedColumns:
    """ids: None where no column holds them; kinds: the type of each geometry, null where there is none."""

    ids: pa.Array | None
    properties: list[pa.Array]
    kinds: pa.Array


def read_table(layout: JsonLayout, columns: Columns) -> TypedColumns | None:
    """The features, or None where they are not plain: a name, type or member that is not in `columns`, nested values,
    names that are there twice, floating-point numbers beyond 2**53, damaged text."""
    features = _parsed(layout, columns) if _are_plain(columns) and layout.depth <= _DEEPEST else None
    if features is None:
        return None
    members = dict(zip((field.name for field in features.type), features.flatten(), strict=True))
    kinds = members["geometry"].flatten()[0]
    is_feature = pc.all(pc.equal(members["type"], "Feature"), skip_nulls=False).as_py()
    if not is_feature or kinds.null_count != members["geometry"].null_count:
        return None
    properties = members["properties"].flatten()
    if not all(map(_has_its_digits, properties)) or not _has_its_digits(members.get("id", kinds)):
        return None
    return TypedColumns(members.get("id"), properties, kinds)


def _parsed(layout: JsonLayout, columns: Columns) -> pa.StructArray | None:
    text = b'{"features":' + layout.rest() + b"}"
    if len(text) > _MOST_BYTES or not is_utf8(text):  # Arrow does not look
        return None
    try:
        found = pa_json.read_json(
            pa.BufferReader(text),
            pa_json.ReadOptions(use_threads=False, block_size=len(text) + 1),
            pa_json.ParseOptions(explicit_schema=_schema(columns), unexpected_field_behavior="error"),
        )
    except pa.ArrowInvalid:
        return None
    features = found.column(0).chunk(0).values
    return None if len(features) != len(layout.starts) or features.null_count else features


def _are_plain(columns: Columns) -> bool:
    kinds = [kind for _, kind in columns.properties]
    return all(kind in _TYPES for kind in [*kinds, columns.id or pa.string()])


def _schema(columns: Columns) -> pa.Schema:
    members = {"type": pa.string(), "properties": pa.struct(list(columns.properties)), "geometry": _GEOMETRY}
    if columns.id is not None:
        members["id"] = columns.id
    return pa.schema({"features": pa.list_(pa.struct(list({**members, "bbox": _BOX}.items())))})


def _has_its_digits(values: pa.Array) -> bool:
    """Also not NaN or infinite: Arrow takes these words for numbers, JSON does not."""
    if not pa.types.is_floating(values.type):
        return True
    return pc.all(pc.less(pc.abs(values), _EXACT)).as_py() is not False
