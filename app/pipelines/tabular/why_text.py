"""Says which value of a column of text keeps it from having another type."""

from __future__ import annotations

import re

import pyarrow as pa

from app.pipelines.common.column_types import manifest_type_name
from app.pipelines.tabular.inferred_types import PossibleTypes
from app.pipelines.tabular.notation import Notation, possible_types_in

_MAX_TEXT = 60
_LEADING_ZERO = re.compile(r"-?0[0-9]+(\.[0-9]*)?")


def is_text(found: PossibleTypes) -> bool:
    return not found.is_empty and pa.types.is_string(found.type)


def deciding_value(
    array: pa.Array, before: PossibleTypes, allowed: frozenset[str], notation: Notation
) -> tuple[int, str]:
    """(place, description) of the first value with which the column, with the values before it, can only be text.

    Args:
        array: values with which the column became text.
        before: the types that the values before the array can have.
        allowed: the types that the column may get.
        notation: how its values are written.
    """
    low, high = 0, len(array)
    while high - low > 1:
        middle = (low + high) // 2
        text = is_text(before.merge(possible_types_in(array.slice(0, middle), allowed, notation)))
        low, high = (low, middle) if text else (middle, high)
    value = str(array[low].as_py())
    shown = shortened(value)
    earlier = before.merge(possible_types_in(array.slice(0, low), allowed, notation))
    if _LEADING_ZERO.fullmatch(value):
        return low, f"{shown} would lose its leading zeros as a number"
    alone = possible_types_in(array.slice(low, 1), allowed, notation)
    if earlier.is_empty or is_text(alone):
        return low, f"{shown} is not a number, date, time or boolean in a recognized form"
    return low, f"{shown} is {manifest_type_name(alone.type)}, values before it are {manifest_type_name(earlier.type)}"


def shortened(value: str) -> str:
    """The value in quotation marks, at most 60 characters of it."""
    return repr(value if len(value) <= _MAX_TEXT else value[: _MAX_TEXT - 3] + "...")
