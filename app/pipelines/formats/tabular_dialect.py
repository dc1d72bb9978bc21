"""How a delimited file is written: which character is between the columns. Asked for, rather than guessed, in doubt."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass

from app.errors import RunRefused
from app.models.manifest import FileOptions

CANDIDATES = (",", ";", "\t", "|")
# Stands between the columns of a table that has one: in no text file, so nothing is cut by it.
NO_DELIMITER = "\x1f"
_MOST_RECORDS = 5_000
# Fewer records than this share with as many columns as the header: it is not the delimiter.
_SHARE = 0.9
# Enough where no other character could be it; the other records are for the quarantine.
_ONLY_SHARE = 0.5
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """delimiter and quote are one ASCII character each; without quote, quotation marks are text like any other."""

    delimiter: str
    quote: str | None


def find_dialect(sample: str, complete: bool, options: FileOptions, default: str | None, file: str) -> Dialect:
    """The dialect of a file that begins with `sample` (all of it when `complete`). default: the format's delimiter.

    options.delimiter decides; else the one character that gives most records as many columns as the header has.
    Raises RunRefused delimiter_ambiguous when several do, or when none does and the file is not of one column.
    """
    quote = {None: '"', "none": None}.get(options.quote, options.quote)
    delimiter = options.delimiter or default
    if delimiter is not None:
        return Dialect(delimiter, quote)
    found = {each: _columns(sample, complete, each, quote) for each in CANDIDATES}
    shares = {each: _share(counts) for each, counts in found.items()}
    best = max(shares.values())
    winners = [each for each, share in shares.items() if share == best and share >= _SHARE]
    if len(winners) == 1:
        return Dialect(winners[0], quote)
    possible = [each for each, counts in found.items() if _could_be(counts)]
    if not possible:
        return Dialect(NO_DELIMITER, quote)
    if len(possible) == 1 and shares[possible[0]] >= _ONLY_SHARE:
        return Dialect(possible[0], quote)
    asked = winners or possible
    listed = ", ".join(f"{_NAMES[each]} ({found[each][0]} columns in the first record)" for each in asked)
    raise RunRefused(
        f"{file} does not show what is between its columns. Possible: {listed}.",
        "Name it in files[].options.delimiter; if the first record is no header, say options.header: false.",
        reason="delimiter_ambiguous",
        file=file,
    )


def _columns(sample: str, complete: bool, delimiter: str, quote: str | None) -> list[int]:
    """Columns of each record of the sample, blank lines aside."""
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
            if len(counts) > _MOST_RECORDS:
                break
    except csv.Error:  # a field beyond the module's limit: what came before it is sample enough
        pass
    return counts[:-1] if len(counts) > 1 and not complete else counts


def _share(counts: list[int]) -> float:
    """Records with as many columns as the first, which must be two or more; 0 when it is not."""
    if not counts or counts[0] < 2:
        return 0.0
    return counts.count(counts[0]) / len(counts)


def _could_be(counts: list[int]) -> bool:
    """Whether most records have the same two or more columns, or the header has some."""
    if not counts:
        return False
    columns, times = Counter(counts).most_common(1)[0]
    return counts[0] > 1 or (columns > 1 and times * 2 > len(counts))
