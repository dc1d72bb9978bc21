"""Checks of products through the real pipelines: what passes, what fails, how it is shown, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from app.errors import RunRefused
from app.models.checks.kinds import CheckResult
from app.pipelines.common.check_columns import ProductColumns
from app.pipelines.common.check_database import open_checked
from app.pipelines.common.check_geometry import type_ids
from tests.pipelines import tables
from tests.pipelines.conftest import Bench
from tests.pipelines.joins import Lake

CSV = "code,name,count,day\nA1,Ada,1,2026-01-01\nA2,,2,2026-01-02\nA2,Eve,30,2026-02-01\n,Bob,4,2026-01-03\n"


def results(bench: Bench, *checks: dict[str, Any], body: bytes | str = CSV, **more: Any) -> list[CheckResult]:
    context = tables.run(bench, body, checks=checks, **more)
    assert context.product is not None
    return list(context.product.checks)


def result(bench: Bench, check: dict[str, Any], **more: Any) -> CheckResult:
    (found,) = results(bench, check, **more)
    return found


def refused(bench: Bench, check: dict[str, Any], **more: Any) -> RunRefused:
    with pytest.raises(RunRefused) as caught:
        results(bench, check, **more)
    assert caught.value.fix
    assert "dataset.checks[0]" in caught.value.detail
    return caught.value


# One check each: (the check, rows that fail, samples).
OF_ROWS: list[tuple[dict[str, Any], int, list[Any]]] = [
    ({"check": "not_null", "column": "count"}, 0, []),
    ({"check": "not_null", "column": "name"}, 1, [{"row": 1, "values": {"name": None}}]),
    ({"check": "unique", "column": "count"}, 0, []),
    ({"check": "unique", "column": "code"}, 1, [{"row": 2, "same_as": 1, "values": {"code": "A2"}}]),
    ({"check": "unique", "columns": ["code", "count"]}, 0, []),
    ({"check": "between", "column": "count", "min": 1, "max": 30}, 0, []),
    ({"check": "between", "column": "count", "min": 1.5}, 1, [{"row": 0, "values": {"count": 1}}]),
    ({"check": "between", "column": "count", "max": 3.9}, 2,
     [{"row": 2, "values": {"count": 30}}, {"row": 3, "values": {"count": 4}}]),
    ({"check": "between", "column": "day", "max": "2026-01-31"}, 1, [{"row": 2, "values": {"day": "2026-02-01"}}]),
    ({"check": "between", "column": "code", "min": "A1", "max": "A2"}, 0, []),
    ({"check": "in", "column": "code", "values": ["A1", "A2"]}, 0, []),
    ({"check": "in", "column": "count", "values": [1, 2, 4.0]}, 1, [{"row": 2, "values": {"count": 30}}]),
    ({"check": "matches", "column": "code", "pattern": "A[0-9]"}, 0, []),
    ({"check": "matches", "column": "name", "pattern": "Ad"}, 3,
     [{"row": 0, "values": {"name": "Ada"}}, {"row": 2, "values": {"name": "Eve"}},
      {"row": 3, "values": {"name": "Bob"}}]),
    ({"check": "custom", "sql": "count > 0 AND day < date '2026-03-01'"}, 0, []),
    ({"check": "custom", "sql": "CODE LIKE 'A%' -- true for every row"}, 1, [{"row": 3, "values": {"code": None}}]),
    ({"check": "rows", "min": 4, "max": 4}, 4, []),
]  # fmt: skip


@pytest.mark.parametrize(("check", "found", "samples"), OF_ROWS, ids=[str(each[0]) for each in OF_ROWS])
def test_rows_that_fail_are_counted_and_shown(
    bench: Bench, check: dict[str, Any], found: int, samples: list[Any]
) -> None:
    made = result(bench, check)
    assert (made.found, list(made.samples), made.check) == (found, samples, check["check"])
    assert made.passed is (not samples)
    assert made.column == check.get("column")


def test_all_checks_of_a_manifest_in_its_order(bench: Bench) -> None:
    made = results(bench, *(check for check, _, _ in OF_ROWS))
    assert [each.found for each in made] == [found for _, found, _ in OF_ROWS]


@pytest.mark.parametrize(
    ("check", "before", "passed"),
    [
        ({"change": 0.2}, None, True),
        ({"change": 0.2}, 5, True),
        ({"change": 0.2}, 6, False),
        ({"change": 0.2}, 3, False),
        ({"change": 0}, 4, True),
        ({"change": 0.5}, 0, False),
        ({"min": 5}, None, False),
        ({"max": 3}, None, False),
    ],
)
def test_the_number_of_rows(bench: Bench, check: dict[str, Any], before: int | None, passed: bool) -> None:
    made = result(bench, {"check": "rows", **check}, rows_before=before)
    assert (made.passed, made.found) == (passed, 4)


def test_numbers_are_compared_exactly(bench: Bench, tmp_path: Path) -> None:
    big = 2**53 + 1
    table = pa.table(
        {
            "whole": [big, big],
            "part": pa.array([0.1, float("nan")]),
            "small": pa.array([0.1, None], pa.float32()),
            "text": ["x" * 5000, "'; --"],
            "at": pa.array([0, 1], pa.timestamp("us", "UTC")),
            "flag": [True, False],
        }
    )
    made = results(
        bench,
        {"check": "between", "column": "whole", "max": big - 1},
        {"check": "in", "column": "whole", "values": [big]},
        {"check": "between", "column": "part", "min": 0.1},
        {"check": "in", "column": "small", "values": [0.1]},
        {"check": "unique", "column": "whole"},
        {"check": "unique", "column": "part"},
        {"check": "in", "column": "text", "values": ["'; --"]},
        {"check": "between", "column": "at", "max": "1970-01-01T01:00:00+01:00"},
        {"check": "in", "column": "flag", "values": [True]},
        body=tables.parquet(table, tmp_path),
        fmt="Parquet",
    )
    assert [each.found for each in made] == [2, 0, 1, 0, 1, 0, 1, 1, 1]
    assert made[2].samples == ({"row": 1, "values": {"part": None}},)
    assert len(made[6].samples[0]["values"]["text"]) == 100
    assert made[7].samples[0]["values"]["at"].startswith("1970-01-01 00:00:00.000001")


def test_columns_that_differ_in_case(bench: Bench) -> None:
    """They get names that differ otherwise; of a product that has such names, one has to be written exactly."""
    frame = geopandas.GeoDataFrame({"Name": ["a"], "name": [None], "": [1]}, geometry=[shapely.Point(1, 2)], crs=4326)
    bench.write("p.geojson", frame.to_json())
    made = vector(
        bench, "p.geojson", {"check": "not_null", "column": "Name"}, {"check": "not_null", "column": "name_1"},
        {"check": "custom", "sql": "\"Name\" = 'a'"}, {"check": "not_null", "column": ""},
    )  # fmt: skip
    assert [each.found for each in made] == [0, 1, 0, 0]
    with pytest.raises(RunRefused) as caught:
        ProductColumns(["Name", "name"], ["VARCHAR"] * 2).number_in_sql("NAME", 0)
    assert caught.value.reason == "check_column_unknown"
    assert "'Name', 'name'" in caught.value.fix


def vector(bench: Bench, path: str, *checks: dict[str, Any], **more: Any) -> list[CheckResult]:
    return list(bench.run({"path": path, "format": "GeoJSON"}, checks=checks, **more).product.checks)


UNKNOWN = {"check": "not_null", "column": "cod"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    (UNKNOWN, "check_column_unknown"),
    ({"check": "unique", "columns": ["code", "coun"]}, "check_column_unknown"),
    ({"check": "custom", "sql": "cod = 1"}, "check_column_unknown"),
    ({"check": "between", "column": "code", "min": 1}, "check_type"),
    ({"check": "between", "column": "count", "min": "1"}, "check_type"),
    ({"check": "between", "column": "day", "min": "soon"}, "check_type"),
    ({"check": "in", "column": "count", "values": [1, True]}, "check_type"),
    ({"check": "matches", "column": "count", "pattern": "1"}, "check_type"),
    ({"check": "matches", "column": "code", "pattern": "(A"}, "check_pattern_invalid"),
    ({"check": "matches", "column": "code", "pattern": "(?=A)"}, "check_pattern_invalid"),
    ({"check": "custom", "sql": "count"}, "check_sql_invalid"),
    ({"check": "custom", "sql": "count > 'x'"}, "check_sql_invalid"),
    ({"check": "custom", "sql": "1 / (count - 1) > 0 AND CAST(name AS INTEGER) > 1"}, "check_sql_failed"),
]
FORBIDDEN = [
    "(SELECT true)",
    "count IN (SELECT 1)",
    "EXISTS (FROM read_text('/etc/passwd'))",
    "read_text('/etc/passwd') IS NOT NULL",
    "getenv('HOME') = ''",
    "current_setting('home_directory') = ''",
    "sum(count) > 0",
    "count(*) > 0",
    "row_number() OVER () > 0",
    "count > 0) FROM t; SELECT (true",
    "count > 0) UNION SELECT (true",
    "count > 0; DROP TABLE t",
    "COLUMNS('count') > 0",
    "* IS NOT NULL",
    "$1",
    "?",
    "random() < 2",
    "now() > day",
    "repeat(name, 1000000) = ''",
    "list_transform([count], x -> x) = [1]",
    "[count] = [1]",
    "abs(DISTINCT count) > 0",
    "abs(count) FILTER (WHERE true) > 0",
    "system.main.abs(count) > 0",
    "CAST(count AS mood) = 'x'",
    "code COLLATE nocase = 'a1'",
    "count >",
    "(" * 1000 + "true" + ")" * 990,
    "[" * 990 + "1" + "]" * 990 + " = 1",
    "nextval('s') > 0",
    "error('x')",
    "query('SELECT 1') = 1",
]


@pytest.mark.parametrize(("check", "code"), REFUSED, ids=[str(each[0]) for each in REFUSED])
def test_what_cannot_be_checked_is_refused_by_run_and_plan(bench: Bench, check: dict[str, Any], code: str) -> None:
    error = refused(bench, check)
    assert error.reason == code
    assert "Error" not in error.detail.partition("(")[0]


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_sql_is_one_expression_over_a_row(bench: Bench, sql: str) -> None:
    assert refused(bench, {"check": "custom", "sql": sql}).reason == "check_sql_invalid"


def test_all_checks_that_cannot_be_made_are_named_at_once(bench: Bench) -> None:
    for checks in (
        [UNKNOWN, {"check": "rows", "min": 1}, {"check": "matches", "column": "code", "pattern": "("}],
        [{"check": "custom", "sql": "CAST(name AS INTEGER) > 1"}, {"check": "rows", "min": 1},
         {"check": "custom", "sql": "1 / (count - 1) > 0 AND CAST(code AS INTEGER) > 1"}],
    ):  # fmt: skip
        alone = []
        for check in (checks[0], checks[2]):
            with pytest.raises(RunRefused) as caught:
                results(bench, check)
            alone.append(caught.value)
        with pytest.raises(RunRefused) as caught:
            results(bench, *checks)
        first, last = alone[0], alone[1].detail.replace("checks[0]", "checks[2]")
        assert (caught.value.reason, caught.value.detail) == (first.reason, f"{first.detail} {last}")
        assert {each.fix for each in alone} == {fix for fix in (each.fix for each in alone) if fix in caught.value.fix}


def test_the_nearest_column_is_named(bench: Bench) -> None:
    assert "Did you mean 'code'? Its columns: 'code', 'name', 'count', 'day'." in refused(bench, UNKNOWN).fix


SQUARES = [shapely.box(x, y, x + 1, y + 1) for x in range(3) for y in range(3)]


def squares(bench: Bench, *more: shapely.Geometry | None) -> str:
    frame = geopandas.GeoDataFrame(geometry=[*SQUARES, *more], crs=4326)
    return bench.write("squares.geojson", frame.to_json())


def test_geometries(bench: Bench) -> None:
    bow_tie = shapely.Polygon([(5, 0), (6, 1), (6, 0), (5, 1)])
    path = squares(bench, bow_tie, shapely.Point(7, 0.5), None)
    made = vector(
        bench, path, {"check": "valid_geometry"}, {"check": "geometry_types", "types": ["Polygon"]},
        {"check": "within", "bbox": [0, 0, 6, 3]}, {"check": "not_null", "column": "geom"}, {"check": "no_overlaps"},
        recipe={"repair": "off"},
    )  # fmt: skip
    assert [each.found for each in made] == [1, 1, 1, 1, 0]
    assert made[0].samples[0]["row"] == 9
    assert "Self-intersection" in made[0].samples[0]["reason"]
    assert made[1].samples == ({"row": 10, "type": "Point"},)
    assert made[2].samples[0]["row"] == 10


HOSTILE = [
    shapely.Polygon([(5, 0), (6, 1), (6, 0), (5, 1)]),
    shapely.Polygon([(0, 0), (2, 0), (2, 2), (1, 2), (1, 3), (1, 2), (0, 2)]),
    shapely.MultiPolygon([shapely.box(0, 0, 2, 2), shapely.box(1, 1, 3, 3)]),
    shapely.Polygon([(0, 0), (4, 0), (4, 4), (0, 4)], [[(3, 3), (5, 3), (5, 5), (3, 5)]]),
    shapely.LineString([(1, 1), (1, 1)]),
    shapely.Polygon([(0, 0), (1, 1), (2, 2)]),
    shapely.GeometryCollection([shapely.Point(1, 2), shapely.Polygon([(5, 0), (6, 1), (6, 0), (5, 1)])]),
    shapely.Point(1, 1).buffer(1),
]  # fmt: skip


@pytest.mark.parametrize(
    "simplify", [None, {"tolerance": 0.6, "unit": "crs"}, {"tolerance": 0.6, "unit": "crs", "coverage": True}]
)
@pytest.mark.parametrize("repair", ["linework", "structure", "off"])
def test_what_is_known_of_valid_geometries_is_what_a_look_finds(
    bench: Bench, repair: str, simplify: dict[str, Any] | None
) -> None:
    """Engines look at each geometry. The oracle reads the product again."""
    # Coverages are of valid polygons.
    polygons_only = simplify is not None and "coverage" in simplify
    for shapes in (*([] if polygons_only else [HOSTILE]), [HOSTILE[-1]], SQUARES):
        for more in ({}, {"multi": "promote", "order": "hilbert"}):
            frame = geopandas.GeoDataFrame(geometry=shapes, crs=4326)
            frame.to_parquet(bench.landing / "h.parquet")
            made = bench.run(
                {"path": "h.parquet", "format": "GeoParquet"}, checks=[{"check": "valid_geometry"}],
                recipe={"repair": repair, "simplify": simplify, **more},
            )  # fmt: skip
            (found,) = made.product.checks
            wrong = np.flatnonzero(~shapely.is_valid(made.frame.geometry.to_numpy()))
            assert (found.found, found.passed) == (len(wrong), not len(wrong))
            assert [each["row"] for each in found.samples] == wrong[:5].tolist()
            assert len(wrong) == 0 or repair == "off"


def test_geometries_that_were_repaired_are_not_looked_at_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    real = shapely.is_valid
    monkeypatch.setattr(
        "app.pipelines.common.check_geometry.shapely.is_valid", lambda array: looked.append(len(array)) or real(array)
    )
    path = squares(bench)
    for check in ([], [{"check": "valid_geometry"}]):
        bench.run({"path": path, "format": "GeoJSON"}, checks=check)
    assert looked[: len(looked) // 2] == looked[len(looked) // 2 :]


def test_overlaps_are_pairs_of_rows(bench: Bench) -> None:
    path = squares(bench, shapely.box(0.5, 0.5, 1.5, 1.5), shapely.box(0, 0, 1, 1), shapely.Point(0.5, 0.5))
    (made,) = vector(bench, path, {"check": "no_overlaps"})
    # The large one with four squares and the copy, the copy with its square.
    assert (made.found, made.passed, len(made.samples)) == (6, False, 5)
    assert {"rows": [0, 10], "area": 1.0} in made.samples
    assert {"rows": [0, 9], "area": 0.25} in made.samples


def test_overlaps_over_several_batches(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.pipelines.common.check_overlaps._BATCH_ROWS", 2)
    long = [shapely.box(-1, 0.25, 4, 0.75), shapely.box(2.5, 2.5, 2.75, 2.75)]
    (made,) = vector(bench, squares(bench, *long), {"check": "no_overlaps"})
    assert made.found == 4


def test_too_many_vertices_side_by_side(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.pipelines.common.check_overlaps.MOST_VERTICES", 20)
    with pytest.raises(RunRefused) as caught:
        vector(bench, squares(bench), {"check": "no_overlaps"})
    assert caught.value.reason == "check_too_large"


def test_the_area_that_a_recipe_keeps(bench: Bench) -> None:
    circle = shapely.Point(1, 1).buffer(1)
    frame = geopandas.GeoDataFrame(geometry=[circle], crs=4326)
    path = bench.write("circle.geojson", frame.to_json())
    simplify = {"simplify": {"tolerance": 0.5, "unit": "crs"}}
    whole, rough = (
        vector(bench, path, {"check": "area_kept", "min": 0.99}, recipe=recipe)[0] for recipe in (None, simplify)
    )
    assert (whole.passed, whole.found) == (True, 1.0)
    assert rough.passed is False
    assert rough.found == pytest.approx(2 / circle.area)
    assert rough.samples[0]["unit"] == "degree"


def test_a_join(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.tabular(pa.table({"k": ["a", "b"], "n": [1, 2]}))
    lake.spatial(pa.table({"k": ["a"]}), [shapely.Point(1, 2)])
    ctx = lake.join(
        checks=[
            {"check": "not_null", "column": "geom"}, {"check": "within", "bbox": [0, 0, 9, 9]},
            {"check": "rows", "min": 2},
        ]
    )  # fmt: skip
    assert [each.found for each in ctx.made.checks] == [1, 0, 2]


def test_memory_does_not_grow_with_the_rows(bench: Bench, tmp_path: Path) -> None:
    filler = "x" * 300
    table = pa.table({"text": [f"{filler}{i % 200_000}" for i in range(200_001)]})
    pq.write_table(table, tmp_path / "t.parquet")
    context = tables.run(
        bench, (tmp_path / "t.parquet").read_bytes(), "Parquet", checks=[{"check": "unique", "column": "text"}],
        memory_bytes=64 * 2**20, threads=1,
    )  # fmt: skip
    assert context.product is not None
    assert context.product.checks[0].found == 1


def test_too_little_memory(bench: Bench, tmp_path: Path) -> None:
    body = tables.parquet(pa.table({"text": [f"{'x' * 100}{i}" for i in range(100_000)]}), tmp_path)
    with pytest.raises(RunRefused) as caught:
        results(bench, {"check": "unique", "column": "text"}, body=body, fmt="Parquet", memory_bytes=4 * 2**20)
    assert caught.value.reason == "checks_memory"


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM '{other}'", "COPY (SELECT 1) TO '{other}'",
        "ATTACH '{other}' AS other", "SET enable_external_access = true", "SET memory_limit = '1TB'", "LOAD httpfs",
    ],
)  # fmt: skip
def test_the_database_of_checks_reaches_its_file_only(tmp_path: Path, statement: str) -> None:
    for name in ("own", "other"):
        pq.write_table(pa.table({"a": [1]}), tmp_path / f"{name}.parquet")
    with open_checked(tmp_path / "own.parquet", 1, 64 * 2**20) as file:
        with pytest.raises(duckdb.Error):
            file.connection.execute(statement.format(other=tmp_path / "other.parquet"))
        assert file.select("c0, file_row_number").fetchall() == [(1, 0)]


def test_types_are_read_from_the_heads_of_wkb() -> None:
    flat = [
        shapely.Point(1, 2), shapely.LineString([(0, 0), (1, 1)]), shapely.box(0, 0, 1, 1),
        shapely.MultiPoint([(0, 0)]),
        shapely.MultiLineString([[(0, 0), (1, 1)]]), shapely.MultiPolygon([shapely.box(0, 0, 1, 1)]),
        shapely.GeometryCollection([shapely.Point(1, 2)]), shapely.Polygon(), None,
    ]  # fmt: skip
    made = np.array([*flat, *shapely.force_3d(np.array(flat))])
    for order in (0, 1):
        wkb = pa.array(shapely.to_wkb(made, byte_order=order, flavor="iso"), pa.binary())
        assert type_ids(wkb.slice(3)).tolist() == shapely.get_type_id(made[3:]).tolist()
    assert type_ids(pa.array([None], pa.binary())).tolist() == [-1]


def test_keys_with_equal_hashes_are_compared(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    """Sorted in memory, and through scratch."""
    for most, size in ((0, 32), (5_000, 32), (0, 2**40), (5_000, 2**40)):
        monkeypatch.setattr("app.pipelines.common.check_table._MOST_SUSPECTS", most)
        monkeypatch.setattr("app.pipelines.common.check_table._BYTES_A_HASH", size)
        rows = "".join(f"{n % 70},{n % 90},{-0.0 if n % 2 else 0.0}\n" for n in range(700))
        made = results(
            bench, {"check": "unique", "columns": ["a", "b"]}, {"check": "unique", "column": "a"},
            {"check": "unique", "column": "c"}, body=f"a,b,c\n{rows}",
        )  # fmt: skip
        assert [each.found for each in made] == [70, 630, 699]
        assert made[0].samples[0] == {"row": 630, "same_as": 0, "values": {"a": 0, "b": 0}}
