"""GeoJSON features through Arrow's parser: the same values as through objects, or none at all."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.pipelines.vector.formats.geojson import frame as geojson_frame
from app.pipelines.vector.formats.geojson import reader as geojson
from app.pipelines.vector.formats.geojson.table import Columns, read_table
from app.pipelines.vector.formats.geojson.text import JsonLayout, lay_out, parse
from app.pipelines.vector.formats.geojson.values import to_array
from tests.pipelines.conftest import Bench

KINDS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.string(): st.text(),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(-(2.0**53) + 1, 2.0**53 - 1, allow_nan=False) | st.integers(-(2**53) + 1, 2**53 - 1),
    pa.bool_(): st.booleans(),
}
GEOMETRIES = (
    None,
    {"type": "Point", "coordinates": [9.5, 48]},
    {"type": "LineString", "coordinates": [[9, 48], [8, 1]]},
)
KNOWN = Columns([("i", pa.int64()), ("s", pa.string()), ("d", pa.float64()), ("b", pa.bool_())], None)


@st.composite
def documents(draw: st.DrawFn) -> tuple[Columns, list[dict[str, Any]]]:
    """Columns of plain types, and features that hold values of them, null or nothing."""
    names = draw(st.lists(st.text(st.characters(codec="utf-8")), min_size=0, max_size=4, unique=True))
    kinds = [draw(st.sampled_from(list(KINDS))) for _ in names]
    own = draw(st.none() | st.sampled_from([pa.string(), pa.int64()]))
    features: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 6))):
        each = {"type": "Feature", "geometry": draw(st.sampled_from(GEOMETRIES))}
        has = {
            name: draw(st.none() | KINDS[kind]) for name, kind in zip(names, kinds, strict=True) if draw(st.booleans())
        }
        each["properties"] = draw(st.sampled_from([has, has, None]))
        if own is not None and draw(st.booleans()):
            each["id"] = draw(st.none() | KINDS[own])
        if draw(st.booleans()):
            each["bbox"] = [1, 2.5, 3, 4]
        features.append(each)
    return Columns(list(zip(names, kinds, strict=True)), own), features


def laid_out(features: str | bytes, commas: bool = True) -> JsonLayout:
    return lay_out(features.encode() if isinstance(features, str) else features, commas=commas)


@settings(max_examples=400, deadline=None)
@given(documents(), st.sampled_from([None, 0, 3]), st.booleans(), st.sampled_from([",", " ,\n", "\n", "\n\x1e", ""]))
def test_plain_features_are_read_as_their_objects_are(
    document: tuple[Columns, list[dict[str, Any]]], indent: int | None, ascii_only: bool, between: str
) -> None:
    columns, features = document
    text = between.join(json.dumps(each, indent=indent, ensure_ascii=ascii_only) for each in features)
    layout = laid_out(text, commas="," in between)
    table = read_table(layout, columns)
    assert table is not None
    objects = parse(layout, "x", 0)
    for (name, kind), values in zip(columns.properties, table.properties, strict=True):
        assert values.equals(to_array([record.get(name) for record in objects.properties], kind)), name
    if columns.id is None:
        assert table.ids is None
    else:
        assert table.ids is not None
        assert table.ids.equals(to_array(objects.ids() or [None] * len(features), columns.id))
    assert table.kinds.equals(objects.kinds())


@pytest.mark.parametrize(
    "properties",
    [
        b'{"i":1,"i":2}', b'{"i":9223372036854775808}', b'{"i":1.0}', b'{"i":1e2}', b'{"i":"1"}', b'{"i":true}',
        b'{"s":5}', b'{"s":[]}', b'{"s":{}}', b'{"s":"\\ud800"}', b'{"s":"\xff"}', b'{"s":"a\x00b"}', b'{"s":"a\tb"}',
        b'{"d":1e400}', b'{"d":NaN}', b'{"d":Infinity}', b'{"d":-Infinity}', b'{"d":9007199254740993}',
        b'{"d":-9007199254740993}', b'{"d":01}', b'{"d":1.}', b'{"d":.5}', b'{"d":+1}', b'{"d":"5"}',
        b'{"b":1}', b'{"b":"true"}', b'{"x":1}', b'{"x":null}', b'{"s":"a",}', b'{/**/"s":"a"}', b"{'s':1}",
        b'{"s":"a" "i":1}', b"[]", b"5", b'"s"',
    ],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_others(properties: bytes) -> None:
    good = b'{"type":"Feature","properties":{"i":1},"geometry":null}'
    assert read_table(laid_out(good), KNOWN) is not None
    text = good + b',{"type":"Feature","properties":%s,"geometry":null}' % properties
    assert read_table(laid_out(text), KNOWN) is None


@pytest.mark.parametrize(
    "feature",
    [
        '{"properties":null,"geometry":null}',
        '{"type":"feature","properties":null,"geometry":null}',
        '{"type":"Feature","type":"Feature","properties":null,"geometry":null}',
        '{"type":"Feature","properties":null,"geometry":{}}',
        '{"type":"Feature","properties":null,"geometry":{"type":null,"coordinates":[1,2]}}',
        '{"type":"Feature","properties":null,"geometry":{"type":"GeometryCollection","geometries":[]}}',
        '{"type":"Feature","properties":null,"geometry":{"type":"Point","coordinates":"1 2"}}',
        '{"type":"Feature","properties":null,"geometry":null,"id":1}',
        '{"type":"Feature","properties":null,"geometry":null,"title":"a"}',
        '{"type":"Feature","properties":null,"geometry":null,"bbox":' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
)
def test_members_that_are_not_plain(feature: str) -> None:
    assert read_table(laid_out(feature), KNOWN) is None


VALUES = st.none() | st.booleans() | st.integers(-(2**54), 2**64) | st.floats(allow_nan=False, allow_infinity=False) | (
    st.text(max_size=3) | st.lists(st.integers(0, 3), max_size=2) | st.dictionaries(st.text(max_size=1), st.none())
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.sampled_from("abc"), VALUES), min_size=1, max_size=8), st.integers(100, 400))
def test_columns_are_the_same_wherever_blocks_end(bench: Bench, rows: list[dict[str, Any]], size: int) -> None:
    """One block is never read by Arrow, which knows the columns of earlier blocks only."""
    features = [
        {"type": "Feature", "properties": row, "geometry": GEOMETRIES[1], "id": i} for i, row in enumerate(rows)
    ]
    path = bench.write("x.json", json.dumps({"type": "FeatureCollection", "features": features}))
    found = []
    for block in (geojson_frame.BLOCK_BYTES, size):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(geojson_frame, "BLOCK_BYTES", block)
            result = bench.one(path, "GeoJSON")
        found.append((result.asset.content_hash, result.product.column_schema, result.counts, result.watch.warnings))
    assert found[0] == found[1]


def test_arrow_is_not_passed_over(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of a plain file but the first few are read by it, and in the second reading these, too."""
    told: list[bool] = []

    def reading(layout: JsonLayout, columns: Columns) -> Any:
        found = read_table(layout, columns)
        told.append(found is not None)
        return found

    monkeypatch.setattr(geojson, "read_table", reading)
    monkeypatch.setattr(geojson_frame, "BLOCK_BYTES", 400)
    features = [{"type": "Feature", "properties": {"n": i}, "geometry": GEOMETRIES[1]} for i in range(40)]
    bench.one(bench.write("x.json", json.dumps({"type": "FeatureCollection", "features": features})), "GeoJSON")
    assert len(told) > 20
    assert told.count(False) <= 3
