"""What no table of cases can list: any table and any geometries come out as they went in, or the run says so."""

from __future__ import annotations

import datetime as dt
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.corpus.layers import layer
from tests.pipelines.conftest import Bench
from tests.pipelines.tables import EVERYTHING, ingest

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=6)
VALUES = st.one_of(
    st.integers().map(str), st.integers(-9, 9).map(str), st.floats().map(repr), st.booleans().map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str), st.dates().map(str), st.datetimes().map(str),
    st.datetimes(timezones=st.just(dt.UTC)).map(str), st.times().map(str), TEXT,
)  # fmt: skip
KINDS = st.sampled_from([VALUES, st.integers(-99, 99).map(str), st.dates().map(str), st.floats(-9, 9).map(repr), TEXT])


@st.composite
def tables(draw: st.DrawFn) -> list[list[str | None]]:
    """Rows, some of them a field short; columns of one kind of values each, or of any."""
    kinds = draw(st.lists(KINDS, min_size=2, max_size=3))
    whole = st.tuples(*(st.none() | kind for kind in kinds)).map(list)
    short = st.just(["short"] * (len(kinds) - 1))
    return draw(st.lists(whole, min_size=1, max_size=5)) + draw(st.lists(short, max_size=2))


def field(value: str | None) -> str:
    return "" if value is None else '"' + value.replace('"', '""') + '"'


@settings(max_examples=60, deadline=None, phases=[Phase.generate])
@given(rows=tables())
def test_any_table_comes_back_or_is_set_aside(rows: list[list[str | None]]) -> None:
    width = len(rows[0])
    body = "".join(",".join(map(field, row)) + "\r\n" for row in [[f"c{number}" for number in range(width)], *rows])
    with tempfile.TemporaryDirectory() as folder:
        found = ingest(Bench(Path(folder)), body, delimiter=",", encoding="utf-8", limits=EVERYTHING)
        assert [each["reason"] for each in found.quarantine] == [
            f"{width - 1} field{'s' * (width > 2)} instead of {width}" for row in rows if len(row) < width
        ]
        kept = [row for row in rows if len(row) == width]
        assert found.counts["rows_in"] == len(rows)
        assert len(found.rows) == found.counts["rows_out"] == len(kept)
        for made, row in zip(found.rows, kept, strict=True):
            assert all(says(value, text) for value, text in zip(made.values(), row, strict=True)), (made, row)


def says(value: Any, text: str | None) -> bool:
    """Whether the value is just what the text says, by Python's own readers."""
    if value is None or text is None:
        return value is text
    if isinstance(value, bool):
        return text.lower() == str(value).lower()
    if isinstance(value, int | str):
        return str(value) == text
    if isinstance(value, float):
        return Decimal(repr(value)) == Decimal(text) and str(value).startswith("-") == text.startswith("-")
    if isinstance(value, Decimal):
        return value == Decimal(text)
    return bool(value == type(value).fromisoformat(text))


DEGREES = st.tuples(st.integers(-80, 80), st.integers(-80, 80))
POINTS = st.builds(shapely.Point, DEGREES)
LINES = st.builds(shapely.LineString, st.lists(DEGREES, min_size=2, max_size=6))
RINGS = st.lists(DEGREES, min_size=4, max_size=7)
POLYGONS = st.builds(shapely.Polygon, RINGS) | st.builds(shapely.Polygon, RINGS, st.lists(RINGS, max_size=2))
HEIGHTS = st.builds(shapely.force_3d, POINTS | LINES, st.integers(-9, 9))
SINGLES = POINTS | LINES | POLYGONS
MANY = st.one_of(
    st.builds(shapely.MultiPoint, st.lists(POINTS, max_size=4)),
    st.builds(shapely.MultiLineString, st.lists(LINES, max_size=3)),
    st.builds(shapely.MultiPolygon, st.lists(POLYGONS, max_size=3)),
)
COLLECTIONS = st.recursive(
    SINGLES | MANY, lambda each: st.builds(shapely.GeometryCollection, st.lists(each, max_size=3))
)
GEOMETRIES = st.lists(st.none() | SINGLES | MANY | HEIGHTS | COLLECTIONS, min_size=1, max_size=6)


@settings(max_examples=60, deadline=None, phases=[Phase.generate])
@given(geometries=GEOMETRIES)
def test_any_geometry_survives_or_is_counted(geometries: list[Any]) -> None:
    before = np.array(geometries, object)
    numbers = {"i": pa.array(range(len(before)))}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        wkb = [None if each is None else shapely.to_wkb(each, flavor="iso") for each in geometries]
        result = bench.one(layer("GeoParquet", wkb, numbers)(bench.landing), "GeoParquet")
        table, counts = pq.read_table(result.path), result.counts
    after = shapely.from_wkb(np.array(table["geom"].to_pylist(), object))
    assert table["i"].to_pylist() == list(range(len(before)))
    missing, valid = shapely.is_missing(before), shapely.is_valid(before)
    assert (shapely.is_missing(after) == missing).all()
    assert (shapely.is_valid(after) | missing).all()
    assert (shapely.has_z(after) == shapely.has_z(before))[~shapely.is_empty(before)].all()
    assert counts.get("null_geometries", 0) == missing.sum()
    assert counts.get("empty_geometries", 0) == shapely.is_empty(after).sum()
    assert counts.get("repaired", 0) == (~valid & ~missing).sum()
    kinds = shapely.get_type_id(before) != shapely.get_type_id(after)
    assert counts.get("repaired_type_changed", 0) == kinds.sum()
    assert not (kinds & valid).any()
    # On whole degrees the tolerance takes nothing but vertices on straight lines: the same points remain.
    assert all(
        shapely.equals(a, b) or (a.is_empty and b.is_empty) for a, b in zip(before[valid], after[valid], strict=True)
    )
    for broken, mended in zip(before[~valid & ~missing], after[~valid & ~missing], strict=True):
        assert any(shapely.equals(each, mended) for each in repairs(broken))


def repairs(broken: Any) -> list[Any]:
    """What it may become: GEOS has no linework for some polygons with a part that is a mere point."""
    try:
        return [shapely.make_valid(broken, method="linework")]
    except shapely.errors.GEOSException:
        return [shapely.make_valid(broken, method="structure")]
