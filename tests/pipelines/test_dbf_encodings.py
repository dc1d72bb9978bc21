"""What the bytes of a .dbf say about the encoding that its .cpg or its language byte names, and text that was cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipelines.conftest import Bench
from tests.pipelines.dbf import dbf

GERMAN = ["Größe", "Köln – Ærø", "5 € – O’Neil"]
RUSSIAN = ["Москва", "Нижний Новгород"]


def put(bench: Bench, texts: list[str], encoding: str, language: int = 0, cpg: str | None = None) -> str:
    """Rows of plain text and of these, behind a column whose name is ASCII."""
    name = dbf(bench, [(b"s", "C", 40, 0)], [[b"plain"], *([text.encode(encoding)] for text in texts)], language)
    if cpg is not None:
        (bench.landing / "x.cpg").write_text(cpg)
    return name


@pytest.mark.parametrize(
    ("texts", "written", "language", "cpg", "read"),
    [
        (GERMAN, "cp1252", 0x57, None, "cp1252"),
        (GERMAN, "utf-8", 0x57, None, "utf-8"),
        (RUSSIAN, "utf-8", 0x57, None, "utf-8"),
        (RUSSIAN, "cp1251", 0x57, None, "cp1252"),  # as good as any other guess, but not without a word
        (GERMAN, "utf-8", 0x03, None, "utf-8"),
        (RUSSIAN, "utf-8", 0x26, None, "utf-8"),
        (RUSSIAN, "utf-8", 0xC9, None, "utf-8"),
        (GERMAN, "utf-8", 0, "ISO-8859-1", "utf-8"),
        (GERMAN, "cp1252", 0, "ISO-8859-1", "cp1252"),
        (["Ära"], "latin-1", 0x02, None, "cp850"),
    ],
)
def test_what_the_bytes_contradict_is_a_warning_with_samples(
    bench: Bench, texts: list[str], written: str, language: int, cpg: str | None, read: str
) -> None:
    result = bench.one(put(bench, texts, written, language, cpg), "SHP")
    wanted = [text.encode(written).decode(read) for text in texts]
    assert result.frame["s"].tolist() == ["plain", *wanted]
    message, _, samples = result.watch.warnings["encoding_assumed"]
    assert read in message
    assert "files[].options.encoding" in message
    assert samples == tuple({"row": i, "column": "s", "value": text} for i, text in enumerate(wanted, 1))[:5]
    (bench.lake / "v1.parquet").unlink()
    result = bench.one("x.shp", "SHP", options={"encoding": written})
    assert result.frame["s"].tolist() == ["plain", *texts]
    assert not result.watch.warnings


@pytest.mark.parametrize(
    ("texts", "encoding", "language", "cpg"),
    [
        (GERMAN, "cp1252", 0x03, None),
        (GERMAN, "cp1252", 0, "ANSI 1252"),
        (["Größe"], "latin-1", 0, "ISO-8859-1"),
        (RUSSIAN, "cp1251", 0xC9, None),
        (RUSSIAN, "cp866", 0x26, None),
        (RUSSIAN, "iso8859-5", 0, "ISO-8859-5"),
        (["Größe"], "cp850", 0x02, None),
        (["วก"], "cp874", 0x7C, None),  # the bytes of the first two are valid UTF-8
        (["联通"], "gbk", 0x4D, None),
        (["plain"], "ascii", 0x57, None),
    ],
)
def test_what_the_bytes_do_not_contradict_is_taken(
    bench: Bench, texts: list[str], encoding: str, language: int, cpg: str | None
) -> None:
    result = bench.one(put(bench, texts, encoding, language, cpg), "SHP")
    assert result.frame["s"].tolist() == ["plain", *texts]
    assert not result.watch.warnings


def test_bytes_that_the_code_page_of_the_system_does_not_have(bench: Bench) -> None:
    error = bench.refused(dbf(bench, [(b"s", "C", 9, 0)], [[b"a"], [b"\x81\x8d"]], 0x57), "SHP")
    assert error.reason == "encoding_wrong"
    assert "row 1" in error.detail
    assert "0x57" in error.detail


def cut(text: str, encoding: str, width: int) -> bytes:
    raw = text.encode(encoding)[:width]
    with pytest.raises(UnicodeDecodeError):
        raw.decode(encoding)
    return raw


@pytest.mark.parametrize(
    ("encoding", "language", "cpg"), [("utf-8", 0, "UTF-8"), ("utf-8", 0, None), ("utf-8", 0x57, None)]
)
def test_an_incomplete_last_character_is_left_out_and_counted(
    bench: Bench, encoding: str, language: int, cpg: str | None
) -> None:
    values = [
        cut("Königstraße", encoding, 11),
        "東京都中".encode(),
        cut("aa東京都中", encoding, 12),
        b"plain",
        b"\xc3\xa4",
    ]
    fields = [(b"id", "N", 4, 0), (cut("Gebäudehöhe", encoding, 10), "C", 12, 0)]
    values[0] += b"\0"  # some programs end text with a NUL
    records = [[b"%d" % i, value] for i, value in enumerate(values)]
    name = dbf(bench, fields, records, language)
    if cpg:
        (bench.landing / "x.cpg").write_text(cpg)
    result = bench.one(name, "SHP")
    assert result.frame["Gebäudeh"].tolist() == ["Königstra", "東京都中", "aa東京都", "plain", "ä"]
    assert result.frame["id"].tolist() == [0, 1, 2, 3, 4]
    _, count, samples = result.watch.warnings["text_cut"]
    assert count == 3
    assert samples == (
        {"column": "Gebäudeh"},
        {"row": 0, "column": "Gebäudeh", "value": "Königstra"},
        {"row": 2, "column": "Gebäudeh", "value": "aa東京都"},
    )
    assert ("encoding_assumed" in result.watch.warnings) == bool(language)


def test_an_incomplete_last_character_of_two_bytes(bench: Bench) -> None:
    name = dbf(bench, [(b"s", "C", 5, 0)], [[cut("東京都", "cp932", 5)], ["東京".encode("cp932")]], 0x13)
    result = bench.one(name, "SHP")
    assert result.frame["s"].tolist() == ["東京", "東京"]
    assert result.watch.warnings["text_cut"][1] == 1


def test_what_only_looks_cut_is_refused(bench: Bench) -> None:
    """An é of Latin-1 at the end of a text is the first byte of a character in UTF-8."""
    padded = dbf(bench, [(b"s", "C", 9, 0)], [["Köln".encode()], [b"caf\xe9"]])
    (bench.landing / "x.cpg").write_text("UTF-8")
    error = bench.refused(padded, "SHP")
    assert error.reason == "encoding_wrong"
    assert "row 1" in error.detail
    alone = dbf(bench, [(b"s", "C", 4, 0)], [[b"caf\xe9"]])
    assert bench.refused(alone, "SHP").reason == "encoding_missing"


def test_the_name_of_a_field_that_is_not_in_the_encoding(bench: Bench) -> None:
    name = dbf(bench, [(b"H\xf6he", "C", 4, 0)], [[b"a"]])
    (bench.landing / "x.cpg").write_text("UTF-8")
    error = bench.refused(name, "SHP")
    assert "the name of a field has the bytes 'H\\xf6he'" in error.detail
    assert "-1" not in error.detail


def test_what_stands_behind_a_nul_is_no_text(bench: Bench) -> None:
    name = dbf(bench, [(b"s", "C", 9, 0)], [[b"K\xc3\xb6ln\0\xff\xfe"]])
    assert bench.one(name, "SHP").frame["s"].tolist() == ["Köln"]
    assert Path(bench.landing / "x.dbf").read_bytes().count(b"\xff\xfe") == 1
