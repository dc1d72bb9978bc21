"""Reads a table of text into typed Parquet: types guessed from the first block, given up when a later row contradicts.

Then the whole file is looked at, and written once more with the types that all of it has. Blocks are parsed in threads
and taken in order; memory is a few blocks and one row group, whatever the file's size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.errors import RunRefused
from app.pipelines.context import Watch
from app.pipelines.formats.tabular_overrides import convert_asked
from app.pipelines.formats.tabular_quarantine import Quarantine
from app.pipelines.formats.tabular_source import BadRow, Parsed, TableSource, no_rows
from app.pipelines.formats.tabular_types import Fit, convert, described, fit
from app.pipelines.formats.tabular_write import TableWriter
from app.pipelines.in_order import in_order


class Contradiction(Exception):  # a turn in the way, not an error
    """A value is not of the type that was guessed for its column."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to read. cleaned: names of the columns; asked: types that the manifest names, by number of the column; nulls:
    texts that mean no value."""

    cleaned: Sequence[str]
    asked: Mapping[int, pa.DataType]
    nulls: Sequence[str]
    most_rows: int
    threads: int


@dataclass(slots=True)
class Outcome:
    """What was written. logical: what columns mean beyond their type, by name."""

    schema: pa.Schema
    counts: Counter[str] = field(default_factory=Counter)
    logical: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Work:
    """A parsed block: its rows by columns, those of asked types converted, rows that are not of them left out."""

    parsed: Parsed
    arrays: Sequence[pa.Array]
    bad: Sequence[BadRow]
    rows: int


def write_table(source: TableSource, plan: Plan, target: Path, quarantine: Quarantine, watch: Watch) -> Outcome:
    """Write the source's rows to `target`, the rows that are none to the quarantine, in the order of the source.

    Raises RunRefused: no_rows, rows_too_many and what the source raises.
    """
    first = next(islice(source.blocks(), 1), None)
    if first is None:
        raise no_rows(source.file, "there is a header and nothing after it")
    fits = _fits(source, plan, _prepared(source, plan, first))
    try:
        return _write(source, plan, fits, target, quarantine, watch, None)
    except Contradiction:
        quarantine.restart()
        fits, rows = _look(source, plan, watch)
        return _write(source, plan, fits, target, quarantine, watch, rows)


def _prepared(source: TableSource, plan: Plan, block: Any) -> _Work:
    parsed = source.parse(block)
    arrays = list(parsed.arrays)
    if plan.nulls:
        words = pa.array(plan.nulls, pa.string())
        arrays = [pc.if_else(pc.is_in(array, value_set=words), None, array) for array in arrays]
    wrong = np.zeros(parsed.rows, np.bool_)
    reasons: dict[int, str] = {}
    for number, to in plan.asked.items():
        made, misfits = convert_asked(arrays[number], to)
        if misfits is not None:
            for row in map(int, np.flatnonzero(misfits & ~wrong)):
                value = arrays[number][row].as_py()
                reasons[row] = f"column {plan.cleaned[number]!r}: {value[:200]!r} is no {described(to)}"
            wrong |= misfits
        arrays[number] = made
    if not reasons:
        return _Work(parsed, arrays, parsed.bad, parsed.rows)
    kept = pa.array(~wrong)
    bad = list(parsed.bad)
    for row, reason in reasons.items():
        line, offset, raw = parsed.place(row)
        bad.append(BadRow(line, offset, reason, raw))
    bad.sort(key=lambda each: each.line)
    return _Work(parsed, [array.filter(kept) for array in arrays], bad, int((~wrong).sum()))


def _fits(source: TableSource, plan: Plan, work: _Work) -> list[Fit]:
    return [
        Fit() if number in plan.asked else fit(array, source.allowed[number])
        for number, array in enumerate(work.arrays)
    ]


def _look(source: TableSource, plan: Plan, watch: Watch) -> tuple[list[Fit], int]:
    """(what all values of each column fit, number of rows)."""

    def look(block: Any) -> tuple[list[Fit], int]:
        work = _prepared(source, plan, block)
        return _fits(source, plan, work), work.rows + len(work.bad)

    fits, rows = [Fit()] * len(source.names), 0
    for found, seen in in_order(look, source.blocks(), plan.threads):
        fits = [old.merge(new) for old, new in zip(fits, found, strict=True)]
        rows += seen
        watch.advance(0, rows)
    return fits, rows


def _write(
    source: TableSource, plan: Plan, fits: Sequence[Fit], target: Path, quarantine: Quarantine, watch: Watch,
    rows: int | None,
) -> Outcome:  # fmt: skip
    """One pass with the types of `fits`. rows: how many there are, where that is known."""
    final = rows is not None
    types = [plan.asked.get(number) or each.type for number, each in enumerate(fits)]
    schema = pa.schema(list(zip(plan.cleaned, types, strict=True)))
    logical = {plan.cleaned[number]: meaning for number, meaning in source.logical.items()}
    outcome = Outcome(schema, logical=logical)

    def typed(block: Any) -> tuple[_Work, pa.RecordBatch | None]:
        work = _prepared(source, plan, block)
        arrays = []
        for number, array in enumerate(work.arrays):
            made = array if number in plan.asked else _typed(array, fits[number], types[number], source.allowed[number])
            if made is None:
                return work, None
            arrays.append(made)
        return work, pa.record_batch(arrays, schema=schema)

    line, offset = source.first_line, source.first_byte
    with TableWriter(target, schema) as writer:
        for work, batch in in_order(typed, source.blocks(), plan.threads):
            if batch is None:
                if final:
                    raise RuntimeError(f"{source.file}: a value fits the type of its column only at first sight")
                raise Contradiction
            writer.write(batch)
            quarantine.add([each.moved(line, offset) for each in work.bad])
            line += work.parsed.lines
            offset = None if offset is None or work.parsed.size is None else offset + work.parsed.size
            _count(outcome.counts, work)
            if outcome.counts["rows_in"] > plan.most_rows:
                raise RunRefused(
                    f"{source.file} has more than {plan.most_rows} rows.",
                    "Split it, or raise SPATIAL_ETL_LIMITS__ROWS.",
                    reason="rows_too_many",
                    file=source.file,
                )
            watch.advance(outcome.counts["rows_in"], rows or source.rows)
    outcome.counts["rows_out"] = writer.rows
    return outcome


def _typed(array: pa.Array, found: Fit, to: pa.DataType, allowed: frozenset[str]) -> pa.Array | None:
    """The array as type `to`, None when that contradicts. A column without any value so far may turn out to be text."""
    if found.is_empty and array.null_count < len(array):
        here = fit(array, allowed)
        return array if here.type == to else None
    return convert(array, to)


def _count(counts: Counter[str], work: _Work) -> None:
    counts["rows_in"] += work.rows + len(work.bad)
    counts["rows_quarantined"] += len(work.bad)
    counts["lines_quarantined"] += sum(each.lines for each in work.bad)
    counts["lines_blank"] += work.parsed.blank
    counts.update(work.parsed.counted)
