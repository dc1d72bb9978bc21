"""What the comparison calls a difference, and that it covers every format."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from math import nextafter
from pathlib import Path
from typing import Any

import pytest
import shapely

from app.models.formats import FORMATS
from differential.__main__ import KINDS
from differential.campaign import campaign, made
from differential.case import Found, Moment, Written
from differential.compare import differences, rounded, same
from tests.place import a_place


def test_every_format_of_vectors_and_tables_is_compared() -> None:
    wanted = {each.name for each in FORMATS if each.type != "raster" and each.available}
    assert {kind.format for kind in KINDS} == wanted
    assert all(kind.readers for kind in KINDS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a", "a "),
        ("é", unicodedata.normalize("NFD", "é")),
        ("", None),
        ("1", 1),
        (True, 1),
        (0.1, nextafter(0.1, 1)),
        (0.0, -0.0),
        (2**53 + 1, float(2**53)),
        (Decimal("0.1"), 0.1),
        (date(1970, 1, 1), datetime(1970, 1, 1)),  # noqa: DTZ001 # a moment of no zone
        (Moment(1, True), Moment(1, False)),
        (Moment(1_000, True), Moment(2_000, True)),
        (b"\x00", b""),
        (float("nan"), None),
    ],
)
def test_values_that_differ(one: Any, other: Any) -> None:
    assert not same(one, other)
    assert same(one, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (5, 5.0),
        (0.5, Decimal("0.50")),
        (float("nan"), float("nan")),
        (datetime(2020, 1, 1, tzinfo=UTC), Moment(1_577_836_800 * 10**9, True)),
    ],
)
def test_values_that_are_the_same(one: Any, other: Any) -> None:
    assert same(one, other)


SQUARE = shapely.box(0, 0, 1, 1)
HELD = Written(Path("x"), Found({"a": [1, None, "x"], "b": [1.5, 2.5, 3.5]}, [SQUARE, None, shapely.Point(1, 2)]))
TEXTS = replace(HELD, holds=Found({"t": ["1.50", "", "2020-01-31", "true", "007"]}), as_text=True)


@pytest.mark.parametrize(
    ("found", "where"),
    [
        ({"columns": {"a": [1, None, "x"], "c": [1.5, 2.5, 3.5]}}, "columns"),
        ({"columns": {"b": [1.5, 2.5, 3.5], "a": [1, None, "x"]}}, "columns"),
        ({"columns": {"a": [1, None, "x"]}}, "columns"),
        ({"columns": {"a": [1, None], "b": [1.5, 2.5]}}, "rows"),
        ({"columns": {"a": [1, "x", None], "b": [1.5, 2.5, 3.5]}}, "a"),
        ({"shapes": [SQUARE, None, shapely.Point(1, nextafter(2, 3))]}, "geometry"),
        ({"shapes": [SQUARE, shapely.Point(), shapely.Point(1, 2)]}, "geometry"),
        ({"shapes": [shapely.MultiPolygon([SQUARE]), None, shapely.Point(1, 2)]}, "geometry"),
        ({"shapes": [shapely.force_3d(SQUARE), None, shapely.Point(1, 2)]}, "geometry"),
        ({"shapes": None}, "geometry"),
    ],
)
def test_what_a_reader_changes_is_found(found: dict[str, Any], where: str) -> None:
    assert list(differences(HELD, HELD.holds)) == []
    assert where in [each.where for each in differences(HELD, replace(HELD.holds, **found))]


def test_where_a_ring_begins_is_no_difference() -> None:
    turned = shapely.Polygon([(1, 1), (1, 0), (0, 0), (0, 1), (1, 1)])
    assert list(differences(HELD, replace(HELD.holds, shapes=[turned, None, shapely.Point(1, 2)]))) == []


def test_texts_are_read_as_what_they_say_only() -> None:
    typed = Found({"t": [1.5, None, date(2020, 1, 31), True, "007"]})
    assert list(differences(TEXTS, typed)) == []
    lost = Found({"t": [1, "", date(2020, 1, 30), False, "7"]})
    assert [each.row for each in differences(TEXTS, lost)] == [0, 2, 3, 4]


def test_what_a_format_rounds_is_compared_rounded() -> None:
    held = replace(HELD, holds=Found({}, [shapely.Point(1.123456789, 2)]), places=5)
    assert list(differences(held, Found({}, [shapely.MultiPoint([(1.12346, 2)])]))) == []
    assert list(differences(held, Found({}, [shapely.Point(1.12345, 2)]))) != []
    assert rounded(shapely.Point(1.15, 2), 1) == shapely.Point(1.2, 2)


def test_a_file_is_made_again_by_its_number(tmp_path: Path) -> None:
    for number in range(len(KINDS)):
        _, first = made(5, number, KINDS, tmp_path / f"a{number}")
        _, second = made(5, number, KINDS, tmp_path / f"b{number}")
        assert list(differences(first, second.holds)) == []
        assert list(first.holds.columns) == list(second.holds.columns)


def test_a_reader_that_changes_something_is_reported(tmp_path: Path) -> None:
    """Of each kind one file, of which one reader has the first value wrong."""
    liars = [replace(kind, readers={**kind.readers, "liar": _lying}) for kind in KINDS]
    with a_place(tmp_path / "data") as place:
        *_, books = campaign(place, 1, range(len(liars)), liars, tmp_path / "files")
    assert sorted(books.files) == sorted(kind.format for kind in KINDS)
    assert {(each.format, each.reader) for each in books.wrong} == {(kind.format, "liar") for kind in KINDS}


def _lying(written: Written) -> Found:
    held = written.holds
    return replace(held, columns={**held.columns, "nr": [999, *held.columns["nr"][1:]]})
