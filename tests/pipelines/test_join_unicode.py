"""Keys of joins that look the same and are not: composed and decomposed letters."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pyarrow as pa
import pytest

from app.errors import RunRefused
from tests.pipelines.joins import Lake, points


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def form(name: str, *texts: str) -> list[str]:
    return [unicodedata.normalize(name, text) for text in texts]


@pytest.mark.parametrize(("left", "right"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_keys_that_differ_in_unicode_form_only_are_counted(lake: Lake, left: str, right: str) -> None:
    people = [*form(left, "Tübingen", "Tübingen", "Łódź", "Zürich"), "Ulm", "Bad Neuß", *form(right, "Orléans"), "가"]
    places = [*form(right, "Tübingen", "Łódź", "Orléans"), "Ulm", "Köln", "ZURICH", *form("NFD", "가")]
    lake.tabular(pa.table({"k": people}))
    lake.spatial(pa.table({"k": places}), points(len(places)))
    warnings = lake.join().watch.warnings
    told = {person for person in people if person not in places}
    alike = [each for each in people if each in told and form("NFC", each)[0] in form("NFC", *places)]
    assert len(alike) == 4
    assert warnings["keys_unicode_form"][1:] == (4, tuple(sorted(set(alike))))
    assert warnings["tabular_rows_unmatched"][1] == 6


def test_both_sides_are_looked_at(lake: Lake) -> None:
    lake.tabular(pa.table({"k": [*form("NFC", "é", "é"), "x"]}))
    lake.spatial(pa.table({"k": [*form("NFD", "é"), *form("NFC", "é")]}), points(2))
    found = lake.join()
    assert found.watch.warnings["keys_unicode_form"][1:] == (1, tuple(form("NFD", "é")))
    assert "places" in found.watch.warnings["keys_unicode_form"][0]


def test_keys_without_a_look_alike_are_not(lake: Lake) -> None:
    lake.tabular(pa.table({"k": ["é", "ä", "x", "\ufb01"]}))
    lake.spatial(pa.table({"k": ["e", "a", "x", "fi"]}), points(4))
    assert "keys_unicode_form" not in lake.join().watch.warnings


def test_a_join_without_any_match_says_why(lake: Lake) -> None:
    lake.tabular(pa.table({"k": form("NFC", "Köln", "Łódź")}))
    lake.spatial(pa.table({"k": form("NFD", "Köln", "Łódź")}), points(2))
    with pytest.raises(RunRefused) as caught:
        lake.join(how="inner")
    assert "in one Unicode form, such as NFC" in caught.value.fix
    lake.tabular(pa.table({"k": ["a"]}))
    with pytest.raises(RunRefused) as caught:
        lake.join(how="inner")
    assert "Unicode" not in caught.value.fix
