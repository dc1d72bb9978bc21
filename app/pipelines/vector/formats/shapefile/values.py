"""The values of a .dbf, proven against its bytes: GDAL makes 12.0 of `12,50`, 2 March of `20230230`, false of `J`.

A proof sees the bytes of one field, block by block. Where GDAL would read one of them as something else than is
written, it gives a reader that takes the field from the bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.pipelines.vector.formats.misfits import Misfits
from app.pipelines.vector.formats.shapefile.header import Bytes, DbfField

_WIDEST_INTEGER = 18
_WIDEST_INT32 = 9
_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_ISO_DATE = re.compile(r"([0-9]{4})([-/])([0-9]{2})\2([0-9]{2})")
_DAYS = re.compile(r"[0-9]{8}")
# How C libraries write what is no number.
_NOT_FINITE = {
    **dict.fromkeys(("nan", "+nan", "-nan", "1.#qnan", "-1.#qnan", "1.#snan", "1.#ind", "-1.#ind"), math.nan),
    **dict.fromkeys(("inf", "+inf", "infinity", "1.#inf"), math.inf),
    **dict.fromkeys(("-inf", "-infinity", "-1.#inf"), -math.inf),
}
_LOGICAL = {
    **dict.fromkeys(("", "?"), None),
    **dict.fromkeys(("T", "t", "Y", "y"), True),
    **dict.fromkeys(("F", "f", "N", "n"), False),
}
# By the byte of a logical: 0 false, 1 true, 2 null where GDAL reads null, 3 anything else.
_LOGICAL_CODES = np.full(256, 3, np.uint8)
_LOGICAL_CODES[list(b"FfNn")] = 0
_LOGICAL_CODES[list(b"TtYy")] = 1
_LOGICAL_CODES[ord("?")] = 2


@dataclass(frozen=True, slots=True)
class Column:
    """A column that is read from the bytes of its field. read: makes the values of (rows, width) bytes."""

    type: pa.DataType
    read: Callable[[Bytes], pa.Array]


class Proof(Protocol):
    """What is found out of one field."""

    misfits: Misfits

    def as_text(self) -> Column:
        """How to read the field as text, with what does not fit its type as it is written."""
        ...

    def see(self, part: Bytes, first_row: int) -> None:
        """Take the (rows, width) bytes of some rows; first_row: number of the first."""
        ...

    def column(self) -> Column | None:
        """After all rows: how to read the field, None where GDAL reads every value as it is written."""
        ...


def proof_of(found: DbfField, encoding: str) -> Proof | None:
    """The proof for a number, logical or date; None for other fields, and for those without bytes."""
    if not found.width:
        return None
    if found.kind in b"NF":
        return NumberProof(found, encoding)
    if found.kind == ord("L"):
        return LogicalProof(encoding)
    return DateProof(encoding) if found.kind == ord("D") else None


def texts(part: Bytes, encoding: str) -> list[str]:
    """The values as they are written, without the blanks and NULs around; text ends at a NUL."""
    raw = np.ascontiguousarray(part).view(f"V{part.shape[1]}").ravel().tolist()
    return [value.lstrip(b" \0").partition(b"\0")[0].rstrip(b" ").decode(encoding, "replace") for value in raw]


# Numbers. The bytes of all values are taken one column of characters at a time through the states of an automaton.

_BLANK, _SIGN, _WHOLE, _POINT, _FRACTION, _E, _E_SIGN, _E_DIGITS, _STARS, _PADDED, _DEAD = range(11)
_AFTER_WHOLE, _AFTER_DECIMAL, _AFTER_STARS, _END_NULL, _END_WHOLE, _END_DECIMAL = range(11, 17)
_NULL, _IS_WHOLE, _IS_DECIMAL, _OTHER = range(4)


def _automaton() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """(next state by state and byte, what a value is by its last state)."""
    after = np.full((17, 256), _DEAD, np.uint8)
    digits, signs = list(b"0123456789"), list(b"+-")
    for states, characters, to in (
        ((_BLANK, _SIGN, _WHOLE), digits, _WHOLE),
        ((_POINT, _FRACTION), digits, _FRACTION),
        ((_E, _E_SIGN, _E_DIGITS), digits, _E_DIGITS),
        ((_BLANK,), signs, _SIGN),
        ((_E,), signs, _E_SIGN),
        ((_BLANK, _SIGN), [ord(".")], _POINT),
        ((_WHOLE,), [ord(".")], _FRACTION),
        ((_WHOLE, _FRACTION), list(b"eE"), _E),
        ((_BLANK, _STARS), [ord("*")], _STARS),
        ((_BLANK,), [ord(" ")], _BLANK),
        ((_PADDED,), list(b" \0"), _PADDED),
        ((_WHOLE, _AFTER_WHOLE), [ord(" ")], _AFTER_WHOLE),
        ((_FRACTION, _E_DIGITS, _AFTER_DECIMAL), [ord(" ")], _AFTER_DECIMAL),
        ((_STARS, _AFTER_STARS), [ord(" ")], _AFTER_STARS),
        ((_BLANK,), [0], _PADDED),
        ((_WHOLE, _AFTER_WHOLE), [0], _END_WHOLE),
        ((_FRACTION, _E_DIGITS, _AFTER_DECIMAL), [0], _END_DECIMAL),
        ((_STARS, _AFTER_STARS), [0], _END_NULL),
    ):
        after[np.ix_(states, characters)] = to
    for state in (_END_NULL, _END_WHOLE, _END_DECIMAL):
        after[state] = state
    meaning = np.full(17, _OTHER, np.uint8)
    meaning[[_BLANK, _PADDED, _STARS, _AFTER_STARS, _END_NULL]] = _NULL
    meaning[[_WHOLE, _AFTER_WHOLE, _END_WHOLE]] = _IS_WHOLE
    meaning[[_FRACTION, _E_DIGITS, _AFTER_DECIMAL, _END_DECIMAL]] = _IS_DECIMAL
    return after.ravel(), meaning


_AFTER, _MEANING = _automaton()


def _meanings(part: Bytes) -> npt.NDArray[np.uint8]:
    state = np.full(len(part), _BLANK, np.uint16)
    for column in np.ascontiguousarray(part.T):
        state = _AFTER.take((state << 8) | column).astype(np.uint16)
    return _MEANING[state]


@dataclass(slots=True)
class NumberProof:
    """Numbers: text as written where any value is no number, or is more than a column of whole numbers can hold.

    A field without decimals has whole numbers; one of the type F becomes a float where a value has decimals. Blanks and
    asterisks alone are null.
    """

    of: DbfField
    encoding: str
    misfits: Misfits = field(default_factory=Misfits)
    _is_suspect: bool = False
    _is_decimal: bool = False

    @property
    def _is_whole(self) -> bool:
        """Whether the field has whole numbers only, as GDAL understands it."""
        return not self.of.decimals and not (self.of.width > _WIDEST_INTEGER and self.of.kind == ord("F"))

    def see(self, part: Bytes, first_row: int) -> None:
        wide = self._is_whole and self.of.width > _WIDEST_INTEGER
        most = _NULL if wide else _IS_WHOLE if self._is_whole else _IS_DECIMAL
        suspects = np.flatnonzero(_meanings(part) > most)
        if not len(suspects):
            return
        for row, text in zip(suspects.tolist(), texts(part[suspects], self.encoding), strict=True):
            if not text:
                self._is_suspect = True
            elif self._is_whole and self.of.kind == ord("F") and not _INTEGER.fullmatch(text) and _is_number(text):
                self._is_decimal = True
            elif not (_is_int64(text) if self._is_whole else _is_number(text)):
                self.misfits.add(first_row + row, text)
        self._is_suspect = True

    def as_text(self) -> Column:
        return Column(pa.string(), lambda part: pa.array(_or_null(part, self.encoding), pa.string()))

    def column(self) -> Column | None:
        if self.misfits.count:
            return self.as_text()
        if not self._is_suspect and not (self._is_whole and self.of.width > _WIDEST_INTEGER):
            return None
        if self._is_whole and not self._is_decimal:
            kind = pa.int32() if self.of.width <= _WIDEST_INT32 else pa.int64()
            return Column(kind, lambda part: pa.array(map(_int, _or_null(part, self.encoding)), kind))
        return Column(pa.float64(), lambda part: pa.array(map(_float, _or_null(part, self.encoding)), pa.float64()))


def _or_null(part: Bytes, encoding: str) -> list[str | None]:
    return [text if text.strip("*") else None for text in texts(part, encoding)]


def _is_int64(text: str) -> bool:
    return _INTEGER.fullmatch(text) is not None and -(2**63) <= int(text) < 2**63


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None or text.lower() in _NOT_FINITE


def _int(text: str | None) -> int | None:
    return None if text is None else int(text)


def _float(text: str | None) -> float | None:
    if text is None:
        return None
    found = _NOT_FINITE.get(text.lower())
    return float(text) if found is None else found


@dataclass(slots=True)
class LogicalProof:
    """Logicals: T, Y, F and N in either case; `?` and blanks are null. Anything else is a misfit, and null."""

    encoding: str
    misfits: Misfits = field(default_factory=Misfits)
    _is_suspect: bool = False

    def see(self, part: Bytes, first_row: int) -> None:
        suspects = np.arange(len(part)) if part.shape[1] > 1 else np.flatnonzero(_LOGICAL_CODES[part[:, 0]] > 2)
        for row, text in zip(suspects.tolist(), texts(part[suspects], self.encoding), strict=True):
            if text not in _LOGICAL:
                self.misfits.add(first_row + row, text)
        self._is_suspect |= bool(len(suspects))

    def as_text(self) -> Column:
        return Column(pa.string(), lambda part: pa.array(map(_logical_text, texts(part, self.encoding)), pa.string()))

    def column(self) -> Column | None:
        if not self._is_suspect:
            return None
        return Column(pa.bool_(), lambda part: pa.array(map(_LOGICAL.get, texts(part, self.encoding)), pa.bool_()))


def _logical_text(text: str) -> str | None:
    found = _LOGICAL.get(text, text)
    return found if found is None or isinstance(found, str) else str(found).lower()


@dataclass(slots=True)
class DateProof:
    """Dates: eight digits that are a day, YYYYMMDD (in wider fields YYYY-MM-DD and YYYY/MM/DD too).

    Blanks and zeros alone are null. Anything else is a misfit, and null: a year alone is no date.
    """

    encoding: str
    misfits: Misfits = field(default_factory=Misfits)
    _is_suspect: bool = False

    def see(self, part: Bytes, first_row: int) -> None:
        _, suspects = _plain_days(part)
        for row, text in zip(suspects.tolist(), texts(part[suspects], self.encoding), strict=True):
            if _day(text) is None and text.strip("0"):
                self.misfits.add(first_row + row, text)
        self._is_suspect |= bool(len(suspects))

    def as_text(self) -> Column:
        return Column(pa.string(), lambda part: pa.array(map(_day_text, texts(part, self.encoding)), pa.string()))

    def column(self) -> Column | None:
        return Column(pa.date32(), self._read) if self._is_suspect else None

    def _read(self, part: Bytes) -> pa.Array:
        days, suspects = _plain_days(part)
        for row, text in zip(suspects.tolist(), texts(part[suspects], self.encoding), strict=True):
            days[row] = np.datetime64(_day(text), "D")
        return pa.array(days, pa.date32())


def _day_text(text: str) -> str | None:
    if not text.strip("0"):
        return None
    day = _day(text)
    return text if day is None else day.isoformat()


def _plain_days(part: Bytes) -> tuple[npt.NDArray[np.datetime64], npt.NDArray[np.intp]]:
    """(days, NaT without a date; the rows that are neither a day in eight digits nor blanks or zeros alone)."""
    days = np.full(len(part), "NaT", "M8[D]")
    if part.shape[1] != 8:
        return days, np.arange(len(part))
    digits = part - np.uint8(ord("0"))
    rows = np.flatnonzero((digits < 10).all(axis=1))
    value = digits[rows].astype(np.int64) @ (10 ** np.arange(7, -1, -1))
    year, month, day = value // 10_000, value // 100 % 100, value % 100
    months = ((year - 1970) * 12 + month - 1).astype("M8[M]")
    found = months.astype("M8[D]") + (day - 1)
    is_day = (year > 0) & (month > 0) & (month < 13) & (day > 0) & (found.astype("M8[M]") == months)
    days[rows[is_day]] = found[is_day]
    is_known = (part == ord(" ")).all(axis=1)
    is_known[rows[is_day | (value == 0)]] = True
    return days, np.flatnonzero(~is_known)


def _day(text: str) -> date | None:
    """The day that a text is; None if it is no day."""
    iso = _ISO_DATE.fullmatch(text)
    if iso is None and not _DAYS.fullmatch(text):
        return None
    try:
        return date(*map(int, (iso[1], iso[3], iso[4]) if iso else (text[:4], text[4:6], text[6:])))
    except ValueError:
        return None
