"""Infers the type of a text column from all of its values, so that no digit, zero or sign is lost.

Each block of rows gives a `PossibleTypes`. They merge, so the blocks can be examined in any number of threads, and a
type guessed from the first block either holds for all later ones or is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from app.pipelines.common.column_types import ARROW_TYPES, kind_of

# The kinds of values that are written in the date format of the manifest begin with this.
LOCAL = "local_"
ISO_KINDS = frozenset({"date", "timestamp", "timestamp_utc"})
LOCAL_KINDS = frozenset(LOCAL + kind for kind in ISO_KINDS)
# In order of preference.
KINDS = (
    "bool", "local_date", "local_timestamp", "local_timestamp_utc", "int64", "float64", "decimal", "date", "timestamp",
    "timestamp_utc", "time", "text",
)  # fmt: skip
_NANOSECONDS = {
    "timestamp": pa.timestamp("ns"),
    "timestamp_utc": pa.timestamp("ns", "UTC"),
    "time": pa.time64("ns"),
}
ALL_KINDS = frozenset(KINDS)
NUMBER_KINDS = frozenset({"int64", "float64", "decimal", "text"})
TEXT_ONLY = frozenset({"text"})

# A double stores any decimal number of so many digits exactly enough to write it again.
_SAFE_DIGITS = 15
# A double has every whole number up to this one.
_LAST_WHOLE = 2**53
_ZERO, _NINE, _MINUS, _DOT = (ord(c) for c in "09-.")

Bytes = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PossibleTypes:
    """The types that all values seen so far can have. Without any value, every type is possible.

    Attributes:
        digits, scale: most digits before and after the decimal point.
        nanos: some time has more than six digits after its seconds.
        far: some timestamp is outside the years 1678 to 2261, the range of nanoseconds in 64 bits.
    """

    kinds: frozenset[str] = ALL_KINDS
    digits: int = 0
    scale: int = 0
    nanos: bool = False
    far: bool = False

    def merge(self, other: PossibleTypes) -> PossibleTypes:
        return PossibleTypes(
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
        """The first possible type in the order of KINDS, as an Arrow type. A column without values is text."""
        return self._arrow(self.kind)

    @property
    def kind(self) -> str:
        """The name of that type in KINDS."""
        if self.is_empty:
            return "text"
        return next((kind for kind in KINDS if kind in self.kinds and self._holds(kind)), "text")

    def _holds(self, kind: str) -> bool:
        if kind == "decimal":
            return self.digits + self.scale <= 38
        return not (kind.startswith("timestamp") and self.nanos and self.far)  # local ones have no nanoseconds

    def _arrow(self, kind: str) -> pa.DataType:
        if kind == "decimal":
            # Only two widths, so that versions of a dataset do not differ by the digits of their largest number.
            return pa.decimal128(18 if self.digits + self.scale <= 18 else 38, self.scale)
        return (ARROW_TYPES | _NANOSECONDS if self.nanos else ARROW_TYPES)[kind.removeprefix(LOCAL)]


_ONLY_TEXT = PossibleTypes(TEXT_ONLY)


def possible_types(array: pa.Array, allowed: frozenset[str] = ALL_KINDS) -> PossibleTypes:
    """The types that all values of an array of text can have; nulls are ignored."""
    found = _examine(array, allowed)[0]
    return found if found.is_empty else replace(found, kinds=found.kinds & allowed | TEXT_ONLY)


def convert(array: pa.Array, to: pa.DataType) -> pa.Array | None:
    """Convert text to the type `to`; nulls stay nulls.

    Returns:
        None if the values, alone or with wider ones of the same kind, would not get the type `to`.
    """
    if pa.types.is_string(to):
        return array
    kind = kind_of(to)
    found, converted = _examine(array, frozenset({kind}))
    if kind not in found.kinds:
        return None
    if kind == "decimal" and (found.scale > to.scale or found.digits + to.scale > to.precision):
        return None
    if found.nanos and to.unit != "ns":
        return None
    return converted[kind] if kind in converted and converted[kind].type == to else _cast(array, to)


Examined = tuple[PossibleTypes, Mapping[str, pa.Array]]


def _examine(array: pa.Array, allowed: frozenset[str]) -> Examined:  # noqa: PLR0911 # one for each kind
    """(possible types, arrays that were converted on the way by kind)."""
    values = array.drop_null() if array.null_count else array
    if len(values) == 0:
        return PossibleTypes(), {}
    data, starts, ends = text_bytes(values)
    lengths = ends - starts
    text: Examined = (_ONLY_TEXT, {})
    if not lengths.all():
        return text
    first = data[starts]
    if ((first >= _ZERO) & (first <= _NINE) | (first == _MINUS) | (first == _DOT)).all():
        if (
            lengths.min() >= 8
            and not (first == _MINUS).any()
            and (date_like := _examine_dates(array, data, starts, ends))
        ):
            return date_like
        if allowed & NUMBER_KINDS - TEXT_ONLY:
            return _examine_numbers(array, values, data, starts, ends, allowed) or text
        return text
    if "bool" in allowed and np.isin(first, np.frombuffer(b"tTfF", np.uint8)).all() and lengths.max() <= 5:
        lowered = pc.ascii_lower(array)
        if pc.all(pc.is_in(lowered, value_set=pa.array(["true", "false", None]))).as_py():
            return PossibleTypes(frozenset({"bool", "text"})), {"bool": pc.equal(lowered, "true")}
    return text


def text_bytes(values: pa.Array) -> tuple[Bytes, Positions, Positions]:
    """(bytes, starts, ends) of an array of text without nulls."""
    _, offsets, data = values.buffers()
    bounds = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1].astype(np.int64)
    held = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return held[bounds[0] : bounds[-1]], bounds[:-1] - bounds[0], bounds[1:] - bounds[0]


# Numbers


def _examine_numbers(
    array: pa.Array, values: pa.Array, data: Bytes, starts: Positions, ends: Positions, allowed: frozenset[str]
) -> Examined | None:
    """None unless all values are numbers without plus sign, leading zero, blank or grouping."""
    last = data[ends - 1]
    if not _are_digits(last).all():
        return None
    negative = data[starts] == _MINUS
    lead = data[starts + negative]
    behind = data[np.minimum(starts + negative + 1, ends - 1)]
    longer = ends - starts > negative + 1
    if not (_are_digits(lead) | (lead == _DOT)).all() or ((lead == _ZERO) & longer & _are_digits(behind)).any():
        return None
    if data.max() > _NINE:
        return _examine_exponents(array, values)
    if not (data == _DOT).any():
        return _examine_integers(array, ends - starts - negative, negative & (lead == _ZERO))
    return _examine_decimals(array, values, negative, starts, ends, last == _ZERO, allowed)


def _examine_integers(array: pa.Array, digits: Positions, minus_zero: Mask) -> Examined | None:
    converted = _cast(array, pa.int64())
    if converted is None:
        return None
    most = int(digits.max())
    kinds = {"text"} if minus_zero.any() else {"text", "int64", "decimal"}
    if most <= _SAFE_DIGITS or _are_doubles(converted):
        kinds.add("float64")
    return PossibleTypes(frozenset(kinds), digits=most), {"int64": converted}


def _are_doubles(converted: pa.Array) -> bool:
    """Whether all of these whole numbers are so small that a double has each of their digits."""
    ends = pc.min_max(converted).as_py()
    return bool(ends["min"] >= -_LAST_WHOLE and ends["max"] <= _LAST_WHOLE)


def _examine_decimals(
    array: pa.Array, values: pa.Array, negative: Mask, starts: Positions, ends: Positions, zero_last: Mask,
    allowed: frozenset[str],
) -> Examined | None:  # fmt: skip
    converted = _cast(array, pa.float64())
    if converted is None:
        return None
    dot = pc.find_substring(values, ".").to_numpy(zero_copy_only=False).astype(np.int64)
    lengths = ends - starts
    whole = dot < 0
    if whole.any() and _cast(values.filter(pa.array(whole)), pa.int64()) is None:
        return None
    fraction = np.where(whole, 0, lengths - dot - 1)
    before = np.where(whole, lengths, dot) - negative
    kinds = {"text"}
    # Most programs write the double 1 as 1.0. Any other zero at the end is a digit that a double would lose.
    if (
        "float64" in allowed
        and not (zero_last & (fraction > 1)).any()
        and _float_is_exact(values, converted, before + fraction)
    ):
        kinds.add("float64")
    if "decimal" in allowed and not _has_minus_zero(converted, negative):
        kinds.add("decimal")
    return PossibleTypes(frozenset(kinds), digits=int(before.max()), scale=int(fraction.max())), {"float64": converted}


def _float_is_exact(values: pa.Array, converted: pa.Array, digits: Positions) -> bool:
    """Whether each number equals the shortest notation of the double nearest to it."""
    many = digits > _SAFE_DIGITS
    if not many.any():
        return True
    doubles = converted.drop_null() if converted.null_count else converted
    if not many.all():
        chosen = pa.array(many)
        values, doubles = values.filter(chosen), doubles.filter(chosen)
    differs = pc.not_equal(values, pc.cast(doubles, pa.string()))
    return all(_same_examine_numbers(text) for text in values.filter(differs).to_pylist())


def _same_examine_numbers(text: str) -> bool:
    return Decimal(repr(float(text))) == Decimal(text)


def _has_minus_zero(converted: pa.Array, negative: Mask) -> bool:
    """Whether there is a -0.0, which a double can store and a decimal cannot."""
    return bool(negative.any() and pc.any(pc.equal(converted.drop_null().filter(pa.array(negative)), 0.0)).as_py())


_EXPONENT = r"^-?(0|[1-9][0-9]*)?(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


def _examine_exponents(array: pa.Array, values: pa.Array) -> Examined | None:
    """For numbers some of which have an exponent; zeros at their end do not count as digits."""
    if not pc.all(pc.match_substring_regex(values, _EXPONENT)).as_py():
        return None
    converted = _cast(array, pa.float64())
    if converted is None or not pc.all(pc.is_finite(converted)).as_py():
        return None
    has_exponent = pc.match_substring(values, "e", ignore_case=True)
    rest = possible_types(values.filter(pc.invert(has_exponent)))
    if "float64" not in rest.kinds:
        return None
    if not all(_same_examine_numbers(text) for text in pc.unique(values.filter(has_exponent)).to_pylist()):
        return None
    return PossibleTypes(frozenset({"text", "float64"})), {"float64": converted}


def _are_digits(characters: Bytes) -> Mask:
    return (characters >= _ZERO) & (characters <= _NINE)


# Dates and times


def _examine_dates(array: pa.Array, data: Bytes, starts: Positions, ends: Positions) -> Examined | None:
    """ISO dates (2026-11-22), timestamps (2026-11-22T10:00, also with seconds, a blank, a zone), times (10:00:00)."""
    shortest, longest = int((ends - starts).min()), int((ends - starts).max())

    def at(place: int, characters: bytes) -> bool:
        return bool(np.isin(data[starts + place], np.frombuffer(characters, np.uint8)).all())

    if at(2, b":"):
        return _examine_times(array) if at(5, b":") else None
    if not (shortest >= 10 and at(4, b"-") and at(7, b"-")):
        return None
    if longest == 10:
        converted = _cast(array, pa.date32())
        return (
            None
            if converted is None or _before_year_one(converted)
            else (PossibleTypes(frozenset({"text", "date"})), {"date": converted})
        )
    if not (shortest >= 16 and at(10, b"T ") and at(13, b":")):
        return None
    for kind, zone in (("timestamp", None), ("timestamp_utc", "UTC")):
        for unit in ("us", "ns"):
            converted = _cast(array, pa.timestamp(unit, zone))
            if converted is not None and not (unit == "us" and _before_year_one(converted)):
                years = pc.min_max(pc.year(converted)).as_py()
                far = years["min"] < 1678 or years["max"] > 2261
                return PossibleTypes(frozenset({"text", kind}), nanos=unit == "ns", far=far), {kind: converted}
    return None


def _before_year_one(converted: pa.Array) -> bool:
    """Whether there is a year 0 or less: ISO 8601 has them, Python dates do not."""
    return bool(pc.any(pc.less(pc.year(converted), 1)).as_py())


def _examine_times(array: pa.Array) -> Examined | None:
    dated = pc.binary_join_element_wise("1970-01-01T", array, "")
    for unit in ("us", "ns"):
        converted = _cast(dated, pa.timestamp(unit))
        if converted is not None:
            return PossibleTypes(frozenset({"text", "time"}), nanos=unit == "ns"), {
                "time": pc.cast(converted, pa.time64(unit))
            }
    return None


def _cast(array: pa.Array, to: pa.DataType) -> pa.Array | None:
    """None if a value does not have that type."""
    try:
        if pa.types.is_time(to):
            return pc.cast(pc.cast(pc.binary_join_element_wise("1970-01-01T", array, ""), pa.timestamp(to.unit)), to)
        return pc.cast(array, to)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
