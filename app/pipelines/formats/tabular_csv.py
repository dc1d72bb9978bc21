"""Delimited text (CSV, TSV): Arrow's parser does the work, after every block was proven to be what it takes it for.

The number of rows that the parser gives is compared, block by block, with the records counted without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from app.errors import RunRefused
from app.models.manifest import FileOptions
from app.pipelines.formats.content import looks_like
from app.pipelines.formats.tabular_cut import Block, Layout, cut, layout, line_ends, text_end, too_large
from app.pipelines.formats.tabular_dialect import NO_DELIMITER, Dialect, find_dialect
from app.pipelines.formats.tabular_encoding import Offsets, TextFile, open_text
from app.pipelines.formats.tabular_records import read_records
from app.pipelines.formats.tabular_source import BadRow, Note, Parsed, Place, check_columns, no_rows
from app.pipelines.formats.tabular_types import ALL_KINDS
from app.pipelines.formats.utf8 import is_utf8
from app.settings import Limits, MiB

_SAMPLE_BYTES = 1 * MiB
_NOT_TEXT = (b"PAR1", b"SQLite format 3", b"%PDF", b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"fgb", b"\x89PNG")
_MARKUP = (b"<!doctype", b"<html", b"<?xml")
_UNDECODABLE = "bytes that are no text in the encoding"


@dataclass(slots=True)
class CsvSource:
    """See TableSource."""

    file: str
    names: tuple[str, ...]
    allowed: tuple[frozenset[str], ...]
    first_line: int
    first_byte: int | None
    text: TextFile
    dialect: Dialect
    start: int
    end: int
    limits: Limits
    rows: int | None = None
    logical: Mapping[int, str] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    @property
    def described(self) -> dict[str, Any]:
        delimiter = None if self.dialect.delimiter == NO_DELIMITER else self.dialect.delimiter
        return {
            "encoding": self.text.encoding,
            "encoding_assumed": self.text.assumed,
            "delimiter": delimiter,
            "quote": self.dialect.quote,
        }

    def blocks(self) -> Iterator[Block]:
        return cut(self.text.path, self.start, self.end, self.dialect, self.limits.row_bytes, self.file)

    def parse(self, block: Block) -> Parsed:
        if len(block.raw) > self.limits.row_bytes:
            self._check_lengths(block)
        return self._one_by_one(block) if block.records is not None else self._at_once(block.raw)

    def _at_once(self, raw: bytes) -> Parsed:
        lines = line_ends(raw)
        sound = self.text.sound or is_utf8(raw)
        table, refused = self._arrow(raw) if sound else (None, True)
        if table is not None and not refused and table.num_rows == lines:
            places = self._places(raw, lambda: layout(raw, self.dialect))
            return Parsed(_arrays(table), lines, (), lines, self._size(raw), places)
        records = layout(raw, self.dialect)
        blank = records.blank if len(self.names) > 1 else np.zeros(len(records.starts), np.bool_)
        ragged = (records.fields != len(self.names)) & ~blank
        unreadable = np.zeros_like(ragged)
        if not sound:
            pairs = zip(records.starts, records.ends, strict=True)
            unreadable = np.array([not is_utf8(raw[start:end]) for start, end in pairs], np.bool_)
        bad = np.flatnonzero(ragged | unreadable)
        if len(bad) or table is None:
            # Cut out before Arrow sees them: it has no way to hand back a row that is no text.
            table, refused = self._arrow(_without(raw, records, bad))
        rows = len(records.starts) - int(blank.sum()) - len(bad)
        if refused or table.num_rows != rows:
            detail = f"{self.file}: {rows} rows were counted and {table.num_rows} were read in one block."
            raise RunRefused(detail, "This is a defect of the service.", reason="rows_lost", file=self.file)
        offsets = Offsets(self.text, raw)
        faults = [
            self._bad_row(offsets, records, at, _UNDECODABLE if unreadable[at] else self._ragged(records.fields[at]))
            for at in map(int, bad)
        ]
        good = np.flatnonzero(~(ragged | unreadable | blank))
        return Parsed(
            _arrays(table), rows, faults, lines, self._size(raw),
            self._places(raw, lambda: Layout(*(each[good] for each in _parts(records)))), int(blank.sum()),
        )  # fmt: skip

    def _one_by_one(self, block: Block) -> Parsed:
        raw, width = block.raw, len(self.names)
        rows, bad, kept, blank = [], [], [], 0
        offsets = Offsets(self.text, raw)
        for record in block.records or ():
            fields = record.fields or ((None,) if width == 1 else ())
            fault = record.fault
            if fault is None and not fields:
                blank += 1
                continue
            if fault is None and len(fields) != width:
                fault = self._ragged(len(fields))
            if fault is None:
                rows.append(fields)
                kept.append(record)
                continue
            piece = raw[record.start : record.end]
            offset = offsets.at(record.start)
            bad.append(BadRow(record.line, offset, fault, self.text.readable(piece), line_ends(piece or b"\n")))
        arrays = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)] or self._nothing()

        def place(row: int) -> Place:
            record = kept[row]
            return record.line, offsets.at(record.start), self.text.readable(raw[record.start : record.end])

        return Parsed(arrays, len(rows), bad, line_ends(raw), self._size(raw), place, blank)

    def _arrow(self, raw: bytes) -> tuple[pa.Table, bool]:
        """(the rows of the right width, all values as text; whether there were others)."""
        names = [str(number) for number in range(len(self.names))]
        others: list[int] = []

        def skip(row: Any) -> str:
            others.append(row.actual_columns)
            return "skip"

        if not raw:
            return pa.table(self._nothing(), names), False
        if not raw.endswith((b"\n", b"\r")):
            # Arrow takes a missing last value for a quoted one when no line end follows it.
            raw += b"\n"
        table = pa_csv.read_csv(
            pa.BufferReader(raw),
            pa_csv.ReadOptions(use_threads=False, block_size=len(raw) + 1, column_names=names),
            pa_csv.ParseOptions(
                delimiter=self.dialect.delimiter,
                quote_char=self.dialect.quote or False,
                newlines_in_values=self.dialect.quote is not None and self.dialect.quote.encode() in raw,
                ignore_empty_lines=len(names) > 1,
                invalid_row_handler=skip,
            ),
            pa_csv.ConvertOptions(
                check_utf8=False,
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        return table, bool(others)

    def _nothing(self) -> list[pa.Array]:
        return [pa.array([], pa.string()) for _ in self.names]

    def _size(self, raw: bytes) -> int | None:
        return self.text.source_bytes(raw)

    def _places(self, raw: bytes, records: Callable[[], Layout]) -> Callable[[int], Place]:
        found: list[Layout] = []
        offsets = Offsets(self.text, raw)

        def place(row: int) -> Place:
            if not found:
                found.append(records())
            start, end = int(found[0].starts[row]), int(found[0].ends[row])
            return int(found[0].lines[row]), offsets.at(start), self.text.readable(raw[start:end])

        return place

    def _bad_row(self, offsets: Offsets, records: Layout, at: int, reason: str) -> BadRow:
        start, end = int(records.starts[at]), int(records.ends[at])
        piece = offsets.raw[start:end]
        return BadRow(int(records.lines[at]), offsets.at(start), reason, self.text.readable(piece), line_ends(piece))

    def _ragged(self, found: int) -> str:
        return f"{found} {'field' if found == 1 else 'fields'} instead of {len(self.names)}"

    def _check_lengths(self, block: Block) -> None:
        if block.records is not None:
            lengths = np.array([record.end - record.start for record in block.records])
            starts = np.array([record.start for record in block.records])
        else:
            found = layout(block.raw, self.dialect)
            lengths, starts = found.ends - found.starts, found.starts
        if len(lengths) and lengths.max() > self.limits.row_bytes:
            at = block.offset + int(starts[np.argmax(lengths > self.limits.row_bytes)])
            too_large(self.file, f"begins at byte {at}", self.limits.row_bytes)


def open_csv(path: Path, options: FileOptions, delimiter: str | None, limits: Limits, file: str) -> CsvSource:
    """Raises RunRefused: content_mismatch, no_rows, delimiter_ambiguous, header_invalid, columns_too_many,
    header_too_long, row_too_large and what `open_text` raises."""
    with path.open("rb") as stream:
        head = stream.read(512)
    if head.startswith(_NOT_TEXT) or head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_MARKUP):
        raise RunRefused(
            f"{file} is declared as delimited text, its content is {looks_like(head)}.",
            "Correct files[].format, or send the right file.",
            reason="content_mismatch",
            file=file,
        )
    text = open_text(path, options.encoding, file)
    start, end = text.start, text_end(text.path, text.start)
    with text.path.open("rb") as stream:
        stream.seek(start)
        sample = stream.read(min(_SAMPLE_BYTES, end - start))
    if not sample.strip():
        raise no_rows(file, "it holds nothing but line ends")
    skipped, delimiter = _separator_line(sample, options.delimiter or delimiter)
    complete = len(sample) == end - start
    shown = sample[skipped:].decode("utf-8", "replace")
    dialect = find_dialect(shown, complete, options, delimiter, file)
    names, begin, lines = _header(text, start + skipped, end, dialect, options.header is not False, limits, file)
    check_columns(names, limits, file)
    if len(names) == 1 and dialect.delimiter != NO_DELIMITER and options.delimiter is None and delimiter is None:
        dialect = Dialect(NO_DELIMITER, dialect.quote)
    if begin >= end:
        raise no_rows(file, "there is a header and nothing after it")
    with text.path.open("rb") as stream:
        stream.seek(text.start)
        before = stream.read(begin - text.start)
    size = text.source_bytes(before)
    source = CsvSource(
        file=file, names=names, allowed=(ALL_KINDS,) * len(names),
        first_line=1 + (line_ends(before) if before else 0), first_byte=None if size is None else size + text.mark,
        text=text, dialect=dialect, start=begin, end=end, limits=limits,
    )  # fmt: skip
    source.notes += _notes(source, lines)
    return source


def _separator_line(sample: bytes, delimiter: str | None) -> tuple[int, str | None]:
    """(bytes to skip, delimiter): spreadsheets write `sep=;` as the first line to say what the delimiter is."""
    first = sample.splitlines(keepends=True)[0]
    word = first.rstrip(b"\r\n")
    if len(word) == 5 and word.startswith(b"sep=") and word[4] < 128:
        return len(first), delimiter or chr(word[4])
    return 0, delimiter


def _header(
    text: TextFile, start: int, end: int, dialect: Dialect, has_header: bool, limits: Limits, file: str
) -> tuple[tuple[str, ...], int, int]:
    """(names, where the rows begin, lines before them)."""
    with text.path.open("rb") as stream:
        stream.seek(start)
        data = stream.read(min(limits.row_bytes, end - start))
    at = len(data) - len(data.lstrip(b"\r\n"))
    records, read = read_records(data[at:], len(data) == end - start, dialect, 1)
    if not records:
        too_large(file, "is its header", limits.row_bytes)
    record = records[0]
    if record.fault is not None:
        found = text.readable(data[at + record.start : at + record.end])[:200]
        raise RunRefused(
            f"{file}: the first record cannot be read: {record.fault}. It is {found!r}.",
            "Correct it, or files[].options.encoding, .quote or .delimiter.",
            reason="header_invalid",
            file=file,
        )
    if not has_header:
        return ("",) * max(len(record.fields), 1), start + at, 0
    return tuple(field or "" for field in record.fields), start + at + read, 1


def _notes(source: CsvSource, lines: int) -> list[Note]:
    notes: list[Note] = []
    if source.text.assumed:
        message = (
            f"{source.file} is not UTF-8 and says nothing about its encoding: read as CP1252. "
            "If the samples look wrong, name the encoding in files[].options.encoding."
        )
        notes.append(("encoding_assumed", message, 1, source.text.samples))
    if lines and all(_looks_like_data(name) for name in source.names):
        message = f"The header of {source.file} looks like a row of data. If it is one, say options.header: false."
        notes.append(("header_numeric", message, 1, source.names[:5]))
    return notes


def _looks_like_data(name: str) -> bool:
    return bool(name) and not any(c.isalpha() for c in name)


def _arrays(table: pa.Table) -> list[pa.Array]:
    return [
        column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks) if column.num_chunks
        else pa.array([], pa.string())
        for column in table.columns
    ]  # fmt: skip


def _without(raw: bytes, records: Layout, bad: Any) -> bytes:
    """The block without these records."""
    bounds = np.append(records.starts, len(raw))
    pieces, at = [], 0
    for each in bad:
        pieces.append(raw[at : bounds[each]])
        at = int(bounds[each + 1])
    return b"".join([*pieces, raw[at:]])


def _parts(records: Layout) -> tuple[Any, ...]:
    return records.starts, records.ends, records.fields, records.lines
