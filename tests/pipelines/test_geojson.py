"""GeoJSON: columns, ids, CRS, odd spellings, and geometries in bulk and one by one."""

from __future__ import annotations

import codecs
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.pipelines.vector.formats.geojson import frame as geojson_frame
from tests.pipelines.conftest import Bench, Result, assert_same_geometries


def feature(geometry: Any = None, properties: Any = None, **more: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": properties, "geometry": geometry, **more}


def point(x: float = 9.0, y: float = 48.0) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [x, y]}


def collection(*features: Any, **more: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", **more, "features": list(features)}


def load(bench: Bench, document: Any, fmt: str = "GeoJSON", **more: Any) -> Result:
    return bench.one(
        bench.write("x.json", document if isinstance(document, (str, bytes)) else json.dumps(document)), fmt, **more
    )


def table(bench: Bench, *records: dict[str, Any]) -> pa.Table:
    return pq.read_table(load(bench, collection(*(feature(point(), r) for r in records))).path)


@pytest.mark.parametrize(
    ("values", "kind", "wanted"),
    [
        ([1, None, -(2**63)], "int64", None),
        ([1, 2.5], "double", [1.0, 2.5]),
        ([2**63, 1], "string", ["9223372036854775808", "1"]),
        ([2**53 + 1, 0.5], "string", ["9007199254740993", "0.5"]),
        ([True, None, False], "bool", None),
        ([True, 1], "string", ["true", "1"]),
        (["a", 1, None, 2.5], "string", ["a", "1", None, "2.5"]),
        (["2026-11-22", "2026-11-22T10:00:00Z"], "string", None),
        (["007", "1e3"], "string", None),
        ([{"a": {"b": [1]}}, None], "string", ['{"a":{"b":[1]}}', None]),
        ([[1, 2], [], None], "list<element: int64>", None),
        ([[1, 2.5], [3]], "list<element: double>", [[1.0, 2.5], [3.0]]),
        ([["a", None], ["ü"]], "list<element: string>", None),
        ([[1, "a"], [[1]]], "string", ['[1,"a"]', "[[1]]"]),
        ([None, None], "string", None),
        (["", 'ü\n"\\ \U0001f600'], "string", None),
    ],
)
def test_types(bench: Bench, values: list[Any], kind: str, wanted: list[Any] | None) -> None:
    found = table(bench, *({"v": value} for value in values)).column("v")
    assert str(found.type).replace("item:", "element:") == kind
    assert found.to_pylist() == (values if wanted is None else wanted)


def test_json_columns_are_marked(bench: Bench) -> None:
    result = load(bench, collection(feature(point(), {"o": {"a": 1}, "s": "x"})))
    assert result.product.column_schema["o"].logical_type == "json"
    assert result.product.column_schema["s"].logical_type is None


def test_mixed_columns_warn(bench: Bench) -> None:
    result = load(bench, collection(feature(point(), {"a": "x"}), feature(point(), {"a": 1})))
    assert "'a'" in result.watch.warnings["reader_note"][0]


def test_properties_that_differ_make_a_union(bench: Bench) -> None:
    found = table(bench, {"a": 1}, {"b": "x", "a": None}, {}, {"c": True, "b": "y"})
    assert found.column_names[:3] == ["a", "b", "c"]
    assert found.select(["a", "b", "c"]).to_pylist() == [
        {"a": 1, "b": None, "c": None},
        {"a": None, "b": "x", "c": None},
        {"a": None, "b": None, "c": None},
        {"a": None, "b": "y", "c": True},
    ]


@pytest.mark.parametrize("ids", [[7, None, 3], ["a", "b", None], ["a", 1, None]])
def test_ids_are_kept(bench: Bench, ids: list[Any]) -> None:
    features = [feature(point(), {"v": 1}) if i is None else feature(point(), {"v": 1}, id=i) for i in ids]
    found = load(bench, collection(*features)).frame
    wanted = [None if i is None else str(i) if isinstance(ids[0], str) else i for i in ids]
    assert found["id"].astype(object).where(found["id"].notna(), None).tolist() == wanted
    assert found.columns[0] == "id"


def test_ids_beside_a_property_of_that_name(bench: Bench) -> None:
    found = load(bench, collection(feature(point(), {"id": "p"}, id=5))).frame
    assert found[["feature_id", "id"]].values.tolist() == [[5, "p"]]


def test_other_members_are_told(bench: Bench) -> None:
    result = load(bench, collection(feature(point(), {"a": 1}, title="x", bbox=[9, 48, 9, 48])))
    assert "'title' (1)" in result.watch.warnings["reader_note"][0]


def test_crs_member(bench: Bench) -> None:
    def crs(name: str) -> dict[str, Any]:
        return {"type": "name", "properties": {"name": name}}

    utm = load(bench, collection(feature(point(500000, 5500000), {}), crs=crs("urn:ogc:def:crs:EPSG::25832")))
    assert utm.frame.geometry.iloc[0].x == pytest.approx(9.0)
    behind = (
        json.dumps(collection(feature(point(500000, 5500000), {})))[:-1]
        + ',"crs":'
        + json.dumps(crs("EPSG:25832"))
        + "}"
    )
    assert load(bench, behind).frame.geometry.iloc[0].x == pytest.approx(9.0)
    for name in ("urn:ogc:def:crs:OGC:1.3:CRS84", "EPSG:4326"):
        assert load(bench, collection(feature(point(9, 48), {}), crs=crs(name))).frame.geometry.iloc[0].coords[0] == (
            9,
            48,
        )
    old = collection(feature(point(500000, 5500000), {}), crs={"type": "EPSG", "properties": {"code": 25832}})
    assert load(bench, old).frame.geometry.iloc[0].x == pytest.approx(9.0)
    bench.write("n.json", json.dumps(collection(feature(point(), {}), crs=None)))
    (bench.lake / "v1.parquet").unlink()
    assert bench.refused("n.json", "GeoJSON").reason == "crs_missing"
    bench.write("c.json", json.dumps(collection(feature(point(), {}))))
    assert bench.refused("c.json", "GeoJSON", crs="EPSG:25832").reason == "crs_conflict"
    assert bench.refused("c.json", "GeoJSON", crs="EPSG:99999").reason == "crs_unknown"
    assert len(bench.one("c.json", "GeoJSON", crs="EPSG:4326").frame) == 1


def test_layer_name(bench: Bench) -> None:
    document = collection(feature(point(), {}), name="straßen")
    assert len(load(bench, document, layer="straßen").frame) == 1
    (bench.lake / "v1.parquet").unlink()
    error = bench.refused("x.json", "GeoJSON", layer="strassen")
    assert error.reason == "layer_unknown"
    assert "straßen" in error.fix


GEOMETRIES = [
    "POINT (1 2)",
    "POINT Z (1 2 3)",
    "MULTIPOINT (1 2, 3 4)",
    "LINESTRING (1 2, 3 4, 5 7)",
    "MULTILINESTRING ((1 2, 3 4), (5 6, 7 9))",
    "POLYGON ((0 0, 4 0, 4 4, 0 4, 0 0), (1 1, 1 2, 2 2, 1 1))",
    "POLYGON Z ((0 0 1, 4 0 2, 4 4 3, 0 0 1))",
    "MULTIPOLYGON (((0 0, 4 0, 4 4, 0 0)), ((10 10, 14 10, 14 14, 10 10), (11 10.5, 12 10.5, 12 11, 11 10.5)))",
    "GEOMETRYCOLLECTION (POINT (1 2), LINESTRING (1 2, 3 4))",
    "POINT EMPTY",
    "POLYGON EMPTY",
    "MULTIPOLYGON EMPTY",
    "GEOMETRYCOLLECTION EMPTY",
    None,
]


@pytest.mark.parametrize("indent", [None, 0, 2], ids=["compact", "lines", "pretty"])
def test_geometries_of_all_types_in_one_file(bench: Bench, indent: int | None) -> None:
    wanted = np.array([None if wkt is None else shapely.from_wkt(wkt) for wkt in GEOMETRIES * 3], object)
    features = [
        feature(None if g is None else json.loads(shapely.to_geojson(g)), {"i": i}) for i, g in enumerate(wanted)
    ]
    result = load(
        bench, json.dumps(collection(*features), indent=indent, separators=(",", ":") if indent is None else None)
    )
    assert_same_geometries(result.frame.geometry, wanted)
    assert result.frame["i"].tolist() == list(range(len(wanted)))
    assert result.counts["null_geometries"] == 3
    assert result.counts["empty_geometries"] == 12
    assert result.counts["rows_out"] == len(wanted)


def test_odd_but_valid_spellings(bench: Bench) -> None:
    """Keys in any order, coordinates before type, decoys in properties, escapes, numbers in every form."""
    text = r"""{ "bbox":[0,0,1,1], "type" : "FeatureCollection", "title":"a \" { [ \\",
      "features" :  [
      {"geometry":{"coordinates" :   [ 1e1 , -4.8E+1 ],"type":"Point"},"type":"Feature",
       "properties":{"coordinates":[[9,9]],"geometry":{"coordinates":[1,2],"type":"Point"},"s":"{[\"\\"}}
      , {"type":"Feature","properties":{"s":"}]","geometry":{"type":"x"}},"geometry":
         {"type":"Point","coordinates":[12,0.5e1]}}
      ] , "links":[{"a":[1]}] }
    """
    result = load(bench, text)
    assert_same_geometries(result.frame.geometry, shapely.points([[10, -48], [12, 5]]))
    assert result.frame["s"].tolist() == ['{["\\', "}]"]
    assert json.loads(result.frame["geometry"].iloc[0])["coordinates"] == [1, 2]


def test_bytes_before_and_after(bench: Bench) -> None:
    document = json.dumps(collection(feature(point(), {"a": "ü"})), ensure_ascii=False)
    assert load(bench, "\ufeff" + document + "\n\n").frame["a"].tolist() == ["ü"]
    (bench.lake / "v1.parquet").unlink()
    bench.write("x.json", document + " junk")
    assert bench.refused("x.json", "GeoJSON").reason == "json_invalid"


def test_single_objects(bench: Bench) -> None:
    assert load(bench, feature(point(), {"a": 1}, id=3)).frame[["id", "a"]].values.tolist() == [[3, 1]]
    assert load(bench, point(3, 4)).frame.geometry.iloc[0].coords[0] == (3, 4)


@pytest.mark.parametrize("joint", ["\n", "\r\n", "\n\n  "])
@pytest.mark.parametrize("record", ["", "\x1e"])
def test_sequences(bench: Bench, joint: str, record: str) -> None:
    lines = [json.dumps(feature(point(i, i), {"i": i})) for i in range(30)]
    assert load(bench, "".join(record + line + joint for line in lines), "GeoJSONSeq").frame["i"].tolist() == list(
        range(30)
    )


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ('{"type":"FeatureCollection","features":[]}', "no_features"),
        ('{"type":"FeatureCollection"}', "content_mismatch"),
        ('{"type":"Topology","objects":{}}', "content_mismatch"),
        (
            '{"geometryType":"esriGeometryPoint","features":[{"attributes":{},"geometry":{"x":1,"y":2}}]}',
            "content_mismatch",
        ),
        (
            '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"a":1,},"geometry":null}]}',
            "json_invalid",
        ),
        ('{"type":"FeatureCollection","features":[1,2]}', "json_invalid"),
        ('{"type":"FeatureCollection","features":[[1,2]]}', "json_invalid"),
        (
            '{"type":"FeatureCollection","features":[{"type":"Feature","properties":[],"geometry":null}]}',
            "json_invalid",
        ),
        (
            '{"type":"FeatureCollection","features":[{"type":"Feature","geometry":{"type":"Blob","coordinates":[]}}]}',
            "geometry_damaged",
        ),
        (
            '{"type":"FeatureCollection","features":[{"type":"Feature","geometry":{"type":"Point","coordinates":[1]}}]}',
            "geometry_damaged",
        ),
        (
            '{"type":"FeatureCollection","features":[{"type":"Feature","geometry":{"type":"Point","coordinates":["1","2"]}}]}',
            "geometry_damaged",
        ),
        (
            '{"type":"FeatureCollection","features":[{"type":"Feature","geometry":{"type":"Point","coordinates":[1,,2]}}]}',
            "json_invalid",
        ),
        (
            '{"type":"FeatureCollection","features":[{"type":"Feature","geometry":{"type":"Point","coordinates":[NaN,2]}}]}',
            "coordinates_not_finite",
        ),
        (
            '{"type":"FeatureCollection","features":[{"type":"Feature","geometry":{"type":"Point","coordinates":[1e999,2]}}]}',
            "coordinates_not_finite",
        ),
        (
            '{"type":"FeatureCollection","features":[{"type":"Feature","geometry":{"type":"LineString","coordinates":[[1,2]]}}]}',
            "geometry_damaged",
        ),
        (
            '{"type":"FeatureCollection","features":[{"type":"Feature","geometry":{"type":"Polygon","coordinates":[[1,2],[3,4]]}}]}',
            "geometry_damaged",
        ),
        (
            '{"type":"FeatureCollection","features":[{"type":"Feature","geometry":null} {"type":"Feature"}]}',
            "json_invalid",
        ),
        ('{"type":"FeatureCollection","features":[{"type":"Feature","geometry":null},]}', "json_invalid"),
        ('{"type":"FeatureCollection","features":[{"type":"Feature","geometry":null}]', "file_truncated"),
        ('{"type":"FeatureCollection","features":[{"type":"Feature","geometry":null}', "file_truncated"),
        ('{"type":"FeatureCollection","features":[{"type":"Feature","prop', "file_truncated"),
        ('{"type":"FeatureColl', "file_truncated"),
        ('{"type":"FeatureCollection" "features":[]}', "json_invalid"),
        ('{"type":"FeatureCollection","n":' + "9" * 5000 + ',"features":[]}', "json_invalid"),
        ('{"type":"FeatureCollection","n":' + "[" * 100_000 + "]" * 100_000 + ',"features":[]}', "json_invalid"),
        (
            '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"n":' + "9" * 5000 + "},"
            '"geometry":null}]}',
            "json_invalid",
        ),
        (
            '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{},'
            '"geometry":{"type":"GeometryCollection","geometries":[{"type":"Point","coordinates":[1'
            + "0" * 400
            + ",1]}]}}]}",
            "geometry_damaged",
        ),
    ],
)
def test_refused(bench: Bench, document: str, reason: str) -> None:
    bench.write("x.json", document)
    assert bench.refused("x.json", "GeoJSON").reason == reason


@pytest.mark.parametrize(
    ("geometry", "why"),
    [
        ({"type": "polygon", "coordinates": []}, '"polygon" is not a type of GeoJSON'),
        ({"type": "LineString", "coordinates": [[1, 2]]}, "a line of one position"),
        ({"type": "GeometryCollection", "geometries": [None]}, "a geometry in its collection is null"),
        ({"type": "Point", "coordinates": [1]}, "found [1] where a position should be"),
        ({"type": "Polygon", "coordinates": [[1, 2]]}, "found 1 where an array"),
        ({"type": "Point"}, "without an array of coordinates"),
        ({"type": "Polygon", "coordinates": [[[0, 0, 5], [1, 0], [1, 1, 7], [0, 0]]]}, "others have none"),
    ],
)
def test_why_a_geometry_cannot_be_read(bench: Bench, geometry: Any, why: str) -> None:
    bench.write("x.json", json.dumps(collection(feature(geometry))))
    error = bench.refused("x.json", "GeoJSON")
    assert error.reason == "geometry_damaged"
    assert why in error.detail
    assert "triangulated" not in str(error)


def test_empty_parts(bench: Bench) -> None:
    square = [[[0, 0], [1, 0], [1, 1], [0, 0]]]
    documents = [[[], square], [[[]], square], [square, []], [[]]]
    result = load(bench, collection(*(feature({"type": "MultiPolygon", "coordinates": c}) for c in documents)))
    found = result.frame.geometry.to_numpy()
    assert shapely.get_num_geometries(found).tolist() == [1, 1, 1, 0]
    assert shapely.area(found).tolist() == [0.5, 0.5, 0.5, 0]
    assert result.counts["empty_parts_skipped"] == 4


def test_encodings(bench: Bench) -> None:
    document = json.dumps(
        collection(feature(point(), {"name": "Köln"}), feature(point(), {"name": "Århus"})), ensure_ascii=False
    )
    bench.write("x.json", document.encode("cp1252"))
    error = bench.refused("x.json", "GeoJSON")
    assert error.reason == "encoding_wrong"
    assert "row 0" in error.detail
    assert "options.encoding" in error.fix
    assert bench.refused("x.json", "GeoJSON", options={"encoding": "ascii"}).reason == "encoding_wrong"
    found = bench.one("x.json", "GeoJSON", options={"encoding": "CP1252"})
    assert found.frame["name"].tolist() == ["Köln", "Århus"]


@pytest.mark.parametrize("fmt", ["GeoJSON", "GeoJSONSeq"])
def test_members_that_are_there_twice(bench: Bench, fmt: str) -> None:
    """JSON takes the last one; the values that are lost are counted, against Python's own parser."""
    tricky = {"a": 'x: "y": \\', 'b:"\\': {"c": [{"d": ":"}]}, "e": None}
    lines = [
        '{"type":"Feature","properties":{"a":1,"a":2},"geometry":{"type":"Point","coordinates":[9,48]}}',
        json.dumps(feature(point(), tricky)),
        '{"type":"Feature","id":1,"id":2,"properties":{"e":{"f":1,"f":[{"g":1,"g":2}]}},"geometry":null}',
    ]
    lost = 0

    def count(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal lost
        lost += len(pairs) - len(dict(pairs))
        return dict(pairs)

    wanted = [json.loads(line, object_pairs_hook=count) for line in lines]
    assert lost == 4
    text = "\n".join(lines) if fmt == "GeoJSONSeq" else f'{{"type":"FeatureCollection","features":[{",".join(lines)}]}}'
    result = bench.one(bench.write("x.json", text), fmt)
    assert result.watch.warnings["members_repeated"][1] == lost
    assert json.loads(result.frame["e"][2]) == wanted[2]["properties"]["e"]
    bench.write("y.json", json.dumps(collection(feature(point(), tricky), feature(point(), {"z": [1, {"z": 1}]}))))
    assert "members_repeated" not in bench.one("y.json", "GeoJSON").watch.warnings


WIDE = ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]


@pytest.mark.parametrize("fmt", ["GeoJSON", "GeoJSONSeq"])
@pytest.mark.parametrize("encoding", WIDE)
@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("declared", [False, True])
def test_utf_16_and_32(bench: Bench, fmt: str, encoding: str, marked: bool, declared: bool) -> None:
    """As PowerShell's `>` writes it: with a mark. Without one, the zeros show it, as RFC 4627 says."""
    features = [feature(point(), {"name": "Köln"}), feature(point(), {"name": "𝄞"})]
    lines = [json.dumps(each, ensure_ascii=False) for each in features]
    text = "\n".join(lines) if fmt == "GeoJSONSeq" else json.dumps(collection(*features), ensure_ascii=False)
    bench.write("x.json", (("\ufeff" if marked else "") + text).encode(encoding))
    # Without a mark UTF-16 alone means its order on this computer.
    options = {"encoding": encoding[:6] if marked else encoding} if declared else {}
    assert bench.one("x.json", fmt, options=options).frame["name"].tolist() == ["Köln", "𝄞"]
    (planned,) = bench.plan({"path": "x.json", "format": fmt, "options": options}).files
    assert planned.encoding == encoding


def test_a_mark_contradicts_the_manifest(bench: Bench) -> None:
    text = json.dumps(collection(feature(point(), {"name": "Köln"})), ensure_ascii=False)
    for mark, body in ((codecs.BOM_UTF8, text.encode()), (codecs.BOM_UTF16_LE, text.encode("utf-16-le"))):
        bench.write("x.json", mark + body)
        error = bench.refused("x.json", "GeoJSON", options={"encoding": "CP1252"})
        assert error.reason == "encoding_wrong"
        assert "byte order mark" in error.detail
    bench.write("x.json", codecs.BOM_UTF16_LE + text.encode("utf-16-le") + b"\x00\xd8")
    error = bench.refused("x.json", "GeoJSON")
    assert error.reason == "encoding_wrong"
    assert "by its byte order mark" in error.detail
    bench.write("x.json", "\ufeff<html></html>".encode("utf-16-le"))
    assert "an HTML page" in bench.refused("x.json", "GeoJSON").detail


ESRI_POINT = {"attributes": {"a": 1}, "geometry": {"x": 9, "y": 48}}
ESRI = {"geometryType": "esriGeometryPoint", "spatialReference": {"wkid": 4326}, "features": [ESRI_POINT]}


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (ESRI, "Esri JSON"),
        ({"features": [ESRI_POINT]}, "Esri JSON"),
        (ESRI_POINT, "Esri JSON"),
        ({"error": {"code": 498, "message": "Invalid token"}}, "Invalid token"),
        ([ESRI_POINT], "JSON"),
        ({"type": "Topology", "objects": {}}, "Topology"),
    ],
)
def test_json_that_is_no_geojson_is_named(bench: Bench, document: Any, found: str) -> None:
    bench.write("x.json", json.dumps(document))
    error = bench.refused("x.json", "GeoJSON")
    assert error.reason == "content_mismatch"
    assert found in error.detail
    if isinstance(document, dict) and "Esri" in found:
        bench.write("y.json", json.dumps(ESRI_POINT))
        assert "Esri JSON" in bench.refused("y.json", "GeoJSONSeq").detail
        assert "f=geojson" in error.fix


def test_open_rings_are_closed_and_counted(bench: Bench) -> None:
    ring = [[0, 0], [4, 0], [4, 4]]
    closed = {"type": "Polygon", "coordinates": [[*ring, [0, 0]]]}
    result = load(
        bench,
        collection(feature(closed, {}), feature({"type": "Polygon", "coordinates": [ring]}, {}), feature(closed, {})),
    )
    assert_same_geometries(result.frame.geometry, np.array([shapely.Polygon(ring)] * 3))
    assert result.counts["rings_closed"] == 1
    assert result.watch.warnings["rings_closed"][2] == ({"file": "x.json", "row": 1},)


def test_a_fourth_number_is_dropped_and_counted(bench: Bench) -> None:
    result = load(bench, collection(feature({"type": "Point", "coordinates": [1, 2, 3, 4]}, {})))
    assert result.frame.geometry.iloc[0].wkt == "POINT Z (1 2 3)"
    assert result.counts["m_dropped"] == 1


def test_blocks_end_anywhere(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the block size, the product is the same file: features may be larger than a block."""
    rng = np.random.default_rng(1)
    rows = [
        feature(point(float(x), float(y)), {"s": "x" * int(n), "i": i})
        for i, (x, y, n) in enumerate(rng.uniform(1, 40, (200, 3)))
    ]
    text = json.dumps(collection(*rows, name="n"), indent=1)
    hashes = set()
    for size in (64, 100, 1000, 1 << 22):
        monkeypatch.setattr(geojson_frame, "BLOCK_BYTES", size)
        result = load(bench, text)
        assert result.frame["i"].tolist() == list(range(200))
        hashes.add(result.asset.content_hash)
    assert len(hashes) == 1


positions = st.tuples(st.floats(-170, 170), st.floats(-80, 80)).map(list)
geometries = st.one_of(
    st.none(),
    positions.map(lambda p: {"type": "Point", "coordinates": p}),
    st.lists(positions, min_size=2, max_size=4).map(lambda p: {"type": "LineString", "coordinates": p}),
    st.lists(st.lists(positions, min_size=2, max_size=3), min_size=1, max_size=3).map(
        lambda p: {"type": "MultiLineString", "coordinates": p}
    ),
)
values = st.one_of(
    st.none(), st.text(st.characters(codec="utf-8"), max_size=8), st.integers(-(2**40), 2**40), st.booleans()
)
properties = st.dictionaries(st.sampled_from(["a", "b", "coordinates", "geometry", 'q"{[']), values, max_size=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(geometries, properties), min_size=1, max_size=6), st.sampled_from([None, 1]), st.booleans())
def test_any_document_comes_through(bench: Bench, rows: list[Any], indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(collection(*(feature(g, p) for g, p in rows)), indent=indent, ensure_ascii=ascii_only)
    result = load(bench, text)
    found = pq.read_table(result.path)
    for index, (geometry, record) in enumerate(rows):
        wkb = found.column("geom")[index].as_py()
        assert (wkb is None) == (geometry is None)
        if geometry is not None and geometry["type"] == "Point":
            assert shapely.from_wkb(wkb).coords[0] == tuple(geometry["coordinates"])
        for name, value in record.items():
            got = found.column(result.product.header_mapping.get(name, name))[index].as_py()
            assert got == value or got == json.dumps(value)
