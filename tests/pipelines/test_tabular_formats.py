"""Workbooks, JSON lines and Parquet as tables."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from app.models.formats import FORMATS, Format
from tests.pipelines.conftest import Bench
from tests.pipelines.tables import (
    CODE,
    DATE,
    ELAPSED,
    EVERYTHING,
    MOMENT,
    TIME,
    cell,
    ingest,
    parquet,
    refused,
    row,
    workbook,
)  # fmt: skip

HEADER = row(1, cell("A1", "Ja?"), cell("B1", "PLZ"), cell("C1", "Tag"), cell("D1", "n"), cell("E1", "um"))


def test_cells_are_what_they_are(bench: Bench) -> None:
    rows = (
        HEADER
        + row(
            3, cell("A3", True), cell("B3", 123, CODE), cell("C3", 45_000, DATE), cell("D3", 1), cell("E3", 0.5, TIME)
        )
        + row(4, cell("A4", False), cell("B4", 99_999, CODE), cell("C4", 61, DATE), cell("D4", 1e20))
        + row(5, cell("B5", "007"), cell("D5", "<f>1+1</f><v>2</v>"), cell("E5", 0.99999, TIME))
    )
    found = ingest(bench, workbook({"S": rows, "leer": ""}), "XLSX")
    assert found.types == {"ja": "bool", "plz": "string", "tag": "date32[day]", "n": "double", "um": "time64[us]"}
    assert [tuple(each.values()) for each in found.rows] == [
        (True, "00123", date(2023, 3, 15), 1.0, time(12)),
        (False, "99999", date(1900, 3, 1), 1e20, None),
        (None, "007", None, 2.0, time(23, 59, 59, 136_000)),
    ]
    assert found.product.statistics["source"] == {"sheet": "S"}


def test_dates_and_times(bench: Bench) -> None:
    rows = row(1, cell("A1", "a"), cell("B1", "b"), cell("C1", "c")) + row(
        2, cell("A2", 1, DATE), cell("B2", 45_000.25, MOMENT), cell("C2", 1.5, ELAPSED)
    )
    rows += row(3, cell("A3", 59, DATE), cell("B3", 45_001, DATE), cell("C3", 2, ELAPSED))
    found = ingest(bench, workbook({"S": rows}), "XLSX").rows
    assert found[0] == {"a": date(1900, 1, 1), "b": datetime.fromisoformat("2023-03-15T06:00:00"), "c": 1.5}
    assert found[1] == {"a": date(1900, 2, 28), "b": datetime.fromisoformat("2023-03-16T00:00:00"), "c": 2.0}
    since_1904 = ingest(bench, workbook({"S": rows}, settings="date1904='1'"), "XLSX", name="u").rows
    assert since_1904[0]["a"] == date(1904, 1, 2)


def test_texts_are_shared_rich_and_escaped(bench: Bench) -> None:
    shared = ["<r><t>Ja</t></r><r><t>!_x000D_</t></r><rPh><t>reading</t></rPh>", "<t>123</t>"]
    rows = row(1, "<c r='B1' t='s'><v>0</v></c>", cell("C1", "x"))
    rows += row(2, "<c r='B2' t='s'><v>1</v></c>", "<c r='C2' t='str'><f>A1</f><v></v></c>")
    found = ingest(bench, workbook({"S": rows}, shared), "XLSX")
    assert found.rows == [{"ja": "123", "x": ""}]
    assert found.product.header_mapping == {"Ja!\r": "ja"}


def test_mixed_cells_errors_and_merged_cells_are_told(bench: Bench) -> None:
    rows = row(1, cell("A1", "a"), cell("B1", "b")) + row(2, cell("A2", 1), cell("B2", 1.5))
    rows += row(3, cell("A3", "x"), "<c r='B3' t='e'><v>#N/A</v></c>") + row(4, cell("A4", 45_000, DATE))
    tail = "<mergeCells><mergeCell ref='A4:B4'/></mergeCells>"
    found = ingest(bench, workbook({"S": rows}, tail=tail), "XLSX")
    assert [tuple(each.values()) for each in found.rows] == [("1", 1.5), ("x", None), ("2023-03-15", None)]
    assert "1 date, 1 number, 1 text" in found.warnings["types_mixed"][0]
    assert found.warnings["cells_error"][1:] == (1, ("B3: #N/A",))
    assert found.warnings["cells_merged"][1:] == (1, ("A4:B4",))
    assert found.counts["cells_error"] == 1


def test_rows_of_a_sheet_that_are_none(bench: Bench) -> None:
    rows = row(2, cell("B2", "a"), cell("C2", "b")) + row(3, cell("B3", 1), cell("C3", 2), cell("D3", 3))
    rows += row(5, cell("B5", 4), cell("C5", "<f>NOW()</f>")) + row(9, cell("B9", 7))
    found = ingest(bench, workbook({"S": rows}), "XLSX", limits=EVERYTHING)
    assert found.rows == [{"a": 7, "b": None}]
    assert [(q["line"], q["reason"]) for q in found.quarantine] == [
        (3, "a value in column D, where the header has none"),
        (5, "a formula in column C whose result is not stored"),
    ]
    assert found.counts["rows_in"] == 3
    assert found.quarantine[0]["raw"] == '[null, "1", "2", "3"]'


def test_sheets_are_chosen_or_asked_for(bench: Bench) -> None:
    sheet = row(1, cell("A1", "a")) + row(2, cell("A2", 1))
    book = workbook({"Eins": sheet, "Zwei": sheet + row(3, cell("A3", 2))})
    error = refused(bench, book, "XLSX")
    assert error.reason == "sheet_ambiguous"
    assert "'Eins', 'Zwei'" in error.detail
    assert refused(bench, book, "XLSX", sheet="zwei").reason == "sheet_unknown"
    assert ingest(bench, book, "XLSX", sheet="Zwei", name="u").rows == [{"a": 1}, {"a": 2}]
    found = ingest(bench, workbook({"S": sheet}), "XLSX", header=False, name="v")
    assert found.rows == [{"column_1": "a"}, {"column_1": "1"}]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"a,b\n1,2\n", "content_mismatch"),
        (b"\xd0\xcf\x11\xe0 an old workbook", "content_mismatch"),
        (workbook({"S": ""}), "no_rows"),
        (workbook({"S": HEADER}), "no_rows"),
        (workbook({"S": HEADER}, doctype="<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>"), "xml_doctype"),
        (workbook({"S": HEADER + "<row r='2'><c>"}), "file_damaged"),
        (workbook({"S": HEADER + "<row r='2'><c r='A2' t='s'><v>7</v></c></row>"}), "file_damaged"),
        (workbook({"S": HEADER + "<row r='1'><c r='A1'><v>7</v></c></row>"}), "file_damaged"),
        (workbook({"S": HEADER + "<row r='2'><c r='B2'><v>7</v></c><c r='A2'><v>7</v></c></row>"}), "file_damaged"),
        (workbook({"S": HEADER + "<row r='2'><c r='A2'><v>nan</v></c></row>"}), "file_damaged"),
        (workbook({"S": HEADER + "<row r='2'><c r='A2'><v>1_0</v></c></row>"}), "file_damaged"),
        (workbook({"S": HEADER + "<row r='2'><c r='A2'><v>\u00b2</v></c></row>"}), "file_damaged"),
        (workbook({"S": HEADER + "<row r='2'><c r='A2' t='s'><v>\u00b2</v></c></row>"}), "file_damaged"),
        (workbook({"S": HEADER + f"<row r='2'><c r='A2' t='s'><v>{'9' * 5000}</v></c></row>"}), "file_damaged"),
        (workbook({"S": HEADER + "<row r='\u00b2'><c r='A2'><v>7</v></c></row>"}), "file_damaged"),
        (workbook({"S": HEADER + f"<row r='{'9' * 5000}'><c r='A2'><v>7</v></c></row>"}), "file_damaged"),
        (workbook({"S": HEADER + f"<row r='2'><c r='{'A' * 5000}2'><v>7</v></c></row>"}), "file_damaged"),
        (
            workbook({"S": HEADER + row(2, cell("A2", 7))}, styles="<cellXfs><xf numFmtId='abc'/></cellXfs>"),
            "file_damaged",
        ),
        (
            workbook({"S": HEADER + row(2, cell("A2", 7))}, styles="<numFmts><numFmt numFmtId='\u00b2'/></numFmts>"),
            "file_damaged",
        ),
        (workbook({"S": HEADER + " " * 40_000_000}), "archive_ratio"),
    ],
)
def test_workbooks_that_are_refused(bench: Bench, body: bytes, reason: str) -> None:
    assert refused(bench, body, "XLSX").reason == reason


def test_a_style_that_no_program_has_is_no_style_and_a_long_format_no_code(bench: Bench) -> None:
    cells = "".join(
        f"<row r='{at}'><c r='A{at}' s='{style}'><v>7</v></c></row>"
        for at, style in enumerate(("\u00b2", "9" * 5000, "-1"), 2)
    )
    assert ingest(bench, workbook({"S": HEADER + cells}), "XLSX").table["ja"].to_pylist() == [7] * 3
    wide = f"<numFmts><numFmt numFmtId='164' formatCode='{'0' * 100_000}'/></numFmts>"
    wide += "<cellXfs><xf numFmtId='164'/></cellXfs>"
    body = workbook({"S": HEADER + row(2, cell("A2", 7))}, styles=wide)
    assert ingest(bench, body, "XLSX", name="u").table["ja"].to_pylist() == [7]


def test_json_lines_keep_what_json_says(bench: Bench) -> None:
    body = (
        '{"id":1,"big":123456789012345678901,"price":1.10,"ok":true,"tag":"007","o":{"b":[1,2.50],"a":"ü"}}\n'
        '\n{"id":2,"price":20,"tag":null,"o":"text","new":1e3}\n'
    )
    found = ingest(bench, body, "JSONL")
    assert found.types == {
        "id": "int64", "big": "string", "price": "decimal128(18, 2)", "ok": "bool", "tag": "string", "o": "string",
        "new": "double",
    }  # fmt: skip
    first, second = found.rows
    assert first == {
        "id": 1, "big": "123456789012345678901", "price": Decimal("1.10"), "ok": True, "tag": "007",
        "o": '{"b":[1,2.50],"a":"ü"}', "new": None,
    }  # fmt: skip
    assert second == {
        "id": 2,
        "big": None,
        "price": Decimal("20.00"),
        "ok": None,
        "tag": None,
        "o": '"text"',
        "new": 1e3,
    }
    assert found.product.column_schema["o"].logical_type == "json"
    assert found.counts["values_missing"] == 3
    assert found.warnings["types_mixed"][2] == ("o",)
    assert found.counts["lines_blank"] == 1


def test_lines_that_are_no_objects_are_set_aside(bench: Bench) -> None:
    lines = [
        '{"a":1}', '{"a":', "[1]", '{"a":NaN}', '{"a":1,"a":2}', '{"a":"\\ud800"}', '{"a":"\\u0000"}',
        '{"a":' + "[" * 100_000 + "}", '{"a":2}',
    ]  # fmt: skip
    found = ingest(bench, "\n".join(lines), "JSONL", limits=EVERYTHING)
    assert found.rows == [{"a": 1}, {"a": 2}]
    assert [q["line"] for q in found.quarantine] == [2, 3, 4, 5, 6, 7, 8]
    assert found.quarantine[3]["reason"] == "it is no JSON: the key 'a' is there twice"
    assert [q["raw"] for q in found.quarantine] == lines[1:-1]


@pytest.mark.parametrize(("body", "reason"), [("[1]\n", "content_mismatch"), ("\n\n", "no_rows"), ("{}\n", "no_rows")])
def test_json_that_is_refused(bench: Bench, body: str, reason: str) -> None:
    assert refused(bench, body, "JSONL").reason == reason


def test_parquet_stays_as_it_is(bench: Bench, tmp_path: Path) -> None:
    table = pa.table(
        {
            "Größe": pa.array([1, None], pa.int8()),
            "select": pa.array([[1, None], None], pa.list_(pa.int32())),
            "s": pa.array([{"x": "a"}, {"x": None}], pa.struct([("x", pa.large_string())])),
            "d": pa.array([Decimal("1.10"), None], pa.decimal256(50, 2)),
            "t": pa.array([0, 1], pa.timestamp("ns", "Europe/Vienna")),
            "k": pa.array(["a", "b"]).dictionary_encode(),
            "b": pa.array([b"\x00", b""], pa.binary()),
        }
    )
    found = ingest(bench, parquet(table, tmp_path), "Parquet")
    assert found.table.column_names == ["grosse", "select_col", "s", "d", "t", "k", "b"]
    assert found.table.rename_columns(table.column_names).equals(table)
    assert found.product.header_mapping == {"Größe": "grosse", "select": "select_col"}
    assert found.product.column_schema["s"].logical_type == "nested"
    assert found.product.statistics["columns"]["grosse"]["max"] == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda body: body[:-1], "file_truncated"),
        (lambda _: b"a,b\n", "content_mismatch"),
        (lambda body: body[:4] + b"\xff" * 60 + body[64:], "file_damaged"),
        (lambda body: body[:-12] + b"\xff" * 8 + b"PAR1", "file_damaged"),
    ],
)
def test_parquet_that_is_refused(bench: Bench, tmp_path: Path, change: object, reason: str) -> None:
    body = parquet(pa.table({"a": [str(n) for n in range(1_000)]}), tmp_path)
    assert refused(bench, change(body), "Parquet").reason == reason  # type: ignore[operator]
    assert refused(bench, parquet(pa.table({"a": pa.array([], pa.int8())}), tmp_path), "Parquet", name="u").reason == (
        "no_rows"
    )


@pytest.mark.parametrize("fmt", [fmt for fmt in FORMATS if fmt.type == "tabular"], ids=lambda fmt: fmt.name)
def test_each_format_is_opened_by_the_module_that_its_row_names(fmt: Format) -> None:
    given = inspect.signature(importlib.import_module(fmt.reader).open_source).parameters
    assert [name.removeprefix("_") for name in given] == ["path", "fmt", "options", "limits", "file", "watch"]


def test_the_table_of_formats_imports_no_reader() -> None:
    code = "import sys, app.models.formats; print([name for name in sys.modules if name.startswith('app.pipelines')])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_no_other_code_compares_the_name_of_a_table_format() -> None:
    names = {fmt.name for fmt in FORMATS if fmt.type == "tabular"}
    app = Path(__file__).parents[2] / "app"
    found = [
        f"{path.relative_to(app)}:{node.lineno}"
        for path in app.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Compare)
        for part in (node.left, *node.comparators)
        for each in ast.walk(part)
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and each.value in names
    ]
    assert found == []
