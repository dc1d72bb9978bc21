"""Splits a delimited file into blocks of whole records, and finds the records within a block.

In nearly all files every quotation mark opens a field, closes one, or is one of two within a field. Then a line end is
the end of a record when the number of marks before it is even, and NumPy finds all of them at once. Other blocks, and
those with an escape character, are parsed record by record.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.messages.tabular import ROW_TOO_LARGE, SKIPPED_ALL, SKIPPED_TOO_LARGE
from app.pipelines.tabular.csv.dialect import Dialect
from app.pipelines.tabular.csv.records import LINE_END, Record, read_records
from app.settings import MiB

BLOCK_BYTES = 8 * MiB
# Parsed records are objects, many times larger than their bytes.
_MAX_RECORDS = 16_384
_LF, _CR = 10, 13

Positions = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Block:
    """Whole records.

    Attributes:
        offset: byte position in the file.
        records: the records, where they had to be parsed one by one.
    """

    raw: bytes
    offset: int
    records: tuple[Record, ...] | None = None


@dataclass(frozen=True, slots=True)
class RecordIndex:
    """The records of a regular block, one item of each array for each record.

    Attributes:
        starts, ends: byte positions in the block, without the line end.
        fields: number of fields.
        lines: number of line ends before the record.
    """

    starts: Positions
    ends: Positions
    fields: Positions
    lines: Positions

    @property
    def blank(self) -> npt.NDArray[np.bool_]:
        return np.equal(self.starts, self.ends)

    def select(self, mask: npt.NDArray[np.bool_]) -> RecordIndex:
        return RecordIndex(self.starts[mask], self.ends[mask], self.fields[mask], self.lines[mask])


def text_end(path: Path, start: int) -> int:
    """Position of the end of the text, without line ends at the end of the file."""
    end = path.stat().st_size
    with path.open("rb") as stream:
        while end > start:
            begin = max(start, end - 64 * 1024)
            stream.seek(begin)
            kept = stream.read(end - begin).rstrip(b"\r\n")
            if kept:
                return begin + len(kept)
            end = begin
    return start


def after_lines(path: Path, start: int, end: int, lines: int, max_bytes: int, file: str) -> int:
    """Position after so many lines.

    Raises:
        RunRefused: no_rows (there are no more lines), skipped_too_large (they have more than `max_bytes` bytes).
    """
    if lines == 0:
        return start
    with path.open("rb") as stream:
        stream.seek(start)
        data = stream.read(min(max_bytes, end - start))
    last = next(islice(LINE_END.finditer(data), lines - 1, None), None)
    if last is not None:
        return start + last.end()
    if len(data) < end - start:
        raise SKIPPED_TOO_LARGE(file=file, skipped=lines, limit=max_bytes)
    raise SKIPPED_ALL(file=file, skipped=lines)


def split_blocks(path: Path, start: int, end: int, dialect: Dialect, max_bytes: int, file: str) -> Iterator[Block]:
    """Yield the bytes from `start` to `end` as blocks.

    Raises:
        RunRefused: row_too_large, for a record of more than `max_bytes` bytes.
    """
    newline = _line_end_byte(path, start)
    offset, data, at = start, b"", start
    with path.open("rb") as stream:
        stream.seek(start)
        while at < end or data:
            fresh = stream.read(min(BLOCK_BYTES, end - at))
            at += len(fresh)
            data += fresh
            stop, irregular = _regular_part(data, at >= end, dialect, newline)
            if stop:
                yield Block(data[:stop], offset)
                offset, data = offset + stop, data[stop:]
            while irregular and data:
                records, read = read_records(data, at >= end, dialect, _MAX_RECORDS)
                if not read:
                    break
                yield Block(data[:read], offset, tuple(records))
                offset, data = offset + read, data[read:]
            if len(data) > max_bytes:
                raise ROW_TOO_LARGE(file=file, limit=max_bytes, position=offset)


def _line_end_byte(path: Path, start: int) -> bytes:
    """The byte that ends lines: LF if the file has any, otherwise CR."""
    with path.open("rb") as stream:
        stream.seek(start)
        while block := stream.read(BLOCK_BYTES):
            if b"\n" in block:
                return b"\n"
    return b"\r"


def _regular_part(data: bytes, last: bool, dialect: Dialect, newline: bytes) -> tuple[int, bool]:
    """(end of the regular records at the beginning of the data, whether the rest must be parsed record by record)."""
    if dialect.escape is not None and dialect.escape.encode() in data:
        return 0, True
    quote = dialect.quote.encode() if dialect.quote else None
    if quote is None or quote not in data:
        return (len(data) if last else data.rfind(newline) + 1), False
    array = np.frombuffer(data, np.uint8)
    marks = np.flatnonzero(array == quote[0])
    fault = _first_fault(array, marks, dialect)
    if fault is None and len(marks) % 2 == 0:
        if last:
            return len(data), False
        after = data.rfind(newline, int(marks[-1])) + 1
        if after:
            return after, False
    known = marks if fault is None else marks[: fault - fault % 2]
    # After a complete pair of marks and before the next mark, line ends are ends of records.
    limit = len(data) if fault is None and len(marks) % 2 == 0 else int(marks[len(known) - len(known) % 2])
    ends = np.flatnonzero(array[:limit] == newline[0])
    outside = ends[np.searchsorted(known, ends) % 2 == 0]
    return (int(outside[-1]) + 1 if len(outside) else 0), fault is not None or last


def _first_fault(array: npt.NDArray[np.uint8], marks: Positions, dialect: Dialect) -> int | None:
    """Index of the first mark that is neither at the edge of a field nor one of two within it."""
    edge = np.zeros(256, np.bool_)
    edge[[_LF, _CR, ord(dialect.delimiter)]] = True
    opens, closes = marks[0::2], marks[1::2]
    good = np.ones(len(marks), np.bool_)
    before = edge[array[np.maximum(opens - 1, 0)]] | (opens == 0)
    before[1:] |= opens[1:] == closes[: len(opens) - 1] + 1
    good[0::2] = before
    after = edge[array[np.minimum(closes + 1, len(array) - 1)]] | (closes == len(array) - 1)
    pairs = min(len(closes), len(opens) - 1)
    after[:pairs] |= closes[:pairs] + 1 == opens[1 : pairs + 1]
    good[1::2] = after
    if good.all():
        return None
    return int(np.argmin(good))


def index_records(raw: bytes, dialect: Dialect) -> RecordIndex:
    """Find the records of a regular block."""
    array = np.frombuffer(raw, np.uint8)
    returns = np.flatnonzero(array == _CR)
    lone = returns[array[np.minimum(returns + 1, len(array) - 1)] != _LF]
    all_ends = np.flatnonzero(array == _LF)
    if len(lone):
        all_ends = np.sort(np.concatenate([all_ends, lone]))
    delimiters = np.flatnonzero(array == ord(dialect.delimiter))
    ends = all_ends
    if dialect.quote:
        marks = np.flatnonzero(array == ord(dialect.quote))
        ends = ends[np.searchsorted(marks, ends) % 2 == 0]
        delimiters = delimiters[np.searchsorted(marks, delimiters) % 2 == 0]
    starts = np.concatenate([[0], ends + 1])
    stops = np.concatenate([ends, [len(array)]])
    if starts[-1] == len(array):
        starts, stops = starts[:-1], stops[:-1]
    inner = np.minimum(stops, len(array) - 1)
    with_return = (stops > starts) & (array[inner] == _LF) & (array[np.maximum(stops - 1, 0)] == _CR)
    stops = stops - with_return
    fields = np.searchsorted(delimiters, stops) - np.searchsorted(delimiters, starts) + 1
    return RecordIndex(starts, stops, fields, np.searchsorted(all_ends, starts))


def count_lines(raw: bytes) -> int:
    """Number of lines, including those within quotation marks; the last line needs no line end."""
    found = raw.count(b"\n")
    if b"\r" in raw:
        found += raw.count(b"\r") - raw.count(b"\r\n")
    return found + (not raw.endswith((b"\n", b"\r")))
