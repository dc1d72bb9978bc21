"""Reads workbooks (XLSX): one sheet is the table, and its first row with a value is the header.

The sheet is read twice, row by row, because the kinds of cells in a column are known only at its end.
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

from app.messages.common import ROWS_TOO_MANY
from app.messages.message import MOST_SAMPLES
from app.messages.tabular import (
    CELLS_ERROR,
    CELLS_MERGED,
    DATES_ZERO,
    HEADER_ONLY,
    NOT_A_WORKBOOK,
    SHEET_AMBIGUOUS,
    SHEET_EMPTY,
    SHEET_UNKNOWN,
    SHEETS_EMPTY,
    SKIPPED_ALL,
    TEXTS_BLANK,
    TYPES_MIXED,
)
from app.models.formats import Format
from app.models.manifests.file_options import FileOptions
from app.models.manifests.nearest import nearest
from app.models.numbers import whole_number
from app.models.runs.run import RunWarning
from app.pipelines.common.archives import is_zip, unpack
from app.pipelines.common.content import looks_like
from app.pipelines.contract.watch import Watch
from app.pipelines.tabular.inferred_types import TEXT_ONLY
from app.pipelines.tabular.source import BadRow, ParsedBlock, RowPosition, check_columns
from app.pipelines.tabular.xlsx.cells import Cell, Row, read_rows
from app.pipelines.tabular.xlsx.null_texts import NullTexts
from app.pipelines.tabular.xlsx.workbook import Sheet, Workbook, open_workbook
from app.settings import Limits

_BLOCK_ROWS = 8_192
# The types that a column may get when all of its cells are of this kind.
_ALLOWED = {
    "number": frozenset({"int64", "float64", "decimal"}),
    "bool": frozenset({"bool"}),
    "date": frozenset({"date"}),
    "datetime": frozenset({"timestamp"}),
    "moment": frozenset({"timestamp_utc"}),
    "time": frozenset({"time"}),
}
_DATES = {"date", "datetime"}
# What kinds are for the type of a column, and how a warning names them.
_PLAIN_KINDS = {"empty": "text", "blanks": "text"}
_SHOWN_KINDS = {**_PLAIN_KINDS, "zero": "number", "moment": "datetime with a zone"}


@dataclass(slots=True)
class XlsxSource:
    """An opened sheet; see TableSource.

    Attributes:
        first_column: column of the sheet, from 0, where the table begins.
        kinds: kind of the cells of each column.
        nulls: texts that mean null.
        rows_before: the rows of the sheet before the data, the header included.
    """

    file: str
    names: tuple[str, ...]
    allowed: tuple[frozenset[str], ...]
    kinds: tuple[str, ...]
    book: Workbook
    sheet: Sheet
    rows_before: int
    first_column: int
    rows: int | None
    nulls: NullTexts
    logical: Mapping[int, str] = field(default_factory=dict)
    plain: frozenset[int] = frozenset()
    warnings: list[RunWarning] = field(default_factory=list)
    first_line: int = 0
    first_byte: int | None = None

    @property
    def read_options(self) -> dict[str, Any]:
        return {"sheet": self.sheet.name}

    def blocks(self) -> Iterator[list[Row]]:
        rows = (row for row in read_rows(self.book, self.sheet) if row.number > self.rows_before)
        while block := list(islice(rows, _BLOCK_ROWS)):
            yield block

    def parse(self, block: list[Row]) -> ParsedBlock:
        columns: list[list[str | None]] = [[] for _ in self.names]
        bad: list[BadRow] = []
        good: list[Row] = []
        errors = blank = 0
        for row in block:
            if row.is_blank:
                blank += 1
                continue
            fault = self._find_fault(row)
            if fault is not None:
                bad.append(BadRow(row.number, None, fault, _row_as_json(row)))
                continue
            good.append(row)
            for at, (kind, column) in enumerate(zip(self.kinds, columns, strict=True), self.first_column):
                cell = row.cells.get(at)
                errors += cell is not None and cell.kind == "error"
                column.append(None if cell is None else self._text(cell, kind))

        def locate(row: int) -> RowPosition:
            return good[row].number, None, _row_as_json(good[row])

        arrays = [pa.array(column, pa.string()) for column in columns]
        # Rows have their own numbers, so lines of earlier blocks are not added.
        return ParsedBlock(arrays, len(good), bad, 0, None, locate, blank, {"cells_error": errors})

    def _text(self, cell: Cell, kind: str) -> str | None:
        return None if self.nulls.kind_of(cell) in ("null", "error") else _cell_text(cell, kind)

    def _find_fault(self, row: Row) -> str | None:
        for at, cell in row.cells.items():
            if not self.first_column <= at < self.first_column + len(self.names):
                if cell.is_blank:
                    continue
                return f"a value in column {column_letters(at)}, where the header has none"
            if cell.kind == "uncached":
                return f"a formula in column {column_letters(at)} whose result is not stored"
        return None


def open_source(path: Path, fmt: Format, options: FileOptions, limits: Limits, file: str, watch: Watch) -> XlsxSource:
    """See OpenSource.

    Raises:
        RunRefused: content_mismatch, sheet_unknown, sheet_ambiguous, no_rows, columns_too_many, header_too_long,
            rows_too_many, file_damaged, xml_doctype and what `unpack` raises.
    """
    if not is_zip(path):
        with path.open("rb") as stream:
            head = stream.read(4096)
        raise NOT_A_WORKBOOK(file=file, format=fmt.name, found=looks_like(head))
    root = Path(tempfile.mkdtemp(prefix="workbook-", dir=path.parent))
    book = open_workbook(root, unpack(path, root, limits, file), fmt, file)
    sheet = _select_sheet(book, options.sheet)
    scan = _scan_sheet(book, sheet, options, limits, watch)
    kinds = tuple(_kind(each) for each in scan.cells)
    return XlsxSource(
        file=file, names=scan.names, allowed=tuple(_ALLOWED.get(kind, TEXT_ONLY) for kind in kinds), kinds=kinds,
        book=book, sheet=sheet, rows_before=scan.rows_before, first_column=scan.first_column, rows=scan.rows,
        nulls=NullTexts.of(options),
        plain=frozenset(number for number, found in enumerate(scan.cells) if _kinds(found) != {"text"}),
        warnings=list(_warnings(file, scan, options)),
    )  # fmt: skip


@dataclass(slots=True)
class _SheetScan:
    """What the first reading of a sheet found.

    Attributes:
        cells: for each column, the number of cells of each kind; of text also `empty` and `blanks`, and `null` for
            text that options.nulls or options.trim makes null.
        zeros: {column of the sheet: places of its cells of the kind `zero`}.
    """

    names: tuple[str, ...]
    rows_before: int
    first_column: int
    cells: list[Counter[str]]
    rows: int = 0
    errors: list[str] = field(default_factory=list)
    zeros: dict[int, list[str]] = field(default_factory=dict)
    merged: list[str] = field(default_factory=list)

    def add(self, row: Row, nulls: NullTexts) -> None:
        """Count the cells of a row."""
        for at, cell in row.cells.items():
            if self.first_column <= at < self.first_column + len(self.cells):
                self.cells[at - self.first_column][nulls.kind_of(cell)] += 1
            if cell.kind == "error" and len(self.errors) < MOST_SAMPLES:
                self.errors.append(f"{column_letters(at)}{row.number}: {cell.text}")
            if cell.kind == "zero" and len(places := self.zeros.setdefault(at, [])) < MOST_SAMPLES:
                places.append(f"{column_letters(at)}{row.number}")


def _scan_sheet(book: Workbook, sheet: Sheet, options: FileOptions, limits: Limits, watch: Watch) -> _SheetScan:
    has_header, skipped = options.header is not False, options.skip_rows or 0
    before = options.header_row - 1 if options.header_row else skipped
    nulls = NullTexts.of(options)
    merged: list[str] = []
    rows = (row for row in read_rows(book, sheet, merged) if not row.is_blank)
    first = _first_row(rows, before, book, sheet)
    rows_before = max(first.number, skipped) if has_header else skipped
    first_column, width = min(first.cells), max(first.cells) - min(first.cells) + 1
    header = [first.cells.get(at) for at in range(first_column, first_column + width)]
    names = tuple("" if cell is None else cell.text for cell in header)
    scan = _SheetScan(names, rows_before, first_column, [Counter() for _ in names], merged=merged)
    for row in (row for row in chain((first,), rows) if row.number > rows_before):
        scan.rows += 1
        if scan.rows > limits.rows:
            raise ROWS_TOO_MANY(file=book.file, limit=limits.rows)
        if scan.rows % _BLOCK_ROWS == 0:
            watch.advance(0, None)
        if not has_header:
            scan.first_column, scan.cells = _widen(scan.first_column, scan.cells, row)
        scan.add(row, nulls)
    if scan.rows == 0:
        raise HEADER_ONLY(file=book.file)
    scan.merged = [each for each in merged if _last_row(each, before + 1) > before]
    scan.names = names if has_header else ("",) * len(scan.cells)
    check_columns(scan.names, limits, book.file)
    return scan


def _first_row(rows: Iterator[Row], before: int, book: Workbook, sheet: Sheet) -> Row:
    """The first row with a value after row `before`. Raises RunRefused: no_rows."""
    first = next((row for row in rows if row.number > before), None)
    if first is not None:
        return first
    if before:
        raise SKIPPED_ALL(file=book.file, skipped=before)
    raise SHEET_EMPTY(file=book.file, sheet=sheet.name)


def _last_row(merged: str, default: int) -> int:
    """The last row of a range such as A1:C2."""
    return whole_number(merged.rpartition(":")[2].lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ$")) or default


def column_letters(column: int) -> str:
    """The name of a column, from 0: A, B, …, Z, AA, …"""
    name = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        name = chr(65 + rest) + name
    return name


def _select_sheet(book: Workbook, declared: str | None) -> Sheet:
    names = [sheet.name for sheet in book.sheets]
    listed = ", ".join(map(repr, names)) or "none"
    if declared is not None:
        for sheet in book.sheets:
            if sheet.name == declared:
                return sheet
        near = nearest(declared, names)
        hint = f"Did you mean {near!r}? " if near else ""
        raise SHEET_UNKNOWN(file=book.file, sheet=declared, hint=hint, sheets=listed)
    filled = [sheet for sheet in book.sheets if any(not row.is_blank for row in read_rows(book, sheet))]
    if not filled:
        raise SHEETS_EMPTY(file=book.file, sheets=listed)
    if len(filled) > 1:
        listed = ", ".join(repr(sheet.name) for sheet in filled)
        raise SHEET_AMBIGUOUS(file=book.file, number=len(filled), sheets=listed)
    return filled[0]


def _widen(first_column: int, found: list[Counter[str]], row: Row) -> tuple[int, list[Counter[str]]]:
    """Extend the columns to those of the row; a table without a header is as wide as its widest row."""
    before = max(0, first_column - min(row.cells))
    behind = max(0, max(row.cells) + 1 - first_column - len(found))
    return first_column - before, [Counter[str]() for _ in range(before)] + found + [
        Counter[str]() for _ in range(behind)
    ]


def _kind(found: Counter[str]) -> str:
    kinds = _kinds(found)
    return next(iter(kinds)) if len(kinds) == 1 else "text"


def _kinds(found: Counter[str]) -> set[str]:
    """The kinds of the values of a column.

    A date among datetimes counts as a datetime at midnight; a zero among dates is no value, elsewhere a number.
    """
    kinds = {_PLAIN_KINDS.get(kind, kind) for kind in found} - {"uncached", "error", "null"}
    dates = kinds - {"zero"}
    if "zero" in kinds:
        kinds = dates if dates and dates <= _DATES else dates | {"number"}
    return {"datetime"} if kinds == _DATES else kinds


def _cell_text(cell: Cell, kind: str) -> str | None:
    if cell.kind == "zero" and kind in _DATES:
        return None
    return f"{cell.text}T00:00:00" if kind == "datetime" and cell.kind == "date" else cell.text


def _row_as_json(row: Row) -> str:
    last = max(row.cells)
    values = [row.cells[at].text if at in row.cells else None for at in range(last + 1)]
    return json.dumps(values, ensure_ascii=False)


def _warnings(file: str, scan: _SheetScan, options: FileOptions) -> Iterator[RunWarning]:
    zeros: list[str] = []
    count = 0
    for number, (name, found) in enumerate(zip(scan.names, scan.cells, strict=True), scan.first_column):
        title = name or column_letters(number)
        if len(_kinds(found)) > 1:
            yield _mixed(file, title, found, options)
        elif found["zero"] and _kind(found) in _DATES:
            zeros += scan.zeros[number]
            count += found["zero"]
    if count:
        yield DATES_ZERO(file=file, count=count, samples=zeros)
    if errors := sum(found["error"] for found in scan.cells):
        yield CELLS_ERROR(file=file, count=errors, samples=scan.errors)
    if scan.merged:
        yield CELLS_MERGED(file=file, count=len(scan.merged), samples=scan.merged)


def _mixed(file: str, title: str, found: Counter[str], options: FileOptions) -> RunWarning:
    shown: Counter[str] = Counter()
    for kind, count in found.items():
        shown[_SHOWN_KINDS.get(kind, kind)] += count
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(shown.items()) if kind != "null")
    advice = NullTexts.of(options).advice(found) if not found["text"] and len(_kinds(found)) == 2 else None
    if advice is None:
        return TYPES_MIXED(file=file, column=title, found=listed, samples=[title])
    return TEXTS_BLANK(file=file, column=title, found=listed, options=advice, samples=[title])
