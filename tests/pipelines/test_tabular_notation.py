"""Numbers and dates as a table writes them, against Python's own readers of the same texts."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.pipelines.tabular.inferred_types import ALL_KINDS, LOCAL
from app.pipelines.tabular.notation import Notation, convert_from, possible_types_in
from tests.pipelines.conftest import Bench
from tests.pipelines.tables import EVERYTHING, cell, ingest, row, workbook

MARKS: list[tuple[str, str | None, str]] = [  # decimal, thousands, what is written between groups
    (",", None, ""), (",", ".", "."), (".", ",", ","), (",", " ", "\u202f"), (".", "'", "\u2019"), (".", "_", "_"),
]  # fmt: skip
# So many digits that a double or a decimal of 38 digits holds them.
AMOUNTS = st.decimals(-(10**12), 10**12, places=3) | st.integers(-(10**12), 10**12).map(Decimal)


def read(values: list[str | None], notation: Notation) -> tuple[str, list[Any]]:
    """(kind, values) of a column that comes in one block for each value."""
    arrays = [pa.array([value], pa.string()) for value in values]
    found = possible_types_in(arrays[0], ALL_KINDS, notation)
    for array in arrays[1:]:
        found = found.merge(possible_types_in(array, ALL_KINDS, notation))
    converted = [convert_from(array, found.kind, found.type, notation) for array in arrays]
    assert all(each is not None for each in converted)
    return found.kind, [each[0].as_py() for each in converted if each is not None]


@settings(max_examples=200, deadline=None)
@given(st.lists(AMOUNTS, min_size=1, max_size=6), st.sampled_from(MARKS), st.booleans())
def test_numbers_are_those_of_pythons_decimal(
    amounts: list[Decimal], marks: tuple[str, str | None, str], grouped: bool
) -> None:
    decimal, thousands, between = marks
    amounts = [abs(amount) if amount == 0 else amount for amount in amounts]  # -0 is no decimal
    plain = [f"{amount:,f}" if grouped and thousands else f"{amount:f}" for amount in amounts]
    texts = [text.replace(",", "\0").replace(".", decimal).replace("\0", between) for text in plain]
    kind, values = read([*texts, None], Notation(decimal, thousands))
    assert kind in ("int64", "float64", "decimal")
    assert [Decimal(repr(value)) if kind == "float64" else Decimal(value) for value in values[:-1]] == amounts
    assert values[-1] is None


@pytest.mark.parametrize(
    ("text", "decimal", "thousands"),
    [
        ("1.5", ",", None), ("1.50", ",", "."), ("12.34,5", ",", "."), ("1.234.56", ",", "."), ("1,234.5", ",", "."),
        (".234", ",", "."), ("1..234", ",", "."), ("1 23", ".", " "), ("1234 567", ".", " "), ("1,5 EUR", ",", None),
        ("5 %", ",", None), (",", ",", None), ("0.123", ",", "."), ("1'234", ".", ","),
    ],
)  # fmt: skip
def test_what_is_no_number_in_a_notation_stays_text(text: str, decimal: str, thousands: str | None) -> None:
    notation = Notation(decimal, thousands)
    assert read([text], notation) == ("text", [text])
    assert read(["1", text], notation) == ("text", ["1", text])


FORMATS = [
    "%d.%m.%Y", "%m/%d/%y", "%Y%m%d", "%Y-%d-%m", "%d-%b-%Y", "%B %d, %Y", "%d.%m.%Y %H:%M:%S.%f", "%d/%m/%Y %I:%M %p",
    "%Y-%m-%dT%H:%M:%S%z", "%d%m%y%H%M", "on %d.%m.%Y (100%%)", "%y%m%d",
]  # fmt: skip
MOMENTS = st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2067, 12, 31), timezones=st.just(dt.UTC))  # noqa: DTZ001


def by_python(text: str, form: str) -> Any:
    """The date or time that Python reads, None if it reads none."""
    try:
        moment = dt.datetime.strptime(text, form)  # noqa: DTZ007 # some have no zone
    except ValueError:
        return None
    if moment.tzinfo:
        return moment.astimezone(dt.UTC)
    return moment if {"%H", "%I"} & {form[at : at + 2] for at in range(len(form))} else moment.date()


@settings(max_examples=200, deadline=None)
@given(st.lists(MOMENTS, min_size=1, max_size=4), st.sampled_from(FORMATS), st.data())
def test_dates_are_those_of_pythons_strptime(moments: list[dt.datetime], form: str, data: st.DataObject) -> None:
    texts = [moment.strftime(form) for moment in moments]
    if data.draw(st.booleans()):  # without the zeros that fill up
        texts = [text.replace(".0", ".").replace("/0", "/").removeprefix("0") for text in texts]
    wanted = [by_python(text, form) for text in texts]
    kind, values = read([*texts, None], Notation(date_format=form))
    if None in wanted:
        assert not kind.startswith(LOCAL)
    else:
        assert kind.startswith(LOCAL)
        assert values == [*wanted, None]


LIKE_DATES = st.from_regex(r"[0-3]?[0-9][.][01]?[0-9][.]([0-9]{4}|[0-9]{2})", fullmatch=True)


@settings(max_examples=500, deadline=None)
@given(st.text("0123 .-:/", max_size=12) | LIKE_DATES)
def test_what_python_reads_not_is_no_date(text: str) -> None:
    for form in ("%d.%m.%Y", "%Y%m%d", "%d%m%y", "%d.%m.%y %H:%M"):
        wanted = by_python(text, form)
        kind, values = read([text], Notation(date_format=form))
        assert (values if kind.startswith(LOCAL) else [None]) == [wanted]
    wanted = [by_python(text, form) for form in ("%d.%m.%Y", "%d.%m.%y")]
    if any(wanted):
        assert read([text], Notation(date_format="dmy"))[1] == [wanted[0] or wanted[1]]


def test_a_file_as_a_german_spreadsheet_writes_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.pipelines.tabular.csv.split.BLOCK_BYTES", 40)
    body = (
        "Nr;Betrag;Stand;gemessen; Text ;ISO\n"
        "01;1.234,50;31.12.2026;1.2.2026 8:05;  a b ;2026-01-02\n"
        "02;-7,25;1.1.26;28.02.2026 23:59:59,5;   ;2026-03-04\n"
        '03;12;;;"";\n'
    )
    options: dict[str, Any] = {"decimal": ",", "thousands": ".", "date_format": "dmy", "trim": True, "delimiter": ";"}
    found = ingest(bench, body.replace(":59,5", ":59.5"), **options)
    assert found.rows == [
        {
            "nr": "01", "betrag": Decimal("1234.50"), "stand": dt.date(2026, 12, 31), "text": "a b",
            "gemessen": dt.datetime(2026, 2, 1, 8, 5), "iso": dt.date(2026, 1, 2),  # noqa: DTZ001
        },
        {
            "nr": "02", "betrag": Decimal("-7.25"), "stand": dt.date(2026, 1, 1), "text": None,
            "gemessen": dt.datetime(2026, 2, 28, 23, 59, 59, 500_000), "iso": dt.date(2026, 3, 4),  # noqa: DTZ001
        },
        {"nr": "03", "betrag": Decimal("12.00"), "stand": None, "gemessen": None, "text": "", "iso": None},
    ]  # fmt: skip
    assert not {"number_as_text", "date_as_text"} & set(found.warnings)


def test_declared_types_are_read_as_the_file_writes_them(bench: Bench) -> None:
    body = "n;d;t\n1.234,5;31.12.2026;5\n+007,5;2026-12-30;6\n1.5;1.1.2026;7\n2,5;30.2.2026;8\n"
    types = {"n": "decimal(10,2)", "d": "date", "t": "text"}
    how: dict[str, Any] = {"decimal": ",", "thousands": ".", "date_format": "dmy", "types": types}
    found = ingest(bench, body, limits=EVERYTHING, **how)
    assert found.rows == [
        {"n": Decimal("1234.50"), "d": dt.date(2026, 12, 31), "t": "5"},
        {"n": Decimal("7.50"), "d": dt.date(2026, 12, 30), "t": "6"},
    ]
    assert [each["reason"] for each in found.quarantine] == [
        "column 'n': '1.5' is no decimal(10,2)",
        "column 'd': '30.2.2026' is no date",
    ]
    body = "d\n2026-31-12\n2026-12-31\n"
    other = ingest(bench, body, date_format="%Y-%d-%m", types={"d": "date"}, limits=EVERYTHING)
    assert (other.rows, len(other.quarantine)) == ([{"d": dt.date(2026, 12, 31)}], 1)


def test_cells_and_json_values_that_are_no_text_have_no_notation(bench: Bench) -> None:
    options: dict[str, Any] = {"decimal": ",", "thousands": ".", "date_format": "dmy", "trim": True}
    lines = '{"a": 234.125, "b": "234,125", "c": 1.5, "d": " 1.2.2026", "e": "x"}\n{"c": "2,5"}\n'
    (first, _) = ingest(bench, lines, "JSONL", **options).rows
    assert first == {"a": 234.125, "b": 234.125, "c": "1.5", "d": dt.date(2026, 2, 1), "e": "x"}
    cells = [cell("A2", 234.125), cell("B2", "234,125"), cell("C2", 234.125), cell("D2", "1.2.2026")]
    head = row(1, *(cell(f"{name.upper()}1", name) for name in "abcd"))
    book = workbook({"S": head + row(2, *cells) + row(3, cell("C3", "x"), cell("D3", " 1.2.26 "))})
    assert ingest(bench, book, "XLSX", **options).rows == [
        {"a": 234.125, "b": 234.125, "c": "234.125", "d": dt.date(2026, 2, 1)},
        {"a": None, "b": None, "c": "x", "d": dt.date(2026, 2, 1)},
    ]
    assert ingest(bench, book, "XLSX").types == {"a": "double", "b": "string", "c": "string", "d": "string"}


def advised(message: str) -> list[dict[str, Any]]:
    """The options that a warning names."""
    decoder = json.JSONDecoder()
    return [decoder.raw_decode(part)[0] for part in message.split("files[].options ")[1:]]


ADVICE: list[tuple[str, str, list[Any]]] = [  # format, file, first value of column `a` by each advice
    ("CSV", "a;b\n1,5;x\n2,25;y\n", [1.5]),
    ("CSV", "a;b\n1.234,5;x\n-2;y\n", [1234.5]),
    ("CSV", "a;b\n1,234;x\n5,678;y\n", [1.234, 1234]),
    ("CSV", "a;b\n1,234.5;x\n5;y\n", [1234.5]),
    ("CSV", "a;b\n1 234;x\n1\u202f234 567;y\n", [1234]),
    ("CSV", "a;b\n1'234.50;x\n7;y\n", [Decimal("1234.50")]),
    ("CSV", "a;b\n 1;x\n2 ;y\n", [1]),
    ("CSV", "a;b\n 1,5;x\n2 ;y\n", [1.5]),
    ("CSV", 'a;b\n"";x\n2;y\n3,5;z\n', [None]),
    ("CSV", "a;b\n+1;x\n-2;y\n", [1]),
    ("CSV", "a;b\n+1,5;x\n-2;y\n", [1.5]),
    ("CSV", "a;b\n31.12.2026;x\n1.1.27;y\n", [dt.date(2026, 12, 31)]),
    ("CSV", "a;b\n01/02/2026;x\n3/4/2026;y\n", [dt.date(2026, 2, 1), dt.date(2026, 1, 2)]),
    ("CSV", "a;b\n2026/12/31;x\n", [dt.date(2026, 12, 31)]),
    ("CSV", "a;b\n12/31/2026 8:30;x\n", [dt.datetime(2026, 12, 31, 8, 30)]),  # noqa: DTZ001
    ("JSONL", '{"a": "1,5"}\n{"a": "2"}\n', [1.5]),
    ("JSONL", '{"a": "15"}\n{"a": "2"}\n', [15]),
    ("JSONL", '{"a": "1.5.2026"}\n', [dt.date(2026, 5, 1), dt.date(2026, 1, 5)]),
]


@pytest.mark.parametrize(("fmt", "body", "wanted"), ADVICE, ids=[body for _, body, _ in ADVICE])
def test_the_options_that_a_warning_names_work(bench: Bench, fmt: str, body: str, wanted: list[Any]) -> None:
    how: dict[str, Any] = {"delimiter": ";"} if fmt == "CSV" else {}
    warnings = ingest(bench, body, fmt, **how).warnings
    (message,) = [warnings[code][0] for code in ("number_as_text", "date_as_text") if code in warnings]
    read = [ingest(bench, body, fmt, **how, **options) for options in advised(message)]
    assert [found.rows[0]["a"] for found in read] == wanted
    for found in read:
        assert found.types["a"] != "string"
        assert not found.quarantine
        assert not {"number_as_text", "date_as_text"} & set(found.warnings)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("a;b\n5 %;x\n6 %;y\n", "'5 %' is not a number"),
        ("a;b\n" + "1,5;x\n" * 1_000 + "n/a;y\n", "'n/a' is not a number"),
        ("a;b\n31.12.2026;x\n31.2.2026;y\n", "'31.2.2026' is not a number, date"),
        ("a;b\n12/31/2026;x\n31/12/2026;y\n", "is not a number, date"),
        ("a;b\n1,5;x\n6.5;y\n", """with {"decimal": ","} in files[].options '6.5' is not a number"""),
    ],
)
def test_a_warning_says_why_no_option_works(bench: Bench, body: str, why: str) -> None:
    warnings = ingest(bench, body, delimiter=";").warnings
    (message,) = [warnings[code][0] for code in ("number_as_text", "date_as_text") if code in warnings]
    assert "No option gives it a type, because" in message
    assert why in message


def test_text_that_the_manifest_asks_for_needs_no_advice(bench: Bench) -> None:
    assert not ingest(bench, "a;b\n1,5;x\n", delimiter=";", types={"a": "text"}).warnings


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_characters="%\0", exclude_categories=["Cs"]), max_size=8), MOMENTS)
def test_any_text_can_stand_around_the_parts_of_a_date(text: str, moment: dt.datetime) -> None:
    """No format that a manifest may have makes an expression that cannot be compiled, or means something else."""
    form = f"{text}%d{text}-%m-%Y{text}"
    kind, values = read([moment.strftime(form)], Notation(date_format=form))
    assert (kind, values) == ("local_date", [moment.date()])
