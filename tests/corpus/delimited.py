"""Delimited text: dialects, encodings, headers and values that other readers bend, drop or mix up."""

# ruff: noqa: DTZ001 # times without zone are one of the types

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from tests.corpus.case import Case, Refused, Table, Values, bytes_as, flag, real, text, whole

UTC = dt.UTC


def good(
    name: str,
    body: bytes | str,
    warns: Iterable[str] = (),
    aside: Iterable[tuple[int, str]] = (),
    options: dict[str, Any] | None = None,
    **columns: Values,
) -> Case:
    wanted = Table(columns, frozenset(warns), tuple(aside))
    return Case(name, "tabular", "CSV", bytes_as("t.csv", body), wanted, {"options": options} if options else {})


def bad(name: str, body: bytes | str, code: str, **options: Any) -> Case:
    more = {"options": options} if options else {}
    return Case(name, "tabular", "CSV", bytes_as("t.csv", body), Refused(code), more)


LONG = "x" * 200_000
CSV = [
    # quotation
    good("comma in quotes", 'first,city\nJohn,"Paris, France"\n', first=text("John"), city=text("Paris, France")),
    good("doubled quotes", 'a,b\n1,"ha ""ha"" ha"\n3,4 \n', a=whole(1, 3), b=text('ha "ha" ha', "4 ")),
    good("quotes and line ends", 'a,b\n1,"ha\n""ha""\nha"\n2,""""""\n', a=whole(1, 2), b=text('ha\n"ha"\nha', '""')),
    good(
        "JSON in a field",
        'key,val\n1,"{""type"": ""Point"", ""coordinates"": [102.0, 0.5]}"\n',
        key=whole(1),
        val=text('{"type": "Point", "coordinates": [102.0, 0.5]}'),
    ),
    good(
        "line ends of all kinds in one field", 'a,b\n1,"x\ry\nz\r\n"\n2,w\n', a=whole(1, 2), b=text("x\ry\nz\r\n", "w")
    ),
    good("quoted header with comma and line end", '"a, or\nb",c\n1,2\n', a_or_b=whole(1), c=whole(2)),
    good("quoted number stays a number", 'a,b\n"1","2.5"\n', a=whole(1), b=real(2.5)),
    good("quotes within a field", 'a,b\n5" pipe,1\n', a=text('5" pipe'), b=whole(1)),
    good("backslash is no escape", 'a,b\n"c:\\dir\\",2\n', a=text("c:\\dir\\"), b=whole(2)),
    good("blank before a quote", 'a,b\n1, "x"\n', a=whole(1), b=text(' "x"')),
    good("very long field", f'a,b\n1,"{LONG}"\n2,y\n', a=whole(1, 2), b=text(LONG, "y")),
    bad("quote that is never closed", 'a,b\n1,"x\n2,y\n', "rows_quarantined"),
    # line ends and blank lines
    good("CRLF", "a,b\r\n1,2\r\n", a=whole(1), b=whole(2)),
    good("CR", "a,b\r1,2\r", a=whole(1), b=whole(2)),
    good("line ends of both kinds", "a,b\n1,2\r\n3,4\n", a=whole(1, 3), b=whole(2, 4)),
    good("no line end at the end", "a,b\n1,2", a=whole(1), b=whole(2)),
    good("blank lines", "a,b\n1,2\n\n3,4\n", ["lines_blank"], a=whole(1, 3), b=whole(2, 4)),
    good("LF in a CRLF file within quotes", 'a,b\r\n1,"x\ny"\r\n', a=whole(1), b=text("x\ny")),
    # empty things
    good(
        "empty fields",
        'a,b,c\n1,"",""\n2,3,4\n,,\n',
        ["number_as_text"],
        a=whole(1, 2, None),
        b=text("", "3", None),
        c=text("", "4", None),
    ),
    bad("empty file", b"", "file_empty"),
    bad("only a byte order mark", b"\xef\xbb\xbf", "no_rows"),
    bad("only a header", "a,b\n", "no_rows"),
    bad("only line ends", "\n\r\n\n", "no_rows"),
    good("a column without any value", "a,b\n1,\n2,\n", a=whole(1, 2), b=text(None, None)),
    good("one row of missing values", "a,b\n,\n", a=text(None), b=text(None)),
    # encodings
    good("UTF-8 with mark", b"\xef\xbb\xbfa,b\n\xc3\xbc,1\n", a=text("ü"), b=whole(1)),
    good("UTF-16 LE with mark", "\ufeffa,b\nä😀,1\n".encode("utf-16-le"), a=text("ä😀"), b=whole(1)),
    good("UTF-16 BE with mark", "\ufeffa,b\nä😀,1\n".encode("utf-16-be"), a=text("ä😀"), b=whole(1)),
    good("UTF-32 with mark", "a,b\nä,1\n".encode("utf-32"), a=text("ä"), b=whole(1)),
    good(
        "Latin-1 declared",
        "a,b\nKöln,\x85\n".encode("latin-1"),
        options={"encoding": "ISO-8859-1"},
        a=text("Köln"),
        b=text("\x85"),
    ),
    good(
        "CP1252 found", "a,b\nKöln – “€”,1\n".encode("cp1252"), ["encoding_assumed"], a=text("Köln – “€”"), b=whole(1)
    ),
    good("decomposed and composed letters stay apart", "a,b\ne\u0301,\u00e9\n", a=text("e\u0301"), b=text("\u00e9")),
    good("invisible characters stay", "a,b\n\u200bx\u00a0,\ufeffy\n", a=text("\u200bx\u00a0"), b=text("\ufeffy")),
    good("separators of lines that are none", "a,b\nx\u2028y,p\x0bq\x0c\n", a=text("x\u2028y"), b=text("p\x0bq\x0c")),
    bad("UTF-16 declared as UTF-8", "a,b\n1,2\n".encode("utf-16-le"), "nul_bytes", encoding="UTF-8"),
    bad("NUL byte in a field", b"a,b\n1,x\x00y\n", "nul_bytes"),
    bad("NUL bytes at the end", b"a,b\n1,2\n" + bytes(64), "nul_bytes"),
    # rows of another length
    good(
        "one field too many, one too few",
        "a,b,c\n1,2,3\n4,5\n6,7,8,9\n" + "1,2,3\n" * 300,
        ["rows_quarantined"],
        [(3, "2 fields instead of 3"), (4, "4 fields instead of 3")],
        a=whole(*[1] * 301),
        b=whole(*[2] * 301),
        c=whole(*[3] * 301),
    ),
    good(
        "trailing delimiter everywhere", "a,b,\n1,2,\n3,4,\n", a=whole(1, 3), b=whole(2, 4), column_3=text(None, None)
    ),
    good(
        "trailing delimiter in the rows only",
        "a,b\n1,2,\n3,4,\n",
        ["delimiter_ends_rows"],
        a=whole(1, 3),
        b=whole(2, 4),
    ),
    good(
        "backslash as declared escape",
        'a,b\n1,"x \\"y\\" \\\\"\n2,p\\,q\\n\n',
        options={"escape": "\\"},
        a=whole(1, 2),
        b=text('x "y" \\', "p,q\\n"),
    ),
    # delimiters
    good(
        "semicolons, with commas in numbers",
        "a;b\n1,5;x\n2,5;y\n",
        ["number_as_text"],
        a=text("1,5", "2,5"),
        b=text("x", "y"),
    ),
    good("tabs, with commas in text", "a\tb\nx,y\t1\n", a=text("x,y"), b=whole(1)),
    good("bars", "a|b\n1|2\n", a=whole(1), b=whole(2)),
    good("other delimiters in quotes", 'a,b\n"x;y;z","p|q\tr"\n', a=text("x;y;z"), b=text("p|q\tr")),
    good("Excel's sep line", "sep=;\r\na;b\r\n1;2\r\n", a=whole(1), b=whole(2)),
    good("a caret, declared", "a^b\n1^2\n", options={"delimiter": "^"}, a=whole(1), b=whole(2)),
    # headers
    good("repeated names", "a,a,A\n1,2,3\n", a=whole(1), a_1=whole(2), a_2=whole(3)),
    good("empty names", "a,,\n1,2,3\n", a=whole(1), column_2=whole(2), column_3=whole(3)),
    good("reserved names", "select,Order,geom\n1,2,3\n", select_col=whole(1), order_col=whole(2), geom=whole(3)),
    good("names over 63 bytes", f"{'n' * 70}1,{'n' * 70}2\n1,2\n", **{"n" * 63: whole(1), "n" * 61 + "_1": whole(2)}),
    good(
        "names of other scripts",
        "Größe (m²),Имя,名前\n1,2,3\n",
        grosse_m2=whole(1),
        имя=whole(2),
        名前=whole(3),
    ),
    good("blanks around names", " a , b\n1,2\n", a=whole(1), b=whole(2)),
    good("names that begin with digits", "2020,2021x\na,b\n", c_2020=text("a"), c_2021x=text("b")),
    # numbers
    good("leading zeros", "zip,n\n01067,1\n99999,2\n", zip=text("01067", "99999"), n=whole(1, 2)),
    good("plus signs", "a,b\n+1,+49 7071\n2,1\n", ["number_as_text"], a=text("+1", "2"), b=text("+49 7071", "1")),
    good(
        "64 bits, and one more",
        "a,b\n9223372036854775807,9223372036854775808\n-9223372036854775808,1\n",
        a=whole(2**63 - 1, -(2**63)),
        b=text("9223372036854775808", "1"),
    ),
    good(
        "whole numbers past 2**53 beside fractions",
        "a,b\n9007199254740993,1\n0.5,2\n",
        a=("decimal128(18, 1)", [Decimal("9007199254740993.0"), Decimal("0.5")]),
        b=whole(1, 2),
    ),
    good(
        "decimals keep their zeros",
        "a,b\n1.10,1\n2.5,2\n",
        a=("decimal128(18, 2)", [Decimal("1.10"), Decimal("2.50")]),
        b=whole(1, 2),
    ),
    good("minus zero", "a,b\n-0,1\n-0.5,2\n", a=real(-0.0, -0.5), b=whole(1, 2)),
    good("exponents", "a,b\n1e5,1E-7\n2.5e300,-3e0\n", a=real(1e5, 2.5e300), b=real(1e-7, -3.0)),
    good(
        "product codes that look like exponents",
        "a,b\n1E5,x\n12E99999,y\n",
        a=text("1E5", "12E99999"),
        b=text("x", "y"),
    ),
    good(
        "thousands separators",
        'a,b\n"1,234",1\n"5,678",2\n',
        ["number_as_text"],
        a=text("1,234", "5,678"),
        b=whole(1, 2),
    ),
    good("words for no number", "a,b\nNaN,inf\n1,2\n", a=text("NaN", "1"), b=text("inf", "2")),
    good("percent and currency", "a,b\n5%,$3\n6%,$4\n", ["number_as_text"], a=text("5%", "6%"), b=text("$3", "$4")),
    good("hexadecimal and underscores", "a,b\n0x1F,1_000\n2,3\n", a=text("0x1F", "2"), b=text("1_000", "3")),
    good("digits of other scripts", "a,b\n١٢,１２\n3,4\n", ["number_as_text"], a=text("١٢", "3"), b=text("１２", "4")),
    good(
        "a word in the last of 1,001 rows",
        "a,b\n" + "1,2\n" * 1_000 + "n/a,2\n",
        ["number_as_text"],
        a=text(*["1"] * 1_000, "n/a"),
        b=whole(*[2] * 1_001),
    ),
    good(
        "coordinates",
        "lat,lon\n48.52266,9.05222\n-33.86785,151.20732\n",
        lat=real(48.52266, -33.86785),
        lon=real(9.05222, 151.20732),
    ),
    # words, dates and times
    good("booleans", "a,b\ntrue,yes\nFALSE,no\n", a=flag(True, False), b=text("yes", "no")),
    good("booleans beside a number", "a,b\ntrue,1\n1,2\n", a=text("true", "1"), b=whole(1, 2)),
    good("words for missing stay words", "a,b\nNA,null\n1,None\n", a=text("NA", "1"), b=text("null", "None")),
    good(
        "words for missing, declared",
        "a,b\nNA,-\n1,2\n",
        options={"nulls": ["NA", "-"]},
        a=whole(None, 1),
        b=whole(None, 2),
    ),
    good(
        "ISO dates",
        "a,b\n2024-02-29,1\n0001-01-01,2\n9999-12-31,3\n",
        a=("date32[day]", [dt.date(2024, 2, 29), dt.date(1, 1, 1), dt.date(9999, 12, 31)]),
        b=whole(1, 2, 3),
    ),
    good(
        "a day that is none",
        "a,b\n2023-02-29,1\n2024-02-29,2\n",
        ["date_as_text"],
        a=text("2023-02-29", "2024-02-29"),
        b=whole(1, 2),
    ),
    good(
        "dates by day first and month first",
        "a,b\n31/12/2024,12/31/2024\n01/02/2024,01/02/2024\n",
        ["date_as_text"],
        a=text("31/12/2024", "01/02/2024"),
        b=text("12/31/2024", "01/02/2024"),
    ),
    good(
        "dates in German and compact",
        "a,b\n1.2.2024,20240201\n",
        ["date_as_text"],
        a=text("1.2.2024"),
        b=whole(20240201),
    ),
    good(
        "timestamps",
        "a,b\n2024-01-01T10:00:00,1\n1850-01-01 00:00:00.5,2\n",
        a=("timestamp[us]", [dt.datetime(2024, 1, 1, 10), dt.datetime(1850, 1, 1, 0, 0, 0, 500_000)]),
        b=whole(1, 2),
    ),
    good(
        "instants of several zones",
        "a,b\n2024-01-01T00:30:00+05:30,1\n2024-06-01T00:00:00Z,2\n",
        a=("timestamp[us, tz=UTC]", [dt.datetime(2023, 12, 31, 19, tzinfo=UTC), dt.datetime(2024, 6, 1, tzinfo=UTC)]),
        b=whole(1, 2),
    ),
    good(
        "zones here and there",
        "a,b\n2024-01-01T00:00:00Z,1\n2024-01-01T00:00:00,2\n",
        ["date_as_text"],
        a=text("2024-01-01T00:00:00Z", "2024-01-01T00:00:00"),
        b=whole(1, 2),
    ),
    good(
        "times",
        "a,b\n23:59:59,24:00:00\n00:00:00.25,00:00:00\n",
        a=("time64[us]", [dt.time(23, 59, 59), dt.time(0, 0, 0, 250_000)]),
        b=text("24:00:00", "00:00:00"),
    ),
    good(
        "formulas stay text",
        "a,b\n=1+1,@x\n-2+3,=cmd|' /C calc'!A0\n",
        a=text("=1+1", "-2+3"),
        b=text("@x", "=cmd|' /C calc'!A0"),
    ),
    good(
        "declared types",
        "a,b\n007,1\n8,2\n",
        options={"types": {"a": "int64", "b": "decimal(4,1)"}},
        a=whole(7, 8),
        b=("decimal128(4, 1)", [Decimal("1.0"), Decimal("2.0")]),
    ),
    bad("a declared type that no value has", "a,b\nx,1\ny,2\n", "rows_quarantined", types={"a": "int64"}),
    bad("a declared type of a column that is not there", "a,b\nx,1\n", "column_unknown", types={"c": "int64"}),
    # other content under this name
    bad("HTML", "<html><body>404</body></html>", "content_mismatch"),
    bad("a workbook", b"PK\x03\x04" + bytes(40), "archive_invalid"),
]
