"""Types and names of columns: found from all rows, bending none."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import RunCanceled
from app.pipelines.common.column_names import header_mapping
from app.pipelines.tabular import pipeline as tabular
from app.pipelines.tabular.headers import clean_headers
from app.pipelines.tabular.inferred_types import convert, possible_types
from app.settings import Limits
from tests.pipelines.conftest import Bench
from tests.pipelines.tables import EVERYTHING, ingest, refused

TYPES: list[tuple[list[str | None], str]] = [
    (["1", "-2", None], "int64"),
    (["9223372036854775807", "-9223372036854775808"], "int64"),
    (["9223372036854775808"], "string"),
    (["1", "99999999999999999999.5"], "decimal128(38, 1)"),
    (["99999999999999999999", "1.5"], "string"),
    (["007"], "string"),
    (["-01"], "string"),
    (["00.5"], "string"),
    (["+1"], "string"),
    (["1 "], "string"),
    (["1_000"], "string"),
    (["0x10"], "string"),
    (["١"], "string"),
    (["-"], "string"),
    (["-0", "1"], "double"),
    (["-0", "1.10"], "string"),
    (["-0.00"], "string"),
    (["1.5", "2", ".25", "1.0"], "double"),
    (["0.30000000000000004", "1e-05", "1E5"], "double"),
    (["1e400"], "string"),
    (["1.5", "1e5", "0.1234567890123456789"], "string"),
    (["1.10", "2"], "decimal128(18, 2)"),
    (["0.1234567890123456789"], "decimal128(38, 19)"),
    (["1234567890123456.78", "0.001"], "decimal128(38, 3)"),
    (["0." + "1" * 39], "string"),
    (["1."], "string"),
    (["1,5"], "string"),
    (["1.2.3"], "string"),
    (["nan"], "string"),
    (["inf"], "string"),
    (["", "1"], "string"),
    (["true", "False", "TRUE"], "bool"),
    (["t", "f"], "string"),
    (["1", "true"], "string"),
    (["2024-02-29"], "date32[day]"),
    (["2023-02-29"], "string"),
    (["0000-01-01"], "string"),
    (["20240229"], "int64"),
    (["2024-2-9"], "string"),
    (["2024-01-01", "2024-01-01 10:00"], "string"),
    (["2024-01-01 10:00", "2024-01-01T10:00:00.123"], "timestamp[us]"),
    (["2024-01-01T10:00:00.1234567"], "timestamp[ns]"),
    (["2024-01-01T10:00:00.1234567", "9999-01-01T00:00:00"], "string"),
    (["2024-01-01T10:00:00Z", "2024-01-01T10:00:00+02:00"], "timestamp[us, tz=UTC]"),
    (["2024-01-01T10:00:00Z", "2024-01-01T10:00:00"], "string"),
    (["2024-01-01T24:00:00"], "string"),
    (["10:00:00", "23:59:59.5"], "time64[us]"),
    (["25:00:00"], "string"),
    (["10:00"], "string"),
    ([None, None], "string"),
]


@pytest.mark.parametrize(("values", "wanted"), TYPES, ids=[str(values) for values, _ in TYPES])
@pytest.mark.parametrize("apart", [False, True], ids=["one block", "a block for each value"])
def test_the_type_of_a_column(values: list[str | None], wanted: str, apart: bool) -> None:
    array = pa.array(values, pa.string())
    parts = [array.slice(i, 1) for i in range(len(array))] if apart else [array]
    found = possible_types(parts[0])
    for part in parts[1:]:
        found = found.merge(possible_types(part))
    assert str(found.type) == wanted
    made = [convert(part, found.type) for part in parts]
    assert all(each is not None and each.type == found.type for each in made)
    assert [exact(value) for part in made for value in part.to_pylist()] == [meant(value, wanted) for value in values]


def exact(value: Any) -> Any:
    if hasattr(value, "nanosecond"):  # pandas' timestamp
        return value.isoformat()
    return (value, math.copysign(1, value)) if isinstance(value, float) else value


def meant(text: str | None, kind: str) -> Any:  # noqa: PLR0911 # one for each type
    """The value of a text by Python's own readers."""
    if text is None or kind == "string":
        return text
    if kind == "int64":
        return int(text)
    if kind == "double":
        return exact(float(text))
    if kind.startswith("decimal"):
        return Decimal(text)
    if kind == "bool":
        return text.lower() == "true"
    if kind == "date32[day]":
        return date.fromisoformat(text)
    if kind == "time64[us]":
        return time.fromisoformat(text)
    if kind == "timestamp[ns]":
        return text + "00"
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment


NUMBERS = st.from_regex(r"-?[0-9]{0,22}(\.[0-9]{0,22})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
LIKE_VALUES = st.one_of(
    NUMBERS, st.floats().map(repr), st.integers().map(str), st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.datetimes().map(str), st.dates().map(str), st.times().map(str), st.text("0123456789+-.:T eE", max_size=12),
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(st.lists(LIKE_VALUES.filter(bool), min_size=1, max_size=4))
def test_whatever_the_type_no_digit_is_lost(values: list[str]) -> None:
    array = pa.array(values, pa.string())
    found = possible_types(array).type
    made = convert(array, found)
    assert made is not None
    for text, value in zip(values, made.to_pylist(), strict=True):
        if pa.types.is_floating(found):
            assert Decimal(repr(value)) == Decimal(text)
            assert str(value).startswith("-") == text.startswith("-")
        elif pa.types.is_decimal(found):
            assert value == Decimal(text)
            assert f"{value:f}".endswith(text.partition(".")[2].ljust(found.scale, "0"))
        elif pa.types.is_integer(found):
            assert str(value) == text
        elif pa.types.is_timestamp(found) and found.unit == "us":
            moment = datetime.fromisoformat(text)
            assert value == (moment.astimezone(UTC) if moment.tzinfo else moment)
        elif pa.types.is_date(found) or (pa.types.is_time(found) and found.unit == "us"):
            assert value.isoformat()[:8] == text[:8]
        elif pa.types.is_string(found):
            assert value == text


@pytest.mark.parametrize(
    ("last", "wanted"),
    [("x", "string"), ("007", "string"), ("1.25", "double"), ("1.10", "decimal128(18, 2)"), ("", "int64")],
)
def test_the_last_of_200_000_rows_decides(bench: Bench, last: str, wanted: str) -> None:
    body = "n,s\n" + "".join(f"{n},-\n" for n in range(200_000)) + f"{last},-\n"
    found = ingest(bench, body, limits=EVERYTHING)
    assert found.types["n"] == wanted
    column = found.table.column("n")
    assert len(column) == 200_001
    assert column[199_999].as_py() == meant("199999", wanted) or float(column[199_999].as_py()) == 199_999.0
    assert column[200_000].as_py() == (meant(last, wanted) if wanted != "double" else 1.25) if last else True


def test_a_column_that_is_empty_for_long_gets_the_type_of_its_values(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.pipelines.tabular.csv.split.BLOCK_BYTES", 1_000)
    body = "n,t,u\n" + "".join(f"{n},,\n" for n in range(1_000)) + "1000,2024-01-01,x\n"
    found = ingest(bench, body)
    assert found.types == {"n": "int64", "t": "date32[day]", "u": "string"}
    assert found.rows[-1] == {"n": 1000, "t": date(2024, 1, 1), "u": "x"}
    assert found.rows[0] == {"n": 0, "t": None, "u": None}


def test_asked_types_win_and_misfits_are_set_aside(bench: Bench) -> None:
    body = "Größe,b,c\n007,1.5,2024-01-01\n8,x,2024-01-02\n9,2.555,2024-01-03\n+10,3.5,1.1.2024\n"
    types = {"Größe": "int64", "b": "decimal(6,2)", "c": "date"}
    found = ingest(bench, body, types=types, limits=EVERYTHING)
    assert found.types == {"grosse": "int64", "b": "decimal128(6, 2)", "c": "date32[day]"}
    assert found.rows == [{"grosse": 7, "b": Decimal("1.50"), "c": date(2024, 1, 1)}]
    assert [(q["line"], q["reason"]) for q in found.quarantine] == [
        (3, "column 'b': 'x' is no decimal(6,2)"),
        (4, "column 'b': '2.555' is no decimal(6,2)"),
        (5, "column 'c': '1.1.2024' is no date"),
    ]
    assert found.counts["rows_in"] == 4
    assert ingest(bench, body, name="u", types={"grosse": "text"}).types["grosse"] == "string"


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("int64", ["-1", "+2", "003"], ["1.0", "0x1", " 1", "9223372036854775808", ""]),
        ("float64", ["1", "-1.5e3", "NaN", ".5"], ["1,5", "x", "1e999"]),
        ("bool", ["true", "FALSE"], ["1", "yes"]),
        ("timestamp", ["2024-01-01", "2024-01-01 10:00"], ["2024-01-01T10:00:00Z", "2024-13-01"]),
        ("timestamp_utc", ["2024-01-01T10:00:00+02:00"], ["2024-01-01T10:00:00"]),
        ("time", ["10:00", "10:00:00.5"], ["24:00", "10"]),
        ("decimal(3,1)", ["1.5", "-99.9", "7"], ["100.0", "1.25", "1e1"]),
    ],
)
def test_what_fits_an_asked_type(bench: Bench, kind: str, good: list[str], bad: list[str]) -> None:
    body = "a,v\n" + "".join(f'{n},"{value}"\n' for n, value in enumerate([*good, *bad]))
    found = ingest(bench, body, types={"v": kind}, limits=EVERYTHING)
    assert [row["a"] for row in found.rows] == list(range(len(good)))
    assert all(row["v"] is not None for row in found.rows)
    assert len(found.quarantine) == len(bad)


def test_an_asked_column_must_be_there_once(bench: Bench) -> None:
    error = refused(bench, "size,b\n1,2\n", types={"sise": "text"})
    assert (error.reason, "Did you mean 'size'?" in error.fix) == ("column_unknown", True)
    assert refused(bench, "a,a\n1,2\n", types={"a": "text"}).reason == "column_unknown"
    assert ingest(bench, "a,a\n1,2\n", name="u", types={"a_1": "text"}).rows == [{"a": 1, "a_1": "2"}]


def test_text_that_people_read_as_numbers_is_named(bench: Bench) -> None:
    found = ingest(bench, "a;b;c;d\n1.234,5;31.12.2024;00123;x\n2.345,6;1.1.2025;00456;y\n")
    assert set(found.types.values()) == {"string"}
    assert "'a'" in found.warnings["number_as_text"][0]
    assert "'b'" in found.warnings["date_as_text"][0]


def test_the_profile_of_a_column(bench: Bench) -> None:
    body = "a,b,c\n" + "".join(f"{n},{n % 5}.10,{'' if n % 2 else 'x'}\n" for n in range(1_000))
    found = ingest(bench, body)
    columns = found.product.statistics["columns"]
    assert columns["a"] | {"distinct": 0} == {"count": 1000, "nulls": 0, "min": 0, "max": 999, "distinct": 0}
    assert abs(columns["a"]["distinct"] - 1000) < 100
    assert columns["b"] == {"count": 1000, "nulls": 0, "min": "0.10", "max": "4.10", "distinct": 5}
    assert columns["c"] == {"count": 500, "nulls": 500, "min": "x", "max": "x", "distinct": 1}
    schema = found.product.column_schema["c"]
    assert (schema.title, schema.type_name, schema.nullable) == ("c", "string", True)
    assert ingest(bench, body, name="u").product.statistics["columns"] == columns


def test_progress_is_told_and_a_cancel_gets_through(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.pipelines.tabular.csv.split.BLOCK_BYTES", 1_000)
    entry = {"path": bench.write("t", "a,b\n" + "1,2\n" * 5_000), "format": "CSV", "type": "tabular"}
    context = bench.context(entry, intent="ingest_tabular")
    context.watch.error, context.watch.stop_after = RunCanceled("stop"), 2_000
    with pytest.raises(RunCanceled):
        tabular.run(context)
    assert 2_000 <= context.watch.progress[-1][0] < 2_500
    assert context.product is None


HEADERS = [
    (["Größe (m²)", "Ærø", "Łódź", "ﬁn", "İl"], ["grosse_m2", "aero", "lodz", "fin", "il"]),
    (["a", "A", "a_1", "ä"], ["a", "a_2", "a_1", "a_3"]),
    (["2020", "", "  ", "---"], ["c_2020", "column_2", "column_3", "column_4"]),
    (["column_2", ""], ["column_2", "column_2_1"]),
    (["select", "user", "ctid", "name"], ["select_col", "user_col", "ctid_col", "name"]),
    (["Население", "й", "名前", "한국"], ["население", "й", "名前", "한국"]),
    (["x" * 70, "x" * 80, "я" * 40], ["x" * 63, "x" * 61 + "_1", "я" * 31]),
]


@pytest.mark.parametrize(("names", "wanted"), HEADERS)
def test_headers_become_identifiers(names: list[str], wanted: list[str]) -> None:
    assert clean_headers(names) == wanted


@settings(max_examples=500, deadline=None)
@given(st.lists(st.text(max_size=70), max_size=8))
def test_headers_are_clean_different_and_stay_so(names: list[str]) -> None:
    cleaned = clean_headers(names)
    assert len(set(cleaned)) == len(cleaned) == len(names)
    assert all(0 < len(name.encode()) <= 63 and name == name.lower() for name in cleaned)
    assert clean_headers(cleaned) == cleaned
    changed = [new for old, new in zip(names, cleaned, strict=True) if old != new]
    assert set(changed) <= set(header_mapping(names, cleaned).values())


def test_the_mapping_keeps_repeated_names_apart(bench: Bench) -> None:
    found = ingest(bench, "a,a,B,a [2]\n1,2,3,4\n")
    assert found.rows == [{"a": 1, "a_1": 2, "b": 3, "a_2": 4}]
    assert found.product.header_mapping == {"a [2] [2]": "a_1", "B": "b", "a [2]": "a_2"}
    assert [schema.title for schema in found.product.column_schema.values()] == ["a", "a", "B", "a [2]"]


def test_without_a_header_columns_are_numbered(bench: Bench) -> None:
    found = ingest(bench, "1,2\n3,4\n", header=False)
    assert found.rows == [{"column_1": 1, "column_2": 2}, {"column_1": 3, "column_2": 4}]
    assert found.product.header_mapping == {}
    assert "header_numeric" in ingest(bench, "1,2\n3,4\n", name="u").warnings


def test_limits_have_their_codes(bench: Bench) -> None:
    assert refused(bench, "a,b\n1,2\n3,4\n", limits=Limits(rows=1)).reason == "rows_too_many"
    assert refused(bench, "a,b\n1,2\n", limits=Limits(columns=1)).reason == "columns_too_many"
    assert refused(bench, "a,b\n1," + "x" * 300 + "\n", limits=Limits(row_bytes=200)).reason == "row_too_large"
    assert refused(bench, 'a,b\n1,"' + "x\n" * 300, limits=Limits(row_bytes=200)).reason == "row_too_large"
    assert refused(bench, "a," + "b" * 2_000 + "\n1,2\n").reason == "header_too_long"


@pytest.mark.parametrize(
    ("body", "code", "option", "wanted"),
    [
        ('a,b\n1,x\n" ",y\n3,z\n', "number_as_text", {"trim": True}, [1, None, 3]),
        ('a,b\n1,x\n"",y\n3,z\n', "number_as_text", {"nulls": [""]}, [1, None, 3]),
        ('a,b\n1,x\n"",y\n"\t",z\n', "number_as_text", {"nulls": [""], "trim": True}, [1, None, None]),
        ('a;b\n 1,5;x\n" ";y\n', "number_as_text", {"trim": True, "decimal": ","}, [1.5, None]),
        ('a,b\n2024-01-31,x\n" ",y\n', "date_as_text", {"trim": True}, [date(2024, 1, 31), None]),
        ('a,b\n2024/01/31,x\n" ",y\n', "date_as_text", {"trim": True, "date_format": "ymd"}, [date(2024, 1, 31), None]),
        (
            "a,b\n2024-01-31 10:00:00 UTC,x\n",
            "date_as_text",
            {"date_format": "%Y-%m-%d %H:%M:%S UTC"},
            [datetime.fromisoformat("2024-01-31T10:00:00")],
        ),
    ],
)
def test_blanks_among_values_and_dates_of_other_programs_are_named(
    bench: Bench, body: str, code: str, option: dict[str, Any], wanted: list[Any]
) -> None:
    found = ingest(bench, body)
    assert found.types["a"] == "string"
    assert f"files[].options {json.dumps(option)} reads" in found.warnings[code][0]
    assert ingest(bench, body, name="u", **option).table.column("a").to_pylist() == wanted
