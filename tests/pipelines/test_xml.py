"""GML and KML documents of which GDAL would lose or mix up something without a word."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely

from tests.pipelines.conftest import Bench

GML_HEAD = (
    '<?xml version="1.0"?><ogr:FeatureCollection xmlns:ogr="http://ogr.maptools.org/" '
    'xmlns:gml="http://www.opengis.net/gml/3.2" gml:id="c">'
)
ENVELOPE = (
    '<gml:boundedBy><gml:Envelope srsName="urn:ogc:def:crs:EPSG::4326"><gml:lowerCorner>47 10</gml:lowerCorner>'
    "<gml:upperCorner>49 12</gml:upperCorner></gml:Envelope></gml:boundedBy>"
)
LATLON = "urn:ogc:def:crs:EPSG::4326"


def point(srs: str, position: str) -> str:
    name = f' srsName="{srs}"' if srs else ""
    return f'<gml:Point{name} gml:id="g"><gml:pos>{position}</gml:pos></gml:Point>'


def gml(*points: tuple[str, str], head: str = "", names: str = "") -> str:
    made = [
        f'<ogr:featureMember><ogr:{names[i] if names else "a"} gml:id="a.{i}"><ogr:g>{point(*p)}</ogr:g>'
        f"</ogr:{names[i] if names else 'a'}></ogr:featureMember>"
        for i, p in enumerate(points)
    ]
    return f"{GML_HEAD}{head}{''.join(made)}</ogr:FeatureCollection>"


@pytest.mark.parametrize("crs", [None, "EPSG:4326", "EPSG:25832"])
@pytest.mark.parametrize(
    ("text", "named"),
    [
        (
            gml(("urn:ogc:def:crs:EPSG::25832", "500000 5500000"), ("urn:ogc:def:crs:EPSG::25833", "500000 5500000")),
            "25833",
        ),
        (gml((LATLON, "48 11"), ("", "48 11")), "without srsName"),
        (gml(("", "48 11"), (LATLON, "48 11")), "without srsName"),
        (gml((LATLON, "48 11"), ("EPSG:4326", "11 48")), "'EPSG:4326'"),
        (gml(("urn:ogc:def:crs:EPSG::25832", "500000 5500000"), head=ENVELOPE), "25832"),
    ],
)
def test_gml_with_several_crs(bench: Bench, text: str, named: str, crs: str | None) -> None:
    bench.write("x.gml", text)
    error = bench.refused("x.gml", "GML", **({"crs": crs} if crs else {}))
    assert error.reason == "crs_mixed"
    assert named in error.detail


@pytest.mark.parametrize(
    "text",
    [
        gml((LATLON, "48 11"), (LATLON, "48 11")),
        gml((LATLON, "48 11"), ("", "48 11"), head=ENVELOPE),
        gml(("http://www.opengis.net/gml/srs/epsg.xml#4326", "11 48"), ("EPSG:4326", "11 48")),
    ],
)
def test_gml_with_one_crs(bench: Bench, text: str) -> None:
    bench.write("x.gml", text)
    found = bench.one("x.gml", "GML").frame.geometry.to_numpy()
    assert {(g.x, g.y) for g in found} == {(11, 48)}


def test_gml_crs_of_each_layer(bench: Bench) -> None:
    text = gml((LATLON, "48 11"), ("urn:ogc:def:crs:EPSG::25832", "500000 5500000"), names="ab")
    bench.write("x.gml", text)
    assert shapely.get_x(bench.one("x.gml", "GML", layer="b").frame.geometry.iloc[0]) == pytest.approx(9)


def test_gml_name_that_proj_does_not_know(bench: Bench) -> None:
    bench.write("x.gml", gml(("urn:adv:crs:ETRS89_UTM32", "500000 5500000")))
    assert bench.one("x.gml", "GML", crs="EPSG:25832").frame.geometry.iloc[0].x == pytest.approx(9)


@pytest.mark.parametrize("second", ["g", "h"])
def test_gml_with_two_geometries(bench: Bench, second: str) -> None:
    text = gml((LATLON, "48 11"))
    text = text.replace("</ogr:g>", f"</ogr:g><ogr:{second}>{point(LATLON, '1 2')}</ogr:{second}>")
    bench.write("x.gml", text)
    error = bench.refused("x.gml", "GML")
    assert error.reason == "geometry_columns"
    assert f"'g', '{second}'" in error.detail


def kml(*names: str, schema: str = "", data: str = "") -> str:
    values = "".join(f'<Data name="{name}"><value>v{i}</value></Data>' for i, name in enumerate(names))
    return (
        '<?xml version="1.0" encoding="UTF-8"?><kml xmlns="http://www.opengis.net/kml/2.2"><Document>'
        f"{schema}<Placemark><name>A</name><ExtendedData>{values}{data}</ExtendedData>"
        "<Point><coordinates>1,2</coordinates></Point></Placemark></Document></kml>"
    )


@pytest.mark.parametrize(
    "names", [("é", "ü"), ("a b", "a-b"), ("Name",), ("x", "X"), ("Timestamp",), ("id",), ("a", "a")]
)
def test_kml_names_that_collide(bench: Bench, names: tuple[str, ...]) -> None:
    bench.write("x.kml", kml(*names))
    error = bench.refused("x.kml", "KML")
    assert error.reason == "columns_duplicate"
    assert repr(names[-1]) in error.detail


def test_kml_names_stay(bench: Bench) -> None:
    names = ("Straße", "a b", "日", "plain")
    bench.write("x.kml", kml(*names))
    frame = bench.one("x.kml", "KML").frame
    assert [frame[name].iloc[0] for name in names] == ["v0", "v1", "v2", "v3"]
    assert frame["Name"].iloc[0] == "A"


@pytest.mark.parametrize(
    ("kind", "value", "is_good"),
    [
        ("int", "5000000000", False),
        ("int", "2147483647", True),
        ("int", "", False),
        ("short", "1.7", False),
        ("uint", "4000000000", True),
        ("double", "abc", False),
        ("double", "1.5", True),
        ("string", "5000000000", True),
        ("bool", "true", True),
        ("bool", "0", True),
        ("bool", "J", False),
        ("bool", "", False),
    ],
)
def test_kml_typed_values(bench: Bench, kind: str, value: str, is_good: bool) -> None:
    schema = f'<Schema name="S" id="S"><SimpleField type="{kind}" name="n é"/></Schema>'
    data = f'<SchemaData schemaUrl="#S"><SimpleData name="n é">{value}</SimpleData></SchemaData>'
    bench.write("x.kml", kml(schema=schema, data=data))
    if is_good:
        found = bench.one("x.kml", "KML").frame["n é"].iloc[0]
        assert str(found) == {"true": "True", "0": "False"}.get(value, value)
    else:
        error = bench.refused("x.kml", "KML")
        assert error.reason == "value_invalid"
        assert "'n é'" in error.detail


def test_kml_schema_behind_its_data(bench: Bench) -> None:
    data = '<SchemaData schemaUrl="#S"><SimpleData name="n">5</SimpleData></SchemaData>'
    schema = '<Schema name="S" id="S"><SimpleField type="int" name="n"/></Schema>'
    bench.write("x.kml", kml(data=data).replace("</Document>", f"{schema}</Document>"))
    assert bench.one("x.kml", "KML").frame["n"].tolist() == [5]


@pytest.mark.parametrize("name", ["a b", "A B"])
def test_kml_data_beside_a_field(bench: Bench, name: str) -> None:
    schema = '<Schema name="S" id="S"><SimpleField type="string" name="a b"/></Schema>'
    data = '<SchemaData schemaUrl="#S"><SimpleData name="a b">1</SimpleData></SchemaData>'
    bench.write("x.kml", kml(name, schema=schema, data=data))
    assert bench.refused("x.kml", "KML").reason == "columns_duplicate"


def test_kml_data_without_a_field(bench: Bench) -> None:
    schema = '<Schema name="S" id="S"><SimpleField type="int" name="n"/></Schema>'
    data = '<SchemaData schemaUrl="#S"><SimpleData name="m">1</SimpleData></SchemaData>'
    bench.write("x.kml", kml(schema=schema, data=data))
    assert bench.refused("x.kml", "KML").reason == "value_invalid"


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ("", "string"),
        ('<xs:import namespace="http://www.opengis.net/gml" schemaLocation="gml.xsd"/>', "string"),
        ('<xs:include schemaLocation="other.xsd"/>', "int"),
        ('<xs:redefine schemaLocation="http://127.0.0.1:9/other.xsd"/>', "int"),
        ("<xs:annotation>", "int"),
    ],
    ids=["complete", "import", "include", "redefine", "damaged"],
)
def test_gml_with_a_schema_beside_it(bench: Bench, more: str, kind: str) -> None:
    """Types are those of the schema where it says all by itself."""
    table = pa.table({"code": ["12", "34"], "geometry": shapely.to_wkb(shapely.points([[9, 48], [8, 49]]))})
    path = bench.landing / "x.gml"
    pyogrio.write_arrow(
        table, path, driver="GML", geometry_name="geometry", geometry_type="Point", crs="EPSG:4326", layer="s"
    )
    schema = path.with_suffix(".xsd")
    text = schema.read_text()
    assert "<xs:import" in text
    schema.write_text(text.replace("<xs:import", f"{more}<xs:import", 1))
    found = bench.one("x.gml", "GML")
    assert str(pq.read_table(found.path).schema.field("code").type).startswith(kind)
    left_out = [message for code, (message, _, _) in found.watch.warnings.items() if code == "reader_note"]
    assert [".xsd" in message for message in left_out] == ([] if kind == "string" else [True])


@pytest.mark.parametrize("attribute", ['srsName="{}"', 'gml:srsName="{}"', 'srsname="{}"'])
@pytest.mark.parametrize("element", ["gml:Point", "gml:Envelope", "ogr:a"])
def test_gml_crs_that_leads_to_a_file(bench: Bench, attribute: str, element: str) -> None:
    srs = attribute.format("+proj=longlat +nadgrids=&#x2F;etc/hostname +no_defs +type=crs")
    body = gml((LATLON, "48 11")).replace("</ogr:FeatureCollection>", f"<{element} {srs}/></ogr:FeatureCollection>")
    bench.write("x.gml", body)
    error = bench.refused("x.gml", "GML")
    assert error.reason == "crs_unknown"
    assert "/etc/hostname" in str(error)


def test_documents_and_layers_without_features(bench: Bench) -> None:
    """They have no rows; that they have no geometry column would be another fault."""
    empty = '<kml xmlns="http://www.opengis.net/kml/2.2"><Document>{}</Document></kml>'
    placemark = "<Placemark><Point><coordinates>9,48</coordinates></Point></Placemark>"
    folders = f"<Folder><name>a</name>{placemark}</Folder><Folder><name>b</name></Folder>"
    bench.write("x.kml", empty.format(""))
    bench.write("x.gml", '<x:FeatureCollection xmlns:x="urn:x" xmlns:gml="http://www.opengis.net/gml/3.2"/>')
    for name, fmt in (("x.kml", "KML"), ("x.gml", "GML")):
        assert bench.refused(name, fmt).reason == "no_features"
    bench.write("y.kml", empty.format(folders))
    for named in ({"layer": "b"}, {"layers": ["a", "b"]}, {"layers": "*"}):
        error = bench.refused("y.kml", "KML", **named)
        assert error.reason == "no_features"
        assert "the layer 'b' has no features" in error.detail
    assert len(bench.one("y.kml", "KML", layer="a").frame) == 1
