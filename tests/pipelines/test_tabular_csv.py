"""Delimited text, cell by cell against readings of our own making: any dialect, any encoding, any block size."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.models.formats import FORMATS
from app.models.manifests.file_options import FileOptions
from app.pipelines.tabular.csv import split as csv_split
from app.pipelines.tabular.csv.dialect import Dialect
from app.pipelines.tabular.csv.reader import open_delimited
from app.pipelines.tabular.csv.records import read_records
from app.settings import Limits
from tests.pipelines.conftest import Bench
from tests.pipelines.tables import EVERYTHING, ingest, refused, zipped

CSV = next(fmt for fmt in FORMATS if fmt.name == "CSV")

# (name, file, options, rows as they must come out)
TRAPS: list[tuple[str, bytes | str, dict[str, Any], list[tuple[Any, ...]]]] = [
    ("plain", "a,b\n1,x\n2,y\n", {}, [(1, "x"), (2, "y")]),
    ("no line end at the end", "a,b\n1,x\n2,y", {}, [(1, "x"), (2, "y")]),
    ("CRLF", "a,b\r\n1,x\r\n2,y\r\n", {}, [(1, "x"), (2, "y")]),
    ("CR", "a,b\r1,x\r2,y\r", {}, [(1, "x"), (2, "y")]),
    ("blank lines", "\n\na,b\n1,x\n\n2,y\n\n\r\n", {}, [(1, "x"), (2, "y")]),
    ("one column", "a\n1\n2\n", {}, [(1,), (2,)]),
    ("one column with a blank", "a\n1\n\n2\n\n", {}, [(1,), (None,), (2,)]),
    ("semicolons, decimal commas", "a;b\n1,5;x\n2,5;y\n", {}, [("1,5", "x"), ("2,5", "y")]),
    ("tabs", "a\tb\n1\tx,y\n", {}, [(1, "x,y")]),
    ("bars", "a|b\n1|x;y\n", {}, [(1, "x;y")]),
    ("sep line", "sep=;\na;b\n1;2,3\n", {}, [(1, "2,3")]),
    ("named delimiter", "a:b\n1:2\n", {"delimiter": ":"}, [(1, 2)]),
    ("quoted line ends", 'a,b\n1,"x\ny"\n2,"x\r\ny"\n', {}, [(1, "x\ny"), (2, "x\r\ny")]),
    ("doubled quotes", 'a,b\n1,"say ""x"""\n2,""""\n', {}, [(1, 'say "x"'), (2, '"')]),
    ("quotes within", 'a,b\n1,5" pipe\n2,6"\n', {}, [(1, '5" pipe'), (2, '6"')]),
    ("missing and empty", 'a,b\n1,\n2,""\n3,x\n', {}, [(1, None), (2, ""), (3, "x")]),
    ("empty as missing", 'a,b\n1,3\n2,""\n', {"nulls": [""]}, [(1, 3), (2, None)]),
    ("words stay", "a,b\nNA,NULL\nnan,inf\n", {}, [("NA", "NULL"), ("nan", "inf")]),
    ("words as missing", "a,b\n1,NULL\nNA,2\n", {"nulls": ["NA", "NULL"]}, [(1, None), (None, 2)]),
    ("blanks are text", "a,b\n 1,x \n", {}, [(" 1", "x ")]),
    ("leading zeros", "a,b\n01,1\n2,2\n", {}, [("01", 1), ("2", 2)]),
    ("single quotes", "a,b\n1,'x,y'\n", {"quote": "'"}, [(1, "x,y")]),
    ("no quotes", 'a,b\n1,"x\n', {"quote": "none"}, [(1, '"x')]),
    ("no header", "1,x\n2,y\n", {"header": False}, [(1, "x"), (2, "y")]),
    ("UTF-8 with mark", b"\xef\xbb\xbfa,b\n1,\xc3\xbc\n", {}, [(1, "ü")]),
    ("UTF-16", "a,b\n1,ü😀\n".encode("utf-16"), {}, [(1, "ü😀")]),
    ("UTF-16 BE", "\ufeffa,b\n1,ü\n".encode("utf-16-be"), {}, [(1, "ü")]),
    ("UTF-16 without mark", "a,b\n1,ü\n".encode("utf-16-le"), {"encoding": "UTF-16-LE"}, [(1, "ü")]),
    ("CP1252 found", "a,b\n1,Köln – €\n".encode("cp1252"), {}, [(1, "Köln – €")]),
    ("Shift JIS named", "a|b\n1|表ソ\n".encode("shift_jis"), {"encoding": "Shift_JIS"}, [(1, "表ソ")]),
    ("KOI8-R named", "a,b\n1,мир\n".encode("koi8-r"), {"encoding": "KOI8-R"}, [(1, "мир")]),
    ("gzip", gzip.compress(b"a,b\n1,x\n"), {}, [(1, "x")]),
    ("two gzip members", gzip.compress(b"a,b\n1,x\n") + gzip.compress(b"2,y\n"), {}, [(1, "x"), (2, "y")]),
    ("zstd", pa.compress(b"a,b\n1,x\n", codec="zstd", asbytes=True), {}, [(1, "x")]),
    ("zip", zipped({"__MACOSX/._t.csv": b"junk", "d/t.csv": b"a,b\n1,x\n"}), {}, [(1, "x")]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body", "options", "rows"), TRAPS, ids=[trap[0] for trap in TRAPS])
def test_every_cell_is_what_was_written(
    bench: Bench, name: str, body: bytes | str, options: dict[str, Any], rows: list[tuple[Any, ...]]
) -> None:
    found = ingest(bench, body, **options)
    assert [tuple(row.values()) for row in found.rows] == rows
    assert found.counts["rows_in"] == found.counts["rows_out"] == len(rows)
    assert found.product.companions == {}


@pytest.mark.parametrize("body", ["a\tb\n1\tx\n", 'a\tb\r\n1\t"x"\r\n'])
def test_tsv_needs_no_guess(bench: Bench, body: str) -> None:
    assert ingest(bench, body, "TSV").rows == [{"a": 1, "b": "x"}]


def test_an_assumed_encoding_is_a_warning_with_samples(bench: Bench) -> None:
    found = ingest(bench, "a,b\n1,Köln\n".encode("cp1252"))
    assert found.warnings["encoding_assumed"][2] == ("Köln",)
    assert found.product.statistics["source"] == {
        "encoding": "cp1252", "encoding_assumed": True, "delimiter": ",", "quote": '"',
    }  # fmt: skip
    assert "encoding_assumed" not in ingest(bench, "a,b\n1,Köln\n", name="u").warnings


def test_a_utf_8_file_with_one_damaged_row_is_still_utf_8(bench: Bench) -> None:
    good = "".join(f"{n},Köln\n" for n in range(50)).encode()
    found = ingest(bench, b"a,b\n" + good + b"50,K\xf6ln\n51,x\n", limits=EVERYTHING)
    assert {row["b"] for row in found.rows} == {"Köln", "x"}
    reason = "bytes that are no text in the encoding"
    wanted = {"line": 52, "byte_offset": 4 + len(good), "reason": reason, "raw": "50,K\\xf6ln"}
    assert found.quarantine == [wanted]


def test_rows_that_are_none_are_set_aside_with_their_place(bench: Bench) -> None:
    body = 'a,b,c\n1,2,3\n4,5\n"6\n6",7,8,9\n10,11,12\n13,"x"y,14\n15,16,17\n'
    found = ingest(bench, body, limits=EVERYTHING)
    assert [row["a"] for row in found.rows] == [1, 10, 15]
    assert found.types == {"a": "int64", "b": "int64", "c": "int64"}
    wanted = [
        (3, "4,5", "2 fields instead of 3"),
        (4, '"6\n6",7,8,9', "4 fields instead of 3"),
        (7, '13,"x"y,14', "text follows a closing quotation mark"),
    ]
    assert [(q["line"], q["raw"], q["reason"]) for q in found.quarantine] == wanted
    for q in found.quarantine:
        assert body.encode()[q["byte_offset"] :].startswith(q["raw"].encode())
    assert (found.counts["rows_in"], found.counts["rows_out"], found.counts["rows_quarantined"]) == (6, 3, 3)
    assert found.counts["lines_quarantined"] == 4
    assert found.warnings["rows_quarantined"][1] == 3


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252", "utf-8-sig"])
def test_byte_offsets_are_those_of_the_source(bench: Bench, encoding: str) -> None:
    body = "a,b\nü,€\nß\nx,y\n".encode(encoding)
    (q,) = ingest(bench, body, limits=EVERYTHING, encoding=encoding).quarantine
    plain = {"utf-16": "utf-16-le", "utf-8-sig": "utf-8"}.get(encoding, encoding)
    assert body[q["byte_offset"] :].startswith("ß\n".encode(plain))
    assert q["line"] == 3


def test_an_unclosed_quote_takes_nothing_along_silently(bench: Bench) -> None:
    body = 'a,b\n1,x\n2,"y\n' + "".join(f"{n},z\n" for n in range(3, 100))
    error = refused(bench, body)
    assert error.reason == "rows_quarantined"
    assert "line 3: a quotation mark is not closed" in error.detail
    assert "98 of 99 lines" in error.detail


def test_too_many_bad_rows_refuse_the_run(bench: Bench) -> None:
    rows = ["1,2"] * 99 + ["3"]
    assert ingest(bench, "a,b\n" + "\n".join(rows), name="ok").counts["rows_quarantined"] == 1
    bench.lake.joinpath("v1.parquet").unlink()
    error = refused(bench, "a,b\n" + "\n".join([*rows, "4"]))
    assert error.reason == "rows_quarantined"
    assert "2 of 101 lines" in error.detail


def test_the_same_input_gives_the_same_bytes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "a,b,c\n" + "".join(f"{n},x{n % 7},{n / 3!r}\n" for n in range(20_000))
    first = ingest(bench, body).product.path.read_bytes()
    assert ingest(bench, body, name="u", threads=1).product.path.read_bytes() == first
    monkeypatch.setattr(csv_split, "BLOCK_BYTES", 5_000)
    again = ingest(bench, body, name="v", threads=3)
    assert again.product.path.read_bytes() == first
    assert again.table.equals(ingest(bench, body, name="w").table)


TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8)
WESTERN = st.text("aé€ß ,;\t|\"'\r\n09.-", max_size=8)


def written(rows: list[list[str | None]], delimiter: str, quote: str, end: str) -> str:
    """Every field that could be read in two ways is quoted; missing values are nothing at all."""
    special = {delimiter, quote, "\n", "\r"}

    def field(value: str | None) -> str:
        if value is None:
            return ""
        return quote + value.replace(quote, quote * 2) + quote if not value or set(value) & special else value

    return "".join(delimiter.join(map(field, row)) + end for row in rows)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_table_comes_out_as_it_went_in(tmp_path: Path, data: st.DataObject) -> None:
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252", "gb18030", "utf-32-le"]))
    width = data.draw(st.integers(2, 4))
    cells = st.none() | (WESTERN if encoding == "cp1252" else TEXT)
    rows = data.draw(st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=8))
    dialect = [data.draw(st.sampled_from(choice)) for choice in (",;\t|", "\"'", ["\n", "\r\n", "\r"])]
    header = [f"c{number}" for number in range(width)]
    path = tmp_path / "t"
    path.write_bytes(written([header, *rows], *dialect).encode(encoding))
    options = FileOptions.model_validate({"encoding": encoding, "delimiter": dialect[0], "quote": dialect[1]})
    source = open_delimited(path, CSV, options, Limits(), "t")
    assert source.names == tuple(header)
    found, bad, _ = everything(source)
    assert found == [tuple(row) for row in rows]
    assert bad == []


def everything(source: Any) -> tuple[list[tuple[str | None, ...]], list[Any], int]:
    rows: list[tuple[str | None, ...]] = []
    bad, blank = [], 0
    line, offset = source.first_line, source.first_byte
    for block in source.blocks():
        parsed = source.parse(block)
        rows += zip(*(array.to_pylist() for array in parsed.arrays), strict=True)
        bad += [each.shifted(line, offset) for each in parsed.bad]
        blank += parsed.blank
        line += parsed.lines
        offset = None if offset is None or parsed.source_bytes is None else offset + parsed.source_bytes
    return rows, bad, blank


HOSTILE = st.lists(
    st.sampled_from([b"a", b"b", b",", b'"', b"\n", b"\r", "é".encode(), b"\xff"]), min_size=1, max_size=60
)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=HOSTILE, block=st.integers(1, 40))
def test_hostile_text_reads_the_same_in_blocks_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: list[bytes], block: int
) -> None:
    path = tmp_path / "t"
    path.write_bytes(b"h,i\n" + b"".join(pieces) + b"\nz,z\n")
    options = FileOptions.model_validate({"delimiter": ",", "encoding": "UTF-8"})
    monkeypatch.setattr(csv_split, "BLOCK_BYTES", block)
    source = open_delimited(path, CSV, options, Limits(), "t")
    rows, bad, blank = everything(source)
    text = path.read_bytes().rstrip(b"\r\n")[4:]
    records, _ = read_records(text, True, Dialect(",", '"'))
    faults = [record for record in records if record.fault or len(record.fields) not in (0, 2)]
    assert rows == [record.fields for record in records if record.fault is None and len(record.fields) == 2]
    assert [(each.line, each.offset) for each in bad] == [(fault.line + 2, fault.start + 4) for fault in faults]
    assert [each.raw for each in bad] == [text[f.start : f.end].decode("utf-8", "backslashreplace") for f in faults]
    assert blank == sum(not record.fault and not record.fields for record in records)


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(st.lists(st.text('ab,"\n ', max_size=5), min_size=2, max_size=2), min_size=1, max_size=6))
def test_the_record_reader_agrees_with_pythons_csv_module(rows: list[list[str]]) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    records, _ = read_records(out.getvalue().encode(), True, Dialect(",", '"'))
    again = list(csv.reader(io.StringIO(out.getvalue(), newline="")))
    assert [[field or "" for field in record.fields] for record in records] == again


REFUSED: list[tuple[str, bytes, str, dict[str, Any], str]] = [
    ("nothing", b"", "CSV", {}, "file_empty"),
    ("line ends", b"\r\n\n", "CSV", {}, "no_rows"),
    ("a header alone", b"a,b\n\n", "CSV", {}, "no_rows"),
    ("rows that are all bad", b"a,b\n1\n", "CSV", {"delimiter": ",", "limits": EVERYTHING}, "no_rows"),
    ("HTML", b"<!DOCTYPE html><p>Not found</p>", "CSV", {}, "content_mismatch"),
    ("Parquet", b"PAR1....", "TSV", {}, "content_mismatch"),
    ("zero bytes", b"a,b\n1,\x00\n", "CSV", {}, "nul_bytes"),
    ("UTF-16 without mark", "a,b\n1,2\n".encode("utf-16-le"), "CSV", {}, "nul_bytes"),
    ("two encodings", "a,b\n\xfc\xfc,\xfc\n".encode() + b"\xfc,\xfc\n", "CSV", {}, "encoding_missing"),
    ("no encoding", b"a,b\n\x81\xfc,1\n", "CSV", {}, "encoding_missing"),
    ("another mark", b"\xef\xbb\xbfa,b\n1,2\n", "CSV", {"encoding": "UTF-16"}, "encoding_wrong"),
    ("another encoding", b"\xfd\xfc" * 9, "CSV", {"encoding": "UTF-8"}, "header_invalid"),
    ("two delimiters", b"a,b;c\n1,2;3\n", "CSV", {}, "delimiter_ambiguous"),
    ("a header of one column", b"a\n1,2\n3,4\n", "CSV", {}, "delimiter_ambiguous"),
    ("a header that ends badly", b'"a"b,c\n1,2\n', "CSV", {"delimiter": ","}, "header_invalid"),
    ("a gzip bomb", gzip.compress(bytes(64 << 20)), "CSV", {}, "archive_ratio"),
    ("half a gzip", gzip.compress(bytes(range(256)) * 99)[:-20], "CSV", {}, "archive_invalid"),
    ("a zstd bomb", pa.compress(bytes(64 << 20), codec="zstd", asbytes=True), "CSV", {}, "archive_ratio"),
    ("half a zstd", pa.compress(b"a,b\n1,2\n", codec="zstd", asbytes=True)[:-5], "CSV", {}, "archive_invalid"),
    ("two tables", zipped({"a.csv": "a\n1", "b.csv": "a\n1"}), "CSV", {}, "archive_ambiguous"),
    ("no table", zipped({"a.pdf": "x"}), "CSV", {}, "archive_no_source"),
    ("a path trick", zipped({"../a.csv": "a\n1"}), "CSV", {}, "archive_path"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body", "fmt", "options", "reason"), REFUSED, ids=[case[0] for case in REFUSED])
def test_what_is_no_table_is_refused(
    bench: Bench, name: str, body: bytes, fmt: str, options: dict[str, Any], reason: str
) -> None:
    assert refused(bench, body, fmt, **options).reason == reason
