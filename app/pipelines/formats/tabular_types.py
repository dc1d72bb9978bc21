"""Which type a column of text has, so that no digit, zero or sign is lost: decided by all rows, never by some.

A block of rows gives a `Fit`: the types that all of its values have. Fits merge, so the whole file's is found in any
number of threads, and a type guessed from the first block either fits every later block or is given up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

# In the order of preference.
KINDS = ("bool", "int64", "float64", "decimal", "date", "timestamp", "timestamp_utc", "time", "text")
ALL_KINDS = frozenset(KINDS)
NUMBER_KINDS = frozenset({"int64", "float64", "decimal", "text"})
TEXT_ONLY = frozenset({"text"})

# A double gives back any decimal number of so many digits.
_SAFE_DIGITS = 15
_ZERO, _NINE, _MINUS, _DOT = (ord(c) for c in "09-.")

Bytes = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Fit:
    """kinds: the types that all values so far have; digits, scale: most digits before and behind the decimal point;
    nanos: whether some time has more than six digits behind its seconds; far: whether some timestamp lies outside the
    years 1678 to 2261, where 64 bits do not count nanoseconds. No value at all fits every type."""

    kinds: frozenset[str] = ALL_KINDS
    digits: int = 0
    scale: int = 0
    nanos: bool = False
    far: bool = False

    def merge(self, other: Fit) -> Fit:
        return Fit(
            self.kinds & other.kinds,
            max(self.digits, other.digits),
            max(self.scale, other.scale),
            self.nanos or other.nanos,
            self.far or other.far,
        )

    @property
    def is_empty(self) -> bool:
        """Whether there was no value."""
        return self.kinds >= ALL_KINDS

    @property
    def type(self) -> pa.DataType:
        """The Arrow type. A column without any value is text."""
        if self.is_empty:
            return pa.string()
        for kind in KINDS:
            if kind in self.kinds and self._holds(kind):
                return self._arrow(kind)
        return pa.string()

    def _holds(self, kind: str) -> bool:
        if kind == "decimal":
            return self.digits + self.scale <= 38
        return not (kind.startswith("timestamp") and self.nanos and self.far)

    def _arrow(self, kind: str) -> pa.DataType:
        if kind == "decimal":
            # Two widths only: versions of a dataset should not differ by how many digits their largest number has.
            return pa.decimal128(18 if self.digits + self.scale <= 18 else 38, self.scale)
        unit = "ns" if self.nanos else "us"
        types = {
            "bool": pa.bool_(),
            "int64": pa.int64(),
            "float64": pa.float64(),
            "date": pa.date32(),
            "timestamp": pa.timestamp(unit),
            "timestamp_utc": pa.timestamp(unit, "UTC"),
            "time": pa.time64(unit),
            "text": pa.string(),
        }
        return types[kind]


_NOTHING_BUT_TEXT = Fit(TEXT_ONLY)


def fit(array: pa.Array, allowed: frozenset[str] = ALL_KINDS) -> Fit:
    """What the values of this array of text, nulls aside, have in common."""
    found = _examine(array, allowed)[0]
    return found if found.is_empty else replace(found, kinds=found.kinds & allowed | TEXT_ONLY)


def convert(array: pa.Array, to: pa.DataType) -> pa.Array | None:
    """The array as type `to`, nulls kept; None when `to` is not the type that its values alone, or together with
    wider ones of the same kind, would be given."""
    if pa.types.is_string(to):
        return array
    kind = kind_of(to)
    found, made = _examine(array, frozenset({kind}))
    if kind not in found.kinds:
        return None
    if kind == "decimal" and (found.scale > to.scale or found.digits + to.scale > to.precision):
        return None
    if found.nanos and to.unit != "ns":
        return None
    return made[kind] if kind in made and made[kind].type == to else _cast(array, to)


def kind_of(to: pa.DataType) -> str:
    if pa.types.is_decimal(to):
        return "decimal"
    if pa.types.is_timestamp(to):
        return "timestamp_utc" if to.tz else "timestamp"
    if pa.types.is_time(to):
        return "time"
    return {pa.bool_(): "bool", pa.int64(): "int64", pa.float64(): "float64", pa.date32(): "date"}.get(to, "text")


Examined = tuple[Fit, Mapping[str, pa.Array]]


def _examine(array: pa.Array, allowed: frozenset[str]) -> Examined:  # noqa: PLR0911 # one for each kind
    """(what the values fit, arrays that were made on the way by their kinds)."""
    values = array.drop_null() if array.null_count else array
    if len(values) == 0:
        return Fit(), {}
    data, starts, ends = text_bytes(values)
    lengths = ends - starts
    text: Examined = (_NOTHING_BUT_TEXT, {})
    if not lengths.all():
        return text
    first = data[starts]
    if ((first >= _ZERO) & (first <= _NINE) | (first == _MINUS) | (first == _DOT)).all():
        if lengths.min() >= 8 and not (first == _MINUS).any() and (date_like := _temporal(array, data, starts, ends)):
            return date_like
        if allowed & NUMBER_KINDS - TEXT_ONLY:
            return _number(array, values, data, starts, ends, allowed) or text
        return text
    if "bool" in allowed and np.isin(first, np.frombuffer(b"tTfF", np.uint8)).all() and lengths.max() <= 5:
        lowered = pc.ascii_lower(array)
        if pc.all(pc.is_in(lowered, value_set=pa.array(["true", "false", None]))).as_py():
            return Fit(frozenset({"bool", "text"})), {"bool": pc.equal(lowered, "true")}
    return text


def text_bytes(values: pa.Array) -> tuple[Bytes, Positions, Positions]:
    """(bytes, starts, ends) of an array of text without nulls."""
    _, offsets, data = values.buffers()
    bounds = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1].astype(np.int64)
    held = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return held[bounds[0] : bounds[-1]], bounds[:-1] - bounds[0], bounds[1:] - bounds[0]


# Numbers


def _number(
    array: pa.Array, values: pa.Array, data: Bytes, starts: Positions, ends: Positions, allowed: frozenset[str]
) -> Examined | None:
    """None unless every value is a number as one writes it: no plus sign, no leading zero, no space, no grouping."""
    last = data[ends - 1]
    if not _digits(last).all():
        return None
    negative = data[starts] == _MINUS
    lead = data[starts + negative]
    behind = data[np.minimum(starts + negative + 1, ends - 1)]
    longer = ends - starts > negative + 1
    if not (_digits(lead) | (lead == _DOT)).all() or ((lead == _ZERO) & longer & _digits(behind)).any():
        return None
    if data.max() > _NINE:
        return _with_exponents(array, values)
    if not (data == _DOT).any():
        return _integers(array, ends - starts - negative, negative & (lead == _ZERO))
    return _decimals(array, values, negative, starts, ends, last == _ZERO, allowed)


def _integers(array: pa.Array, digits: Positions, minus_zero: Mask) -> Examined | None:
    made = _cast(array, pa.int64())
    if made is None:
        return None
    most = int(digits.max())
    kinds = {"text"} if minus_zero.any() else {"text", "int64", "decimal"}
    if most <= _SAFE_DIGITS:
        kinds.add("float64")
    return Fit(frozenset(kinds), digits=most), {"int64": made}


def _decimals(
    array: pa.Array, values: pa.Array, negative: Mask, starts: Positions, ends: Positions, zero_last: Mask,
    allowed: frozenset[str],
) -> Examined | None:  # fmt: skip
    made = _cast(array, pa.float64())
    if made is None:
        return None
    dot = pc.find_substring(values, ".").to_numpy(zero_copy_only=False).astype(np.int64)
    lengths = ends - starts
    whole = dot < 0
    if whole.any() and _cast(values.filter(pa.array(whole)), pa.int64()) is None:
        return None
    fraction = np.where(whole, 0, lengths - dot - 1)
    before = np.where(whole, lengths, dot) - negative
    kinds = {"text"}
    # 1.0 is how most programs write the double 1; any other zero at the end is a digit that a double would lose.
    if "float64" in allowed and not (zero_last & (fraction > 1)).any() and _gives_back(values, made, before + fraction):
        kinds.add("float64")
    if "decimal" in allowed and not _has_minus_zero(made, negative):
        kinds.add("decimal")
    return Fit(frozenset(kinds), digits=int(before.max()), scale=int(fraction.max())), {"float64": made}


def _gives_back(values: pa.Array, made: pa.Array, digits: Positions) -> bool:
    """Whether the double nearest to each number, written as short as possible, is that number."""
    many = digits > _SAFE_DIGITS
    if not many.any():
        return True
    doubles = made.drop_null() if made.null_count else made
    if not many.all():
        chosen = pa.array(many)
        values, doubles = values.filter(chosen), doubles.filter(chosen)
    differs = pc.not_equal(values, pc.cast(doubles, pa.string()))
    return all(_same_number(text) for text in values.filter(differs).to_pylist())


def _same_number(text: str) -> bool:
    return Decimal(repr(float(text))) == Decimal(text)


def _has_minus_zero(made: pa.Array, negative: Mask) -> bool:
    """-0.0 is a double; a decimal knows no such thing."""
    return bool(negative.any() and pc.any(pc.equal(made.drop_null().filter(pa.array(negative)), 0.0)).as_py())


_EXPONENT = r"^-?(0|[1-9][0-9]*)?(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


def _with_exponents(array: pa.Array, values: pa.Array) -> Examined | None:
    """Numbers some of which have an exponent. The zeros that those end with tell no more than the exponent does."""
    if not pc.all(pc.match_substring_regex(values, _EXPONENT)).as_py():
        return None
    made = _cast(array, pa.float64())
    if made is None or not pc.all(pc.is_finite(made)).as_py():
        return None
    has_exponent = pc.match_substring(values, "e", ignore_case=True)
    rest = fit(values.filter(pc.invert(has_exponent)))
    if "float64" not in rest.kinds:
        return None
    if not all(_same_number(text) for text in pc.unique(values.filter(has_exponent)).to_pylist()):
        return None
    return Fit(frozenset({"text", "float64"})), {"float64": made}


def _digits(characters: Bytes) -> Mask:
    return (characters >= _ZERO) & (characters <= _NINE)


# Dates and times


def _temporal(array: pa.Array, data: Bytes, starts: Positions, ends: Positions) -> Examined | None:
    """ISO dates (2026-11-22), timestamps (2026-11-22T10:00, also with seconds, a blank, a zone), times (10:00:00)."""
    shortest, longest = int((ends - starts).min()), int((ends - starts).max())

    def at(place: int, characters: bytes) -> bool:
        return bool(np.isin(data[starts + place], np.frombuffer(characters, np.uint8)).all())

    if at(2, b":"):
        return _times(array) if at(5, b":") else None
    if not (shortest >= 10 and at(4, b"-") and at(7, b"-")):
        return None
    if longest == 10:
        made = _cast(array, pa.date32())
        return None if made is None or _before_year_one(made) else (Fit(frozenset({"text", "date"})), {"date": made})
    if not (shortest >= 16 and at(10, b"T ") and at(13, b":")):
        return None
    for kind, zone in (("timestamp", None), ("timestamp_utc", "UTC")):
        for unit in ("us", "ns"):
            made = _cast(array, pa.timestamp(unit, zone))
            if made is not None and not (unit == "us" and _before_year_one(made)):
                years = pc.min_max(pc.year(made)).as_py()
                far = years["min"] < 1678 or years["max"] > 2261
                return Fit(frozenset({"text", kind}), nanos=unit == "ns", far=far), {kind: made}
    return None


def _before_year_one(made: pa.Array) -> bool:
    """Year 0 is in ISO 8601, in few calendars, and in no Python date."""
    return bool(pc.any(pc.less(pc.year(made), 1)).as_py())


def _times(array: pa.Array) -> Examined | None:
    dated = pc.binary_join_element_wise("1970-01-01T", array, "")
    for unit in ("us", "ns"):
        made = _cast(dated, pa.timestamp(unit))
        if made is not None:
            return Fit(frozenset({"text", "time"}), nanos=unit == "ns"), {"time": pc.cast(made, pa.time64(unit))}
    return None


def _cast(array: pa.Array, to: pa.DataType) -> pa.Array | None:
    """None when a value is not of that type."""
    try:
        if pa.types.is_time(to):
            return pc.cast(pc.cast(pc.binary_join_element_wise("1970-01-01T", array, ""), pa.timestamp(to.unit)), to)
        return pc.cast(array, to)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def described(to: Any) -> str:
    """The type as a manifest names it."""
    kind = kind_of(to)
    return f"decimal({to.precision},{to.scale})" if kind == "decimal" else kind
