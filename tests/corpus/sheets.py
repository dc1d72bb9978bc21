"""Workbooks, JSON lines and Parquet as tables: types that the file has itself, and what it says wrongly."""

# ruff: noqa: DTZ001 # times without zone are one of the types

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.corpus.case import Case, Refused, Table, Values, bytes_as, flag, real, text, whole
from tests.pipelines.tables import CODE, DATE, ELAPSED, MOMENT, TIME, cell, row, workbook

HEAD = row(1, cell("A1", "a"), cell("B1", "b"))
ENDINGS = {"XLSX": "t.xlsx", "JSONL": "t.jsonl", "Parquet": "t.parquet", "TSV": "t.tsv"}


def good(
    fmt: str,
    name: str,
    body: bytes | str,
    warns: Iterable[str] = (),
    aside: Iterable[tuple[int, str]] = (),
    options: dict[str, Any] | None = None,
    **columns: Values,
) -> Case:
    wanted = Table(columns, frozenset(warns), tuple(aside))
    return Case(name, "tabular", fmt, bytes_as(ENDINGS[fmt], body), wanted, {"options": options} if options else {})


def bad(fmt: str, name: str, body: bytes | str, code: str) -> Case:
    return Case(name, "tabular", fmt, bytes_as(ENDINGS[fmt], body), Refused(code))


def book(*rows: str, **more: Any) -> bytes:
    return workbook({"S": HEAD + "".join(rows)}, **more)


def two(a: Any, b: Any, number: int = 2, style: int = 0) -> str:
    cells = [cell(f"{column}{number}", value, style) for column, value in (("A", a), ("B", b)) if value is not None]
    return row(number, *cells)


def parquet(table: pa.Table, **more: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **more)
    return out.getvalue()


def column(kind: pa.DataType, *values: Any) -> bytes:
    return parquet(pa.table({"v": pa.array(values, kind)}))


def kept(name: str, kind: pa.DataType, *values: Any) -> Case:
    """A Parquet column that comes out as it is. values: as Python has them."""
    return good("Parquet", name, column(kind, *values), v=(str(kind).replace("item:", "element:"), values))


DAY = dt.date(2023, 3, 15)
XLSX = [
    good("XLSX", "numbers and text", book(two(1, "x"), two(2.5, "y", 3)), a=real(1.0, 2.5), b=text("x", "y")),
    good(
        "XLSX",
        "whole numbers",
        book(two(1, -2), two(3, 999_999_999_999_999, 3)),
        a=whole(1, 3),
        b=whole(-2, 999_999_999_999_999),
    ),
    good(
        "XLSX",
        "text that looks like numbers",
        book(two("007", "1"), two("8", "2", 3)),
        ["number_as_text"],
        a=text("007", "8"),
        b=text("1", "2"),
    ),
    good("XLSX", "booleans", book(two(True, False), two(False, None, 3)), a=flag(True, False), b=flag(False, None)),
    good(
        "XLSX",
        "dates",
        book(two(45_000, 61, style=DATE)),
        a=("date32[day]", [DAY]),
        b=("date32[day]", [dt.date(1900, 3, 1)]),
    ),
    good(
        "XLSX",
        "dates since 1904",
        book(two(0, 1, style=DATE), settings="date1904='1'"),
        a=("date32[day]", [dt.date(1904, 1, 1)]),
        b=("date32[day]", [dt.date(1904, 1, 2)]),
    ),
    good(
        "XLSX",
        "dates with times",
        book(two(45_000.5, 45_000.25, style=MOMENT)),
        a=("timestamp[us]", [dt.datetime(2023, 3, 15, 12)]),
        b=("timestamp[us]", [dt.datetime(2023, 3, 15, 6)]),
    ),
    good(
        "XLSX",
        "times of day",
        book(two(0.25, 0.999988425925926, style=TIME)),
        a=("time64[us]", [dt.time(6)]),
        b=("time64[us]", [dt.time(23, 59, 59)]),
    ),
    good("XLSX", "elapsed times are days", book(two(1.5, 2.25, style=ELAPSED)), a=real(1.5), b=real(2.25)),
    good("XLSX", "whole numbers that a double would round", book(two(1, 2**53 + 1)), a=whole(1), b=whole(2**53 + 1)),
    good(
        "XLSX",
        "codes by their format",
        book(two(123, 1, style=CODE), two(99_999, 2, 3, CODE)),
        a=text("00123", "99999"),
        b=text("00001", "00002"),
    ),
    good(
        "XLSX",
        "numbers and text in one column",
        book(two(1, 1), two("x", 2, 3)),
        ["types_mixed"],
        a=text("1", "x"),
        b=whole(1, 2),
    ),
    good("XLSX", "missing cells and rows", book(two(1, None), two(None, "x", 9)), a=whole(1, None), b=text(None, "x")),
    good("XLSX", "results of formulas", book(two("<f>1+1</f><v>2</v>", 1)), a=whole(2), b=whole(1)),
    good(
        "XLSX",
        "errors are nulls",
        book(two(1, 2), row(3, "<c r='A3' t='e'><v>#DIV/0!</v></c>", cell("B3", 3))),
        ["cells_error"],
        a=whole(1, None),
        b=whole(2, 3),
    ),
    good("XLSX", "line ends and blanks in a cell", book(two(" x ", "y\nz")), a=text(" x "), b=text("y\nz")),
    good("XLSX", "17 digits", book(two(0.1, 0.30000000000000004)), a=real(0.1), b=real(0.30000000000000004)),
    good(
        "XLSX",
        "the sheet that is named",
        workbook({"A": HEAD + two(1, 2), "B": HEAD + two(3, 4)}),
        options={"sheet": "B"},
        a=whole(3),
        b=whole(4),
    ),
    bad("XLSX", "two sheets", workbook({"A": HEAD + two(1, 2), "B": HEAD + two(3, 4)}), "sheet_ambiguous"),
    bad("XLSX", "only a header", book(), "no_rows"),
    bad("XLSX", "text", "a,b\n1,2\n", "content_mismatch"),
    bad("XLSX", "half a workbook", book(two(1, 2))[:-60], "archive_invalid"),
]

JSONL = [
    good(
        "JSONL",
        "types",
        '{"a":1,"b":"x","c":true,"d":null,"e":1.5}\n',
        a=whole(1),
        b=text("x"),
        c=flag(True),
        d=text(None),
        e=real(1.5),
    ),
    good(
        "JSONL",
        "keys here and there",
        '{"a":1}\n{"b":"x"}\n{"c":2,"a":3}\n',
        a=whole(1, None, 3),
        b=text(None, "x", None),
        c=whole(None, None, 2),
    ),
    good(
        "JSONL",
        "strings stay strings",
        '{"a":"1","b":"2024-01-01"}\n{"a":"2","b":"2024-01-02"}\n',
        ["number_as_text", "date_as_text"],
        a=text("1", "2"),
        b=text("2024-01-01", "2024-01-02"),
    ),
    good("JSONL", "escapes", '{"a":"\\u00fc\\ud83d\\ude00\\n\\"\\/\\\\"}\n{"a":"ü"}\n', a=text('ü😀\n"/\\', "ü")),
    good("JSONL", "65 bits", '{"a":9223372036854775808}\n{"a":1}\n', a=text("9223372036854775808", "1")),
    good(
        "JSONL",
        "more digits than a double has",
        '{"a":0.1234567890123456789}\n',
        a=("decimal128(38, 19)", [Decimal("0.1234567890123456789")]),
    ),
    good(
        "JSONL",
        "objects and arrays",
        '{"a":{"x":[1,{"y":null}]},"b":[]}\n',
        a=text('{"x":[1,{"y":null}]}'),
        b=text("[]"),
    ),
    good("JSONL", "types that change", '{"a":1}\n{"a":"x"}\n{"a":false}\n', ["types_mixed"], a=text("1", "x", "false")),
    good("JSONL", "CRLF, blank lines, no end", '{"a":1}\r\n\r\n{"a":2}', ["lines_blank"], a=whole(1, 2)),
    good("JSONL", "byte order mark", b'\xef\xbb\xbf{"a":1}\n', a=whole(1)),
    good("JSONL", "UTF-16", '\ufeff{"a":"ü"}\n'.encode("utf-16-le"), a=text("ü")),
    good("JSONL", "empty key and reserved key", '{"":1,"select":2}\n', column_1=whole(1), select_col=whole(2)),
    good("JSONL", "keys that become the same", '{"Ä":1,"a":2}\n', a=whole(1), a_1=whole(2)),
    good(
        "JSONL",
        "a line that is none",
        '{"a":1}\n' * 300 + '{"a":\n',
        ["rows_quarantined"],
        [(301, "it is no JSON: Expecting value at character 6")],
        a=whole(*[1] * 300),
    ),
    bad("JSONL", "one array", '[{"a":1}]\n', "content_mismatch"),
    bad("JSONL", "empty file", b"", "file_empty"),
    bad("JSONL", "NUL bytes", b'{"a":1}\n\x00\x00\n', "nul_bytes"),
]

UTC = dt.UTC
PARQUET = [
    kept("bool", pa.bool_(), True, None, False),
    kept("int8", pa.int8(), -128, None, 127),
    kept("uint8", pa.uint8(), 0, None, 255),
    kept("int64", pa.int64(), -(2**63), None, 2**63 - 1),
    kept("uint64", pa.uint64(), 0, None, 2**64 - 1),
    kept("float32", pa.float32(), 1.5, None, -0.0),
    kept("float64 with infinities", pa.float64(), float("inf"), float("-inf"), 5e-324),
    kept(
        "decimal",
        pa.decimal128(38, 10),
        Decimal("1.1000000000"),
        None,
        Decimal("-9999999999999999999999999999.9999999999"),
    ),
    kept("date", pa.date32(), dt.date(1582, 10, 4), None, dt.date(9999, 12, 31)),
    kept("time", pa.time64("us"), dt.time(23, 59, 59, 999_999), None, dt.time(0)),
    kept(
        "timestamp without zone", pa.timestamp("us"), dt.datetime(1800, 1, 1), None, dt.datetime(2300, 1, 1, 0, 0, 0, 1)
    ),
    kept("timestamp in UTC", pa.timestamp("us", "UTC"), dt.datetime(1899, 12, 31, 23, tzinfo=UTC), None),
    kept("text", pa.string(), "", None, "ü\n\"'"),
    kept("binary", pa.binary(), b"", None, b"\x00\xff"),
    kept("lists", pa.list_(pa.int32()), [1, None], None, []),
    kept(
        "structs",
        pa.struct([("x", pa.string()), ("y", pa.list_(pa.float64()))]),
        {"x": "ü", "y": [0.5]},
        None,
        {"x": None, "y": None},
    ),
    good(
        "Parquet",
        "dictionary",
        parquet(pa.table({"v": pa.array(["a", "b", None, "a"]).dictionary_encode()})),
        v=("dictionary<values=string, indices=int32, ordered=0>", ["a", "b", None, "a"]),
    ),
    good(
        "Parquet",
        "names",
        parquet(pa.table({"Größe": [1], "select": [2], "a b": [3], "": [4]})),
        grosse=whole(1),
        select_col=whole(2),
        a_b=whole(3),
        column_4=whole(4),
    ),
    good(
        "Parquet",
        "row groups of one row",
        parquet(pa.table({"v": list(range(9))}), row_group_size=1),
        v=whole(*range(9)),
    ),
    bad("Parquet", "no rows", column(pa.int64()), "no_rows"),
    bad("Parquet", "truncated", column(pa.int64(), *range(99))[:-9], "file_truncated"),
    bad("Parquet", "delimited text", "a,b\n1,2\n", "content_mismatch"),
]

TSV = [
    good("TSV", "commas and quotes", 'a\tb\nx,y\t"p\tq"\n', a=text("x,y"), b=text("p\tq")),
    good("TSV", "one column", "a\n1,2\n3,4\n", ["number_as_text"], a=text("1,2", "3,4")),
    bad("TSV", "commas only, in rows of several lengths", "a\tb\n1,2\n3,4\n", "rows_quarantined"),
]

SHEETS = [*XLSX, *JSONL, *PARQUET, *TSV]
