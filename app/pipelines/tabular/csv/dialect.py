"""The dialect of a delimited file: its delimiter and quote character. A file that leaves it open is refused."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.messages.tabular import DELIMITER_AMBIGUOUS, FIRST_RECORD_DIFFERS
from app.models.manifests.file_options import FileOptions

CANDIDATES = (",", ";", "\t", "|")
# The delimiter of a table with one column: a character that text files do not contain.
NO_DELIMITER = "\x1f"
_MAX_RECORDS = 5_000
# At least this share of the records has as many columns as the header, or it is not the delimiter.
_MIN_SHARE = 0.9
# Enough when no other candidate is possible; the remaining records go to quarantine.
_MIN_SHARE_ALONE = 0.5
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a delimited file is written.

    Attributes:
        delimiter: one ASCII character.
        quote: one ASCII character; None: quotation marks are text.
        escape: the backslash, where it makes the quote, the delimiter, a line end or a backslash after it text; None:
            it is text.
        ends_rows: a delimiter stands at the end of the rows, behind the last column of the header.
    """

    delimiter: str
    quote: str | None
    escape: str | None = None
    ends_rows: bool = False


def find_dialect(sample: str, complete: bool, options: FileOptions, default: str | None, file: str) -> Dialect:
    """Find the dialect of a file. options.delimiter decides, then `default`, then the content.

    From the content, the delimiter is the one candidate that gives most records as many columns as the header has.

    Args:
        sample: the beginning of the file.
        complete: the sample is the whole file.
        default: delimiter of the format, if it has one.

    Raises:
        RunRefused: delimiter_ambiguous, when several candidates fit, or none fits and the file has more than one
            column.
    """
    quote = {None: '"', "none": None}.get(options.quote, options.quote)
    delimiter = options.delimiter or default
    if delimiter is not None:
        dialect = Dialect(delimiter, quote, options.escape)
        return replace(dialect, ends_rows=_count_columns(sample, complete, dialect)[1])
    dialects = {each: Dialect(each, quote, options.escape) for each in CANDIDATES}
    counted = {each: _count_columns(sample, complete, dialect) for each, dialect in dialects.items()}
    found = {each: counts for each, (counts, _) in counted.items()}
    dialects = {each: replace(dialect, ends_rows=counted[each][1]) for each, dialect in dialects.items()}
    shares = {each: _share(counts) for each, counts in found.items()}
    best = max(shares.values())
    best_candidates = [each for each, share in shares.items() if share == best and share >= _MIN_SHARE]
    if len(best_candidates) == 1:
        return dialects[best_candidates[0]]
    possible = [each for each, counts in found.items() if _is_possible(counts)]
    if not possible:
        return Dialect(NO_DELIMITER, quote, options.escape)
    if len(possible) == 1 and shares[possible[0]] >= _MIN_SHARE_ALONE:
        return dialects[possible[0]]
    candidates = best_candidates or possible
    if len(candidates) == 1:
        _refuse_first_record(sample, found[candidates[0]], dialects[candidates[0]], options, file)
    listed = ", ".join(f"{_NAMES[each]} ({found[each][0]} columns in the first record)" for each in candidates)
    raise DELIMITER_AMBIGUOUS(file=file, found=listed)


def _count_columns(sample: str, complete: bool, dialect: Dialect) -> tuple[list[int], bool]:
    """Number of columns of each record of the sample, without blank lines; whether a delimiter ends the rows."""
    reader = _reader(sample, dialect)
    records: list[tuple[int, bool]] = []
    try:
        for record in reader:
            if record:
                records.append((len(record), not record[-1]))
            if len(records) > _MAX_RECORDS:
                break
    except csv.Error:  # a field over the limit of the csv module: the records before it are enough
        pass
    return _without_ends(records[:-1] if len(records) > 1 and not complete else records)


def _reader(sample: str, dialect: Dialect) -> Any:
    """The records of a sample."""
    text = io.StringIO(sample, newline="")
    delimiter, quote, escape = dialect.delimiter, dialect.quote, dialect.escape
    if quote is None:
        return csv.reader(text, delimiter=delimiter, quoting=csv.QUOTE_NONE, escapechar=escape)
    return csv.reader(text, delimiter=delimiter, quotechar=quote, escapechar=escape)


def _without_ends(records: Sequence[tuple[int, bool]]) -> tuple[list[int], bool]:
    """(number of columns of each record, whether nearly all after the first have one empty column more than it has).

    Args:
        records: (number of fields, whether the last one is empty).
    """
    counts = [count for count, _ in records]
    longer = [is_empty for count, is_empty in records if count == counts[0] + 1]
    if not longer or counts[0] < 2 or not all(longer) or len(longer) < _MIN_SHARE * (len(counts) - 1):
        return counts, False
    return [counts[0] if count == counts[0] + 1 else count for count in counts], True


def _share(counts: list[int]) -> float:
    """Share of records with as many columns as the first; 0 when the first has only one."""
    if not counts or counts[0] < 2:
        return 0.0
    return counts.count(counts[0]) / len(counts)


def _is_possible(counts: list[int]) -> bool:
    """Whether most records have the same two or more columns, or the header has some."""
    if not counts:
        return False
    columns, times = Counter(counts).most_common(1)[0]
    return counts[0] > 1 or (columns > 1 and times * 2 > len(counts))


def _refuse_first_record(sample: str, counts: list[int], dialect: Dialect, options: FileOptions, file: str) -> None:
    """Refuse a file of one possible delimiter whose first record is not like most others."""
    columns, times = Counter(counts).most_common(1)[0]
    first = counts[0]
    if first == columns or times * 2 <= len(counts) - 1:
        return
    skipped = options.header_row - 1 if options.header_row else options.skip_rows or 0
    before = skipped + _lines_before(sample, columns, dialect)
    advice = f"If the first lines are no header, set files[].options {json.dumps({'skip_rows': before})}."
    named = {"delimiter": dialect.delimiter}
    if first == columns - 1:
        unnamed = json.dumps({**named, "skip_rows": skipped + 1, "header": False})
        way = f"add it, or set files[].options {unnamed} to read the rows without names"
        advice = f"The header lacks the name of one column: {way}. {advice}"
    elif first > columns:
        filled = json.dumps({**named, "short_rows": "null_fill"})
        advice = f"To fill the columns that rows lack with nulls, set files[].options {filled}. {advice}"
    raise FIRST_RECORD_DIFFERS(
        file=file, delimiter=_NAMES[dialect.delimiter], first=first, count=times, records=len(counts), columns=columns,
        advice=advice,
    )  # fmt: skip


def _lines_before(sample: str, columns: int, dialect: Dialect) -> int:
    """How many lines stand before the first record with so many columns."""
    reader = _reader(sample, dialect)
    before = 0
    for record in reader:
        if len(record) == columns:
            return before
        before = reader.line_num
    return before
