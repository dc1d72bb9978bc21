"""Which columns the properties of GeoJSON features make, and their values as Arrow arrays.

The types depend on what kinds of values occur, not on their size, so that two files of one kind have one schema:
int64, float64 (also integers and fractions mixed), bool, string, lists of these. All other values (objects, nested or
mixed lists, text mixed with numbers, integers beyond 64 bits) are kept as text: strings as they are, the others as
JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_EXACT = 2**53
_SCALARS: dict[type, str] = {bool: "bool", int: "int", float: "float", str: "str"}
_ARROW = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "str": pa.string()}


@dataclass(slots=True)
class Column:
    """What was seen of one property."""

    kinds: set[str] = field(default_factory=set)
    largest: int = 0

    def observe(self, values: Sequence[Any]) -> None:
        for kind in set(map(type, values)):
            if kind in _SCALARS:
                self.kinds.add(_SCALARS[kind])
            elif kind is list:
                self.kinds |= {_list_kind(value) for value in values if type(value) is list}
            elif kind is dict:
                self.kinds.add("json")
        if int in set(map(type, values)):
            self.largest = max(self.largest, *(_beyond(v) for v in values if type(v) is int))
        if "list<int>" in self.kinds:
            lists = (v for v in values if type(v) is list)
            self.largest = max((self.largest, *(_beyond(i) for v in lists for i in v if type(i) is int)))

    def observe_array(self, values: pa.Array) -> None:
        """The same for values of the type that the column has so far (not for lists)."""
        if values.null_count == len(values):
            return
        if pa.types.is_string(values.type):
            self.kinds.add("str")
        elif pa.types.is_integer(values.type):
            self.kinds.add("int")
            bounds = pc.min_max(values).as_py()
            self.largest = max(self.largest, _beyond(bounds["min"]), _beyond(bounds["max"]))

    @property
    def arrow_type(self) -> pa.DataType:
        if not self.kinds:
            return pa.string()
        if self.kinds <= {"int", "float"}:
            return _number_type("float" in self.kinds, self.largest) or pa.string()
        if len(self.kinds) == 1 and (kind := next(iter(self.kinds))) in _ARROW:
            return _ARROW[kind]
        inner = {kind[5:-1] for kind in self.kinds if kind.startswith("list<")}
        if inner and all(kind.startswith("list<") for kind in self.kinds):
            inner.discard("")
            if inner and inner <= {"int", "float"}:
                item = _number_type("float" in inner, self.largest)
                return pa.list_(item) if item else pa.string()
            if len(inner) <= 1:
                return pa.list_(_ARROW[inner.pop()] if inner else pa.string())
        return pa.string()

    @property
    def is_json(self) -> bool:
        """Whether every text in the column is JSON."""
        return self.arrow_type == pa.string() and bool(self.kinds) and "str" not in self.kinds

    @property
    def is_mixed(self) -> bool:
        return self.arrow_type == pa.string() and "str" in self.kinds and len(self.kinds) > 1


def _number_type(has_fractions: bool, largest: int) -> pa.DataType | None:
    """None where integers would not come through exactly."""
    if has_fractions:
        return pa.float64() if largest <= _EXACT else None
    return pa.int64() if largest < 2**63 else None


def _beyond(value: int) -> int:
    return value if value >= 0 else -value - 1


def _list_kind(value: list[Any]) -> str:
    """`list<int>` and so on; `list<>` without any value; `json` for a nested or mixed list."""
    kinds = {type(item) for item in value} - {type(None)}
    if not kinds:
        return "list<>"
    if kinds <= {int, float}:
        return "list<float>" if float in kinds else "list<int>"
    if len(kinds) == 1 and (kind := next(iter(kinds))) in _SCALARS:
        return f"list<{_SCALARS[kind]}>"
    return "json"


def observe(columns: dict[str, Column], records: Sequence[Mapping[str, Any]], most: int) -> None:
    """Add what these records hold. Columns come in the order in which their names are first seen; of records with
    more than `most` different names only the names are taken."""
    shapes = set(map(tuple, records))
    if len(shapes) == 1:
        names: Sequence[str] = next(iter(shapes))
        by_name = dict(zip(names, zip(*(record.values() for record in records), strict=True), strict=True))
    else:
        names = list(dict.fromkeys(name for record in records for name in record))
        if len(names) > most:  # a table of so many columns and rows has no room in memory
            columns.update((name, Column()) for name in names if name not in columns)
            return
        by_name = {name: tuple(record.get(name) for record in records) for name in names}
    for name in names:
        columns.setdefault(name, Column()).observe(by_name[name])


def to_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Values as an array of `kind`; null for None. What is not text becomes JSON in a text column."""
    if not pa.types.is_string(kind):
        return pa.array(values, kind)
    if set(map(type, values)) <= {str, type(None)}:
        return pa.array(values, kind)
    return pa.array([v if v is None or type(v) is str else as_json(v) for v in values], kind)


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
