"""Values of GML against the document, with a schema beside it and without one."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.pipelines.conftest import Bench, Result

HEAD = (
    '<?xml version="1.0"?><ogr:FeatureCollection xmlns:ogr="http://ogr.maptools.org/" '
    'xmlns:gml="http://www.opengis.net/gml/3.2" gml:id="c">'
)
POINT = '<ogr:g><gml:Point srsName="EPSG:4326" gml:id="p{}"><gml:pos>9 48</gml:pos></gml:Point></ogr:g>'
SCHEMA = """<?xml version="1.0"?>
<xs:schema targetNamespace="http://ogr.maptools.org/" xmlns:ogr="http://ogr.maptools.org/"
 xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:gml="http://www.opengis.net/gml/3.2" elementFormDefault="qualified">
<xs:import namespace="http://www.opengis.net/gml/3.2" schemaLocation="http://schemas.opengis.net/gml/3.2.1/gml.xsd"/>
<xs:element name="a" type="ogr:a_Type" substitutionGroup="gml:AbstractFeature"/>
<xs:complexType name="a_Type"><xs:complexContent><xs:extension base="gml:AbstractFeatureType"><xs:sequence>
<xs:element name="g" type="gml:PointPropertyType" nillable="true" minOccurs="0"/>
<xs:element name="v" type="xs:{}" nillable="true" minOccurs="0"/>
<xs:element name="other" type="xs:string" nillable="true" minOccurs="0"/>
</xs:sequence></xs:extension></xs:complexContent></xs:complexType></xs:schema>"""


def read(bench: Bench, values: list[str], kind: str | None, **options: object) -> tuple[Result, pa.ChunkedArray]:
    """The column `v`; kind: its type in the schema."""
    features = [
        f'<ogr:featureMember><ogr:a gml:id="a{i}">{POINT.format(i)}'
        + (f"<ogr:v>{value}</ogr:v>" if value else "")
        + f"<ogr:other>{i}x</ogr:other></ogr:a></ogr:featureMember>"
        for i, value in enumerate(values)
    ]
    text = f"{HEAD}{''.join(features)}</ogr:FeatureCollection>"
    name = bench.write("x.gml", text)
    if kind is not None:
        name = bench.zip("x.zip", {"x.gml": text, "x.xsd": SCHEMA.format(kind)})
    result = bench.one(name, "GML", crs="EPSG:4326", options=options)
    table = pyarrow.parquet.read_table(result.path)
    assert table["other"].to_pylist() == [f"{i}x" for i in range(len(values))]
    return result, table["v"]


NO_DAYS = ("2023-02-30", "2023-04-31", "2023", "2023-02", "2023-13-01", "20230228", "0000-01-01", "n/a")


@pytest.mark.parametrize("other", NO_DAYS)
def test_dates_of_a_schema(bench: Bench, other: str) -> None:
    result, column = read(bench, ["2023-02-28", "", other, "2024-02-29"], "date")
    assert str(column.type) == "date32[day]"
    assert column.to_pylist() == [date(2023, 2, 28), None, None, date(2024, 2, 29)]
    _, count, samples = result.watch.warnings["values_nulled"]
    assert (count, samples) == (1, ({"column": "v", "row": 2, "value": other},))


@pytest.mark.parametrize("other", [*NO_DAYS, "2023-02-30T10:00:00Z", "2023-02-28T25:00:00Z", "2023-02-28T24:00:00Z"])
def test_moments_of_a_schema(bench: Bench, other: str) -> None:
    result, column = read(bench, ["2023-02-28T10:00:00Z", other, "2023-02-28T12:00:00+02:00"], "dateTime")
    moment = datetime(2023, 2, 28, 10, tzinfo=UTC)
    assert column.to_pylist() == [moment, None, moment]
    assert result.watch.warnings["values_nulled"][2] == ({"column": "v", "row": 1, "value": other},)


def test_numbers_that_gdal_finds_by_itself(bench: Bench) -> None:
    texts = ["12345678901234567890", "1", "5000000000"]
    result, column = read(bench, texts, None)
    assert column.to_pylist() == texts
    assert result.watch.warnings["numbers_as_text"][2] == ({"column": "v", "row": 0, "value": texts[0]},)
    (bench.lake / "v1.parquet").unlink()
    _, column = read(bench, texts[1:], None)
    assert column.to_pylist() == [1, 5_000_000_000]


@pytest.mark.parametrize("numbers", [["5"], ["2.5"], ["99999999999"], []])
@pytest.mark.parametrize("other", ["-", "+", ".", "-.", " - ", "<![CDATA[-]]>", "&#45;"])
def test_a_sign_alone_is_no_number(bench: Bench, numbers: list[str], other: str) -> None:
    """GDAL takes it for 0."""
    _, column = read(bench, [*numbers, "", other], None)
    said = {"<![CDATA[-]]>": "-", "&#45;": "-"}.get(other, other.strip())
    assert column.to_pylist() == [*numbers, None, said]


def test_moments_with_and_without_zone_are_text_with_what_is_none(bench: Bench) -> None:
    texts = ["2023-02-28T10:00:00Z", "2023", "2023-02-28T10:00:00"]
    result, column = read(bench, texts, "dateTime")
    assert column.to_pylist() == texts
    assert result.watch.warnings["times_as_text"][2] == ({"column": "v", "row": 1, "value": "2023"},)


@pytest.mark.parametrize("other", ["2023-02-30", "2023-04-31", "2023-02-29"])
def test_dates_that_gdal_finds_by_itself(bench: Bench, other: str) -> None:
    """Only what looks like a day is one then: anything else makes the column text."""
    result, column = read(bench, ["2023-02-28", other], None)
    assert column.to_pylist() == [date(2023, 2, 28), None]
    assert result.watch.warnings["values_nulled"][2] == ({"column": "v", "row": 1, "value": other},)
    (bench.lake / "v1.parquet").unlink()
    result, column = read(bench, ["2023-02-28", "2023-02"], None)
    assert column.to_pylist() == ["2023-02-28", "2023-02"]


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        *(("double", other) for other in ("1,5", "n/a", "1 234.50", "0x10", "1.2.3", "-")),
        *(("decimal", other) for other in ("12,50", "5 %")),
        *(("int", other) for other in ("x", "1.5", "99999999999", "1,000")),
        *(("long", other) for other in ("99999999999999999999", "1e3")),
    ],
)
def test_numbers_of_a_schema(bench: Bench, kind: str, other: str) -> None:
    result, column = read(bench, ["7", "", other, "-8"], kind)
    assert column.to_pylist() == ["7", None, other, "-8"]
    _, count, samples = result.watch.warnings["numbers_as_text"]
    assert (count, samples) == (1, ({"column": "v", "row": 2, "value": other},))


@pytest.mark.parametrize(
    ("kind", "texts", "values"),
    [
        ("double", ["1.5", "-.25", "1E3", "+7", "INF", ""], [1.5, -0.25, 1000.0, 7.0, float("inf"), None]),
        ("int", ["+7", "-2147483648", " 8 ", ""], [7, -(2**31), 8, None]),
        ("long", ["9223372036854775807", "-9223372036854775808"], [2**63 - 1, -(2**63)]),
        ("boolean", ["true", "false", "1", "0", ""], [True, False, True, False, None]),
        ("date", ["2023-02-28Z", "0001-01-01"], [date(2023, 2, 28), date(1, 1, 1)]),
    ],
)
def test_values_that_fit_their_schema(bench: Bench, kind: str, texts: list[str], values: list[object]) -> None:
    result, column = read(bench, texts, kind)
    assert column.to_pylist() == values
    assert not {"numbers_as_text", "values_nulled"} & result.watch.warnings.keys()


@pytest.mark.parametrize("other", ["J", "yes", "2", "t"])
def test_logicals_of_a_schema(bench: Bench, other: str) -> None:
    result, column = read(bench, ["true", other, "false"], "boolean")
    assert column.to_pylist() == [True, None, False]
    assert result.watch.warnings["values_nulled"][2] == ({"column": "v", "row": 1, "value": other},)


@pytest.mark.parametrize(
    ("kind", "other"), [("date", "2023-02-30"), ("dateTime", "2023"), ("boolean", "J"), (None, "2023-02-30")]
)
def test_a_column_that_is_declared_as_text_keeps_what_does_not_fit(bench: Bench, kind: str | None, other: str) -> None:
    plain = {"boolean": "true", "dateTime": "2023-02-28T10:00:00Z"}.get(kind or "", "2023-02-28")
    result, column = read(bench, [plain, other], kind, types={"v": "text"})
    assert column.to_pylist() == [plain, other]
    assert not result.watch.warnings
