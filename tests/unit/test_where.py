"""Conditions as manifests write them: what becomes of the text, and all that is refused before there is a run."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from app.models.manifests.faults import invalid_manifest
from app.models.manifests.manifest import Manifest
from app.models.recipes.where import (
    MOST_CHARACTERS,
    MOST_OPERATORS,
    MOST_PARENTHESES,
    Call,
    Literal,
    Property,
    Shape,
    parse,
)
from app.models.recipes.where_types import type_problems
from tests.unit.test_manifest import GOOD

A, ONE = Property("a"), Literal(1.0)


def refused(where: Any) -> tuple[str, str, str, str]:
    """(pointer, code, detail, fix) of the one fault of a manifest with this condition."""
    file = {"path": "s3://landing-zone/a.gpkg", "type": "vector", "format": "GPKG"}
    with pytest.raises(ValidationError) as caught:
        Manifest.model_validate({**GOOD, "intent": "ingest_vector", "files": [file], "recipe": {"where": where}})
    (fault,) = invalid_manifest(caught.value.errors()).faults
    return fault.pointer, fault.code, fault.detail, fault.fix


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a = 1", Call("=", (A, ONE))),
        ("NOT a=1 AND b", Call("and", (Call("not", (Call("=", (A, ONE)),)), Property("b")))),
        ("\"x y\" IS NOT NULL", Call("not", (Call("isNull", (Property("x y"),)),))),
        ("a NOT IN (1, 1)", Call("not", (Call("in", (A, ONE, ONE)),))),
        ("a BETWEEN 1 AND b", Call("and", (Call(">=", (A, ONE)), Call("<=", (A, Property("b")))))),
        ("a = DATE('2026-01-31')", Call("=", (A, Literal(date(2026, 1, 31))))),
        ("T_AFTER(a, DATE('2026-01-31'))", Call(">", (A, Literal(date(2026, 1, 31))))),
        ("a < TIMESTAMP('2026-01-31T01:02:03.5Z')",
         Call("<", (A, Literal(datetime(2026, 1, 31, 1, 2, 3, 500_000, tzinfo=UTC))))),
        ("t_during(a, INTERVAL('2026-01-31', '..'))", Call(">", (A, Literal(date(2026, 1, 31))))),
        ("s_within(geom, BBOX(1, 2, 3, 4))", Call("s_within", (Property("geom"), Shape((1.0, 2.0, 3.0, 4.0))))),
        ("a", A),
        ("true", Literal(True)),
    ],
)  # fmt: skip
def test_the_tree_of_a_condition(text: str, wanted: object) -> None:
    assert parse(text) == wanted
    assert type_problems(parse(text), lambda _: None) == []


@pytest.mark.parametrize(
    ("text", "at", "near"),
    [
        ("area > > 3", 8, "'> 3'"),
        ("", 1, "the end"),
        ("a = 'x", 5, '"\'x"'),
        ("a = 1 AND\n  (b = 2", 19, "the end"),
        ("straße = 'ß' ö", 14, "'ö'"),
        ("a = 1;", 6, "';'"),
        ("s_intersects(geom, POINT EMPTY)", 1, "'s_intersects(geom, P'"),
    ],
)
def test_a_fault_of_syntax_has_its_place(text: str, at: int, near: str) -> None:
    pointer, code, detail, fix = refused(text)
    assert (pointer, code) == ("/recipe/where", "where_syntax")
    assert detail == f"Not CQL2 text at character {at}: {near}."
    assert "An example: area > 100" in fix


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("avg(a) > 1", ["'avg' is not supported"]),
        ("a ^ 2 = 4", ["'^' is not supported"]),
        ("a % 2 = 0 AND a DIV 2 = 1", ["'%' is not supported", "'div' is not supported"]),
        ("s_dwithin(geom, POINT(1 2), 5)", ["'s_dwithin' is not supported"]),
        ("casei(a, b) = 'x'", ["casei takes 1 arguments, not 2"]),
        ("a = NULL OR a IN (1, NULL)", ["write IS NULL", "The list of IN has to be of literals"]),
        ("a = 9007199254740993", ["9007199254740993 is not exact"]),
        ("a = 1e999", ["1e999 is not exact"]),
        ("a > 0.1234567890123456789", ["0.1234567890123456789 is not exact"]),
        ("a = DATE('31.01.2026')", ["'31.01.2026' is not a date"]),
        ("a = DATE('2026-02-30')", ["'2026-02-30' is not a date"]),
        ("a = TIMESTAMP('2026-01-31')", ["'2026-01-31' is not a timestamp"]),
        ("a = TIMESTAMP('2026-01-31T00:00:00.1234567Z')", ["is not a timestamp"]),
        ("t_during(a, INTERVAL('..', '..'))", ["two ends"]),
        ("t_during(a, DATE('2026-01-31'))", ["takes an instant and an INTERVAL"]),
        ("s_intersects(geom, BBOX(3, 0, 1, 1))", ["each maximum not below its minimum"]),
        ("s_intersects(geom, BBOX(0, 0, 0, 1, 1, 1))", ["BBOX takes four numbers"]),
        ("s_intersects(geometry, POINT(1 2))", ["s_intersects takes geom and a geometry"]),
        ("s_intersects(geom, geom)", ["s_intersects takes geom and a geometry"]),
        ("geom = POINT(1 2)", ["'geom' cannot be compared with ="]),
        ("'x'", ["The condition as a whole has to be a condition; the value 'x' is a text"]),
        ("a + 1", ["the result of + is a number"]),
        ("a = 1 AND 'x'", ["What AND is used with has to be a condition"]),
        ("1 = 'x' OR DATE('2026-01-31') < TIMESTAMP('2026-01-31T00:00:00Z')",
         ["the value 1.0 is a number and the value 'x' a text", "a date and", "a timestamp"]),
        ("(a = 1) < true", ["can only be compared with = and <>"]),
        ("a LIKE b", ["The pattern of LIKE has to be a literal"]),
        ("a LIKE 5", ["What LIKE is used with has to be a text"]),
        ("a IN (b)", ["The list of IN has to be of literals"]),
        ("INTERVAL('..', 'x') = a", ["stands where it has no meaning"]),
        ("avg(a) = 1 AND b = NULL AND c = DATE('x')", ["'avg' is not supported", "'x' is not a date"]),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_refused_with_all_of_it(text: str, words: list[str]) -> None:
    pointer, code, detail, fix = refused(text)
    assert (pointer, code) == ("/recipe/where", "where_not_supported")
    assert fix
    for each in words:
        assert each in detail


def test_coordinates_need_not_be_exact() -> None:
    parse("s_intersects(geom, POINT(8.12345678901234567890 -50.1)) AND a = 1e22")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 40 + "a = 1" + ")" * 40,
        " AND ".join(["a = 1"] * 101),
        "NOT " * 201 + "a",
        "a = " + "-" * 300 + "1",
        "a = " + "+".join("1" * 202),
        "a = 1" + "-1" * 202,
        "a=" + "=".join("1" * 202),
        "f(" * 31 + "a" + ")" * 31,
        "a IN ((((((((((((((((((((((((((((((((1))))))))))))))))))))))))))))))))",
    ],
)
def test_what_is_too_deep_is_refused_before_it_is_parsed(text: str) -> None:
    """The parser calls itself, and would end the process."""
    assert refused(text)[:2] == ("/recipe/where", "where_too_complex")


def test_what_is_too_long_is_refused() -> None:
    assert refused("a = '" + "x" * MOST_CHARACTERS + "'")[:2] == ("/recipe/where", "string_too_long")
    assert refused(5)[:2] == ("/recipe/where", "string_type")


@pytest.mark.parametrize(
    "text",
    [
        "a IN (" + ", ".join("-1" for _ in range(2_000)) + ")",
        " OR ".join(["a=1"] * (MOST_OPERATORS // 2)),
        "(" * MOST_PARENTHESES + "a = 1" + ")" * MOST_PARENTHESES,
        "s_within(geom, POLYGON((" + ", ".join(f"-{n} -1" for n in range(900)) + ", 0 -1)))",
        "name = '" + "(NOT =" * 500 + "' AND \"" + "(-" * 99 + '" = 1',
    ],
)
def test_long_lists_coordinates_and_texts_are_not_deep(text: str) -> None:
    parse(text)
