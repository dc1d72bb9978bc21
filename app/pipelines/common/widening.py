"""The type that several columns of one name get together."""

from __future__ import annotations

import pyarrow as pa

from app.pipelines.common.exact_cast import can_become, is_text

_UNITS = ("s", "ms", "us", "ns")
_MOST_DIGITS = 38
# Digits of the largest integer of so many bits.
_DIGITS = {8: 3, 16: 5, 32: 10, 64: 20}


def widened(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """A type for the values of both; None if no type holds both unchanged.

    Integers get the bits that both need, integers and floats are float64, text holds every scalar as it is written, and
    moments and times get the finer unit. Not every value of the two needs to fit: `exact_cast` finds those that do not
    (integers beyond 2^53 as float64, unsigned ones beyond 2^63 as int64).
    """
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    for rule in (_text, _integer, _number, _timestamp, _time, _binary):
        if (found := rule(one, other)) is not None:
            return found
    return None


def _text(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    is_one = is_text(one) or is_text(other)
    if not is_one or not all(can_become(each, pa.string()) for each in (one, other)):
        return None
    return pa.large_string() if pa.large_string() in (one, other) else pa.string()


def _integer(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if not pa.types.is_integer(one) or not pa.types.is_integer(other):
        return None
    if pa.types.is_signed_integer(one) == pa.types.is_signed_integer(other):
        return max(one, other, key=lambda each: each.bit_width)
    # An unsigned one needs a bit more than a signed one of its width.
    bits = max(each.bit_width * (1 if pa.types.is_signed_integer(each) else 2) for each in (one, other))
    return {16: pa.int16(), 32: pa.int32()}.get(bits, pa.int64())


def _number(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """None for a decimal beside a float, which has no digits to count, and for more digits than a decimal has."""
    if all(pa.types.is_integer(each) or pa.types.is_floating(each) for each in (one, other)):
        return pa.float64()
    whole, scale = 0, 0
    for each in (one, other):
        if pa.types.is_decimal(each):
            whole, scale = max(whole, each.precision - each.scale), max(scale, each.scale)
        elif pa.types.is_integer(each):
            whole = max(whole, _DIGITS[each.bit_width])
        else:
            return None
    return pa.decimal128(whole + scale, scale) if whole + scale <= _MOST_DIGITS else None


def _timestamp(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if not pa.types.is_timestamp(one) or not pa.types.is_timestamp(other) or one.tz != other.tz:
        return None
    return pa.timestamp(_finer(one, other), one.tz)


def _time(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if not pa.types.is_time(one) or not pa.types.is_time(other):
        return None
    unit = _finer(one, other)
    return pa.time64(unit) if unit in ("us", "ns") else pa.time32(unit)


def _binary(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    return pa.large_binary() if {one, other} == {pa.binary(), pa.large_binary()} else None


def _finer(one: pa.DataType, other: pa.DataType) -> str:
    units: tuple[str, str] = (one.unit, other.unit)
    return max(units, key=_UNITS.index)
