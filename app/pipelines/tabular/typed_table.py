"""Writes a table of text as typed Parquet.

Types are guessed from the first block. If a later value does not fit, all rows are examined, and the table is written
again with the types that fit all of them. Blocks are parsed in threads and written in order, so memory holds a few
blocks and one row group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.messages.common import ROWS_TOO_MANY
from app.messages.tabular import COLUMN_VALUE_INVALID, HEADER_ONLY, TYPED_TABLE_DAMAGED
from app.pipelines.common.column_types import manifest_type_name
from app.pipelines.common.ordered_map import in_order
from app.pipelines.contract.watch import Watch
from app.pipelines.tabular.declared_types import convert_declared
from app.pipelines.tabular.inferred_types import PossibleTypes
from app.pipelines.tabular.notation import PLAIN, Notation, convert_from, possible_types_in
from app.pipelines.tabular.quarantine import Quarantine
from app.pipelines.tabular.source import BadRow, ParsedBlock, TableSource, TypedSource
from app.pipelines.tabular.writer import TableWriter
from app.system.memory import raise_lack_of_memory


class TypeGuessWrong(Exception):  # control flow, not an error
    """A value does not have the type that was guessed for its column."""


class ColumnReader(Protocol):
    """Reads a column in a way of the caller: checks its values, and may convert them.

    Attributes:
        type: what the values become; None if they stay as they are.
    """

    @property
    def type(self) -> pa.DataType | None: ...
    def read(self, array: pa.Array, notation: Notation) -> tuple[pa.Array, Mapping[int, str]]:
        """(the column as `type`, null for values that cannot be read, {row: why it cannot be read}).

        Called from several threads.
        """
        ...


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How to write a table.

    Attributes:
        cleaned: names of the columns.
        declared: {number of the column: type in the manifest}.
        readers: {number of the column: what reads it}. They come before declared types.
        nulls: texts that mean null.
        notation: how values are written.
    """

    cleaned: Sequence[str]
    declared: Mapping[int, pa.DataType]
    nulls: Sequence[str]
    notation: Notation
    max_rows: int
    threads: int
    readers: Mapping[int, ColumnReader] = field(default_factory=dict)

    @property
    def fixed(self) -> Mapping[int, pa.DataType]:
        """{number of the column: type} of the columns whose type does not depend on their values."""
        return {**self.declared, **types_of(self.readers)}

    def notation_of(self, source: TableSource, column: int) -> Notation:
        return PLAIN if column in source.plain else self.notation

    def allowed(self, source: TableSource, column: int) -> frozenset[str]:
        """The types that a column may get."""
        return self.notation_of(source, column).widened(source.allowed[column])


def types_of(readers: Mapping[int, ColumnReader]) -> dict[int, pa.DataType]:
    """{number of the column: type} of the readers that convert."""
    return {number: reader.type for number, reader in readers.items() if reader.type is not None}


@dataclass(slots=True)
class WrittenTable:
    """What was written. logical: {column: meaning beyond its type}. kinds: {column: its inferred type}."""

    schema: pa.Schema
    counts: Counter[str] = field(default_factory=Counter)
    logical: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _PreparedBlock:
    """A parsed block with declared types converted, without the rows that do not have them."""

    parsed: ParsedBlock
    arrays: Sequence[pa.Array]
    bad: Sequence[BadRow]
    rows: int


def write_table(
    source: TableSource, options: WriteOptions, target: Path, quarantine: Quarantine, watch: Watch
) -> WrittenTable:
    """Write the rows of the source to `target`, and those that cannot be read to the quarantine, in order.

    Raises:
        RunRefused: no_rows, rows_too_many and what the source raises.
    """
    first = next(islice(source.blocks(), 1), None)
    if first is None:
        raise HEADER_ONLY(file=source.file)
    possible = _possible_types(source, options, _prepare(source, options, first))
    try:
        return _write(source, options, possible, None, target, quarantine, watch)
    except TypeGuessWrong:
        quarantine.restart()
        possible, rows = _fit_all_rows(source, options, watch)
        return _write(source, options, possible, rows, target, quarantine, watch)


def copy_table(
    source: TypedSource, cleaned: Sequence[str], target: Path, watch: Watch, readers: Mapping[int, ColumnReader]
) -> WrittenTable:
    """Write the rows again under the cleaned names.

    Types, nulls and nested values stay, but for columns that a reader converts; metadata of the schema, which may
    contain the old names, is left out.

    Raises:
        RunRefused: file_damaged, geometry_damaged for a value that a reader cannot read.
    """
    types = dict(enumerate(source.schema.types)) | types_of(readers)
    fields = [
        pa.field(name, types[number], each.nullable)
        for number, (name, each) in enumerate(zip(cleaned, source.schema, strict=True))
    ]
    schema = pa.schema(fields)
    rows = 0
    try:
        with TableWriter(target, schema) as out:
            for batch in source.batches():
                columns = list(batch.columns)
                for number, reader in readers.items():
                    columns[number], reasons = reader.read(columns[number], PLAIN)
                    for row, reason in sorted(reasons.items())[:1]:
                        raise COLUMN_VALUE_INVALID(file=source.file, row=rows + row, reason=reason)
                out.write(pa.record_batch(columns, schema=schema))
                rows += batch.num_rows
                watch.advance(rows, source.rows)
    except (pa.ArrowException, OSError) as err:
        raise_lack_of_memory(err)
        raise TYPED_TABLE_DAMAGED(file=source.file, format=source.format) from None
    counts = Counter({"rows_in": source.rows, "rows_out": out.rows, "rows_quarantined": 0})
    logical = {each.name: "nested" for each in fields if pa.types.is_nested(each.type)}
    return WrittenTable(schema, counts, logical | {cleaned[number]: known for number, known in source.logical.items()})


def _prepare(source: TableSource, options: WriteOptions, block: Any) -> _PreparedBlock:
    parsed = source.parse(block)
    arrays = list(parsed.arrays)
    if options.notation.trim:
        arrays = [options.notation.trimmed(array) for array in arrays]
    if options.nulls:
        words = pa.array(options.nulls, pa.string())
        arrays = [pc.if_else(pc.is_in(array, value_set=words), None, array) for array in arrays]
    reasons: dict[int, str] = {}
    for number, reader in options.readers.items():
        arrays[number], found = reader.read(arrays[number], options.notation_of(source, number))
        reasons = {**found, **reasons}
    wrong = np.zeros(parsed.rows, np.bool_)
    wrong[list(reasons)] = True
    for number, to in options.declared.items():
        made, misfits = convert_declared(arrays[number], to, options.notation_of(source, number))
        if misfits is not None:
            for row in map(int, np.flatnonzero(misfits & ~wrong)):
                value = arrays[number][row].as_py()
                reasons[row] = f"column {options.cleaned[number]!r}: {value[:200]!r} is no {manifest_type_name(to)}"
            wrong |= misfits
        arrays[number] = made
    if not reasons:
        return _PreparedBlock(parsed, arrays, parsed.bad, parsed.rows)
    kept = pa.array(~wrong)
    bad = list(parsed.bad)
    for row, reason in reasons.items():
        line, offset, raw = parsed.locate(row)
        bad.append(BadRow(line, offset, reason, raw))
    bad.sort(key=lambda each: each.line)
    return _PreparedBlock(parsed, [array.filter(kept) for array in arrays], bad, int((~wrong).sum()))


def _possible_types(source: TableSource, options: WriteOptions, prepared: _PreparedBlock) -> list[PossibleTypes]:
    return [
        PossibleTypes()
        if number in options.fixed
        else possible_types_in(array, options.allowed(source, number), options.notation_of(source, number))
        for number, array in enumerate(prepared.arrays)
    ]


def _fit_all_rows(source: TableSource, options: WriteOptions, watch: Watch) -> tuple[list[PossibleTypes], int]:
    """(possible types of each column, number of rows)."""

    def prepare_and_fit(block: Any) -> tuple[list[PossibleTypes], int]:
        prepared = _prepare(source, options, block)
        return _possible_types(source, options, prepared), prepared.rows + len(prepared.bad)

    possible, rows = [PossibleTypes()] * len(source.names), 0
    for found, seen in in_order(prepare_and_fit, source.blocks(), options.threads):
        possible = [old.merge(new) for old, new in zip(possible, found, strict=True)]
        rows += seen
        watch.advance(0, rows)
    return possible, rows


def _write(
    source: TableSource, options: WriteOptions, possible: Sequence[PossibleTypes], rows: int | None, target: Path,
    quarantine: Quarantine, watch: Watch,
) -> WrittenTable:  # fmt: skip
    """Write all rows with the types of `possible`. rows: their number, when all of them were examined."""
    final = rows is not None
    fixed = options.fixed
    types = [fixed.get(number) or each.type for number, each in enumerate(possible)]
    schema = pa.schema(list(zip(options.cleaned, types, strict=True)))
    logical = {options.cleaned[number]: meaning for number, meaning in source.logical.items()}
    kinds = {options.cleaned[n]: each.kind for n, each in enumerate(possible) if n not in fixed}
    outcome = WrittenTable(schema, logical=logical, kinds=kinds)
    allowed = [options.allowed(source, number) for number in range(len(possible))]

    def to_batch(block: Any) -> tuple[_PreparedBlock, pa.RecordBatch | None]:
        prepared = _prepare(source, options, block)
        arrays = []
        for number, array in enumerate(prepared.arrays):
            if number not in fixed:
                notation = options.notation_of(source, number)
                array = _convert_or_none(array, possible[number], types[number], allowed[number], notation)  # noqa: PLW2901
            if array is None:
                return prepared, None
            arrays.append(array)
        return prepared, pa.record_batch(arrays, schema=schema)

    line, offset = source.first_line, source.first_byte
    with TableWriter(target, schema) as writer:
        for prepared, batch in in_order(to_batch, source.blocks(), options.threads):
            if batch is None:
                if final:
                    raise RuntimeError(f"{source.file}: a value does not have the type that was found for its column")
                raise TypeGuessWrong
            writer.write(batch)
            quarantine.add([each.shifted(line, offset) for each in prepared.bad])
            parsed, counts = prepared.parsed, outcome.counts
            line += parsed.lines
            offset = None if offset is None or parsed.source_bytes is None else offset + parsed.source_bytes
            counts["rows_in"] += prepared.rows + len(prepared.bad)
            counts["rows_quarantined"] += len(prepared.bad)
            counts["lines_quarantined"] += sum(each.lines for each in prepared.bad)
            counts["lines_blank"] += parsed.blank
            counts.update(parsed.counts)
            if counts["rows_in"] > options.max_rows:
                raise ROWS_TOO_MANY(file=source.file, limit=options.max_rows)
            watch.advance(counts["rows_in"], rows or source.rows)
    outcome.counts["rows_out"] = writer.rows
    return outcome


def _convert_or_none(
    array: pa.Array, found: PossibleTypes, to: pa.DataType, allowed: frozenset[str], notation: Notation
) -> pa.Array | None:
    """The array as type `to`, None if it does not fit. A column that had no value so far may become text."""
    if found.is_empty and array.null_count < len(array):
        here = possible_types_in(array, allowed, notation)
        return array if here.type == to else None
    return convert_from(array, found.kind, to, notation)
