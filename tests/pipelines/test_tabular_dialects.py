"""Delimited text that escapes with backslashes, or ends its rows with a delimiter."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.models.formats import find_format
from app.models.manifests.file_options import FileOptions
from app.pipelines.tabular.csv import split as csv_split
from app.pipelines.tabular.csv.reader import open_delimited
from app.settings import Limits
from tests.pipelines.conftest import Bench
from tests.pipelines.tables import EVERYTHING, ingest, refused
from tests.pipelines.test_tabular_csv import everything

CSV = find_format("CSV")
BACKSLASH = {"escape": "\\"}


def values(found: Any) -> list[tuple[Any, ...]]:
    return [tuple(each.values()) for each in found.rows]


@pytest.mark.parametrize(
    ("body", "options", "wanted"),
    [
        ('a,b\n"Fri, 1","<p id=\\"q\\">"\n"Sat","x"\n', {}, [("Fri, 1", '<p id="q">'), ("Sat", "x")]),
        ('a,b\nx\\,y,"p\\,q"\n', {}, [("x,y", "p,q")]),
        ('a,b\nx,"p\\\nq"\ny\\\r\\\nz,w\n', {}, [("x", "p\nq"), ("y\r\nz", "w")]),
        ('a,b\n"c:\\\\dir\\\\","""x"""\n', {}, [("c:\\dir\\", '"x"')]),
        ('a,b\nc:\\new,5"" pipe\n', {}, [("c:\\new", '5"" pipe')]),
        ('a,b\n\\N,x\n', {"nulls": ["\\N"]}, [(None, "x")]),
        ("a\tb\nx\\\ty\t\\\"z\\\"\n", {"delimiter": "\t", "quote": "none"}, [("x\ty", '\\"z\\"')]),
        ("a,b\n'it\\'s',x\n", {"quote": "'"}, [("it's", "x")]),
        ("a,b\n\\\"x,y\n", {}, [('"x', "y")]),
        ("a,b\nx,y\\", {}, [("x", "y\\")]),
    ],
)  # fmt: skip
def test_a_declared_escape_makes_text_of_what_follows(
    bench: Bench, body: str, options: dict[str, Any], wanted: list[tuple[Any, ...]]
) -> None:
    found = ingest(bench, body, **BACKSLASH, **options)
    assert values(found) == wanted
    assert found.product.statistics["source"]["escape"] == "\\"
    assert not found.quarantine


def test_duckdb_reads_the_same(bench: Bench) -> None:
    body = 'a,b\n1,"x \\"y\\" \\\\ z"\n2,"p, q"\n'
    bench.write("d.csv", body)
    path = bench.landing / "d.csv"
    other = duckdb.read_csv(str(path), escapechar="\\", quotechar='"', header=True).fetchall()
    assert values(ingest(bench, body, **BACKSLASH)) == other


def test_without_the_option_the_reason_names_it(bench: Bench) -> None:
    error = refused(bench, 'a,b\n"x","<p id=\\"q\\">"\n"y","z"\n')
    assert error.reason == "rows_quarantined"
    assert "it escapes the mark only with options.escape" in error.detail
    plain = refused(bench, 'a,b\n"x"y,1\n', name="u")
    assert "escape" not in plain.detail


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.lists(st.text('ab,"\\\n', max_size=6), min_size=2, max_size=2), min_size=1, max_size=6),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONE]),
    block=st.integers(1, 40),
)
def test_what_python_escapes_comes_out_in_blocks_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[list[str]], quoting: Any, block: int
) -> None:
    out = io.StringIO()
    quote = '"' if quoting == csv.QUOTE_ALL else None
    writer = csv.writer(out, lineterminator="\n", escapechar="\\", doublequote=False, quoting=quoting, quotechar=quote)
    writer.writerows([["h", "i"], *rows, ["z", "z"]])
    path = tmp_path / "t"
    path.write_bytes(out.getvalue().encode())
    options = FileOptions.model_validate({"delimiter": ",", "quote": quote or "none", "escape": "\\"})
    monkeypatch.setattr(csv_split, "BLOCK_BYTES", block)
    assert CSV is not None
    found, bad, _ = everything(open_delimited(path, CSV, options, Limits(), "t"))
    assert [tuple(field or "" for field in row) for row in found] == [*map(tuple, rows), ("z", "z")]
    assert bad == []


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("options", [{}, {"delimiter": ","}])
def test_a_delimiter_at_the_end_of_every_row_is_no_column(bench: Bench, end: str, options: dict[str, Any]) -> None:
    body = end.join(["A,B,C", "1,4,7,", '2,"5",8,', "3,6,,", ""])
    found = ingest(bench, body, **options)
    assert found.rows == [{"a": 1, "b": 4, "c": 7}, {"a": 2, "b": 5, "c": 8}, {"a": 3, "b": 6, "c": None}]
    assert set(found.warnings) == {"delimiter_ends_rows"}
    assert found.counts["rows_in"] == 3


def test_a_value_behind_the_last_delimiter_is_not_ignored(bench: Bench) -> None:
    body = "a,b\n" + "1,2,\n" * 6000 + '3,4,x\n5,6,""\n7,8\n9,\n10,,\n\n'
    found = ingest(bench, body, limits=EVERYTHING)
    assert values(found)[6000:] == [(7, 8), (10, None)]
    assert [(q["line"], q["reason"]) for q in found.quarantine] == [
        (6002, "3 fields instead of 2"), (6003, "3 fields instead of 2"), (6005, "1 field instead of 2"),
    ]  # fmt: skip
    filled = ingest(bench, body, limits=EVERYTHING, short_rows="null_fill", name="u")
    assert values(filled)[6000:] == [(7, 8), (9, None), (10, None)]
    assert filled.counts["rows_null_filled"] == 1


def test_irregular_quotes_beside_delimiters_at_the_end(bench: Bench) -> None:
    body = "a,b\n" + "1,x,\n" * 6000 + '2,5" pipe,\n3,"y",\n4,z\n5,w,v\n'
    found = ingest(bench, body, limits=EVERYTHING)
    assert values(found)[6000:] == [(2, '5" pipe'), (3, "y"), (4, "z")]
    assert [(q["line"], q["reason"]) for q in found.quarantine] == [(6005, "3 fields instead of 2")]


@pytest.mark.parametrize("body", ["a,b\n1,2,x\n3,4,\n", "a,b\n1,2\n3,4,\n"])
def test_a_few_rows_with_one_field_more_are_no_rule(bench: Bench, body: str) -> None:
    found = ingest(bench, body, delimiter=",", limits=EVERYTHING) if body.startswith("a,b\n1,2\n") else None
    if found is None:
        assert refused(bench, body, delimiter=",", limits=EVERYTHING).reason == "no_rows"
    else:
        assert [q["line"] for q in found.quarantine] == [3]
