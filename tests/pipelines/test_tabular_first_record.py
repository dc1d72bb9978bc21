"""Delimited files whose first record is not like the others: the advice names options that read the file."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest

from app.errors import RunRefused
from tests.pipelines.conftest import Bench
from tests.pipelines.tables import ingest, refused

ROWS = "".join(f"2024-01-{day:02},{day},x\n" for day in range(1, 30))
TITLE = f'Report\nof "all" things: 3\n\nday,n,t\n{ROWS}'
TOA5 = '"TOA5","x"\n"TS","RN","A"\n"s","","m"\n' + ROWS


def advised(error: RunRefused) -> list[dict[str, Any]]:
    """The options that a fix names, in order."""
    return [json.loads(each) for each in re.findall(r"\{.*?\}", error.fix)]


def rows(text: str) -> list[list[str]]:
    return [[value for value in row if value] for row in csv.reader(io.StringIO(text))]


@pytest.mark.parametrize(
    ("body", "found", "options", "names"),
    [
        (TITLE, "the first record has 1 column, and 30 of 32 records have 3", {"skip_rows": 3}, ["day", "n", "t"]),
        (f"day,n\n{ROWS}", "the first record has 2 columns, and 29 of 30 records have 3",
         {"delimiter": ",", "skip_rows": 1, "header": False}, ["column_1", "column_2", "column_3"]),
        (f"day,n,t,u\n{ROWS}", "the first record has 4 columns, and 29 of 30 records have 3",
         {"delimiter": ",", "short_rows": "null_fill"}, ["day", "n", "t", "u"]),
    ],
    ids=["title", "name missing", "name too many"],
)  # fmt: skip
def test_the_advice_reads_the_file(
    bench: Bench, body: str, found: str, options: dict[str, Any], names: list[str]
) -> None:
    error = refused(bench, body, "CSV")
    assert error.reason == "delimiter_ambiguous"
    assert f"divided at each comma, {found}" in error.detail
    assert advised(error)[0] == options
    read = ingest(bench, body, "CSV", name="u", **options)
    assert read.table.column_names == names
    assert [[str(value) for value in row.values() if value is not None] for row in read.rows] == rows(ROWS)


def test_lines_before_the_header_that_have_columns_too(bench: Bench) -> None:
    """One name less, or a line before the header: both ways are named, and the second is that of this file."""
    error = refused(bench, TOA5, "CSV")
    assert advised(error) == [{"delimiter": ",", "skip_rows": 1, "header": False}, {"skip_rows": 1}]
    found = ingest(bench, TOA5, "CSV", name="u", skip_rows=3, header_row=2)
    assert found.table.column_names == ["ts", "rn", "a"]
    assert [list(map(str, row.values())) for row in found.rows] == rows(ROWS)


def test_the_advice_counts_what_is_skipped_already(bench: Bench) -> None:
    body = f"a title\n{TITLE}"
    for options in ({"skip_rows": 1}, {"header_row": 2}):
        assert advised(refused(bench, body, "CSV", **options)) == [{"skip_rows": 4}]
    assert ingest(bench, body, "CSV", name="u", skip_rows=4).counts["rows_out"] == 29


def test_records_of_no_common_width(bench: Bench) -> None:
    """Nothing is said of a first record where the others do not agree."""
    error = refused(bench, "a,b;c\n1,2;3\n", "CSV")
    assert "comma (2 columns in the first record), semicolon (2 columns in the first record)" in error.detail
