"""files[].options of tables: what the file does not say itself, and what an independent reader makes of the same."""

from __future__ import annotations

import csv
import gzip
import io
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.settings import Limits
from tests.pipelines.conftest import Bench
from tests.pipelines.tables import EVERYTHING, cell, ingest, refused, row, workbook, zipped

# One directory for all examples: each overwrites the file of the one before.
PROPERTY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_the_share_of_rows_in_quarantine_is_the_manifests(bench: Bench) -> None:
    body = "a,b\n1,2\n3\n4,5\n6,7\n"
    error = refused(bench, body)
    assert "quarantine_share" in error.fix
    assert refused(bench, body, quarantine_share=0.24).reason == "rows_quarantined"
    assert refused(bench, body, quarantine_share=0.0, limits=EVERYTHING).reason == "rows_quarantined"
    found = ingest(bench, body, quarantine_share=0.25)
    assert [row["a"] for row in found.rows] == [1, 4, 6]


def test_short_rows_get_nulls_where_the_manifest_says_so(bench: Bench) -> None:
    body = 'a,b,c\n1,2,3\n4\n5,"x\ny"\n6,7,8,9\n\n8,,\n'
    found = ingest(bench, body, short_rows="null_fill", limits=EVERYTHING)
    assert [tuple(row.values()) for row in found.rows] == [
        (1, "2", 3),
        (4, None, None),
        (5, "x\ny", None),
        (8, None, None),
    ]
    assert [(each["line"], each["reason"]) for each in found.quarantine] == [(6, "4 fields instead of 3")]
    assert found.counts["rows_null_filled"] == 2
    assert "2 rows" in found.warnings["rows_null_filled"][0]
    assert found.counts["rows_in"] == 5
    assert [each["line"] for each in ingest(bench, body, name="u", limits=EVERYTHING).quarantine] == [3, 4, 6]


ROWS = st.lists(st.lists(st.text("ab\"\n, '", max_size=4), min_size=1, max_size=6), min_size=1, max_size=8)


@PROPERTY
@given(ROWS, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_short_rows_are_those_of_pythons_reader(bench: Bench, rows: list[list[str]], end: str, broken: bool) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(
        [["p", "q", "r", "s"], ["", "", "", ""], *rows]
    )
    body = out.getvalue() + ('5" tube' + end if broken else "")  # a mark within a field: records are parsed one by one
    read = list(csv.reader(io.StringIO(body, newline="")))[1:]
    found = ingest(
        bench, body, short_rows="null_fill", delimiter=",", limits=EVERYTHING, types=dict.fromkeys("pqrs", "text")
    )
    wanted = [[*row, *[None] * (4 - len(row))] for row in read if len(row) <= 4]
    assert [list(row.values()) for row in found.rows] == wanted
    assert len(found.quarantine) == len(read) - len(wanted)
    assert found.counts["rows_null_filled"] == sum(len(row) < 4 for row in read)


PREAMBLE = 'Exported 28.11.2026; by "Ada\n\nAll amounts in EUR, rounded\n'
PAST_IT: list[dict[str, Any]] = [{"skip_rows": 3}, {"header_row": 4}]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_lines_before_the_header_are_left_out(bench: Bench, end: str, encoding: str) -> None:
    table = "größe;b\n1;x\n2\n3;z\n"
    body = (PREAMBLE + table).replace("\n", end).encode(encoding)
    how: dict[str, Any] = {"limits": EVERYTHING, "encoding": None if encoding == "utf-16" else encoding}
    by_lines, by_header = (ingest(bench, body, **how, **option) for option in PAST_IT)
    assert by_lines.rows == by_header.rows == [{"grosse": 1, "b": "x"}, {"grosse": 3, "b": "z"}]
    ((bad,), (same,)) = (by_lines.quarantine, by_header.quarantine)
    assert (bad["line"], bad["raw"]) == (6, "2")
    assert bad["byte_offset"] == len((PREAMBLE + "größe;b\n1;x\n").replace("\n", end).encode(encoding))
    assert same == bad


def test_the_data_begin_after_both_the_header_and_the_skipped_rows(bench: Bench) -> None:
    body = "a report\nlength,area\nm,m2\n\n1,2\n3,4\n"
    assert ingest(bench, body, header_row=2, skip_rows=3).rows == [{"length": 1, "area": 2}, {"length": 3, "area": 4}]
    assert ingest(bench, body, header_row=2, skip_rows=5).rows == [{"length": 3, "area": 4}]
    assert ingest(bench, body, skip_rows=4, header=False).rows[0] == {"column_1": 1, "column_2": 2}
    assert ingest(bench, "sep=;\r\na report\r\na;b\r\n1,5;2\r\n", skip_rows=2).rows == [{"a": "1,5", "b": 2}]
    assert ingest(bench, "x\n\na\tb\n1\t2\n", "TSV", skip_rows=1).rows == [{"a": 1, "b": 2}]


def test_options_that_leave_no_table_are_refused(bench: Bench) -> None:
    body = "a,b\n1,2\n3,4\n"
    cases: list[dict[str, Any]] = [{"skip_rows": 3}, {"skip_rows": 1_000}, {"header_row": 4}, {"header_row": 3}]
    for options in cases:
        assert refused(bench, body, **options).reason == "no_rows", options
    assert "1000 rows" in refused(bench, body, skip_rows=1_000).detail
    wide = refused(bench, "x" * 2_000 + "\n" + body, skip_rows=1, limits=Limits(row_bytes=1_000))
    assert wide.reason == "skipped_too_large"


def test_rows_before_the_header_of_a_sheet_are_left_out(bench: Bench) -> None:
    rows = [
        row(1, cell("A1", "Report of many columns"), cell("D1", "x")),
        row(3, cell("B3", "a"), cell("C3", "b")),
        row(4, cell("B4", "m"), cell("C4", "m2")),
        row(6, cell("B6", 1), cell("C6", 2)),
        row(7, cell("B7", 3), cell("C7", 4)),
    ]
    merges = "<mergeCells><mergeCell ref='A1:D1'/><mergeCell ref='B7:B8'/></mergeCells>"
    book = workbook({"S": "".join(rows)}, tail=merges)
    assert refused(bench, book, "XLSX", skip_rows=7).reason == "no_rows"
    assert refused(bench, book, "XLSX", header_row=7).reason == "no_rows"
    wanted = [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    cases: list[dict[str, Any]] = [{"header_row": 3, "skip_rows": 4}, {"header_row": 2, "skip_rows": 5}]
    for options in cases:
        found = ingest(bench, book, "XLSX", **options)
        assert found.rows == wanted
        assert found.types == {"a": "int64", "b": "int64"}
        assert found.warnings["cells_merged"][1] == 1
    assert ingest(bench, book, "XLSX", skip_rows=5, header=False).rows[1] == {"column_1": 3, "column_2": 4}
    assert ingest(bench, book, "XLSX", skip_rows=1).rows[0] == {"a": "m", "b": "m2"}


def test_a_member_of_an_archive_is_chosen_by_its_name(bench: Bench) -> None:
    archive = zipped({"a/t.csv": "a\n1\n", "b/t.csv": "a\n2\n", "b/Tabelle.dat": "a;b\n3;4\n"})
    unknown = refused(bench, archive, member="b/Tabele.dat")
    assert unknown.reason == "member_unknown"
    assert "Did you mean 'b/Tabelle.dat'?" in unknown.fix
    assert "files[].member" in refused(bench, archive).fix
    for body in ("a\n1\n", gzip.compress(b"a\n1\n")):
        assert refused(bench, body, member="t.csv").reason == "member_without_archive"
    assert ingest(bench, archive, member="b/t.csv").rows == [{"a": 2}]
    assert ingest(bench, archive, member="b/Tabelle.dat").rows == [{"a": 3, "b": 4}]


def test_a_member_of_an_archive_of_features_too(bench: Bench) -> None:
    point = '{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {"n": %d}, "geometry": \
{"type": "Point", "coordinates": [9, 48]}}]}'
    archive = bench.zip("t.zip", {"a.geojson": point % 1, "b/c.json": point % 2})
    assert bench.refused(archive, "GeoJSON").reason == "archive_ambiguous"
    assert bench.refused(archive, "GeoJSON", member="c.json").reason == "member_unknown"
    assert bench.one(archive, "GeoJSON", member="b/c.json").frame["n"].tolist() == [2]
