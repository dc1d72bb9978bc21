"""Conditions over rows, against DuckDB, Python and shapely: logic of three values, exact numbers, spatial relations."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import shapely

from app.models.recipes.where import parse
from app.models.recipes.where_types import type_problems
from app.pipelines.common.conditions import Condition, Rows, kind_of

_NUMBERS = {
    "small": pa.int8(), "whole": pa.int64(), "big": pa.uint64(), "real": pa.float64(), "exact": pa.decimal128(9, 2),
}  # fmt: skip
LATE = datetime(9999, 1, 1, tzinfo=UTC)
_TEXTS = ["", "a", "A", "ab", "b", "ä", "Straße", "STRASSE", "a\nb", "100%", "a_b", "\\"]


def table(rows: int = 400) -> pa.Table:
    """Columns of all kinds, each with nulls, and with few different values, so that comparisons are often equal."""
    r = random.Random(4)  # noqa: S311 # the same rows each time

    def column(make: Any, kind: pa.DataType) -> pa.Array:
        return pa.array([None if r.random() < 0.2 else make() for _ in range(rows)], kind)

    few = [-2, -1, 0, 1, 2, 3]
    found = pa.table(
        {
            "small": column(lambda: r.choice(few), pa.int8()),
            "whole": column(lambda: r.choice([*few, 2**53, 2**53 + 1, -(2**63), 2**63 - 1]), pa.int64()),
            "big": column(lambda: r.choice([0, 1, 2, 2**53 + 1, 2**64 - 1]), pa.uint64()),
            "real": column(lambda: r.choice([-1.5, -1.0, 0.0, 0.1, 1.0, 2.5, float(2**53), 1e300]), pa.float64()),
            "exact": column(lambda: Decimal(r.choice(["-1.50", "0.10", "1.00", "2.00", "2.50"])), pa.decimal128(9, 2)),
            "text": column(lambda: r.choice(_TEXTS), pa.string()),
            "other text": column(lambda: r.choice(_TEXTS), pa.large_string()),
            "category": column(lambda: r.choice(["a", "b"]), pa.string()).dictionary_encode(),
            "yes": column(lambda: r.choice([True, False]), pa.bool_()),
            "day": column(lambda: date(2026, 1, r.randint(1, 5)), pa.date32()),
            "moment": column(lambda: datetime(2026, 1, 1, r.randint(0, 3), tzinfo=UTC), pa.timestamp("ms", "UTC")),
            "local": column(lambda: datetime(2026, 1, 1, r.randint(0, 3), 30), pa.timestamp("ns")),  # noqa: DTZ001
        }
    )
    return pa.table(
        {**dict(zip(found.column_names, found.columns, strict=True)), **{f"f_{n}": found[n] for n in _NUMBERS}}
    )


def evaluate(text: str, rows: pa.Table, geometries: Any = ()) -> list[bool | None]:
    columns = [column.combine_chunks() for column in rows.columns]
    node = parse(text)
    assert type_problems(node, {each.name: kind_of(each.type) for each in rows.schema}.get) == []
    found = Condition(node, rows.schema).evaluate(Rows(rows.num_rows, columns, lambda: np.asarray(geometries, object)))
    assert len(found) == rows.num_rows
    return found.to_pylist()


def conditions(number: int) -> Iterator[str]:
    """Random conditions that are CQL2 and SQL alike."""
    r = random.Random(number)  # noqa: S311 # the same each time
    literals = [
        "0",
        "1",
        "-1",
        "2",
        "0.1",
        "2.5",
        "-1.5",
        "1000",
        "1e300",
        "9223372036854775808",
        "18446744073709551616",
    ]

    def value(depth: int) -> str:
        """A column that is a float in SQL, or + - * / of one."""
        column = f"f_{r.choice(list(_NUMBERS))}"
        return f"({column} {r.choice('+-*/')} {value(depth - 1)})" if depth and r.random() < 0.5 else column

    def text() -> str:
        quoted = r.choice(_TEXTS).replace("'", "''")
        return r.choice(["text", '"other text"', "category", f"'{quoted}'"])

    def leaf() -> str:
        compare = r.choice(["=", "<>", "<", "<=", ">", ">="])
        return r.choice(
            [
                f"{r.choice(list(_NUMBERS))} {compare} {r.choice(literals)}",
                f"{r.choice(literals)} {compare} {r.choice(list(_NUMBERS))}",
                f"small {compare} {r.choice(['whole', 'exact', 'real', 'big'])}",
                f"{value(2)} {compare} {value(1)} - 0.5 * f_small",
                f"{text()} {compare} text",
                f"{r.choice(list(_NUMBERS))} {r.choice(['', 'NOT '])}IN ({', '.join(r.sample(literals[:8], 3))})",
                f"text {r.choice(['', 'NOT '])}IN ('a', 'ä', 'x')",
                f"whole {r.choice(['', 'NOT '])}BETWEEN {r.choice(literals)} AND big",
                f"{r.choice([*_NUMBERS, 'text', 'yes', 'day', 'moment'])} IS {r.choice(['', 'NOT '])}NULL",
                f"text {r.choice(['', 'NOT '])}LIKE '{r.choice(['a%', '_', '%b%', 'A_', '%', 'Stra%e'])}'",
                "yes",
                f"yes {r.choice(['=', '<>'])} {r.choice(['true', 'false'])}",
                f"day {compare} DATE('2026-01-03')",
                f"moment {compare} TIMESTAMP('2026-01-01T02:00:00Z')",
                f"local {compare} TIMESTAMP('2026-01-01T02:30:00Z')",
                f"local {compare} moment",
            ]
        )

    def tree(depth: int) -> str:
        if depth == 0 or r.random() < 0.2:
            return leaf()
        if r.random() < 0.25:
            return f"NOT ({tree(depth - 1)})" if r.random() < 0.5 else f"NOT {leaf()}"
        parts = [tree(depth - 1) for _ in range(r.randint(2, 3))]
        joined = f" {r.choice(['AND', 'OR'])} ".join(parts)
        return f"({joined})" if r.random() < 0.7 else joined

    for _ in range(150):
        yield tree(3)


@pytest.mark.parametrize("number", range(4))
def test_conditions_against_duckdb(number: int) -> None:
    """Of SQL, with the words for dates and times written as SQL does."""
    rows = table()
    with duckdb.connect() as connection:
        connection.execute("SET ieee_floating_point_ops = false")
        at = rows.schema.get_field_index("moment")  # DuckDB compares times with a zone by an extension only
        there = rows.set_column(at, "moment", rows["moment"].cast(pa.timestamp("ms")))
        for name in _NUMBERS:
            place = there.schema.get_field_index(f"f_{name}")
            there = there.set_column(place, f"f_{name}", there[name].cast(pa.float64(), safe=False))
        connection.register("t", there)
        for text in conditions(number):
            sql = text.replace("DATE('", "(DATE '").replace("TIMESTAMP('", "(TIMESTAMP '")
            wanted = [row[0] for row in connection.execute(f"SELECT ({sql}) FROM t").fetchall()]  # noqa: S608
            found = evaluate(text, rows)
            wrong = [(at, a, b) for at, (a, b) in enumerate(zip(found, wanted, strict=True)) if a is not b]
            assert not wrong, f"{text}: {wrong[:3]} {[rows.slice(at, 1).to_pylist() for at, _, _ in wrong[:1]]}"


@pytest.mark.parametrize("number", range(4))
def test_a_condition_its_negation_and_its_nulls_are_all_rows(number: int) -> None:
    rows = table()
    for text in conditions(100 + number):
        found, negated, unknown = (evaluate(each, rows) for each in (text, f"NOT ({text})", f"({text}) IS NULL"))
        for a, b, c in zip(found, negated, unknown, strict=True):
            assert [a, b, c].count(True) == 1, text
            assert (a is None) == (b is None) == c, text


@pytest.mark.parametrize(
    ("kind", "value", "text", "wanted"),
    [
        (pa.int64(), 2**53 + 1, "a = 9007199254740992", False),
        (pa.int64(), 2**53 + 1, "a > 9007199254740992", True),
        (pa.int64(), 10**18 + 1, "a > 1e18", True),
        (pa.int64(), 2**63 - 1, "a < 9223372036854775808", True),
        (pa.int64(), -(2**63), "a > -1e300", True),
        (pa.int8(), 5, "a < 5.5", True),
        (pa.int8(), 5, "a <= 4.5", False),
        (pa.int8(), 5, "a >= 300", False),
        (pa.int8(), -5, "a >= -5.5", True),
        (pa.int8(), 5, "a <> 5.5", True),
        (pa.uint64(), 2**64 - 1, "a > -1", True),
        (pa.uint64(), 2**64 - 1, "a < 18446744073709551616", True),
        (pa.decimal128(38, 2), Decimal("0.10"), "a = 0.1", True),
        (pa.decimal128(38, 2), Decimal("0.10"), "a > 0.1000000000001", False),
        (pa.decimal128(38, 20), Decimal("1e-20"), "a > 1e-300", True),
        (pa.decimal128(38, 0), Decimal(10**37 + 1), "a > 1e37", True),
        (pa.float32(), 0.1, "a = 0.1", False),
        (pa.timestamp("s", "UTC"), LATE, "a < TIMESTAMP('9999-01-01T00:00:00.000001Z')", True),
        (pa.timestamp("s", "UTC"), LATE, "a = TIMESTAMP('9999-01-01T00:00:00.000001Z')", False),
        (pa.timestamp("ns"), datetime(2026, 1, 1), "a < TIMESTAMP('9999-01-01T00:00:00Z')", True),  # noqa: DTZ001
        (pa.timestamp("ms", "Europe/Berlin"), LATE, "t_equals(a, TIMESTAMP('9999-01-01T00:00:00Z'))", True),
        (pa.date64(), date(2026, 1, 2), "t_after(a, DATE('2026-01-01'))", True),
        (pa.date32(), date(2026, 1, 2), "t_during(a, INTERVAL('2026-01-01', '2026-01-02'))", False),
        (pa.date32(), date(2026, 1, 2), "t_intersects(a, INTERVAL('2026-01-01', '2026-01-02'))", True),
        (pa.date32(), date(2026, 1, 2), "t_intersects(a, INTERVAL('..', '2026-01-01'))", False),
        (pa.date32(), date(2026, 1, 2), "t_intersects(a, DATE('2026-01-02'))", True),
        (pa.string(), "STRASSE", "casei(a) = casei('straße')", True),
        (pa.string(), "Málaga", "accenti(a) LIKE accenti('malaga%')", False),
        (pa.string(), "Málaga", "casei(accenti(a)) LIKE 'malaga'", True),
        (pa.string(), "a\nb", "a LIKE 'a%b'", True),
        (pa.string(), "it's", "a IN ('x', 'it''s')", True),
        (pa.string(), None, "casei(a) = 'x'", None),
        (pa.list_(pa.int8()), None, "a IS NULL", True),
        (pa.float64(), 0.0, "1 / a = 1", None),
        (pa.float64(), 4.0, "-a + 2 * 3 = 2", True),
        (pa.bool_(), True, "true", True),
        (pa.bool_(), None, "1 = 1", True),
    ],
)  # fmt: skip
def test_single_values(kind: pa.DataType, value: object, text: str, wanted: bool | None) -> None:
    assert evaluate(text, pa.table({"a": pa.array([value], kind)})) == [wanted]


SHAPES = [
    "POINT (1 1)", "POINT (5 5)", "LINESTRING (0 0, 3 3)", "LINESTRING (2 0, 2 4)",
    "POLYGON ((0 0, 2 0, 2 2, 0 2, 0 0))",
    "POLYGON ((1 1, 3 1, 3 3, 1 3, 1 1))", "POLYGON ((2 0, 4 0, 4 2, 2 2, 2 0))", "POINT EMPTY",
    "GEOMETRYCOLLECTION (POINT (1 1), LINESTRING (0 0, 1 1))",
]  # fmt: skip


LITERALS = [
    "BBOX(0, 0, 2, 2)", "LINESTRING(1 1, 2 2)", "POINT(1 1)", "POLYGON((-1 -1, 9 -1, 9 9, -1 -1))",
    "MULTIPOINT((1 1), (5 5))",
]  # fmt: skip


@pytest.mark.parametrize("literal", LITERALS)
@pytest.mark.parametrize(
    "relation", ["intersects", "disjoint", "equals", "within", "contains", "touches", "crosses", "overlaps"]
)
def test_spatial_relations(relation: str, literal: str) -> None:
    """Either side first; null for rows without a geometry."""
    geometries = np.array([*shapely.from_wkt(SHAPES), None], object)
    shape = shapely.box(0, 0, 2, 2) if "BBOX" in literal else shapely.from_wkt(literal)
    rows = pa.table({"n": range(len(geometries))})
    ask = getattr(shapely, relation)
    assert evaluate(f"s_{relation}(geom, {literal})", rows, geometries) == [*ask(geometries[:-1], shape).tolist(), None]
    assert evaluate(f"s_{relation}({literal}, geom)", rows, geometries) == [*ask(shape, geometries[:-1]).tolist(), None]


def test_rows_without_a_geometry() -> None:
    rows = pa.table({"geom": [1, 2]})
    assert evaluate("geom IS NULL", rows, [None, shapely.Point()]) == [True, False]


def test_a_relation_that_geos_cannot_compute_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    """GEOS 3.14 computes all that could be found; earlier ones did not."""
    from app.pipelines.common import conditions as module

    def refuse(shape: Any, geometry: Any) -> Any:
        if not isinstance(geometry, shapely.Point):
            raise shapely.errors.GEOSException("TopologyException")
        return shapely.intersects(shape, geometry)

    monkeypatch.setitem(module._RELATIONS, "s_intersects", refuse)
    found = evaluate("s_intersects(geom, POINT(1 1))", pa.table({"n": [1, 2, 3]}), shapely.from_wkt(SHAPES[:3]))
    assert found == [True, False, None]
