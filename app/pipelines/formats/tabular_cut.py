"""Cutting a delimited file into blocks of whole records, and finding the records within one, quotes considered.

In nearly all files every quotation mark opens a field, closes one, or is one of two within: then a line end is the end
of a record when an even number of them is before it, and no byte needs to be looked at alone. Where a block is not like
that, its records are read one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from app.errors import RunRefused
from app.pipelines.formats.tabular_dialect import Dialect
from app.pipelines.formats.tabular_records import Record, read_records
from app.settings import MiB

BLOCK_BYTES = 8 * MiB
# Records read one by one are objects, many times larger than their bytes.
_RECORDS = 16_384
_LF, _CR = 10, 13

Positions = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Block:
    """Whole records. offset: where they begin in the file. records: what they are, where they had to be read one by
    one."""

    raw: bytes
    offset: int
    records: tuple[Record, ...] | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each record of a regular block begins and ends (without its line end), how many fields it has, and how many
    line ends are before it."""

    starts: Positions
    ends: Positions
    fields: Positions
    lines: Positions

    @property
    def blank(self) -> npt.NDArray[np.bool_]:
        return np.equal(self.starts, self.ends)


def text_end(path: Path, start: int) -> int:
    """Where the text ends when the line ends at the end of the file are left out."""
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


def cut(path: Path, start: int, end: int, dialect: Dialect, most: int, file: str) -> Iterator[Block]:
    """The bytes from `start` to `end` as blocks. Raises RunRefused row_too_large for a record of over `most` bytes."""
    newline = _newline(path, start)
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
                records, read = read_records(data, at >= end, dialect, _RECORDS)
                if not read:
                    break
                yield Block(data[:read], offset, tuple(records))
                offset, data = offset + read, data[read:]
            if len(data) > most:
                too_large(file, f"begins at byte {offset}", most)


def _newline(path: Path, start: int) -> bytes:
    """The byte that ends lines: LF where the file has any, else CR."""
    with path.open("rb") as stream:
        stream.seek(start)
        while block := stream.read(BLOCK_BYTES):
            if b"\n" in block:
                return b"\n"
    return b"\r"


def _regular_part(data: bytes, last: bool, dialect: Dialect, newline: bytes) -> tuple[int, bool]:
    """(end of the regular records at the beginning of the data, whether what follows must be read record by record)."""
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
    # Behind the last mark of a pair that is whole, and before the next: here line ends end records.
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


def layout(raw: bytes, dialect: Dialect) -> Layout:
    """The records of a regular block."""
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
    return Layout(starts, stops, fields, np.searchsorted(all_ends, starts))


def line_ends(raw: bytes) -> int:
    """Lines of the block, quoted line ends included; the last needs no line end."""
    found = raw.count(b"\n")
    if b"\r" in raw:
        found += raw.count(b"\r") - raw.count(b"\r\n")
    return found + (not raw.endswith((b"\n", b"\r")))


def too_large(file: str, where: str, most: int) -> NoReturn:
    raise RunRefused(
        f"{file} has a row of more than {most} bytes, which {where}.",
        "A quotation mark that is never closed? Correct it, or raise SPATIAL_ETL_LIMITS__ROW_BYTES.",
        reason="row_too_large",
        file=file,
    )
