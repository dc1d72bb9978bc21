"""Converts keys of any type to text, so that keys of two sides with different types can be compared."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

_KINDS = (
    kinds.is_string, kinds.is_large_string, kinds.is_string_view, kinds.is_integer, kinds.is_floating,
    kinds.is_decimal, kinds.is_boolean, kinds.is_date, kinds.is_time, kinds.is_timestamp, kinds.is_null,
)  # fmt: skip
_INT64 = 2.0**63


def can_be_key(kind: pa.DataType) -> bool:
    """Whether values of this type have exactly one text form."""
    kind = kind.value_type if kinds.is_dictionary(kind) else kind
    return any(is_kind(kind) for is_kind in _KINDS)


def is_number(kind: pa.DataType) -> bool:
    kind = kind.value_type if kinds.is_dictionary(kind) else kind
    return any(is_kind(kind) for is_kind in (kinds.is_integer, kinds.is_floating, kinds.is_decimal))


def as_keys(values: pa.Array, *, numbers: bool) -> pa.Array:
    """The values as trimmed text. Null, blank text and NaN are no key and become null.

    Floating-point numbers have the fewest digits and no exponent; whole ones have no decimal point and, within 64 bits,
    all of their digits. Decimals keep the digits of their scale, unless both sides are `numbers`. Dates and times are
    ISO 8601 without trailing zeros in the seconds; timestamps with a zone are in UTC and end in Z.
    """
    trimmed = pc.utf8_trim_whitespace(_text(values, numbers=numbers))
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def _text(values: pa.Array, *, numbers: bool) -> pa.Array:
    if kinds.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if kinds.is_floating(kind):
        return _float_text(values)
    if kinds.is_decimal(kind):
        text = _without_exponent(values.cast(pa.string()))
        return _strip_zeros(text) if numbers else text
    if kinds.is_timestamp(kind):
        moment = _strip_zeros(values.cast(pa.timestamp(kind.unit)).cast(pa.string()))
        iso = pc.replace_substring(moment, " ", "T", max_replacements=1)
        return iso if kind.tz is None else pc.binary_join_element_wise(iso, "Z", "")
    text = values.cast(pa.string())
    return _strip_zeros(text) if kinds.is_time(kind) else text


def _float_text(values: pa.Array) -> pa.Array:
    number = values.cast(pa.float64())
    is_whole = pc.and_(pc.equal(pc.floor(number), number), pc.less(pc.abs(number), _INT64))
    whole = pc.if_else(is_whole, number, pa.scalar(None, pa.float64())).cast(pa.int64()).cast(pa.string())
    other = pc.if_else(pc.is_nan(number), pa.scalar(None, pa.string()), values.cast(pa.string()))
    return pc.coalesce(whole, _without_exponent(other))


def _without_exponent(text: pa.Array) -> pa.Array:
    """Numbers without an exponent."""
    has_exponent = pc.fill_null(pc.match_substring_regex(text, "[0-9][eE]"), False)
    if not has_exponent.true_count:
        return text
    found = [format(Decimal(each), "f") for each in text.filter(has_exponent).to_pylist()]
    return pc.replace_with_mask(text, has_exponent, pa.array(found, pa.string()))


def _strip_zeros(text: pa.Array) -> pa.Array:
    """Without zeros at the end of the fraction."""
    shorter = pc.utf8_rtrim(pc.utf8_rtrim(text, characters="0"), characters=".")
    return pc.if_else(pc.match_substring(text, "."), shorter, text)


def fill_keys(keys: pa.Array, others: pa.Array, where: npt.NDArray[np.bool_], *, numbers: bool) -> tuple[pa.Array, int]:
    """(`keys` with the values of `others` for the rows in `where`, how many of those were lost).

    A key is lost, and null, if no value of the type of `keys` has the same text.
    """
    mask = pa.array(where)
    if others.type == keys.type:
        return _if_else(mask, others, keys), 0
    wanted = pc.if_else(mask, as_keys(others, numbers=numbers), pa.scalar(None, pa.string()))
    fitting = _parse(wanted, keys.type.value_type if kinds.is_dictionary(keys.type) else keys.type)
    same = pc.fill_null(pc.equal(as_keys(fitting, numbers=numbers), wanted), False)
    kept = pc.if_else(same, fitting, pa.scalar(None, fitting.type))
    return _if_else(mask, kept, keys), len(wanted) - wanted.null_count - same.true_count


def _if_else(mask: pa.Array, yes: pa.Array, no: pa.Array) -> pa.Array:
    plain = [each.dictionary_decode() if kinds.is_dictionary(each.type) else each for each in (yes, no)]
    found = pc.if_else(mask, *plain)
    return found.cast(no.type) if found.type != no.type else found


def _parse(text: pa.Array, kind: pa.DataType) -> pa.Array:
    """The text as values of that type; null where it cannot be parsed."""
    try:
        return text.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        distinct = text.dictionary_encode()
        words = distinct.dictionary
        return pa.concat_arrays([_parse_one(words.slice(i, 1), kind) for i in range(len(words))]).take(distinct.indices)


def _parse_one(text: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        return text.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.nulls(1, kind)
