"""Whether two readers mean the same: by value and by kind of value, never by its text or its width."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

import numpy as np
import shapely

from differential.case import Found, Moment, Shapes, Written
from differential.values import microseconds

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where two readings differ.

    Attributes:
        where: name of the column, `geometry`, `columns` or `rows`.
        row: from 0; None where it is about the whole.
        wanted: what the file holds.
        found: what the reader made of it.
    """

    where: str
    row: int | None
    wanted: Any
    found: Any


def differences(written: Written, found: Found) -> Iterator[Difference]:
    """All places where `found` is not what the file holds."""
    wanted = written.holds
    names, others = list(wanted.columns), list(found.columns)
    if names != others:
        yield Difference("columns", None, names, others)
    if len(names) != len(others):
        return
    for name, (values, theirs) in zip(
        names, zip(wanted.columns.values(), found.columns.values(), strict=True), strict=True
    ):
        if len(values) != len(theirs):
            yield Difference("rows", None, len(values), len(theirs))
            return
        for row, (value, other) in enumerate(zip(values, theirs, strict=True)):
            if not (
                same(value, other)
                or (written.as_text and isinstance(value, str) and reads_as(value, other))
                or (found.is_text and isinstance(other, str) and reads_as(other, value))
            ):
                yield Difference(name, row, value, other)
    if wanted.shapes is not None:
        yield from _of_shapes(wanted.shapes, found.shapes, written.places)


def _of_shapes(wanted: Shapes, found: Shapes | None, places: int | None) -> Iterator[Difference]:
    if found is None or len(found) != len(wanted):
        yield Difference("geometry", None, len(wanted), None if found is None else len(found))
        return
    for row, (one, other) in enumerate(zip(wanted, found, strict=True)):
        if not _are_same_shapes(one, other, places):
            yield Difference("geometry", row, _wkt(one), _wkt(other))


def _are_same_shapes(one: Any, other: Any, places: int | None) -> bool:
    """Whether they have the same parts, rings and vertices, wherever a ring begins and turns."""
    if one is None or other is None:
        return one is None and other is None
    if places is None:
        return _key(one) == _key(other)
    # A format that rounds has multi geometries only, or may have them.
    first, second = (_key(_parts(each), places) for each in (one, other))
    return first == second


def rounded(geometry: Any, places: int) -> Any:
    return shapely.transform(geometry, lambda found: np.round(found, places) + 0.0, include_z=shapely.has_z(geometry))


def _parts(geometry: Any) -> Any:
    return shapely.GeometryCollection(list(shapely.get_parts(geometry)))


def _key(geometry: Any, places: int | None = None) -> bytes:
    if places is not None:
        geometry = rounded(geometry, places)
    return bytes(shapely.to_wkb(shapely.normalize(geometry), flavor="iso", byte_order=1))


def _wkt(geometry: Any) -> str | None:
    return None if geometry is None else shapely.to_wkt(geometry, rounding_precision=-1)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of one kind. A number is a number, be it whole or not."""
    return _canonical(one) == _canonical(other)


def _canonical(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bytes | bool | Moment):
        return (type(value).__name__, value)
    if isinstance(value, datetime):
        return ("Moment", Moment(microseconds(value) * 1000, value.tzinfo is not None))
    if isinstance(value, int | float | Decimal):
        has_fraction = math.isfinite(value) and not (value == 0 and math.copysign(1, value) < 0)
        return ("number", Fraction(value) if has_fraction else repr(float(value)))
    return (type(value).__name__, value)


def reads_as(text: str, value: Any) -> bool:
    """Whether a typed value is what this text says, with nothing lost."""
    match value:
        case None:
            return text == ""
        case bool():
            return text.lower() == str(value).lower()
        case int() | float() | Decimal():
            return bool(_NUMBER.fullmatch(text)) and _is_number(text, value)
        case Moment() | datetime():
            return _is_moment(text, value)
    return text == str(value)


def _is_moment(text: str, value: Any) -> bool:
    try:
        return same(datetime.fromisoformat(text), value)
    except ValueError:
        return False


def _is_number(text: str, value: float | Decimal) -> bool:
    try:
        exact = Decimal(text)
    except InvalidOperation:
        return False
    if not isinstance(value, float):
        return exact == value
    return float(text) == value and math.copysign(1, float(text)) == math.copysign(1, value)


def shown(value: Any, most: int = 160) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def listed(found: Sequence[Difference], most: int = 4) -> list[str]:
    lines = [
        f"{each.where}{'' if each.row is None else f', row {each.row}'}: the file has {shown(each.wanted)}, "
        f"found {shown(each.found)}"
        for each in found[:most]
    ]
    return lines + ([f"and {len(found) - most} more"] if len(found) > most else [])
