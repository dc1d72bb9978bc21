"""Columns of text that a person would read as numbers or dates: they stay text, and the reader hears of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from app.pipelines.formats.tabular_source import Note

_ROWS = 1_000
_SAMPLES = 3
_SHAPES = (
    ("number_as_text", "numbers with grouping marks, decimal commas, signs or blanks", re.compile(
        r"\s*[+-]?(\d{1,3}([., '\u00a0\u202f]\d{3})+([.,]\d+)?|\d+,\d+|\d+(\.\d+)?)\s*|[+-]?\d+(\.\d+)?\s?[%€$£]")),
    ("date_as_text", "dates that are not written as 2026-11-22", re.compile(r"\d{1,2}([./-])\d{1,2}\1(\d{2}|\d{4})")),
)  # fmt: skip
# Codes: text is what they should be.
_CODES = re.compile(r"0\d+|\d{16,}")


def hints(path: Path, schema: pa.Schema) -> Iterator[Note]:
    """Warnings about columns of which each of the first rows looks like a number or a date of some country."""
    names = [field.name for field in schema if pa.types.is_string(field.type)]
    if not names:
        return
    with pq.ParquetFile(path) as file:
        batch = next(file.iter_batches(_ROWS, columns=names), None)
    if batch is None:
        return
    for name in names:
        values = [value for value in batch.column(name).to_pylist() if value]
        for code, what, shape in _SHAPES:
            if values and all(shape.fullmatch(value) for value in values) and not any(map(_CODES.fullmatch, values)):
                message = (
                    f"The column {name!r} is kept as text: its values look like {what}. "
                    "If they are, write them plainly or say what they are in files[].options.types."
                )
                yield code, message, 1, tuple(values[:_SAMPLES])
