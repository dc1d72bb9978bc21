"""The cells of a sheet as (kind, text): what the cell is, not how a spreadsheet program would guess it anew."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.errors import RunRefused
from app.pipelines.formats.tabular_xlsx_book import Book, Sheet, rich_text, stream_xml, unescaped

# Most columns that a sheet of this format can have.
_MOST_COLUMNS = 16_384


@dataclass(frozen=True, slots=True)
class Cell:
    """kind: number, text, bool, date, time, datetime, error, or uncached (a formula whose result was never stored).

    text: as the column's type would be written; numbers as Python writes them.
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row that has a value. number: from 1, as the program shows it; cells: by column from 0."""

    number: int
    cells: dict[int, Cell]


def rows_of(book: Book, sheet: Sheet, merged: list[str] | None = None) -> Iterator[Row]:
    """The rows of a sheet that have a value, in order. merged: gets the ranges of merged cells.

    Raises RunRefused: file_damaged, xml_doctype.
    """
    data: Any = None
    number = 0
    for event, element in stream_xml(sheet.path, book.file):
        tag = element.tag.rpartition("}")[2]
        if event == "start":
            data = element if tag == "sheetData" else data
            continue
        if tag == "row":
            number = _number(element.get("r"), number + 1, book)
            cells = dict(_cells(element, book))
            if cells:
                yield Row(number, cells)
            if data is not None:
                data.clear()
        elif tag == "mergeCell" and merged is not None:
            merged.append(element.get("ref", ""))


def _number(text: str | None, expected: int, book: Book) -> int:
    if text is None:
        return expected
    if not text.isdigit() or int(text) < expected:
        raise _damaged(book, f"a row is numbered {text!r} where {expected} or more is due")
    return int(text)


def _cells(row: Any, book: Book) -> Iterator[tuple[int, Cell]]:
    column = -1
    for element in row:
        if element.tag.rpartition("}")[2] != "c":
            continue
        column = _column(element.get("r"), column + 1, book)
        cell = _cell(element, book)
        if cell is not None:
            yield column, cell


def _column(reference: str | None, expected: int, book: Book) -> int:
    if reference is None:
        return expected
    found = 0
    for letter in reference.rstrip("0123456789"):
        if not "A" <= letter <= "Z":
            raise _damaged(book, f"a cell is called {reference[:20]!r}")
        found = found * 26 + ord(letter) - 64
    if not expected + 1 <= found <= _MOST_COLUMNS:
        raise _damaged(book, f"a cell is called {reference[:20]!r} where column {expected + 1} or more is due")
    return found - 1


def _cell(element: Any, book: Book) -> Cell | None:  # noqa: C901, PLR0911 # one branch for each kind of cell
    value: str | None = None
    inline: str | None = None
    formula = False
    for part in element:
        tag = part.tag.rpartition("}")[2]
        if tag == "v":
            value = part.text or ""
        elif tag == "is":
            inline = rich_text(part)
        elif tag == "f":
            formula = True
    kind = element.get("t", "n")
    if kind == "inlineStr":
        return None if inline is None else Cell("text", inline)
    if value is None or (value == "" and kind != "str"):
        return Cell("uncached", "") if formula else None
    if kind == "s":
        if not value.strip().isdigit() or int(value) >= len(book.texts):
            raise _damaged(book, f"a cell uses the shared text {value[:20]!r} of {len(book.texts)}")
        return Cell("text", book.texts[int(value)])
    if kind == "str":
        return Cell("text", unescaped(value))
    if kind == "b":
        return Cell("bool", "true" if value.strip() in ("1", "true") else "false")
    if kind == "e":
        return Cell("error", value)
    if kind == "d":
        return _moment(value, book)
    return _figure(value, element.get("s"), book)


def _moment(value: str, book: Book) -> Cell:
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise _damaged(book, f"a cell has the date {value[:40]!r}") from None
    return Cell("date", value) if len(value) == 10 else Cell("datetime", found.replace(tzinfo=None).isoformat())


def _figure(value: str, style: str | None, book: Book) -> Cell:
    """A number, shown by its cell's format as a number, a code with leading zeros, a date or a time."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _damaged(book, f"a cell has the number {value[:40]!r}")
    shown = book.formats[int(style)] if style and style.isdigit() and int(style) < len(book.formats) else None
    if shown is not None and shown.startswith("0"):
        is_code = number >= 0 and number.is_integer() and number < 1e15
        return Cell("text", f"{int(number):0{len(shown)}d}") if is_code else Cell("number", _plain(number))
    if shown is not None and (when := _when(number, shown, book.since_1904)) is not None:
        return when
    return Cell("number", _plain(number))


def _plain(number: float) -> str:
    if number.is_integer() and abs(number) < 1e15:
        return str(int(number))
    return repr(number)


def _when(serial: float, shown: str, since_1904: bool) -> Cell | None:
    """The date or time of a serial number, to the millisecond; None where the calendar of the program has none."""
    if shown == "time" and 0 <= serial < 1:
        moment = datetime(1970, 1, 1) + timedelta(milliseconds=round(serial * 86_400_000))  # noqa: DTZ001 # no zone
        return Cell("time", moment.time().isoformat()) if moment.day == 1 else None
    if since_1904:
        start, first = datetime(1904, 1, 1), 0.0  # noqa: DTZ001
    else:
        # The program counts a 29 February 1900: days before it are one less, that day itself is none.
        start, first = datetime(1899, 12, 30 if serial >= 61 else 31), 1.0  # noqa: DTZ001
        if 60 <= serial < 61:
            return None
    if not first <= serial < 2_958_466 - (1_462 if since_1904 else 0):
        return None
    moment = start + timedelta(milliseconds=round(serial * 86_400_000))
    if shown == "date" and serial == int(serial):
        return Cell("date", moment.date().isoformat())
    return Cell("datetime", moment.isoformat())


def _damaged(book: Book, found: str) -> RunRefused:
    return RunRefused(
        f"{book.file} is a damaged workbook: {found}.",
        "Save it again with a spreadsheet program.",
        reason="file_damaged",
        file=book.file,
    )
