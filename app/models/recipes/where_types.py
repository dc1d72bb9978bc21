"""What the parts of a condition are, and whether they fit together."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal as OneOf
from typing import TypeAlias

from app.models.json_values import shown
from app.models.products import GEOMETRY
from app.models.recipes.where import (
    ARITHMETIC,
    COMPARISONS,
    LOGIC,
    SPATIAL,
    TEXT,
    Call,
    Literal,
    Node,
    Null,
    Property,
    Shape,
)

# `other`: a column that can only be asked whether it is null.
Kind: TypeAlias = OneOf["condition", "number", "text", "date", "timestamp", "geometry", "other"]

_LITERALS: dict[type, Kind] = {bool: "condition", float: "number", str: "text"}


def type_problems(node: Node, kinds: Callable[[str], Kind | None]) -> list[str]:
    """What is wrong with the types of a condition.

    Args:
        node: the whole condition.
        kinds: the kind of a column; None for one that is not known (yet), which fits everywhere.
    """
    found = _Types(kinds)
    found.want(node, "condition", "The condition as a whole")
    return found.problems


class _Types:
    def __init__(self, kinds: Callable[[str], Kind | None]) -> None:
        self._kinds, self.problems = kinds, list[str]()
        self._checks: dict[str, Callable[[Call], None]] = {
            **dict.fromkeys(COMPARISONS, self._compare),
            **dict.fromkeys(ARITHMETIC, lambda call: self._want_all(call, "number")),
            **dict.fromkeys(TEXT, lambda call: self._want_all(call, "text")),
            **dict.fromkeys(LOGIC, lambda call: self._want_all(call, "condition")),
            **dict.fromkeys(SPATIAL, self._relation),
            "in": self._in,
            "like": self._like,
            "isNull": lambda call: self._want_all(call, None),
        }

    def want(self, node: Node, wanted: Kind | None, what: str) -> None:
        kind = self.kind(node)
        if kind not in (wanted, None) and wanted is not None:
            self.problems.append(f"{what} has to be a {wanted}; {_named(node)} is a {kind}.")

    def kind(self, node: Node) -> Kind | None:
        match node:
            case Call(op, _):
                self._checks[op](node)
                return "number" if op in ARITHMETIC else "text" if op in TEXT else "condition"
            case Property(name):
                return "geometry" if name == GEOMETRY else self._kinds(name)
            case Literal(value):
                return _LITERALS.get(type(value)) or ("timestamp" if isinstance(value, datetime) else "date")
            case Null():
                self.problems.append("NULL is never true in a comparison: write IS NULL or IS NOT NULL.")
                return None
        return "geometry"

    def _want_all(self, call: Call, wanted: Kind | None) -> None:
        for each in call.args:
            self.want(each, wanted, f"What {call.op.upper()} is used with")

    def _compare(self, call: Call) -> None:
        (left, right), (a, b) = call.args, map(self.kind, call.args)
        for kind, node in ((a, left), (b, right)):
            if kind in ("geometry", "other"):
                how = f"Use {', '.join(SPATIAL[:3])}, …" if kind == "geometry" else "It can only be asked IS NULL"
                self.problems.append(f"{_named(node)} cannot be compared with {call.op}. {how}.")
                return
        if a is None or b is None:
            return
        if a != b:
            self.problems.append(f"{_named(left)} is a {a} and {_named(right)} a {b}.")
        elif a == "condition" and call.op not in ("=", "<>"):
            self.problems.append(f"{_named(left)} is a condition, which can only be compared with = and <>.")

    def _in(self, call: Call) -> None:
        for each in call.args[1:]:
            if isinstance(_inner(each), Literal):
                self._compare(Call("=", (call.args[0], each)))
            else:
                self.problems.append("The list of IN has to be of literals, without NULL.")

    def _like(self, call: Call) -> None:
        self._want_all(call, "text")
        if not isinstance(_inner(call.args[1]), Literal):
            self.problems.append("The pattern of LIKE has to be a literal.")

    def _relation(self, call: Call) -> None:
        if {type(each) for each in call.args if self.kind(each) == "geometry"} != {Property, Shape}:
            example = "POINT(9 50) or BBOX(8, 49, 9, 50)"
            self.problems.append(f"{call.op} takes {GEOMETRY} and a geometry such as {example}.")


def _inner(node: Node) -> Node:
    while isinstance(node, Call) and node.op in TEXT:
        node = node.args[0]
    return node


def _named(node: Node) -> str:
    match node:
        case Property(name):
            return shown(name)
        case Literal(value):
            return f"the value {value!r}" if isinstance(value, str) else f"the value {value}"
        case Call(op, _):
            return f"the result of {op}"
    return "a geometry" if isinstance(node, Shape) else "NULL"
