"""Parses records one by one: slower than Arrow, but exact for malformed quotation marks.

A quotation mark at the beginning of a field opens it. Within it, two stand for one, and a single one closes it; a
delimiter or a line end must follow. Anywhere else a quotation mark is text. A record that breaks these rules is bad up
to the end of the line where it does, and none of its lines becomes a row.

With an escape character, the quotation mark, delimiter, line end or escape character after it is text. Before any other
character it is text itself, so that nothing is lost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.pipelines.tabular.csv.dialect import Dialect


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    Attributes:
        start, end: byte positions in the data, without the line end.
        line: number of line ends before it in the data.
        fields: text, None for a missing value; empty for a blank line.
        fault: why the record is not a row.
    """

    start: int
    end: int
    line: int
    fields: tuple[str | None, ...]
    fault: str | None = None


_BEHIND_QUOTE = "text follows a closing quotation mark"
_BACKSLASH = f"{_BEHIND_QUOTE}, before which is a backslash: it escapes the mark only with options.escape"
LINE_END = re.compile(rb"\r\n|\n|\r")


def read_records(data: bytes, last: bool, dialect: Dialect, max_records: int | None = None) -> tuple[list[Record], int]:
    """Parse the whole records at the beginning of the data.

    Args:
        last: nothing follows the data, so its last record is whole.
        max_records: stop after this many records.

    Returns:
        The records, and how many bytes of the data they take.
    """
    reader = _Reader(data, last, dialect)
    records: list[Record] = []
    at = line = 0
    while at < len(data) and (max_records is None or len(records) < max_records):
        found = reader.record(at, line)
        if found is None:
            break
        record, at = found
        line += len(LINE_END.findall(data[record.start : at]))
        records.append(record)
    return records, at


class _Reader:
    def __init__(self, data: bytes, last: bool, dialect: Dialect) -> None:
        self._data, self._last = data, last
        self._quote = dialect.quote.encode() if dialect.quote else b""
        self._delimiter = dialect.delimiter.encode()
        delimiter, quote = re.escape(self._delimiter), re.escape(self._quote)
        self._plain = re.compile(rb"[^\r\n" + delimiter + rb"]*")
        self._marks = re.compile(quote + rb"{1,2}") if quote else self._plain
        self._has_escape = dialect.escape is not None
        if dialect.escape is not None:
            escape = re.escape(dialect.escape.encode())
            meant = rb"[\r\n" + delimiter + quote + escape + rb"]"
            self._plain = re.compile(rb"(?:[^\r\n" + delimiter + escape + rb"]++|" + escape + meant + rb"?)*+")
            self._marks = re.compile(escape + rb"(" + meant + rb")" + (rb"|" + quote + rb"{1,2}" if quote else rb""))

    def record(self, start: int, line: int) -> tuple[Record, int] | None:
        """(the record, start of the next one); None when its end is not in the data."""
        data, at = self._data, start
        fields: list[bytes | None] = []
        while True:
            if self._quote and data.startswith(self._quote, at):
                closed = self._closing(at)
                if closed is None:
                    return self._bad(start, len(data), line, "a quotation mark is not closed") if self._last else None
                fields.append(self._value(data[at + 1 : closed], self._quote))
                at = closed + 1
            else:
                match = self._plain.match(data, at)
                value = match.group() if match else b""
                fields.append((self._value(value, None) if self._has_escape else value) or None)
                at += len(value)
            if data.startswith(self._delimiter, at):
                at += 1
                continue
            end = self._line_end(at)
            if end is None:
                return None
            if end[0] != at:
                escaped = not self._has_escape and data[at - 2 : at - 1] == b"\\"
                return self._bad(start, end[0], line, _BACKSLASH if escaped else _BEHIND_QUOTE)
            return self._decoded(start, end[0], line, [] if end[0] == start else fields), end[1]

    def _closing(self, at: int) -> int | None:
        """Position of the mark that closes the field opened at `at`; None when it may not be in the data."""
        for mark in self._marks.finditer(self._data, at + 1):
            if mark.group() == self._quote:
                return mark.start() if self._last or mark.end() < len(self._data) else None
        return None

    def _value(self, text: bytes, quote: bytes | None) -> bytes:
        """The value that is written so. quote: what two marks stand for, in a quoted field."""
        if not self._has_escape:
            return text.replace(self._quote * 2, self._quote)
        return self._marks.sub(lambda mark: mark[1] or quote or mark[0], text)

    def _line_end(self, at: int) -> tuple[int, int] | None:
        """(end of the line that contains `at`, start of the next one); None when that is not in the data."""
        match = LINE_END.search(self._data, at)
        if match is None:
            return (len(self._data), len(self._data)) if self._last else None
        if match.group() == b"\r" and match.end() == len(self._data) and not self._last:
            return None
        return match.start(), match.end()

    def _bad(self, start: int, end: int, line: int, fault: str) -> tuple[Record, int]:
        after = self._line_end(end) or (end, len(self._data))
        return Record(start, end, line, (), fault), after[1]

    @staticmethod
    def _decoded(start: int, end: int, line: int, fields: list[bytes | None]) -> Record:
        try:
            return Record(start, end, line, tuple(None if field is None else field.decode() for field in fields))
        except UnicodeDecodeError:
            return Record(start, end, line, (), "bytes that are no text in the encoding")
