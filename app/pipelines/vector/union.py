"""Several vector sources as one: `union: by_name` in files[].options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from app.messages.vector import COLUMNS_FILLED, COLUMNS_WIDENED, TYPES_DIFFER, VALUE_NOT_WIDENED
from app.models.runs.run import RunWarning
from app.pipelines.common.widening import widened
from app.pipelines.vector.columns import Column, retyped, with_columns
from app.pipelines.vector.source import VectorSource

_NAMED = 20


def by_name(sources: Sequence[VectorSource]) -> list[VectorSource]:
    """Give all sources the columns of all: by their names, in the order in which they first occur.

    A column that a source lacks is null in its rows. Types are widened as `widening.widened` says. Both are warnings of
    the first source, and counts of it: `columns_filled`, `columns_widened`.

    Raises:
        RunRefused: schema_mismatch for types that none can hold together; while rows are read: value_invalid for a
            value that the wider type cannot hold exactly.
    """
    fields: dict[str, pa.Field] = {}
    for source in sources:
        for field in _fields(source):
            fields[field.name] = _together(fields.get(field.name), field, source, sources)
    # What is null in all rows of all sources keeps the type that the first one guessed.
    for name in [name for name, field in fields.items() if pa.types.is_null(field.type)]:
        fields[name] = next(each.schema.field(name) for each in sources if name in each.schema.names)
    united = [_united(source, list(fields.values())) for source in sources]
    warnings = _warnings(sources, list(fields.values()))
    first = replace(united[0], warnings=(*united[0].warnings, *warnings))
    for warning in warnings:
        first.counted[warning.code] += warning.count
    return [first, *united[1:]]


def _fields(source: VectorSource) -> list[pa.Field]:
    """The attributes; one that has no value has no type either."""
    return [field.with_type(pa.null()) if field.name in source.valueless else field for field in source.schema]


def _together(
    known: pa.Field | None, field: pa.Field, source: VectorSource, sources: Sequence[VectorSource]
) -> pa.Field:
    """One field for the columns of a name in the sources so far."""
    if known is None:
        return field
    kind = widened(known.type, field.type)
    if kind is None:
        first = next(each for each in sources if field.name in each.schema.names and field.name not in each.valueless)
        raise TYPES_DIFFER(
            file=source.file,
            column=field.name,
            found=str(field.type),
            name=source.name,
            first=str(known.type),
            other=first.name,
        )
    if pa.types.is_null(known.type):
        return field
    # Text is JSON only if it is in all of them.
    is_one = pa.types.is_null(field.type) or known.metadata == field.metadata
    return retyped(known if is_one else known.remove_metadata(), kind)


def _united(source: VectorSource, fields: Sequence[pa.Field]) -> VectorSource:
    places = {name: place for place, name in enumerate(source.schema.names)}
    columns = [Column(field, places.get(field.name)) for field in fields]
    return with_columns(source, columns, VALUE_NOT_WIDENED)


def _warnings(sources: Sequence[VectorSource], fields: Sequence[pa.Field]) -> list[RunWarning]:
    filled, wider = [], []
    for field in fields:
        having = [source for source in sources if field.name in source.schema.names]
        if lacking := len(sources) - len(having):
            filled.append({"column": field.name, "files": len(sources), "files_without": lacking})
        found = [each.schema.field(field.name).type for each in having if field.name not in each.valueless]
        if any(kind != field.type for kind in found):
            kinds = list(dict.fromkeys(map(str, found)))
            wider.append({"column": field.name, "found": kinds, "type": str(field.type)})
    made = []
    if filled:
        names = _listed([f"{each['column']!r} ({each['files_without']} of {each['files']} files)" for each in filled])
        made.append(COLUMNS_FILLED(count=len(filled), samples=filled, names=names))
    if wider:
        names = _listed([f"{each['column']!r} ({', '.join(each['found'])}: {each['type']})" for each in wider])
        made.append(COLUMNS_WIDENED(count=len(wider), samples=wider, names=names))
    return made


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
