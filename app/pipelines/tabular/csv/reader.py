"""Reads delimited text (CSV) with Arrow's parser.

Arrow's parser is fast, but reads malformed quotation marks in its own way. So the records of each block are also
counted without it, and a block with other quotation marks than it expects is parsed record by record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv

from app.messages.common import CONTENT_MISMATCH
from app.messages.tabular import (
    BLANK_FILE,
    BLOCK_ROWS_LOST,
    DELIMITER_ENDS_ROWS,
    ENCODING_ASSUMED,
    HEADER_INVALID,
    HEADER_NUMERIC,
    HEADER_ONLY,
    ROW_TOO_LARGE,
)
from app.models.formats import Format
from app.models.manifests.file_options import FileOptions
from app.models.runs.run import RunWarning
from app.pipelines.common.content import looks_like
from app.pipelines.common.utf8 import is_utf8
from app.pipelines.contract.watch import Watch
from app.pipelines.tabular.csv.dialect import NO_DELIMITER, Dialect, find_dialect
from app.pipelines.tabular.csv.records import read_records
from app.pipelines.tabular.csv.split import (
    Block,
    Positions,
    RecordIndex,
    after_lines,
    count_lines,
    index_records,
    split_blocks,
    text_end,
)
from app.pipelines.tabular.encoding import SourceOffsets, TextFile, open_text
from app.pipelines.tabular.inferred_types import ALL_KINDS
from app.pipelines.tabular.source import BadRow, ParsedBlock, RowPosition, check_columns
from app.settings import Limits, MiB

_SAMPLE_BYTES = 1 * MiB
_NOT_TEXT = (b"PAR1", b"SQLite format 3", b"%PDF", b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"fgb", b"\x89PNG")
_MARKUP = (b"<!doctype", b"<html", b"<?xml")
_UNDECODABLE = "bytes that are no text in the encoding"


@dataclass(slots=True)
class CsvSource:
    """An opened file; see TableSource. `start` and `end` are byte positions of the rows in `text.path`."""

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
    fills_short_rows: bool = False
    rows: int | None = None
    logical: Mapping[int, str] = field(default_factory=dict)
    plain: frozenset[int] = frozenset()
    warnings: list[RunWarning] = field(default_factory=list)

    @property
    def read_options(self) -> dict[str, Any]:
        delimiter = None if self.dialect.delimiter == NO_DELIMITER else self.dialect.delimiter
        return {
            "encoding": self.text.encoding,
            "encoding_assumed": self.text.assumed,
            "delimiter": delimiter,
            "quote": self.dialect.quote,
            **({"escape": self.dialect.escape} if self.dialect.escape else {}),
        }

    def blocks(self) -> Iterator[Block]:
        return split_blocks(self.text.path, self.start, self.end, self.dialect, self.limits.row_bytes, self.file)

    def parse(self, block: Block) -> ParsedBlock:
        if len(block.raw) > self.limits.row_bytes:
            self._check_row_lengths(block)
        return self._parse_records(block) if block.records is not None else self._parse_with_arrow(block.raw)

    def _parse_with_arrow(self, raw: bytes) -> ParsedBlock:
        lines = count_lines(raw)
        is_valid = self.text.is_valid or is_utf8(raw)
        table, has_others = self._read_with_arrow(raw) if is_valid else (None, True)
        if table is not None and not has_others and table.num_rows == lines and self._has_no_ends(table):
            locate = self._locator(raw, lambda: index_records(raw, self.dialect))
            size, counts = self.text.source_bytes(raw), self._counts(filled=0)
            return ParsedBlock(self._arrays(table), lines, (), lines, size, locate, 0, counts)
        records = index_records(raw, self.dialect)
        blank = records.blank if len(self.names) > 1 else np.zeros(len(records.starts), np.bool_)
        values = records.fields - self._ends(raw, records)
        has_wrong_width = (values != len(self.names)) & ~blank
        is_short = (values < len(self.names)) & ~blank & self.fills_short_rows
        has_wrong_width &= ~is_short
        is_undecodable = np.zeros_like(has_wrong_width)
        if not is_valid:
            pairs = zip(records.starts, records.ends, strict=True)
            is_undecodable = np.array([not is_utf8(raw[start:end]) for start, end in pairs], np.bool_)
        is_short &= ~is_undecodable
        bad = np.flatnonzero(has_wrong_width | is_undecodable)
        lacks_field = (records.fields < self._width) & ~(has_wrong_width | is_undecodable | blank)
        if len(bad) or table is None or lacks_field.any():
            # Removed before Arrow parses the block: it cannot return rows that are not valid UTF-8.
            readable = self._readable_part(raw, records, bad, np.flatnonzero(lacks_field))
            table, has_others = self._read_with_arrow(readable)
        rows = len(records.starts) - int(blank.sum()) - len(bad)
        if has_others or table.num_rows != rows:
            raise BLOCK_ROWS_LOST(file=self.file, counted=rows, read=table.num_rows)
        offsets = SourceOffsets(self.text, raw)
        bad_rows = []
        for at in map(int, bad):
            start, end = int(records.starts[at]), int(records.ends[at])
            reason = _UNDECODABLE if is_undecodable[at] else self._wrong_width(values[at])
            text, offset = self.text.readable(raw[start:end]), offsets.at(start)
            bad_rows.append(BadRow(int(records.lines[at]), offset, reason, text, count_lines(raw[start:end])))
        good = ~(has_wrong_width | is_undecodable | blank)
        locate = self._locator(raw, lambda: records.select(good))
        source_bytes = self.text.source_bytes(raw)
        counts = self._counts(filled=int(is_short.sum()))
        return ParsedBlock(self._arrays(table), rows, bad_rows, lines, source_bytes, locate, int(blank.sum()), counts)

    def _parse_records(self, block: Block) -> ParsedBlock:
        raw, width = block.raw, len(self.names)
        rows, bad, kept, blank, filled = [], [], [], 0, 0
        offsets = SourceOffsets(self.text, raw)
        for record in block.records or ():
            fields = record.fields or ((None,) if width == 1 else ())
            fault = record.fault
            if fault is None and not fields:
                blank += 1
                continue
            if self.dialect.ends_rows and len(fields) > 1 and fields[-1] is None:
                fields = fields[:-1]
            if fault is None and len(fields) < width and self.fills_short_rows:
                fields += (None,) * (width - len(fields))
                filled += 1
            if fault is None and len(fields) != width:
                fault = self._wrong_width(len(fields))
            if fault is None:
                rows.append(fields)
                kept.append(record)
                continue
            piece = raw[record.start : record.end]
            offset = offsets.at(record.start)
            bad.append(BadRow(record.line, offset, fault, self.text.readable(piece), count_lines(piece or b"\n")))
        arrays = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)] or self._empty_columns()

        def locate(row: int) -> RowPosition:
            record = kept[row]
            return record.line, offsets.at(record.start), self.text.readable(raw[record.start : record.end])

        counts = self._counts(filled=filled)
        size = self.text.source_bytes(raw)
        return ParsedBlock(arrays, len(rows), bad, count_lines(raw), size, locate, blank, counts)

    def _counts(self, *, filled: int) -> dict[str, int]:
        """What a block adds to the counts of the run: said of every block, also 0, where short rows are filled."""
        return {"rows_null_filled": filled} if self.fills_short_rows else {}

    def _readable_part(self, raw: bytes, records: RecordIndex, bad: Positions, short: Positions) -> bytes:
        """The block without its bad records, and with an empty field for each one that a short record lacks."""
        bounds = np.append(records.starts, len(raw))
        without, padded = set(bad.tolist()), set(short.tolist())
        delimiter = self.dialect.delimiter.encode()
        pieces, at = [], 0
        for each in sorted(without | padded):
            stop = int(bounds[each] if each in without else records.ends[each])
            pieces.append(raw[at:stop])
            if each in padded:
                pieces.append(delimiter * (self._width - int(records.fields[each])))
            at = int(bounds[each + 1]) if each in without else stop
        return b"".join([*pieces, raw[at:]])

    def _read_with_arrow(self, raw: bytes) -> tuple[pa.Table, bool]:
        """(rows of the right width with all values as text, whether there were rows of another width)."""
        names = [str(number) for number in range(self._width)]
        others: list[int] = []

        def skip(row: Any) -> str:
            others.append(row.actual_columns)
            return "skip"

        if not raw:
            return pa.table([pa.array([], pa.string())] * len(names), names), False
        if not raw.endswith((b"\n", b"\r")):
            # Without a final line end, Arrow reads a missing last value as an empty quoted one.
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

    def _arrays(self, table: pa.Table) -> list[pa.Array]:
        return [
            column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks) if column.num_chunks
            else pa.array([], pa.string())
            for column in table.columns[: len(self.names)]
        ]  # fmt: skip

    @property
    def _width(self) -> int:
        """How many fields a row has, with the empty one behind a delimiter at its end."""
        return len(self.names) + self.dialect.ends_rows

    def _has_no_ends(self, table: pa.Table) -> bool:
        """Whether nothing follows the delimiters at the ends of the rows."""
        return not self.dialect.ends_rows or table.column(self._width - 1).null_count == table.num_rows

    def _ends(self, raw: bytes, records: RecordIndex) -> npt.NDArray[np.bool_]:
        """Which records end with a delimiter behind their last column."""
        if not self.dialect.ends_rows:
            return np.zeros(len(records.starts), np.bool_)
        last = np.frombuffer(raw, np.uint8)[np.maximum(records.ends - 1, 0)]
        ends: npt.NDArray[np.bool_] = (last == ord(self.dialect.delimiter)) & (records.ends > records.starts)
        return ends

    def _empty_columns(self) -> list[pa.Array]:
        return [pa.array([], pa.string()) for _ in self.names]

    def _locator(self, raw: bytes, records: Callable[[], RecordIndex]) -> Callable[[int], RowPosition]:
        """Gives the position of a row; the records are found at the first call, which most blocks never need."""
        index = cache(records)
        offsets = SourceOffsets(self.text, raw)

        def locate(row: int) -> RowPosition:
            start, end = int(index().starts[row]), int(index().ends[row])
            return int(index().lines[row]), offsets.at(start), self.text.readable(raw[start:end])

        return locate

    def _wrong_width(self, found: int) -> str:
        return f"{found} {'field' if found == 1 else 'fields'} instead of {len(self.names)}"

    def _check_row_lengths(self, block: Block) -> None:
        if block.records is not None:
            lengths = np.array([record.end - record.start for record in block.records])
            starts = np.array([record.start for record in block.records])
        else:
            found = index_records(block.raw, self.dialect)
            lengths, starts = found.ends - found.starts, found.starts
        if len(lengths) and lengths.max() > self.limits.row_bytes:
            at = block.offset + int(starts[np.argmax(lengths > self.limits.row_bytes)])
            raise ROW_TOO_LARGE(file=self.file, limit=self.limits.row_bytes, position=at)


def open_source(path: Path, fmt: Format, options: FileOptions, limits: Limits, file: str, _watch: Watch) -> CsvSource:
    """See OpenSource. Raises RunRefused as `open_delimited` does."""
    return open_delimited(path, fmt, options, limits, file)


def open_delimited(
    path: Path, fmt: Format, options: FileOptions, limits: Limits, file: str, delimiter: str | None = None
) -> CsvSource:
    """Open delimited text and find its encoding, dialect and header.

    Args:
        delimiter: of the format, where it has one; options.delimiter has precedence.

    Raises:
        RunRefused: content_mismatch, no_rows, delimiter_ambiguous, header_invalid, columns_too_many, header_too_long,
            row_too_large and what `open_text` raises.
    """
    with path.open("rb") as stream:
        head = stream.read(4096)
    if head.startswith(_NOT_TEXT) or head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_MARKUP):
        raise CONTENT_MISMATCH(file=file, format=fmt.name, found=looks_like(head))
    text = open_text(path, options.encoding, file)
    start, end = text.start, text_end(text.path, text.start)
    sample, _ = _sample(text, start, end)
    if not sample.strip():
        raise BLANK_FILE(file=file)
    separator, delimiter = _separator_line(sample, options.delimiter or delimiter)
    skipped = options.skip_rows or 0
    before = options.header_row - 1 if options.header_row else skipped
    start = max(start + separator, after_lines(text.path, start, end, before, limits.row_bytes, file))
    shown, complete = _sample(text, start, end)
    dialect = find_dialect(shown.decode("utf-8", "replace"), complete, options, delimiter, file)
    has_header = options.header is not False
    names, begin = _header(text, start, end, dialect, has_header, limits, file)
    begin = max(begin, after_lines(text.path, text.start, end, skipped, limits.row_bytes, file))
    check_columns(names, limits, file)
    if len(names) == 1 and dialect.delimiter != NO_DELIMITER and options.delimiter is None and delimiter is None:
        dialect = Dialect(NO_DELIMITER, dialect.quote, dialect.escape)
    if begin >= end:
        raise HEADER_ONLY(file=file)
    with text.path.open("rb") as stream:
        stream.seek(text.start)
        preceding = stream.read(begin - text.start)
    size = text.source_bytes(preceding)
    return CsvSource(
        file=file, names=names, allowed=(ALL_KINDS,) * len(names),
        first_line=1 + (count_lines(preceding) if preceding else 0),
        first_byte=None if size is None else size + text.bom_length,
        text=text, dialect=dialect, start=begin, end=end, limits=limits,
        fills_short_rows=options.short_rows == "null_fill",
        warnings=_warnings(file, text, names, has_header, dialect),
    )  # fmt: skip


def _sample(text: TextFile, start: int, end: int) -> tuple[bytes, bool]:
    """(the beginning of the text from `start`, whether that is all of it)."""
    with text.path.open("rb") as stream:
        stream.seek(start)
        sample = stream.read(min(_SAMPLE_BYTES, end - start))
    return sample, len(sample) == end - start


def _separator_line(sample: bytes, delimiter: str | None) -> tuple[int, str | None]:
    """(bytes to skip, delimiter). Spreadsheet programs declare the delimiter in a first line `sep=;`."""
    first = sample.splitlines(keepends=True)[0]
    word = first.rstrip(b"\r\n")
    if len(word) == 5 and word.startswith(b"sep=") and word[4] < 128:
        return len(first), delimiter or chr(word[4])
    return 0, delimiter


def _header(
    text: TextFile, start: int, end: int, dialect: Dialect, has_header: bool, limits: Limits, file: str
) -> tuple[tuple[str, ...], int]:
    """(names, where the rows begin)."""
    with text.path.open("rb") as stream:
        stream.seek(start)
        data = stream.read(min(limits.row_bytes, end - start))
    at = len(data) - len(data.lstrip(b"\r\n"))
    records, read = read_records(data[at:], len(data) == end - start, dialect, 1)
    if not records:
        raise ROW_TOO_LARGE(file=file, limit=limits.row_bytes, position=start + at)
    record = records[0]
    if record.fault is not None:
        found = text.readable(data[at + record.start : at + record.end])[:200]
        raise HEADER_INVALID(file=file, fault=record.fault, record=found)
    if not has_header:
        return ("",) * max(len(record.fields), 1), start + at
    return tuple(field or "" for field in record.fields), start + at + read


def _warnings(file: str, text: TextFile, names: Sequence[str], has_header: bool, dialect: Dialect) -> list[RunWarning]:
    warnings = [ENCODING_ASSUMED(file=file, samples=text.samples)] if text.assumed else []
    if dialect.ends_rows:
        warnings.append(DELIMITER_ENDS_ROWS(file=file, delimiter=dialect.delimiter))
    if has_header and all(name and not any(c.isalpha() for c in name) for name in names):
        warnings.append(HEADER_NUMERIC(file=file, samples=names))
    return warnings
