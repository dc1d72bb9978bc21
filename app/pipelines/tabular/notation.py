"""Reads numbers and dates as a table writes them: 1.234,5 or 31.12.2026.

Values are rewritten into the form that types are read from (1234.5, 2026-12-31). A column is read in that way only if
all of its values are written so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from app.models.manifests.date_formats import MONTHS, ORDERS, date_pattern
from app.models.manifests.file_options import FileOptions
from app.pipelines.tabular.inferred_types import (
    ISO_KINDS,
    LOCAL,
    LOCAL_KINDS,
    NUMBER_KINDS,
    TEXT_ONLY,
    PossibleTypes,
    convert,
    possible_types,
)

_NUMBERS = NUMBER_KINDS - TEXT_ONLY
# A blank stands for the blanks that programs write between digits, an apostrophe for both of its forms.
_SEPARATORS = {".": r"\.", ",": ",", "_": "_", "'": "['\u2019]", " ": "[ \u00a0\u2009\u202f]"}
# As in POSIX and Python: 69 is 1969, 68 is 2068.
_FIRST_YEAR_OF_1900 = "69"


@dataclass(frozen=True, slots=True)
class Notation:
    """How the values of a table are written.

    Attributes:
        decimal: the mark before the decimals.
        thousands: what stands between groups of three digits, a key of _SEPARATORS; None: nothing.
        date_format: see `app.models.manifests.date_formats`; None: dates are as in ISO 8601.
        trim: blanks around a value are no part of it, and a value of blanks alone is null.
    """

    decimal: str = "."
    thousands: str | None = None
    date_format: str | None = None
    trim: bool = False
    iso_contradicts: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "iso_contradicts", self.date_format is not None and _reads_iso_otherwise(self))

    @property
    def has_numbers(self) -> bool:
        return self.decimal != "." or self.thousands is not None

    @property
    def is_plain(self) -> bool:
        """Whether nothing needs to be rewritten."""
        return not self.has_numbers and self.date_format is None

    def widened(self, allowed: frozenset[str]) -> frozenset[str]:
        """The types that a column of text may get, which without a notation may get those of `allowed`."""
        numbers = NUMBER_KINDS if self.has_numbers else frozenset[str]()
        return allowed | numbers | (LOCAL_KINDS if self.date_format is not None else frozenset[str]())

    def trimmed(self, array: pa.Array) -> pa.Array:
        """The text without blanks around it; null for blanks alone."""
        made = pc.utf8_trim_whitespace(array)
        return pc.if_else(pc.and_(pc.equal(made, ""), pc.not_equal(array, "")), None, made)

    def plain_numbers(self, array: pa.Array) -> pa.Array:
        """Numbers as 1234.5; null for a value that is no number in this notation."""
        separator = _SEPARATORS.get(self.thousands or "")
        grouped = f"[0-9]{{1,3}}(?:{separator}[0-9]{{3}})+|" if separator else ""
        number = rf"(?:{grouped}[0-9]+)?(?:{re.escape(self.decimal)}[0-9]*)?(?:[eE][+-]?[0-9]+)?"
        is_number = pc.match_substring_regex(array, rf"^[+-]?(?:{number}|(?i:nan|inf|infinity))$")
        texts = pc.if_else(is_number, array, None)
        if separator:
            texts = pc.replace_substring_regex(texts, separator, "")
        return pc.replace_substring(texts, self.decimal, ".") if self.decimal != "." else texts

    def iso_dates(self, array: pa.Array) -> pa.Array:
        """Dates and times in the form of ISO 8601; null for a value that is not written in the date format."""
        parts = pc.extract_regex(array, date_pattern(self.date_format or ""))
        texts = {part.name: parts.field(part.name) for part in parts.type}
        if parts.null_count:  # fields of a struct do not know of its nulls
            is_date = pc.is_valid(parts)
            texts = {name: pc.if_else(is_date, text, None) for name, text in texts.items()}
        if self.date_format in ORDERS:
            same = pc.equal(texts["s"], texts["t"])
            texts = {name: pc.if_else(same, text, None) for name, text in texts.items()}
        days = pc.binary_join_element_wise(_year(texts), _month(texts), _two_digits(texts["d"]), "-")
        if not {"H", "I"} & set(texts):
            return days
        hour = _hour(texts)
        timed = pc.binary_join_element_wise(
            hour, _two_digits(texts.get("M", "00")), _two_digits(texts.get("S", "00")), ":"
        )
        timed = pc.binary_join_element_wise(days, timed, "T")
        if "f" in texts:
            fraction = pc.if_else(pc.equal(texts["f"], ""), "", pc.binary_join_element_wise(".", texts["f"], ""))
            timed = pc.binary_join_element_wise(timed, fraction, "")
        if "z" in texts:
            timed = pc.binary_join_element_wise(timed, texts["z"], "")
        if self.date_format in ORDERS:
            return pc.if_else(pc.equal(texts["H"], ""), days, timed)
        return timed

    def rewrite(self, array: pa.Array, kind: str) -> tuple[pa.Array, npt.NDArray[np.bool_] | None]:
        """(the array with every value of that type that is written in this notation rewritten, mask of the others).

        The mask is None where the others may be of that type as they are.
        """
        if kind in _NUMBERS and self.has_numbers:
            made = self.plain_numbers(array)
            return made, _lost(array, made)
        if kind in ISO_KINDS and self.date_format is not None:
            made = self.iso_dates(array)
            return (made, _lost(array, made)) if self.iso_contradicts else (pc.coalesce(made, array), None)
        return array, None


PLAIN = Notation()


def notation_of(options: FileOptions) -> Notation:
    return Notation(options.decimal or ".", options.thousands, options.date_format, bool(options.trim))


def possible_types_in(array: pa.Array, allowed: frozenset[str], notation: Notation) -> PossibleTypes:
    """As `possible_types`, for values that are written in that notation."""
    if notation.is_plain:
        return possible_types(array, allowed)
    as_they_are = allowed - _NUMBERS if notation.has_numbers else allowed
    found = possible_types(array, as_they_are - ISO_KINDS if notation.iso_contradicts else as_they_are)
    if found.is_empty:
        return found
    if notation.has_numbers and allowed & _NUMBERS:
        numbers = notation.plain_numbers(array)
        if numbers.null_count == array.null_count:
            found = _either(found, possible_types(numbers, allowed & NUMBER_KINDS))
    if notation.date_format is not None and allowed & LOCAL_KINDS:
        dates = notation.iso_dates(array)
        if dates.null_count == array.null_count:
            read = possible_types(dates, ISO_KINDS)
            local = frozenset(LOCAL + kind for kind in read.kinds & ISO_KINDS)
            found = _either(found, replace(read, kinds=local & allowed))
    return found


def convert_from(array: pa.Array, kind: str, to: pa.DataType, notation: Notation) -> pa.Array | None:
    """As `convert`. kind: the type of the column as `PossibleTypes.kind` names it."""
    texts = array
    if kind.startswith(LOCAL):
        texts = notation.iso_dates(array)
    elif kind in _NUMBERS and notation.has_numbers:
        texts = notation.plain_numbers(array)
    return convert(texts, to) if texts.null_count == array.null_count else None


def _either(one: PossibleTypes, other: PossibleTypes) -> PossibleTypes:
    return replace(one.merge(other), kinds=one.kinds | other.kinds)


def _lost(array: pa.Array, made: pa.Array) -> npt.NDArray[np.bool_]:
    lost: npt.NDArray[np.bool_] = pc.and_(pc.is_null(made), pc.is_valid(array)).to_numpy(zero_copy_only=False)
    return lost


def _reads_iso_otherwise(notation: Notation) -> bool:
    """Whether a date in this notation can look like one of ISO 8601 and mean another day, as with %Y-%d-%m."""
    sample = date(2011, 12, 10)
    if notation.date_format in ORDERS:
        return False
    written = datetime(2011, 12, 10, 9, 8, 7).strftime(str(notation.date_format))[:10]  # noqa: DTZ001 # only its text
    return re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", written) is not None and written != sample.isoformat()


def _two_digits(text: Any) -> Any:
    return text if isinstance(text, str) else pc.utf8_lpad(pc.utf8_ltrim_whitespace(text), 2, "0")


def _year(texts: dict[str, pa.Array]) -> pa.Array:
    year = texts["Y"] if "Y" in texts else texts["y"]
    century = pc.if_else(pc.less(year, _FIRST_YEAR_OF_1900), "20", "19")
    return pc.if_else(pc.equal(pc.utf8_length(year), 2), pc.binary_join_element_wise(century, year, ""), year)


def _month(texts: dict[str, pa.Array]) -> pa.Array:
    if "m" in texts:
        return _two_digits(texts["m"])
    name = texts["b"] if "b" in texts else texts["B"]
    short = pc.utf8_slice_codeunits(pc.ascii_lower(name), 0, 3)
    number = pc.add(pc.index_in(short, value_set=pa.array(MONTHS)), 1)
    return _two_digits(pc.cast(number, pa.string()))


def _hour(texts: dict[str, pa.Array]) -> pa.Array:
    if "H" in texts:
        return _two_digits(texts["H"])
    hour = pc.cast(texts["I"], pa.int64())
    hour = pc.if_else(pc.equal(hour, 12), 0, hour)
    if "p" in texts:
        hour = pc.if_else(pc.equal(pc.ascii_lower(texts["p"]), "pm"), pc.add(hour, 12), hour)
    return _two_digits(pc.cast(hour, pa.string()))
