"""Conditions over rows, evaluated on Arrow arrays and GEOS geometries with SQL's three-valued logic."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from app.models.products import GEOMETRY
from app.models.recipes.where import (
    ARITHMETIC,
    COMPARISONS,
    LOGIC,
    SPATIAL,
    Call,
    Literal,
    Node,
    Property,
    Shape,
    exact,
    walk,
)
from app.models.recipes.where_types import Kind
from app.pipelines.common.shapes import Geometries

Value: TypeAlias = pa.Array | pa.Scalar

_COMPARE: dict[str, Callable[[Value, Value], Value]] = {
    "=": pc.equal, "<>": pc.not_equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal,
}  # fmt: skip
_SWAPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_ARITHMETIC = {"+": pc.add, "-": pc.subtract, "*": pc.multiply, "/": pc.divide}
# By how the geometry stands to the literal: GEOS is quickest where the prepared literal is the first of the two.
_RELATIONS = {
    "s_intersects": shapely.intersects, "s_disjoint": shapely.disjoint, "s_equals": shapely.equals,
    "s_within": shapely.contains, "s_contains": shapely.within, "s_touches": shapely.touches,
    "s_crosses": shapely.crosses, "s_overlaps": shapely.overlaps,
}  # fmt: skip
_INVERSE = {"s_within": "s_contains", "s_contains": "s_within"}
# Ticks of a second, by the unit of a timestamp.
_TICKS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Digits of a decimal, and of these behind the point, in which columns and literals are compared.
_DIGITS, _SCALE = 76, 38


def kind_of(kind: pa.DataType) -> Kind:
    """What a column of this type is in a condition."""
    types = pa.types
    if types.is_dictionary(kind):
        return kind_of(kind.value_type)
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    if types.is_string(kind) or types.is_large_string(kind):
        return "text"
    if types.is_boolean(kind):
        return "condition"
    if types.is_date(kind):
        return "date"
    return "timestamp" if types.is_timestamp(kind) else "other"


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows. geometries: makes their geometries, null where a row has none; called only where they are needed."""

    size: int
    columns: Sequence[pa.Array]
    geometries: Callable[[], Geometries]


class Condition:
    """A condition over the columns of one schema.

    Numbers are compared exactly where both sides are columns of whole numbers or decimals, or literals; everything else
    as 64-bit floats, as which + - * / compute, a division by zero being null. Text is compared by its bytes; timestamps
    without a zone count as UTC. Coordinates are planar, in the CRS of the source.
    """

    def __init__(self, node: Node, schema: pa.Schema) -> None:
        """Every property has to be a name of the schema, or `geom`, and the types have to fit: see `type_problems`."""
        self._node = node
        self._places = {name: at for at, name in enumerate(schema.names)}
        self._shapes = {id(each): geometry_of(each) for each in walk(node) if isinstance(each, Shape)}
        for geometry in self._shapes.values():
            shapely.prepare(geometry)
        self._calls: dict[str, Callable[[Call, Rows], Value]] = {
            **dict.fromkeys(COMPARISONS, lambda call, rows: self._compare(call.op, call.args, rows)),
            **dict.fromkeys(ARITHMETIC, self._compute),
            **dict.fromkeys(SPATIAL, self._relate),
            **dict.fromkeys(LOGIC, self._join),
            "in": self._in,
            "like": self._like,
            "isNull": self._is_null,
            "casei": lambda call, rows: _mapped(self._value(call.args[0], rows), str.casefold),
            "accenti": lambda call, rows: _mapped(self._value(call.args[0], rows), _without_accents),
        }

    def evaluate(self, rows: Rows) -> pa.BooleanArray:
        """True, false or null for each row. A relation that GEOS cannot compute is null."""
        found = self._value(self._node, rows)
        if isinstance(found, pa.Scalar):
            found = pa.array([found.as_py()] * rows.size, pa.bool_())
        return found.cast(pa.bool_())

    def _value(self, node: Node, rows: Rows) -> Value:
        match node:
            case Property(name):
                return _plain(rows.columns[self._places[name]])
            case Literal(value):
                return pa.scalar(value)
            case Call(op, _):
                return self._calls[op](node, rows)
        raise ValueError(f"no value: {node}")

    def _join(self, call: Call, rows: Rows) -> Value:
        values = (self._value(each, rows) for each in call.args)
        if call.op == "not":
            return pc.invert(next(values))
        return reduce(pc.and_kleene if call.op == "and" else pc.or_kleene, values)

    def _compute(self, call: Call, rows: Rows) -> Value:
        left, right = (_floats(self._value(each, rows)) for each in call.args)
        if call.op == "/":
            right = pc.if_else(pc.equal(right, 0.0), pa.scalar(None, pa.float64()), right)
        return _ARITHMETIC[call.op](left, right)

    def _in(self, call: Call, rows: Rows) -> Value:
        return reduce(pc.or_kleene, (self._compare("=", (call.args[0], each), rows) for each in call.args[1:]))

    def _like(self, call: Call, rows: Rows) -> Value:
        text, pattern = (self._value(each, rows) for each in call.args)
        return pc.match_like(text, pattern.as_py())

    def _is_null(self, call: Call, rows: Rows) -> Value:
        if call.args[0] == Property(GEOMETRY):
            return pa.array(shapely.is_missing(rows.geometries()))
        return pc.is_null(self._value(call.args[0], rows))

    def _compare(self, op: str, args: tuple[Node, ...], rows: Rows) -> Value:
        left, right = args
        if isinstance(left, Literal) and not isinstance(right, Literal):
            return self._compare(_SWAPPED.get(op, op), (right, left), rows)
        a, b = self._value(left, rows), self._value(right, rows)
        if isinstance(right, Literal) and isinstance(a, pa.Array):
            return _against(op, a, right.value)
        return _COMPARE[op](*_alike(a, b))

    def _relate(self, call: Call, rows: Rows) -> Value:
        literal = next(each for each in call.args if isinstance(each, Shape))
        relation = _RELATIONS[call.op if literal is call.args[1] else _INVERSE.get(call.op, call.op)]
        geometries, shape = rows.geometries(), self._shapes[id(literal)]
        unknown = shapely.is_missing(geometries)
        try:
            found = relation(shape, geometries)
        except shapely.errors.GEOSException:
            found = np.zeros(len(geometries), np.bool_)
            for row, geometry in enumerate(geometries):
                try:
                    found[row] = relation(shape, geometry)
                except shapely.errors.GEOSException:
                    unknown[row] = True
        return pa.array(found, pa.bool_(), mask=unknown)


def geometry_of(shape: Shape) -> shapely.Geometry:
    """The geometry of a literal. Raises ValueError for one that GEOS cannot make."""
    if isinstance(shape.value, tuple):
        return shapely.box(*shape.value)
    try:
        return shapely.from_geojson(json.dumps(shape.value))
    except shapely.errors.GEOSException as err:
        raise ValueError(str(err)) from None


def _plain(array: pa.Array) -> pa.Array:
    """The array in one of few types: int64, uint64, decimals, float64, text, booleans, dates, timestamps."""
    types, kind = pa.types, array.type
    if types.is_dictionary(kind):
        return _plain(array.cast(kind.value_type))
    if types.is_floating(kind):
        return array.cast(pa.float64())
    if types.is_integer(kind) and kind != pa.uint64():
        return array.cast(pa.int64())
    if types.is_date64(kind):
        return array.cast(pa.date32())
    return array.cast(pa.string()) if types.is_large_string(kind) else array


def _floats(value: Value) -> Value:
    return value if value.type == pa.float64() else pc.cast(value, pa.float64(), safe=False)


def _against(op: str, array: pa.Array, literal: object) -> Value:
    """A column against a literal of its kind."""
    kind = array.type
    if isinstance(literal, datetime):
        delta = literal - _EPOCH
        ticks = Fraction((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds, 1_000_000)
        return _whole(op, array.cast(pa.int64()), ticks * _TICKS[kind.unit])
    if isinstance(literal, bool | str | date):
        return _COMPARE[op](array, pa.scalar(literal))
    number = float(literal)  # type: ignore[arg-type] # numbers are left
    if pa.types.is_integer(kind):
        return _whole(op, array, Fraction(exact(number)))
    if pa.types.is_decimal(kind):
        written = exact(number)
        scale = max(kind.scale, -int(written.as_tuple().exponent))
        digits = max(kind.precision - kind.scale, written.adjusted() + 1)
        if scale <= _SCALE and digits <= _DIGITS - _SCALE:
            wide = pa.decimal256(_DIGITS, _SCALE)
            return _COMPARE[op](array.cast(wide), pa.scalar(written, wide))
    return _COMPARE[op](_floats(array), pa.scalar(number))


def _whole(op: str, array: pa.Array, number: Fraction) -> Value:
    """Whole numbers against any number, exactly."""
    below = math.floor(number)
    least, most = (0, 2**64 - 1) if array.type == pa.uint64() else (-(2**63), 2**63 - 1)
    if least <= below <= most:
        if below == number:
            return _COMPARE[op](array, pa.scalar(below, array.type))
        # No whole number is equal to it; less means at most the next one below.
        if op in ("<", "<=", ">", ">="):
            return _COMPARE["<=" if op in ("<", "<=") else ">"](array, pa.scalar(below, array.type))
    is_true = op == "<>" or (op in ("<", "<=")) == (below > most) if op not in ("=", "<>") else op == "<>"
    return pc.if_else(pc.is_null(array), pa.scalar(None, pa.bool_()), is_true)


def _alike(a: Value, b: Value) -> tuple[Value, Value]:
    """Two columns, or results of functions, in a type in which they can be compared."""
    types = pa.types
    if types.is_timestamp(a.type) and types.is_timestamp(b.type):
        unit = max(a.type.unit, b.type.unit, key=lambda each: _TICKS[each])
        return _ticks(a, unit), _ticks(b, unit)
    whole = [types.is_integer(each.type) or types.is_decimal(each.type) for each in (a, b)]
    if a.type == b.type or not (any(whole) or types.is_floating(a.type)):
        return a, b
    if all(whole):
        wide = pa.decimal256(_DIGITS, max(getattr(each.type, "scale", 0) for each in (a, b)))
        return pc.cast(_decimal(a), wide), pc.cast(_decimal(b), wide)
    return _floats(a), _floats(b)


def _ticks(value: Value, unit: str) -> Value:
    """Timestamps as whole numbers of ticks: Arrow compares none with a zone with one without."""
    numbers = pc.cast(value, pa.int64())
    factor = _TICKS[unit] // _TICKS[value.type.unit]
    return numbers if factor == 1 else pc.multiply(pc.cast(numbers, pa.decimal128(19, 0)), pa.scalar(Decimal(factor)))


def _decimal(value: Value) -> Value:
    return pc.cast(value, pa.decimal128(20, 0)) if pa.types.is_integer(value.type) else value


def _mapped(value: Value, function: Callable[[str], str]) -> Value:
    """A function of text, called once for each different text."""
    if isinstance(value, pa.Scalar):
        return pa.scalar(None if not value.is_valid else function(value.as_py()), pa.string())
    coded = pc.dictionary_encode(value)
    texts = pa.array([None if text is None else function(text) for text in coded.dictionary.to_pylist()], pa.string())
    return texts.take(coded.indices)


def _without_accents(text: str) -> str:
    return "".join(each for each in unicodedata.normalize("NFD", text) if not unicodedata.combining(each))
