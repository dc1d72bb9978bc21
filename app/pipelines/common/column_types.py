"""The types that a manifest can declare for columns, and how text becomes values of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from app.messages.common import TYPED_COLUMN_UNKNOWN
from app.models.manifests.nearest import nearest
from app.models.manifests.rules import column_type

ARROW_TYPES = {
    "text": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamp_utc": pa.timestamp("us", "UTC"),
    "time": pa.time64("us"),
}
# Checked before Arrow converts: it would also accept 0x10, 1 for true, and numbers between blanks.
_PATTERNS = {
    "int64": r"^[+-]?[0-9]+$",
    "float64": r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$|^(?i)[+-]?(nan|inf|infinity)$",
    "decimal": r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)$",
    "bool": r"^(?i)(true|false)$",
    "date": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
    "timestamp": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?)?$",
    "timestamp_utc": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?"
    r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)$",
    "time": r"^[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?$",
}

Mask = npt.NDArray[np.bool_]


def arrow_type(name: str) -> pa.DataType:
    """The Arrow type for a type name of the manifest. Raises ValueError for a name that its rules do not allow."""
    found = column_type(name)
    if found is None:
        raise ValueError(f"{name!r} is not a column type")
    kind, precision, scale = found
    return pa.decimal128(precision, scale) if kind == "decimal" else ARROW_TYPES[kind]


def kind_of(to: pa.DataType) -> str:
    """The kind of a type, as the manifest names it; `text` for all others."""
    if pa.types.is_decimal(to):
        return "decimal"
    if pa.types.is_timestamp(to):
        return "timestamp_utc" if to.tz else "timestamp"
    if pa.types.is_time(to):
        return "time"
    return {pa.bool_(): "bool", pa.int64(): "int64", pa.float64(): "float64", pa.date32(): "date"}.get(to, "text")


def manifest_type_name(to: Any) -> str:
    """The type as a manifest names it."""
    kind = kind_of(to)
    return f"decimal({to.precision},{to.scale})" if kind == "decimal" else kind


def types_by_column(
    types: Mapping[str, str], names: Sequence[str], cleaned: Sequence[str], file: str
) -> dict[int, pa.DataType]:
    """The declared types as {number of the column: Arrow type}.

    Args:
        types: {column: type}; a column is named as in the source or by its cleaned name.

    Raises:
        RunRefused: column_unknown, when no column or several have the name.
    """
    return {find_column(name, names, cleaned, file, "types"): arrow_type(wanted) for name, wanted in types.items()}


def find_column(name: str, names: Sequence[str], cleaned: Sequence[str], file: str, option: str) -> int:
    """The number of a column that is named as in the source or by its cleaned name.

    Args:
        option: of files[].options, which names the column.

    Raises:
        RunRefused: column_unknown, when no column or several have the name.
    """
    places = [at for at, each in enumerate(names) if each == name]
    places = places or [at for at, each in enumerate(cleaned) if each == name]
    if len(places) != 1:
        near = nearest(name, [*names, *cleaned])
        hint = f"Did you mean {near!r}? " if near else ""
        listed = ", ".join(map(repr, list(cleaned)[:50]))
        raise TYPED_COLUMN_UNKNOWN(file=file, number=len(places), name=name, option=option, hint=hint, columns=listed)
    return places[0]


def from_text(array: pa.Array, to: pa.DataType) -> tuple[pa.Array, Mask | None]:
    """(the array as `to`, null for values of another type; a mask of those values, None if all values fit)."""
    matches = pc.fill_null(pc.match_substring_regex(array, _PATTERNS[kind_of(to)]), True)
    wrong = ~matches.to_numpy(zero_copy_only=False)
    kept = pc.if_else(matches, array, None) if wrong.any() else array
    converted = _convert(kept, to)
    if converted is None:
        wrong = wrong | misfits(kept, lambda part: _convert(part, to) is not None)
        converted = _convert(pc.if_else(pa.array(~wrong), array, None), to)
    return converted, wrong if wrong.any() else None


def misfits(array: pa.Array, fits: Any) -> Mask:
    """Mask of the values that do not fit, found by halving the array. fits: says whether all values of a part do."""
    found = np.zeros(len(array), np.bool_)
    parts = [(0, len(array))]
    while parts:
        start, size = parts.pop()
        if fits(array.slice(start, size)):
            continue
        if size == 1:
            found[start] = True
            continue
        half = size // 2
        parts += [(start, half), (start + half, size - half)]
    return found


def _convert(array: pa.Array, to: pa.DataType) -> pa.Array | None:
    texts = array
    if kind_of(to) in ("int64", "float64", "decimal"):
        texts = pc.replace_substring_regex(array, r"^\+", "")
    if kind_of(to) == "int64":
        texts = pc.replace_substring_regex(texts, r"^(-?)0+([0-9])", r"\1\2")
    try:
        if pa.types.is_time(to):
            return pc.cast(pc.cast(pc.binary_join_element_wise("1970-01-01T", texts, ""), pa.timestamp("us")), to)
        converted = pc.cast(texts, to)
    except pa.ArrowInvalid:
        return None
    if (
        pa.types.is_floating(to)
        and pc.any(pc.and_(pc.is_inf(converted), pc.match_substring_regex(texts, "[0-9]"))).as_py()
    ):
        return None
    return converted
