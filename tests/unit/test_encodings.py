"""The table of encodings: every spelling that Python knows, and nothing from outside in Python's cache of names."""

from __future__ import annotations

import codecs
import re
import tracemalloc
from encodings.aliases import aliases
from pathlib import Path

import pytest

from app.models.manifests.encodings import encoding_name
from app.pipelines.vector.formats.shapefile.encoding import text_encoding

APP = Path(__file__).parents[2] / "app"


def python_name(name: str) -> str | None:
    try:
        found = codecs.lookup(name)
    except LookupError:
        return None
    return found.name if getattr(found, "_is_text_encoding", True) else None


@pytest.mark.parametrize("spell", [str, str.upper, lambda name: name.replace("_", "-"), lambda name: f" {name} "])
def test_names_and_aliases_are_those_of_python(spell: type[str]) -> None:
    for name in {*aliases, *aliases.values(), "ISO-8859-1", "Windows-1252", "UTF-8", "utf8", "cp1252", "x", "rot13"}:
        if name not in ("mbcs", "oem", "idna", "punycode"):
            assert encoding_name(spell(name)) == python_name(spell(name)), name


@pytest.mark.parametrize(
    "name",
    ["", " ", "rot13", "base64", "idna", "undefined", "x" * 64, "utf-8" + " " * 60, "utf\0-8", "ütf-8", "\ud800"],
)
def test_what_is_no_encoding_of_files(name: str) -> None:
    assert encoding_name(name) is None or name == "utf\0-8"


def test_unknown_names_take_no_memory() -> None:
    """`codecs.lookup` keeps each of them for ever: a megabyte for each of these."""
    encoding_name("warm")
    tracemalloc.start()
    try:
        for number in range(50):
            assert encoding_name(f"x{number}" * 300_000) is None
            assert encoding_name(f"x{number}") is None
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()


def test_no_other_module_looks_names_up() -> None:
    found = [path for path in APP.rglob("*.py") if re.search(r"codecs\.lookup\(", path.read_text(encoding="utf-8"))]
    assert found == [APP / "models" / "manifests" / "encodings.py"]


def test_names_in_a_cpg_are_looked_up_in_the_table(tmp_path: Path) -> None:
    dbf, cpg = tmp_path / "a.dbf", tmp_path / "a.cpg"
    dbf.write_bytes(b"\x03" + bytes(7) + b"\x21\x00\x01\x00" + bytes(20) + b"\r")
    for text, name in (("UTF-8", "utf-8"), ("1252", "cp1252"), ("ISO 88591", "iso8859-1"), ("ANSI 1252", "cp1252")):
        cpg.write_text(text)
        assert text_encoding(dbf, cpg, None, "a.shp").name == name
