"""Conditions over rows: CQL2 text becomes a tree of nodes, with its size and depth bounded.

Of CQL2 there are comparisons, AND, OR, NOT, IS NULL, BETWEEN, IN, LIKE, CASEI, ACCENTI, + - * /, dates and timestamps,
and the simple spatial relations of the geometry with a literal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TypeAlias

import cql2

from app.messages.manifest import WHERE_COMPLEX, WHERE_NOT_SUPPORTED, WHERE_SYNTAX
from app.models.json_values import shown
from app.models.problem_text import wrong

MOST_CHARACTERS = 10_000
# The parser calls itself for each of them, and a crash of it would be one of the process.
MOST_PARENTHESES, MOST_OPERATORS = 30, 200
_NEAR = 20


@dataclass(frozen=True, slots=True)
class Property:
    """A column of the source, or `geom`, its geometry."""

    name: str


@dataclass(frozen=True, slots=True)
class Literal:
    """A value. Timestamps are UTC. Numbers are exact: see `_check_numbers`."""

    value: str | float | bool | date | datetime


@dataclass(frozen=True, slots=True)
class Shape:
    """A geometry, x before y: as a GeoJSON object, or as (minx, miny, maxx, maxy)."""

    value: Mapping[str, Any] | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Null:
    """The word NULL."""


@dataclass(frozen=True, slots=True)
class Call:
    """An operator or function, by its name in CQL2's JSON, with its arguments."""

    op: str
    args: tuple[Node, ...]


Node: TypeAlias = Property | Literal | Shape | Null | Call

COMPARISONS = ("=", "<>", "<", "<=", ">", ">=")
ARITHMETIC = ("+", "-", "*", "/")
LOGIC = ("and", "or", "not")
TEXT = ("casei", "accenti")
SPATIAL = ("s_intersects", "s_disjoint", "s_equals", "s_within", "s_contains", "s_touches", "s_crosses", "s_overlaps")
_TEMPORAL = {"t_after": ">", "t_before": "<", "t_equals": "="}
_INTERVALS = {"t_during": (">", "<"), "t_intersects": (">=", "<=")}
_ARGUMENTS = {
    **dict.fromkeys((*COMPARISONS, *ARITHMETIC, *SPATIAL, *_TEMPORAL, *_INTERVALS, "in", "like"), 2),
    **dict.fromkeys((*TEXT, "not", "isNull"), 1),
    "between": 3,
}

_TOKEN = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | (?P<number>[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?) | (?P<word>\w[\w.:]*)
    | (?P<open>\() | (?P<close>\)) | (?P<sign><>|<=|>=|!=|[-+*/^%<>=!])
    | ,\s*-(?=[0-9]) # the sign of a number in a list""",
    re.VERBOSE,
)
_SHAPES = re.compile(r"(multi)?(point|linestring|polygon)|geometrycollection|bbox", re.IGNORECASE)
_OPERATORS = frozenset({"and", "or", "not", "is", "in", "like", "between", "div"})
_PLACE = re.compile(r"-->\s*(\d+):(\d+)")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z")


def parse(text: str) -> Node:
    """The tree of a condition.

    Raises:
        PydanticCustomError: where_too_complex, where_syntax with the place, where_not_supported with all that is.
    """
    _check_size(text)
    try:
        raw = cql2.parse_text(text).to_json()
    except Exception as err:  # the library raises plain ones for some faults
        raise _syntax(text, str(err)) from None
    reader = _Reader()
    node = reader.node(raw)
    problems = [*reader.problems, *_inexact_numbers(text)]
    if problems:
        raise wrong(WHERE_NOT_SUPPORTED, problems=listed(problems))
    return node


def listed(problems: Sequence[str]) -> str:
    """The first problems as one text."""
    found = list(dict.fromkeys(problems))
    return " ".join(found[:5]) + (f" And {len(found) - 5} more." if len(found) > 5 else "")


def exact(number: float) -> Decimal:
    """The number that was written, of a literal that `parse` accepted."""
    if number.is_integer() and abs(number) <= 2**64:
        return Decimal(int(number))
    return Decimal(repr(number))


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it."""
    yield node
    for each in node.args if isinstance(node, Call) else ():
        yield from walk(each)


def _tokens(text: str) -> Iterator[tuple[re.Match[str], int, bool]]:
    """(token, open parentheses, whether it is part of a spatial literal)."""
    depth, outside, before = 0, -1, ""
    for token in _TOKEN.finditer(text):
        if token["open"]:
            depth += 1
            if outside < 0 and _SHAPES.fullmatch(before):
                outside = depth - 1
        elif token["close"]:
            depth -= 1
        yield token, depth, outside >= 0
        if depth <= outside:
            outside = -1
        # POINT Z (…)
        before = before if before and token["word"] in ("Z", "z") else token["word"] or ""


def _check_size(text: str) -> None:
    operators = deepest = 0
    for token, depth, is_shape in _tokens(text):
        deepest = max(deepest, depth)
        operators += not is_shape and (bool(token["sign"]) or (token["word"] or "").lower() in _OPERATORS)
    if operators > MOST_OPERATORS or deepest > MOST_PARENTHESES:
        raise wrong(WHERE_COMPLEX, operators=MOST_OPERATORS, parentheses=MOST_PARENTHESES)


def _inexact_numbers(text: str) -> Iterator[str]:
    """Numbers are 64-bit floats in the tree: one that is not equal to its float would be compared as another."""
    for token, _, is_shape in _tokens(text):
        number = token["number"]
        if number and not is_shape and Decimal(number) != exact(float(number)):
            yield f"The number {shown(number)[1:-1]} is not exact as a 64-bit float: give at most 15 digits."


def _syntax(text: str, error: str) -> Exception:
    place = _PLACE.search(error)
    if place is None:
        return wrong(WHERE_SYNTAX, at=1, near=shown(text[:_NEAR]))
    lines = text.split("\n")
    at = sum(len(line) + 1 for line in lines[: int(place[1]) - 1]) + int(place[2])
    near = shown(text[at - 1 : at - 1 + _NEAR]) if at <= len(text) else "the end"
    return wrong(WHERE_SYNTAX, at=at, near=near)


class _Reader:
    """Makes nodes of CQL2's JSON. problems: what is not supported; the node is of no use then."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._kinds: dict[str, Callable[[dict[str, Any]], Node]] = {
            "op": lambda raw: self._call(str(raw["op"]), raw["args"]),
            "property": lambda raw: Property(str(raw["property"])),
            "date": lambda raw: self._instant(raw["date"], is_date=True),
            "timestamp": lambda raw: self._instant(raw["timestamp"], is_date=False),
            "bbox": lambda raw: self._box(raw["bbox"]),
            "type": Shape,
        }

    def node(self, raw: Any) -> Node:
        if isinstance(raw, str | float | bool):
            return Literal(raw)
        if isinstance(raw, dict):
            known = next((name for name in self._kinds if name in raw), None)
            if known is not None:
                return self._kinds[known](raw)
        return Null() if raw is None else self._problem("An array or interval stands where it has no meaning.")

    def _problem(self, text: str) -> Node:
        self.problems.append(text)
        return Null()

    def _call(self, op: str, args: list[Any]) -> Node:
        name = op if op in _ARGUMENTS or op in LOGIC else op.lower()
        if name not in _ARGUMENTS and name not in LOGIC:
            known = ", ".join((*SPATIAL, *_TEMPORAL, *_INTERVALS, *TEXT))
            return self._problem(f"{shown(op)} is not supported. Functions: {known}. Arithmetic: + - * /.")
        if len(args) != _ARGUMENTS.get(name, len(args)):
            return self._problem(f"{name} takes {_ARGUMENTS[name]} arguments, not {len(args)}.")
        if name in _INTERVALS:
            return self._interval(name, args)
        if name == "in":
            items = args[1] if isinstance(args[1], list) else [args[1]]
            return Call("in", (self.node(args[0]), *map(self.node, items)))
        found = tuple(map(self.node, args))
        if name == "between":
            return Call("and", (Call(">=", found[:2]), Call("<=", (found[0], found[2]))))
        return Call(_TEMPORAL.get(name, name), found)

    def _interval(self, name: str, args: list[Any]) -> Node:
        """`t_during` and `t_intersects` of an instant and an interval, as comparisons with its ends."""
        value = self.node(args[0])
        if not isinstance(args[1], dict) or "interval" not in args[1]:
            return (
                Call("=", (value, self.node(args[1])))
                if name == "t_intersects"
                else self._problem(f"{name} takes an instant and an INTERVAL.")
            )
        ends = args[1]["interval"]
        if len(ends) != 2 or all(each == ".." for each in ends):
            return self._problem("An INTERVAL has two ends, of which one may be '..'.")
        found = [
            Call(op, (value, self._end(end))) for op, end in zip(_INTERVALS[name], ends, strict=True) if end != ".."
        ]
        return found[0] if len(found) == 1 else Call("and", tuple(found))

    def _end(self, end: Any) -> Node:
        return self._instant(end, is_date="T" not in end) if isinstance(end, str) else self.node(end)

    def _instant(self, text: Any, *, is_date: bool) -> Node:
        try:
            if is_date and len(text) == 10:
                return Literal(date.fromisoformat(text))
            if not is_date and _TIME.fullmatch(text):
                return Literal(datetime.fromisoformat(text).astimezone(UTC))
        except (TypeError, ValueError):
            pass
        return self._problem(
            f"{shown(text)} is not a {'date' if is_date else 'timestamp'}: write DATE('2026-01-31') or "
            "TIMESTAMP('2026-01-31T12:00:00Z')."
        )

    def _box(self, sides: Any) -> Node:
        if len(sides) != 4 or not all(isinstance(side, int | float) for side in sides):
            return self._problem("BBOX takes four numbers: minx, miny, maxx, maxy.")
        if sides[0] > sides[2] or sides[1] > sides[3]:
            return self._problem("BBOX takes minx, miny, maxx, maxy, each maximum not below its minimum.")
        return Shape(tuple(map(float, sides)))
