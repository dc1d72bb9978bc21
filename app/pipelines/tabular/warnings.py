"""Warnings about text columns that a person would read as numbers or dates; they stay text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from app.messages.tabular import DATE_AS_TEXT, NUMBER_AS_TEXT
from app.models.manifests.file_options import FileOptions
from app.models.runs.run import RunWarning
from app.pipelines.common.column_types import arrow_type
from app.pipelines.tabular.advice import DATES, NUMBERS, TextColumn, advice
from app.pipelines.tabular.declared_types import titles_for_types
from app.pipelines.tabular.inferred_types import TEXT_ONLY
from app.pipelines.tabular.source import OpenedTable, TypedSource

_ROWS = 1_000
_SAMPLES = 3
_PATTERNS = (
    (
        NUMBER_AS_TEXT,
        re.compile(
            r"\s*[+-]?(\d{1,3}([., '\u00a0\u202f]\d{3})+([.,]\d+)?|\d+,\d+|\d+(\.\d+)?)\s*|[+-]?\d+(\.\d+)?\s?[%€$£]"
        ),
        NUMBERS,
    ),
    (
        DATE_AS_TEXT,
        re.compile(
            r"(\d{1,2}([./-])\d{1,2}\2(\d{2}|\d{4})|\d{4}([./-])\d{1,2}\4\d{1,2})"
            r"([ T]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?( ?(UTC|GMT|Z|[+-]\d{2}:?\d{2}))?)?"
        ),
        DATES,
    ),
)
# Identifiers such as 007 and numbers of 16 digits or more are text rightly.
_IDENTIFIER = re.compile(r"0\d+|\d{16,}")


def text_column_warnings(
    path: Path, schema: pa.Schema, source: OpenedTable, options: FileOptions, takes: Sequence[str]
) -> Iterator[RunWarning]:
    """A warning for each text column of which all of the first 1,000 values look like a number or a local date.

    Args:
        path: the finished product.
        source: the table that it was made from, with as many columns.
        options: as the manifest gives them.
        takes: names of the options that the format understands.
    """
    titles = titles_for_types(source.names, schema.names)
    asked = {name for name, kind in (options.types or {}).items() if pa.types.is_string(arrow_type(kind))}
    texts = [
        number
        for number, field in enumerate(schema)
        if pa.types.is_string(field.type) and not {titles[number], field.name} & asked
    ]
    if not texts:
        return
    with pq.ParquetFile(path) as file:
        batch = next(file.iter_batches(_ROWS, columns=[schema.names[number] for number in texts]), None)
    if batch is None:
        return
    for number in texts:
        name = schema.names[number]
        # Values that are blank are nulls to a person.
        values = [value for value in batch.column(name).to_pylist() if value and not value.isspace()]
        if not values or any(map(_IDENTIFIER.fullmatch, values)):
            continue
        for notice, pattern, tried in _PATTERNS:
            if all(pattern.fullmatch(value.strip()) for value in values):
                column = _text_column(path, number, name, titles[number], source, options, takes)
                yield notice(column=name, advice=advice(column, tried, values), samples=values[:_SAMPLES])


def _text_column(
    path: Path, number: int, name: str, title: str | None, source: OpenedTable, options: FileOptions,
    takes: Sequence[str],
) -> TextColumn:  # fmt: skip
    if isinstance(source, TypedSource):
        return TextColumn(path, name, name, TEXT_ONLY, False, options, ())
    known = takes if title is not None else [each for each in takes if each != "types"]
    return TextColumn(path, name, title or name, source.allowed[number], number not in source.plain, options, known)
