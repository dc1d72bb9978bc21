"""Reads the cells of a sheet as (kind, text)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from app.messages.tabular import WORKBOOK_DAMAGED
from app.models.numbers import real_number, whole_number
from app.pipelines.tabular.xlsx.workbook import Sheet, Workbook, rich_text, stream_xml, unescaped

# Limit of the format.
_MAX_COLUMNS = 16_384
_MAX_LETTERS = 3
# More rows than the 1,048,576 of Excel, because other programs write them.
_MAX_ROW = 2**31 - 1
# Sign and digits of a whole number.
_WHOLE = re.compile(r"\+?(-?)0*([0-9]+)(?:\.0*)?")
_INT64 = 2**63
# A double has every whole number up to here.
_EXACT = 2.0**53
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
_ZONE = r"(Z|[+-][0-9]{2}:[0-9]{2})?"
# What is typed later without a change, so that no digit is lost.
_USUAL = re.compile(f"{_TIME}|{_DATE}T{_TIME}{_ZONE}")
_DAY = re.compile(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
        kind: number, text, bool, date, time, datetime, moment (a date and time with a zone), zero (the number 0, shown
            as a date, which it is not), error, or uncached (a formula without a stored result).
        text: the value as text, in the form that the type of its column needs.
    """

    kind: str
    text: str

    @property
    def is_blank(self) -> bool:
        """Whether it is empty text, as a formula filled down leaves it."""
        return self.kind == "text" and not self.text


@dataclass(frozen=True, slots=True)
class Row:
    """A row with at least one cell.

    Attributes:
        number: from 1, as a spreadsheet program shows it.
        cells: {column from 0: cell}.
    """

    number: int
    cells: dict[int, Cell]

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing but empty text in it."""
        return all(cell.is_blank for cell in self.cells.values())


def read_rows(book: Workbook, sheet: Sheet, merged: list[str] | None = None) -> Iterator[Row]:
    """Yield the rows of a sheet that have a cell with a value or empty text, in order.

    Args:
        merged: a list to which the ranges of merged cells are added.

    Raises:
        RunRefused: file_damaged, xml_doctype.
    """
    data: Any = None
    number = 0
    for event, element in stream_xml(sheet.path, book.file):
        tag = element.tag.rpartition("}")[2]
        if event == "start":
            data = element if tag == "sheetData" else data
            continue
        if tag == "row":
            number = _row_number(element.get("r"), number + 1, book)
            cells = dict(_cells(element, book))
            if cells:
                yield Row(number, cells)
            if data is not None:
                data.clear()
        elif tag == "mergeCell" and merged is not None:
            merged.append(element.get("ref", ""))


def _row_number(text: str | None, expected: int, book: Workbook) -> int:
    if text is None:
        return expected
    number = whole_number(text)
    if number is None or not expected <= number <= _MAX_ROW:
        raise WORKBOOK_DAMAGED(file=book.file, found=f"a row has the number {text[:20]!r}, expected {expected} or more")
    return number


def _cells(row: Any, book: Workbook) -> Iterator[tuple[int, Cell]]:
    column = -1
    for element in row:
        if element.tag.rpartition("}")[2] != "c":
            continue
        column = _column_number(element.get("r"), column + 1, book)
        cell = _cell(element, book)
        if cell is not None:
            yield column, cell


def _column_number(reference: str | None, expected: int, book: Workbook) -> int:
    if reference is None:
        return expected
    found = 0
    letters = reference.rstrip("0123456789")
    for letter in letters:
        if not "A" <= letter <= "Z" or len(letters) > _MAX_LETTERS:
            raise WORKBOOK_DAMAGED(file=book.file, found=f"a cell is called {reference[:20]!r}")
        found = found * 26 + ord(letter) - 64
    if not expected + 1 <= found <= _MAX_COLUMNS:
        raise WORKBOOK_DAMAGED(
            file=book.file, found=f"a cell is called {reference[:20]!r} in or before column {expected}"
        )
    return found - 1


def _cell(element: Any, book: Workbook) -> Cell | None:  # noqa: C901, PLR0911 # one branch for each kind of cell
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
        place = whole_number(value.strip())
        if place is None or place >= len(book.texts):
            raise WORKBOOK_DAMAGED(
                file=book.file, found=f"a cell refers to the shared text {value[:20]!r} of {len(book.texts)}"
            )
        return Cell("text", book.texts[place])
    if kind == "str":
        return Cell("text", unescaped(value))
    if kind == "b":
        return Cell("bool", "true" if value.strip() in ("1", "true") else "false")
    if kind == "e":
        return Cell("error", value)
    if kind == "d":
        return _date_cell(value, book)
    return _number_cell(value, element.get("s"), book)


def _date_cell(value: str, book: Workbook) -> Cell:
    """A date, a time, or both, as ISO 8601 writes them."""
    value = value.strip()
    try:
        if _DAY.fullmatch(value):
            return Cell("date", date.fromisoformat(value).isoformat())
        is_time = value[:1] == "T" or value[2:3] == ":"
        found = time.fromisoformat(value) if is_time else datetime.fromisoformat(value)
        if not is_time and "T" not in value and " " not in value:
            raise ValueError("a week")
    except ValueError:
        raise WORKBOOK_DAMAGED(file=book.file, found=f"a cell has the date {value[:40]!r}") from None
    if is_time and found.tzinfo is not None:
        return Cell("text", value)
    kind = "time" if is_time else "datetime" if found.tzinfo is None else "moment"
    return Cell(kind, value if _USUAL.fullmatch(value) else found.isoformat())


def _number_cell(value: str, style: str | None, book: Workbook) -> Cell:
    """A number; the cell's format may make it text with leading zeros, a date or a time."""
    number = real_number(value.strip())
    if number is None:
        raise WORKBOOK_DAMAGED(file=book.file, found=f"a cell has the number {value[:40]!r}")
    text = _number_text(value.strip(), number)
    at = whole_number(style or "")
    shown = book.formats[at] if at is not None and at < len(book.formats) else None
    if shown is not None and shown.startswith("0"):
        return Cell("text", text.zfill(len(shown))) if text.isdecimal() else Cell("number", text)
    if shown is not None and (when := _date_of_serial(number, shown, book.since_1904)) is not None:
        return when
    return Cell("zero" if shown is not None and number == 0 else "number", text)


def _number_text(value: str, number: float) -> str:
    """All digits of a whole number where they are written out, else the shortest notation of the double."""
    if (written := _WHOLE.fullmatch(value)) is not None:
        whole = int(written[1] + written[2])
        is_exact = whole == int(number) or whole == Decimal(repr(number))
        return str(whole) if -_INT64 <= whole < _INT64 or not is_exact else repr(number)
    return str(int(number)) if number.is_integer() and abs(number) <= _EXACT else repr(number)


def _date_of_serial(serial: float, shown: str, since_1904: bool) -> Cell | None:
    """The date or time of a serial number, to the millisecond; None outside the calendar of the program."""
    if shown == "time" and 0 <= serial < 1:
        moment = datetime(1970, 1, 1) + timedelta(milliseconds=round(serial * 86_400_000))  # noqa: DTZ001 # no zone
        return Cell("time", moment.time().isoformat()) if moment.day == 1 else None
    if since_1904:
        start, first = datetime(1904, 1, 1), 0.0  # noqa: DTZ001
    else:
        # Excel has a 29 February 1900, which never was: days before it have a serial number one lower.
        start, first = datetime(1899, 12, 30 if serial >= 61 else 31), 1.0  # noqa: DTZ001
        if 60 <= serial < 61:
            return None
    if not first <= serial < 2_958_466 - (1_462 if since_1904 else 0):
        return None
    moment = start + timedelta(milliseconds=round(serial * 86_400_000))
    if shown == "date" and serial == int(serial):
        return Cell("date", moment.date().isoformat())
    return Cell("datetime", moment.isoformat())
