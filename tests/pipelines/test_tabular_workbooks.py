"""Workbooks as Excel keeps them: digits, dates, blank text, names of parts and number formats."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest

from app.pipelines.tabular.xlsx.workbook import format_meaning
from tests.pipelines.conftest import Bench
from tests.pipelines.tables import CODE, DATE, EVERYTHING, MOMENT, Ingested, cell, ingest, row, workbook, zipped


def raw(place: str, value: str, kind: str = "n", style: int = 0) -> str:
    """A cell whose stored value is this text."""
    return f"<c r='{place}' t='{kind}' s='{style}'><v>{value}</v></c>"


def column(bench: Bench, *cells: str | tuple[str, int], kind: str = "n", **more: object) -> Ingested:
    """A sheet with one column of values as they are stored, beside a column of row numbers."""
    rows = row(1, cell("A1", "n"), cell("B1", "v"))
    for number, each in enumerate(cells, 2):
        value, style = each if isinstance(each, tuple) else (each, 0)
        rows += row(
            number, cell(f"A{number}", number), value if value[:1] == "<" else raw(f"B{number}", value, kind, style)
        )
    return ingest(bench, workbook({"S": rows}), "XLSX", **more)


def values(found: Ingested) -> list[object]:
    return found.table.column("v").to_pylist()


def text_cell(number: int, text: str) -> str:
    return f"<c r='B{number}' t='str'><f>A1</f><v>{text}</v></c>"


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        (["999999999999999", "1000000000000000"], "int64"),
        (["1234567890123456", "-9007199254740993"], "int64"),
        (["123456789012345678", "123456789012345679"], "int64"),
        (["9223372036854775807", "-9223372036854775808"], "int64"),
        (["12345678901234567890", "12345678901234567891"], "string"),
        (["100000000000000000000", "1"], "double"),
        (["1.0E+15", "2.5E+15"], "int64"),
        (["1234567890123456", "0.5"], "double"),
        (["1234567890123456", "1.0E+20"], "double"),
        (["123456789012345679", "0.5"], "decimal128(38, 1)"),
        (["1.2345678901234567E+19"], "double"),
    ],
)
def test_whole_numbers_keep_their_digits(bench: Bench, stored: list[str], kind: str) -> None:
    found = column(bench, *stored)
    assert found.types["v"] == kind
    assert [Decimal(str(value)) for value in values(found)] == [Decimal(each) for each in stored]
    assert found.warnings == {}


def test_whole_numbers_among_text_have_their_digits(bench: Bench) -> None:
    stored = ["1234567890123456", "123456789012345678", "1e15", text_cell(5, "A-1")]
    assert values(column(bench, *stored)) == ["1234567890123456", "123456789012345678", "1000000000000000", "A-1"]


def test_codes_keep_their_digits(bench: Bench) -> None:
    found = column(bench, ("123", CODE), ("1234567890123456", CODE), ("123456789012345678", CODE))
    assert values(found) == ["00123", "1234567890123456", "123456789012345678"]


@pytest.mark.parametrize("rename", [str.upper, str.lower, lambda name: name.replace("/", "\\")])
def test_names_of_parts_in_another_case_or_with_backslashes(bench: Bench, rename: Callable[[str], str]) -> None:
    rows = row(1, "<c r='A1' t='s'><v>0</v></c>") + row(2, "<c r='A2' s='2'><v>7</v></c>")
    body = workbook({"S": rows}, ["<t>Ort</t>"])
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    made = zipped({rename(name): part for name, part in parts.items()})
    assert ingest(bench, made, "XLSX").rows == [{"ort": "00007"}]


def test_names_of_parts_that_are_escaped(bench: Bench) -> None:
    body = workbook({"S": row(1, cell("A1", "a")) + row(2, cell("A2", 1))})
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    parts["xl/worksheets/my sheet.xml"] = parts.pop("xl/worksheets/sheet1.xml")
    links = parts["xl/_rels/workbook.xml.rels"]
    parts["xl/_rels/workbook.xml.rels"] = links.replace("worksheets/sheet1.xml", "worksheets/my%20sheet.xml")
    assert ingest(bench, zipped(parts), "XLSX").rows == [{"a": 1}]


def test_rows_of_nothing_but_empty_text_are_ignored_and_counted(bench: Bench) -> None:
    rows = row(1, text_cell(1, "")) + row(2, cell("A2", "a"), cell("B2", "b")) + row(3, cell("A3", 1), cell("B3", 2))
    rows += "".join(row(number, text_cell(number, "")) for number in range(4, 9))
    found = ingest(bench, workbook({"S": rows, "leer": row(1, text_cell(1, ""))}), "XLSX")
    assert found.types == {"a": "int64", "b": "int64"}
    assert found.rows == [{"a": 1, "b": 2}]
    assert (found.counts["rows_in"], found.counts["rows_out"], found.counts["lines_blank"]) == (1, 1, 5)
    assert {code: count for code, (_, count, _) in found.warnings.items()} == {"lines_blank": 5}


def test_empty_text_beside_the_header_is_no_value(bench: Bench) -> None:
    rows = row(2, cell("B2", "a"))
    rows += row(3, raw("A3", "", "str"), cell("B3", 1), "<c r='C3' t='inlineStr'><is><t></t></is></c>")
    rows += row(4, cell("B4", 2), cell("C4", " "))
    found = ingest(bench, workbook({"S": rows}), "XLSX", limits=EVERYTHING)
    assert found.rows == [{"a": 1}]
    assert [bad["line"] for bad in found.quarantine] == [4]


def test_a_blank_among_numbers_is_named_with_the_option_that_reads_it(bench: Bench) -> None:
    found = column(bench, "1", text_cell(3, ""), "3")
    assert values(found) == ["1", "", "3"]
    assert 'files[].options {"nulls": [""]} makes them null' in found.warnings["types_mixed"][0]
    assert "2 number, 1 text" in found.warnings["types_mixed"][0]
    assert values(column(bench, "1", text_cell(3, ""), "3", nulls=[""], name="u")) == [1, None, 3]
    found = column(bench, "1", text_cell(3, " "), text_cell(4, ""), nulls=["-"], name="v")
    assert '{"nulls": ["-", ""], "trim": true}' in found.warnings["types_mixed"][0]
    found = column(
        bench, "1", text_cell(3, " "), text_cell(4, "-"), text_cell(5, ""), nulls=["-", ""], trim=True, name="w"
    )
    assert (values(found), found.warnings) == ([1, None, None, None], {})
    found = column(bench, "1", text_cell(3, ""), text_cell(4, "x"), name="x")
    assert "options" not in found.warnings["types_mixed"][0]


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ('"d;m "0', None),
        ("0;yyyy", None),
        ('yyyy"; "mm;@', "date"),
        ("dd\\;mm\\;yyyy", "date"),
        ("_;0.00", None),
        ('"Day;"h:mm', "time"),
        ('";"00000', "00000"),
        ("[$-409]d/m/yy h:mm AM/PM;@", "datetime"),
    ],
)
def test_a_semicolon_in_quotes_ends_no_section_of_a_number_format(code: str, meaning: str | None) -> None:
    assert format_meaning(code) == meaning


def test_a_number_whose_format_has_letters_of_dates_in_quotes_stays_a_number(bench: Bench) -> None:
    styles = "<numFmts><numFmt numFmtId='164' formatCode='&quot;d;m &quot;0'/></numFmts>"
    styles += "<cellXfs><xf numFmtId='164'/></cellXfs>"
    body = workbook({"S": row(1, cell("A1", "v")) + row(2, cell("A2", 45_000))}, styles=styles)
    assert ingest(bench, body, "XLSX").rows == [{"v": 45_000}]


@pytest.mark.parametrize(
    ("stored", "kind", "wanted"),
    [
        (["2024-01-31T10:00:00+02:00", "2024-01-31T10:00:00Z"], "timestamp[us, tz=UTC]",
         [datetime(2024, 1, 31, 8, tzinfo=UTC), datetime(2024, 1, 31, 10, tzinfo=UTC)]),
        (["2024-01-31T10:00:00", "2024-02-01"], "timestamp[us]",
         [datetime.fromisoformat("2024-01-31T10:00:00"), datetime.fromisoformat("2024-02-01T00:00:00")]),
        (["10:10:10", "T23:59", "00:00:00.25"], "time64[us]", [time(10, 10, 10), time(23, 59), time(0, 0, 0, 250_000)]),
        (["2024-01-31", "20240201"], "date32[day]", [date(2024, 1, 31), date(2024, 2, 1)]),
        (["2024-01-31T10:00:00+02:00", "2024-01-31T10:00:00"], "string",
         ["2024-01-31T10:00:00+02:00", "2024-01-31T10:00:00"]),
        (["10:10:10+02:00"], "string", ["10:10:10+02:00"]),
    ],
)  # fmt: skip
def test_dates_and_times_of_iso_8601(bench: Bench, stored: list[str], kind: str, wanted: list[object]) -> None:
    found = column(bench, *stored, kind="d")
    assert (found.types["v"], values(found)) == (kind, wanted)
    assert ("types_mixed" in found.warnings) == (len(set(map(len, stored))) > 1 and kind == "string")


def test_all_digits_of_a_second_are_kept(bench: Bench) -> None:
    found = column(bench, "2024-01-31T10:00:00.123456789", kind="d")
    assert found.types["v"] == "timestamp[ns]"
    assert found.table.column("v").cast("int64").to_pylist() == [1_706_695_200_123_456_789]


def test_a_zero_among_dates_is_null_and_counted(bench: Bench) -> None:
    found = column(bench, ("45000", DATE), ("0", DATE), ("45001", DATE), ("0.0", DATE))
    assert values(found) == [date(2023, 3, 15), None, date(2023, 3, 16), None]
    assert found.warnings["dates_zero"][1:] == (2, ("B3", "B5"))
    assert set(found.warnings) == {"dates_zero"}
    found = column(bench, ("45000.5", MOMENT), ("0", DATE), ("45000", DATE), name="u")
    assert [each and each.isoformat() for each in values(found)] == ["2023-03-15T12:00:00", None, "2023-03-15T00:00:00"]


def test_a_zero_that_is_no_date_stays_the_number_that_it_is(bench: Bench) -> None:
    assert values(column(bench, ("0", DATE), ("0", DATE))) == [0, 0]
    found = column(bench, ("0", DATE), ("7", 0), name="u")
    assert (values(found), found.warnings) == ([0, 7], {})
    found = column(bench, ("0", DATE), ("45000", DATE), text_cell(4, "x"), name="v")
    assert values(found) == ["0", "2023-03-15", "x"]
    assert "1 date, 1 number, 1 text" in found.warnings["types_mixed"][0]
