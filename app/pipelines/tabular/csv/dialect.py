"""The dialect of a delimited file: its delimiter and quote character. A file that leaves it open is refused."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass

from app.messages.tabular import DELIMITER_AMBIGUOUS
from app.models.file_options import FileOptions

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
    """

    delimiter: str
    quote: str | None


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
        return Dialect(delimiter, quote)
    found = {each: _count_columns(sample, complete, each, quote) for each in CANDIDATES}
    shares = {each: _share(counts) for each, counts in found.items()}
    best = max(shares.values())
    best_candidates = [each for each, share in shares.items() if share == best and share >= _MIN_SHARE]
    if len(best_candidates) == 1:
        return Dialect(best_candidates[0], quote)
    possible = [each for each, counts in found.items() if _is_possible(counts)]
    if not possible:
        return Dialect(NO_DELIMITER, quote)
    if len(possible) == 1 and shares[possible[0]] >= _MIN_SHARE_ALONE:
        return Dialect(possible[0], quote)
    candidates = best_candidates or possible
    listed = ", ".join(f"{_NAMES[each]} ({found[each][0]} columns in the first record)" for each in candidates)
    raise DELIMITER_AMBIGUOUS(file=file, found=listed)


def _count_columns(sample: str, complete: bool, delimiter: str, quote: str | None) -> list[int]:
    """Number of columns of each record of the sample, without blank lines."""
    text = io.StringIO(sample, newline="")
    if quote is None:
        reader = csv.reader(text, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(text, delimiter=delimiter, quotechar=quote)
    counts: list[int] = []
    try:
        for record in reader:
            if record:
                counts.append(len(record))
            if len(counts) > _MAX_RECORDS:
                break
    except csv.Error:  # a field over the limit of the csv module: the records before it are enough
        pass
    return counts[:-1] if len(counts) > 1 and not complete else counts


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
