"""Shapefiles: sidecars and encodings. Nothing is guessed."""

from __future__ import annotations

import shutil
from pathlib import Path

import geopandas
import pyarrow.parquet
import pytest
import shapely

from app.errors import RunRefused
from tests.pipelines.conftest import Bench
from tests.pipelines.dbf import dbf


@pytest.fixture
def put(bench: Bench):  # type: ignore[no-untyped-def] # a small helper
    def write(encoding: str = "UTF-8", cpg: bool = True, language: int | None = None, text: str = "Köln – Ærø") -> str:
        frame = geopandas.GeoDataFrame(
            {"name": ["plain", text], "n": [1, 2]}, geometry=shapely.points([[9, 48], [10, 49]]), crs=4326
        )
        frame.to_file(bench.landing / "x.shp", encoding=encoding)
        dbf = bench.landing / "x.dbf"
        raw = bytearray(dbf.read_bytes())
        if language is not None:
            raw[29] = language
        dbf.write_bytes(bytes(raw))
        if not cpg:
            (bench.landing / "x.cpg").unlink()
        return "x.shp"

    return write


TEXT = "Köln – Ærø"


@pytest.mark.parametrize("encoding", ["UTF-8", "CP1252"])
def test_cpg_is_obeyed(bench: Bench, put, encoding: str) -> None:  # type: ignore[no-untyped-def]
    assert bench.one(put(encoding), "SHP").frame["name"].tolist() == ["plain", TEXT]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("CP1252", TEXT),
        ("ISO-8859-15", "Œuvre €"),
        ("CP1251", "Москва"),
        ("CP932", "東京都"),
        ("GBK", "北京"),
        ("CP866", "Минск"),
    ],
)
def test_option_decides_where_nothing_says(bench: Bench, put, encoding: str, text: str) -> None:  # type: ignore[no-untyped-def]
    name = put("UTF-8", cpg=False, language=0, text="#" * len(text.encode(encoding)))
    dbf = bench.landing / "x.dbf"
    dbf.write_bytes(dbf.read_bytes().replace(b"#" * len(text.encode(encoding)), text.encode(encoding)))
    error = bench.refused(name, "SHP")
    assert error.reason == "encoding_missing"
    assert "'name'" in error.detail
    assert "row 1" in error.detail
    assert "options.encoding" in error.fix
    assert bench.one(name, "SHP", options={"encoding": encoding}).frame["name"].tolist() == ["plain", text]


def test_language_byte_counts_as_declared(bench: Bench, put) -> None:  # type: ignore[no-untyped-def]
    name = put("CP1252", cpg=False, language=0x03)
    assert bench.one(name, "SHP").frame["name"].tolist() == ["plain", TEXT]


def test_utf8_is_recognised(bench: Bench, put) -> None:  # type: ignore[no-untyped-def]
    assert bench.one(put("UTF-8", cpg=False, language=0), "SHP").frame["name"].tolist() == ["plain", TEXT]


def test_wrong_declarations(bench: Bench, put) -> None:  # type: ignore[no-untyped-def]
    name = put("CP1252")
    (bench.landing / "x.cpg").write_text("UTF-8")
    error = bench.refused(name, "SHP")
    assert error.reason == "encoding_wrong"
    assert "row 1" in error.detail
    (bench.landing / "x.cpg").write_text("KLINGON-8")
    assert bench.refused(name, "SHP").reason == "encoding_unknown"
    for spelling in ("1252", "ANSI 1252", "cp1252", "windows-1252"):
        (bench.landing / "x.cpg").write_text(spelling)
        assert bench.one(name, "SHP").frame["name"].tolist() == ["plain", TEXT]


@pytest.mark.parametrize(
    ("suffix", "reason"), [(".shx", "sidecar_missing"), (".dbf", "sidecar_missing"), (".prj", "crs_missing")]
)
@pytest.mark.parametrize("zipped", [False, True])
def test_missing_sidecars(bench: Bench, put, suffix: str, reason: str, zipped: bool) -> None:  # type: ignore[no-untyped-def]
    name = put()
    (bench.landing / f"x{suffix}").unlink()
    if zipped:
        name = bench.zip("z.zip", {p.name: p.read_bytes() for p in bench.landing.iterdir()})
    error = bench.refused(name, "SHP")
    assert error.reason == reason
    assert suffix in error.detail + error.fix
    if suffix == ".prj":
        where = "Put x.prj into the archive" if zipped else "Upload x.prj beside it"
        assert error.fix == f"{where}, or declare the CRS in `files[].crs`."
        assert len(bench.one(name, "SHP", crs="EPSG:4326").frame) == 2


def test_names_in_capitals_and_several_in_one_archive(bench: Bench, put) -> None:  # type: ignore[no-untyped-def]
    put()
    files = {p.name.upper(): p.read_bytes() for p in bench.landing.iterdir()}
    assert len(bench.one(bench.zip("caps.zip", files), "SHP").frame) == 2
    two = {f"a/{s}{p.suffix}": p.read_bytes() for p in bench.landing.glob("x.*") for s in ("roads", "rivers")}
    bench.zip("two.zip", two)
    (bench.lake / "v1.parquet").unlink()
    error = bench.refused("two.zip", "SHP")
    assert error.reason == "layer_ambiguous"
    assert "roads" in error.detail
    error = bench.refused("two.zip", "SHP", layer="river")
    assert error.reason == "layer_unknown"
    assert "'rivers'" in error.fix
    assert len(bench.one("two.zip", "SHP", layer="rivers").frame) == 2


def test_shx_is_not_restored(bench: Bench, put, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("SHAPE_RESTORE_SHX", "YES")
    name = put()
    (bench.landing / "x.shx").write_bytes(b"")
    with pytest.raises(RunRefused) as caught:
        bench.one(name, "SHP")
    assert caught.value.reason in ("content_mismatch", "file_damaged", "file_truncated")


def test_short_dbf(bench: Bench, put) -> None:  # type: ignore[no-untyped-def]
    name = put()
    dbf = bench.landing / "x.dbf"
    dbf.write_bytes(dbf.read_bytes()[:-120])
    assert bench.refused(name, "SHP").reason == "file_truncated"


def test_environment_cannot_change_the_encoding(bench: Bench, put, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    name = put("CP1252")
    monkeypatch.setenv("SHAPE_ENCODING", "CP1251")
    assert bench.one(name, "SHP").frame["name"].tolist() == ["plain", TEXT]


def test_the_sources_of_a_run_stay_as_they_were(bench: Bench, put) -> None:  # type: ignore[no-untyped-def]
    name = put()
    before = {p.name: p.read_bytes() for p in bench.landing.iterdir()}
    bench.one(name, "SHP")
    assert {p.name: p.read_bytes() for p in bench.landing.iterdir()} == before
    shutil.rmtree(bench.landing)
    assert not Path(bench.landing).exists()


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("Shift_JIS", "東京~\\都"),
        ("EUC-KR", "서울"),
        ("EUC-JP", "東京"),
        ("mac-roman", "Köln Ærø"),
        ("ISO-2022-JP", "東京 plain"),
        ("CP437", "Köln"),
        ("GB18030", "北京😀"),
        ("Big5", "台北"),
        ("KOI8-R", "Москва"),
    ],
)
def test_text_is_decoded_by_the_table_it_was_proven_with(bench: Bench, encoding: str, text: str) -> None:
    name = dbf(bench, [(text[:2].encode(encoding), "C", 40, 0)], [[b"plain"], [text.encode(encoding)], [b""]])
    frame = bench.one(name, "SHP", options={"encoding": encoding}).frame
    assert frame[text[:2]].fillna("none").tolist() == ["plain", text, "none"]


def test_every_byte_of_latin_1(bench: Bench) -> None:
    text = "".join(map(chr, range(0x21, 0x100)))
    name = dbf(bench, [(b"s", "C", 240, 0)], [[text.encode("latin-1")], [b"x"]])
    assert bench.one(name, "SHP", options={"encoding": "latin-1"}).frame["s"][0] == text
    codec = "cp437"
    (bench.lake / "v1.parquet").unlink()
    assert bench.one(name, "SHP", options={"encoding": codec}).frame["s"][0] == text.encode("latin-1").decode(codec)


def test_encodings_that_a_dbf_cannot_have(bench: Bench) -> None:
    name = dbf(bench, [(b"s", "C", 20, 0)], [[b"abcd"], [b"\x1b$B~~"]])
    assert bench.refused(name, "SHP", options={"encoding": "UTF-16"}).reason == "encoding_unknown"
    error = bench.refused(name, "SHP", options={"encoding": "ISO-2022-JP"})
    assert error.reason == "encoding_wrong"
    assert "row 1" in error.detail


BIG = b"9007199254740993"


@pytest.mark.parametrize(
    ("kind", "width", "values", "read", "dtype"),
    [
        ("N", 19, [BIG, b"", b"9223372036854775807"], [2**53 + 1, None, 2**63 - 1], "int64"),
        ("N", 20, [BIG, b"*" * 20, b"+5"], [2**53 + 1, None, 5], "int64"),
        ("N", 20, [BIG, b"", b"12345678901234567890"], [BIG.decode(), None, "12345678901234567890"], "string"),
        ("N", 20, [b"1", b"1E+3", b"0"], ["1", "1E+3", "0"], "string"),
        ("N", 18, [BIG, b"", b"1"], [2**53 + 1, None, 1], "int64"),
        ("N", 5, [b"1", b"1.5", b"0"], ["1", "1.5", "0"], "string"),
        ("N", 5, [b"1", b"", b"x"], ["1", None, "x"], "string"),
        ("F", 13, [b"1", b"", b"1.5e3"], [1.0, None, 1500.0], "double"),
        ("N", 5, [b"1", b"*****", b"-3"], [1, None, -3], "int32"),
    ],
)
def test_whole_numbers_keep_their_digits(
    bench: Bench, kind: str, width: int, values: list[bytes], read: list[object], dtype: str
) -> None:
    name = dbf(bench, [(b"s", "C", 5, 0), (b"n", kind, width, 0)], [[b"a", value] for value in values])
    column = pyarrow.parquet.read_table(bench.one(name, "SHP").path)["n"]
    assert column.to_pylist() == read
    assert str(column.type) == dtype


def test_deleted_records_are_no_rows(bench: Bench) -> None:
    rows = [[b"*a" if i % 3 == 1 else b"a", str(2**60 + i).encode()] for i in range(40_000)]
    rows[1][0] = b"*\xff"
    result = bench.one(dbf(bench, [(b"s", "C", 5, 0), (b"n", "N", 20, 0)], rows), "SHP")
    kept = [i for i in range(40_000) if i % 3 != 1]
    assert result.frame["n"].tolist() == [2**60 + i for i in kept]
    assert result.frame.geometry.x.tolist() == pytest.approx([9 + i / 1e5 for i in kept])
    assert "13333 records that are marked as deleted" in result.watch.warnings["reader_note"][0]
    (bench.lake / "v1.parquet").unlink()
    assert bench.refused(dbf(bench, [(b"s", "C", 5, 0)], [[b"*a"]]), "SHP").reason == "no_features"
    error = bench.refused(dbf(bench, [(b"s", "C", 5, 0)], [[b"*a"], [b"a"], [b"\xff"]]), "SHP")
    assert "row 1" in error.detail
