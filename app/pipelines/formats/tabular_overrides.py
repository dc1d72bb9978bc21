"""Types that a manifest names for columns: a value that is not of its column's type sets its row aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from app.errors import RunRefused
from app.models.manifest_rules import column_type
from app.models.nearest import nearest
from app.pipelines.formats.tabular_types import kind_of

# What a value looks like before Arrow is asked: it also reads 0x10, 1 for true, and numbers between blanks.
_LOOKS = {
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


def arrow_type(name: str) -> pa.DataType:
    """The Arrow type of a type name that the manifest's rules let through."""
    found = column_type(name)
    if found is None:
        raise ValueError(f"{name!r} is no column type")
    kind, precision, scale = found
    types = {
        "text": pa.string(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "bool": pa.bool_(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us"),
        "timestamp_utc": pa.timestamp("us", "UTC"),
        "time": pa.time64("us"),
    }
    return pa.decimal128(precision, scale) if kind == "decimal" else types[kind]


def types_by_column(
    types: Mapping[str, str], names: Sequence[str], cleaned: Sequence[str], file: str
) -> dict[int, pa.DataType]:
    """{number of the column: its type}. A column is named as the source spells it, or as it is called here.

    Raises RunRefused column_unknown: no column of that name, or several.
    """
    found: dict[int, pa.DataType] = {}
    for name, wanted in types.items():
        places = [at for at, each in enumerate(names) if each == name]
        places = places or [at for at, each in enumerate(cleaned) if each == name]
        if len(places) != 1:
            near = nearest(name, [*names, *cleaned])
            hint = f"Did you mean {near!r}? " if near else ""
            what = f"{len(places)} columns" if places else "no column"
            raise RunRefused(
                f"{file} has {what} {name!r}, which files[].options.types names.",
                f"{hint}Its columns: {', '.join(map(repr, list(cleaned)[:50]))}.",
                reason="column_unknown",
                file=file,
            )
        found[places[0]] = arrow_type(wanted)
    return found


def convert_asked(array: pa.Array, to: pa.DataType) -> tuple[pa.Array, npt.NDArray[np.bool_] | None]:
    """(the array as `to`, null where a value is not of it; which values those are, None when there are none)."""
    if pa.types.is_string(to):
        return array, None
    looks = pc.fill_null(pc.match_substring_regex(array, _LOOKS[kind_of(to)]), True)
    wrong = ~looks.to_numpy(zero_copy_only=False)
    kept = pc.if_else(looks, array, None) if wrong.any() else array
    made = _made(kept, to)
    if made is None:
        wrong = wrong | _unfit(kept, to)
        made = _made(pc.if_else(pa.array(~wrong), array, None), to)
    return made, wrong if wrong.any() else None


def _unfit(array: pa.Array, to: pa.DataType) -> npt.NDArray[np.bool_]:
    """Which values do not convert; halves that convert as a whole are not looked at again."""
    unfit = np.zeros(len(array), np.bool_)
    parts = [(0, len(array))]
    while parts:
        start, size = parts.pop()
        if _made(array.slice(start, size), to) is not None:
            continue
        if size == 1:
            unfit[start] = True
            continue
        half = size // 2
        parts += [(start, half), (start + half, size - half)]
    return unfit


def _made(array: pa.Array, to: pa.DataType) -> pa.Array | None:
    texts = array
    if kind_of(to) in ("int64", "float64", "decimal"):
        texts = pc.replace_substring_regex(array, r"^\+", "")
    if kind_of(to) == "int64":
        texts = pc.replace_substring_regex(texts, r"^(-?)0+([0-9])", r"\1\2")
    try:
        if pa.types.is_time(to):
            return pc.cast(pc.cast(pc.binary_join_element_wise("1970-01-01T", texts, ""), pa.timestamp("us")), to)
        made = pc.cast(texts, to)
    except pa.ArrowInvalid:
        return None
    if pa.types.is_floating(to) and pc.any(pc.and_(pc.is_inf(made), pc.match_substring_regex(texts, "[0-9]"))).as_py():
        return None
    return made
