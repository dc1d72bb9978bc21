"""Shapefiles: sidecars and encodings. Nothing is guessed."""

from __future__ import annotations

import shutil
from pathlib import Path

import geopandas
import pytest
import shapely

from app.errors import RunRefused
from tests.pipelines.conftest import Bench


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
