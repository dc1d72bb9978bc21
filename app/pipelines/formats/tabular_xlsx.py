"""Workbooks (XLSX): one sheet is the table, its first row with a value the header, its cells are what they are.

The sheet is read twice, row by row: whether the values of a column are of one kind is known only at its end.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from app.errors import RunRefused
from app.models.manifest import FileOptions
from app.models.nearest import nearest
from app.pipelines.context import Watch
from app.pipelines.formats.archives import is_zip, unpack
from app.pipelines.formats.content import looks_like
from app.pipelines.formats.tabular_source import BadRow, Note, Parsed, Place, check_columns, no_rows
from app.pipelines.formats.tabular_types import TEXT_ONLY
from app.pipelines.formats.tabular_xlsx_book import Book, Sheet, open_book
from app.pipelines.formats.tabular_xlsx_cells import Cell, Row, rows_of
from app.settings import Limits

_BLOCK_ROWS = 8_192
_MOST_SAMPLES = 5
_OLE = b"\xd0\xcf\x11\xe0"
# What a column may become when all of its cells are of this kind.
_ALLOWED = {
    "number": frozenset({"int64", "float64"}),
    "bool": frozenset({"bool"}),
    "date": frozenset({"date"}),
    "datetime": frozenset({"timestamp"}),
    "time": frozenset({"time"}),
}


@dataclass(slots=True)
class XlsxSource:
    """See TableSource. left: the column of the sheet, from 0, where the table begins; kinds: of each column's cells."""

    file: str
    names: tuple[str, ...]
    allowed: tuple[frozenset[str], ...]
    kinds: tuple[str, ...]
    book: Book
    sheet: Sheet
    header_row: int
    left: int
    limits: Limits
    rows: int | None
    logical: Mapping[int, str] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    first_line: int = 0
    first_byte: int | None = None

    @property
    def described(self) -> dict[str, Any]:
        return {"sheet": self.sheet.name}

    def blocks(self) -> Iterator[list[Row]]:
        rows = (row for row in rows_of(self.book, self.sheet) if row.number > self.header_row)
        while block := list(islice(rows, _BLOCK_ROWS)):
            yield block

    def parse(self, block: list[Row]) -> Parsed:
        columns: list[list[str | None]] = [[] for _ in self.names]
        bad: list[BadRow] = []
        good: list[Row] = []
        errors = 0
        for row in block:
            fault = self._fault(row)
            if fault is not None:
                bad.append(BadRow(row.number, None, fault, _shown(row)))
                continue
            good.append(row)
            for at, (kind, column) in enumerate(zip(self.kinds, columns, strict=True), self.left):
                cell = row.cells.get(at)
                errors += cell is not None and cell.kind == "error"
                column.append(None if cell is None or cell.kind == "error" else _as_text(cell, kind))

        def place(row: int) -> Place:
            return good[row].number, None, _shown(good[row])

        arrays = [pa.array(column, pa.string()) for column in columns]
        # Rows carry their own numbers: nothing is to be added for the blocks before.
        return Parsed(arrays, len(good), bad, 0, None, place, 0, {"cells_error": errors})

    def _fault(self, row: Row) -> str | None:
        for at, cell in row.cells.items():
            if not self.left <= at < self.left + len(self.names):
                return f"a value in column {letters(at)}, where the header has none"
            if cell.kind == "uncached":
                return f"a formula in column {letters(at)} whose result is not stored"
        return None


def open_xlsx(path: Path, options: FileOptions, limits: Limits, file: str, watch: Watch) -> XlsxSource:
    """Raises RunRefused: content_mismatch, sheet_unknown, sheet_ambiguous, no_rows, columns_too_many, header_too_long,
    rows_too_many, file_damaged, xml_doctype and what `unpack` raises."""
    if not is_zip(path):
        with path.open("rb") as stream:
            head = stream.read(16)
        what = "an older or encrypted Office document" if head.startswith(_OLE) else looks_like(head)
        raise RunRefused(
            f"{file} is declared as XLSX, its content is {what}.",
            "Save it as an Excel workbook (.xlsx) without a password, or correct files[].format.",
            reason="content_mismatch",
            file=file,
        )
    root = Path(tempfile.mkdtemp(prefix="workbook-", dir=path.parent))
    book = open_book(root, unpack(path, root, limits, file), file)
    sheet = _choose(book, options.sheet)
    seen = _look(book, sheet, options.header is not False, limits, watch)
    kinds = tuple(_kind(each) for each in seen.cells)
    source = XlsxSource(
        file=file, names=seen.names, allowed=tuple(_ALLOWED.get(kind, TEXT_ONLY) for kind in kinds), kinds=kinds,
        book=book, sheet=sheet, header_row=seen.header_row, left=seen.left, limits=limits, rows=seen.rows,
    )  # fmt: skip
    source.notes += _notes(source, seen)
    return source


@dataclass(slots=True)
class _Seen:
    """A sheet read once. cells: for each column how many cells of each kind it has; errors: samples of them."""

    names: tuple[str, ...]
    header_row: int
    left: int
    cells: list[Counter[str]]
    rows: int = 0
    errors: list[str] = field(default_factory=list)
    merged: list[str] = field(default_factory=list)


def _look(book: Book, sheet: Sheet, has_header: bool, limits: Limits, watch: Watch) -> _Seen:
    merged: list[str] = []
    rows = rows_of(book, sheet, merged)
    first = next(rows, None)
    if first is None:
        raise no_rows(book.file, f"the sheet {sheet.name!r} is empty")
    left, width = min(first.cells), max(first.cells) - min(first.cells) + 1
    header = [first.cells.get(at) for at in range(left, left + width)]
    names = tuple("" if cell is None else cell.text for cell in header)
    seen = _Seen(names, first.number if has_header else 0, left, [Counter() for _ in names], merged=merged)
    for row in rows if has_header else chain((first,), rows):
        seen.rows += 1
        if seen.rows > limits.rows:
            raise RunRefused(
                f"{book.file} has more than {limits.rows} rows.",
                "Split it, or raise SPATIAL_ETL_LIMITS__ROWS.",
                reason="rows_too_many",
                file=book.file,
            )
        if seen.rows % _BLOCK_ROWS == 0:
            watch.advance(0, None)
        if not has_header:
            seen.left, seen.cells = _wider(seen.left, seen.cells, row)
        for at, cell in row.cells.items():
            if seen.left <= at < seen.left + len(seen.cells):
                seen.cells[at - seen.left][cell.kind] += 1
            if cell.kind == "error" and len(seen.errors) < _MOST_SAMPLES:
                seen.errors.append(f"{letters(at)}{row.number}: {cell.text}")
    if seen.rows == 0:
        raise no_rows(book.file, f"the sheet {sheet.name!r} has a header and nothing below it")
    seen.names = names if has_header else ("",) * len(seen.cells)
    check_columns(seen.names, limits, book.file)
    return seen


def letters(column: int) -> str:
    """The name of a column, from 0: A, B, …, Z, AA, …"""
    name = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        name = chr(65 + rest) + name
    return name


def _choose(book: Book, wanted: str | None) -> Sheet:
    names = [sheet.name for sheet in book.sheets]
    listed = ", ".join(map(repr, names)) or "none"
    if wanted is not None:
        for sheet in book.sheets:
            if sheet.name == wanted:
                return sheet
        near = nearest(wanted, names)
        hint = f"Did you mean {near!r}? " if near else ""
        detail = f"{book.file} has no sheet {wanted!r}."
        raise RunRefused(detail, f"{hint}Its sheets: {listed}.", reason="sheet_unknown", file=book.file)
    filled = [sheet for sheet in book.sheets if next(rows_of(book, sheet), None) is not None]
    if not filled:
        raise no_rows(book.file, f"all of its sheets are empty ({listed})")
    if len(filled) > 1:
        raise RunRefused(
            f"{book.file} has {len(filled)} sheets with values: {', '.join(repr(each.name) for each in filled)}.",
            "Name one of them in files[].options.sheet.",
            reason="sheet_ambiguous",
            file=book.file,
        )
    return filled[0]


def _wider(left: int, found: list[Counter[str]], row: Row) -> tuple[int, list[Counter[str]]]:
    """Without a header the table is as wide as its widest row."""
    before = max(0, left - min(row.cells))
    behind = max(0, max(row.cells) + 1 - left - len(found))
    return left - before, [Counter[str]() for _ in range(before)] + found + [Counter[str]() for _ in range(behind)]


def _kind(found: Counter[str]) -> str:
    kinds = _kinds(found)
    return next(iter(kinds)) if len(kinds) == 1 else "text"


def _kinds(found: Counter[str]) -> set[str]:
    """The kinds of a column's values; a date among timestamps is one of them, at midnight."""
    kinds = set(found) - {"uncached", "error"}
    return {"datetime"} if kinds == {"date", "datetime"} else kinds


def _as_text(cell: Cell, kind: str) -> str:
    return f"{cell.text}T00:00:00" if kind == "datetime" and cell.kind == "date" else cell.text


def _shown(row: Row) -> str:
    last = max(row.cells)
    values = [row.cells[at].text if at in row.cells else None for at in range(last + 1)]
    return json.dumps(values, ensure_ascii=False)


def _notes(source: XlsxSource, seen: _Seen) -> list[Note]:
    notes: list[Note] = []
    for number, (name, found) in enumerate(zip(source.names, seen.cells, strict=True)):
        if len(_kinds(found)) > 1:
            listed = ", ".join(f"{count} {kind}" for kind, count in sorted(found.items()))
            title = name or letters(source.left + number)
            message = f"The column {title!r} of {source.file} has cells of several kinds ({listed}): kept as text."
            notes.append(("types_mixed", message, 1, (title,)))
    errors = sum(found["error"] for found in seen.cells)
    if errors:
        message = f"{source.file} has cells with errors: they are nulls."
        notes.append(("cells_error", message, errors, tuple(seen.errors)))
    if seen.merged:
        message = f"{source.file} has {len(seen.merged)} merged ranges: the value is in their first cell only."
        notes.append(("cells_merged", message, len(seen.merged), tuple(seen.merged[:_MOST_SAMPLES])))
    return notes
