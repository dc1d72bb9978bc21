"""Casts that change no value: a value that the other type cannot hold exactly is found, and never rounded."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from app.pipelines.common.column_types import Mask, from_text, misfits


def can_become(found: pa.DataType, to: pa.DataType) -> bool:
    """Whether values of one type can be values of the other at all. Text can become any type, and scalars text."""
    if found == to or pa.types.is_null(found) or is_text(found):
        return True
    if is_text(to):
        return _is_number(found) or _is_moment(found) or pa.types.is_time(found)
    return any(is_one(found) and is_one(to) for is_one in (_is_number, _is_moment, pa.types.is_time, _is_binary))


def cast_exactly(array: pa.Array, to: pa.DataType) -> tuple[pa.Array, Mask | None]:
    """Cast an array to a type that its own type can become. Nulls stay nulls.

    Numbers keep their value, moments their instant; text is read in the form that files[].options.types takes.

    Returns:
        (the array as `to`, null where a value would change; mask of those values, None if there are none).
    """
    if array.type == to:
        return array, None
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), to), None
    if is_text(array.type):
        return (array.cast(to), None) if is_text(to) else from_text(array.cast(pa.string()), to)
    converted = _exact(array, to)
    if converted is not None:
        return converted, None
    wrong = misfits(array, lambda part: _exact(part, to) is not None)
    return _exact(pc.if_else(pa.array(~wrong), array, None), to), wrong


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _exact(array: pa.Array, to: pa.DataType) -> pa.Array | None:
    """The array as `to`; None if a value would change."""
    try:
        for step in _steps(array.type, to):
            array = array.cast(step)
        converted = array.cast(to)
        if is_text(to) or _is_binary(to) or (pa.types.is_decimal(array.type) and not pa.types.is_floating(to)):
            return converted  # Arrow refuses these casts where they are not exact
        back = converted.cast(array.type)
    except pa.ArrowInvalid:
        return None
    same = pc.fill_null(pc.equal(back, array), True)
    if pa.types.is_floating(array.type):
        same = pc.or_(same, pc.fill_null(pc.and_(pc.is_nan(back), pc.is_nan(array)), False))
    return converted if pc.all(same, min_count=0).as_py() else None


def _steps(found: pa.DataType, to: pa.DataType) -> list[pa.DataType]:
    """Types between the two, where Arrow has no direct cast, or one that asks for more digits than there are."""
    if pa.types.is_float16(found):
        return [pa.float32()]
    if pa.types.is_decimal(to) and not pa.types.is_floating(found):
        whole = [] if pa.types.is_decimal(found) else [pa.int64()] if pa.types.is_boolean(found) else []
        return [*whole, pa.decimal256(76, max(to.scale, found.scale if pa.types.is_decimal(found) else 0))]
    if pa.types.is_decimal(found) and pa.types.is_boolean(to):
        return [pa.int64()]
    if pa.types.is_timestamp(found) and found.tz and is_text(to):
        return [pa.timestamp(found.unit, "UTC")]
    return []


def _is_number(kind: pa.DataType) -> bool:
    is_one = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return any(each(kind) for each in is_one)


def _is_moment(kind: pa.DataType) -> bool:
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
