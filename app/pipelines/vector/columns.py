"""Columns that change on the way out of a source: types that the manifest declares, and a union by name."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from app.messages.common import VALUE_NOT_OF_TYPE
from app.messages.message import Refusal
from app.messages.vector import COLUMNS_RENAMED, TYPE_IMPOSSIBLE
from app.models.runs.run import RunWarning
from app.pipelines.common.column_types import manifest_type_name, types_by_column
from app.pipelines.common.exact_cast import can_become, cast_exactly, is_text
from app.pipelines.common.findings import Findings
from app.pipelines.common.shapes import Shapes
from app.pipelines.vector.source import Chunk, VectorSource

_SHOWN = 200
_NAMED = 20


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the result. place: number of the column in the source that it is made of; None: null in every row."""

    field: pa.Field
    place: int | None


@dataclass(frozen=True, slots=True)
class _ConvertedChunk:
    """See Chunk."""

    chunk: Chunk
    source: VectorSource
    columns: Sequence[Column]
    refusal: Refusal

    @property
    def first_row(self) -> int:
        return self.chunk.first_row

    def decode(self, findings: Findings) -> tuple[tuple[pa.Array, ...], Shapes]:
        attributes, shapes = self.chunk.decode(findings)
        return tuple(self._converted(column, attributes, shapes.size) for column in self.columns), shapes

    def _converted(self, column: Column, attributes: tuple[pa.Array, ...], rows: int) -> pa.Array:
        to = column.field.type
        if column.place is None:
            return pa.nulls(rows, to)
        converted, misfits = cast_exactly(attributes[column.place], to)
        if misfits is None:
            return converted
        row = int(np.flatnonzero(misfits)[0])
        value = attributes[column.place][row].as_py()
        raise self.refusal(
            file=self.source.file,
            column=column.field.name,
            row=self.first_row + row,
            value=repr(value[:_SHOWN]) if isinstance(value, str) else str(value),
            type=manifest_type_name(to),
        )


def with_columns(source: VectorSource, columns: Sequence[Column], refusal: Refusal) -> VectorSource:
    """The source with other columns. A value that its new type cannot hold ends the reading with `refusal`.

    Args:
        columns: of types that those of the source can become (`exact_cast.can_become`).
        refusal: takes file, column, row (from 0), value and type.
    """
    if [column.place for column in columns] == list(range(len(source.schema))) and all(
        new.field.type == old.type for new, old in zip(columns, source.schema, strict=True)
    ):
        return source

    def open_chunks() -> Generator[Chunk, None, None]:
        with closing(source.open_chunks()) as chunks:
            for chunk in chunks:
                yield _ConvertedChunk(chunk, source, columns, refusal)

    return replace(source, schema=pa.schema([column.field for column in columns]), open_chunks=open_chunks)


def with_types(source: VectorSource, types: Mapping[str, str]) -> VectorSource:
    """The source with the types that files[].options.types declares.

    Raises:
        RunRefused: column_unknown, type_impossible; while it is read: value_invalid.
    """
    names = source.schema.names
    wanted = types_by_column(types, names, names, source.file)
    columns = []
    for place, field in enumerate(source.schema):
        to = wanted.get(place, field.type)
        if not can_become(field.type, to):
            values = {"column": field.name, "found": str(field.type), "type": manifest_type_name(to)}
            raise TYPE_IMPOSSIBLE(file=source.file, **values)
        columns.append(Column(retyped(field, to), place))
    return replace(with_columns(source, columns, VALUE_NOT_OF_TYPE), valueless=source.valueless - types.keys())


def columns_renamed(changed: Mapping[str, str], file: str) -> RunWarning:
    """The warning of columns that have the name of an earlier one. changed: {new name: name before}."""
    named = [f"{old!r} is now {new!r}" for new, old in changed.items()]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return COLUMNS_RENAMED(
        file=file, count=len(changed), samples=list(changed.values()), names=", ".join(named[:_NAMED]) + more
    )


def retyped(field: pa.Field, to: pa.DataType) -> pa.Field:
    """The field with another type. What its text means, such as JSON, holds for text only."""
    return field.with_type(to) if field.type == to or is_text(to) else field.with_type(to).remove_metadata()
