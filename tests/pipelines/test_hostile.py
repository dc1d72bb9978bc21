"""Hostile and damaged input: each is refused with its own reason, and nothing is fetched, followed or left behind."""

from __future__ import annotations

import gzip
import os
import re
import sqlite3
import stat
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import geopandas
import pytest
import shapely

from app.models.formats import FORMATS
from app.settings import Limits, MiB
from tests.hostile.web import Visits, counting_server
from tests.pipelines.conftest import Bench

POINT = (
    '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"a":1},'
    '"geometry":{"type":"Point","coordinates":[9,48]}}]}'
)


@pytest.fixture
def web() -> Iterator[Visits]:
    """A web server that remembers its visitors: nobody should come."""
    with counting_server() as visits:
        yield visits


# --- archives


@pytest.mark.parametrize(
    "name",
    [
        "../x.geojson",
        "/etc/x.geojson",
        "a/../../x.geojson",
        "..\\x.geojson",
        "a\\..\\..\\x.geojson",
        "\\x.geojson",
        "\\\\server\\x.geojson",
        "C:/x.geojson",
        "a//x.geojson",
        "a\nb.geojson",
    ],
)
def test_paths_that_leave_the_archive(bench: Bench, name: str) -> None:
    bench.zip("a.zip", {name: POINT})
    assert bench.refused("a.zip", "GeoJSON").reason == "archive_path"
    assert not list(bench.landing.parent.rglob("x.geojson"))


def test_names_cut_by_a_nul(bench: Bench) -> None:
    bench.zip("a.zip", {"evilX.geojson": POINT})
    raw = (bench.landing / "a.zip").read_bytes().replace(b"evilX.geojson", b"evil\x00.geojson")
    bench.write("a.zip", raw)
    assert bench.refused("a.zip", "GeoJSON").reason == "archive_path"


def test_links(bench: Bench) -> None:
    info = zipfile.ZipInfo("x.geojson")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(bench.landing / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert bench.refused("a.zip", "GeoJSON").reason == "archive_link"


def test_bombs(bench: Bench) -> None:
    bench.zip("ratio.zip", {"x.geojson": b" " * (20 * MiB)})
    assert bench.refused("ratio.zip", "GeoJSON").reason == "archive_ratio"
    bench.zip("bytes.zip", {"x.geojson": os.urandom(3 * MiB)})
    assert bench.refused("bytes.zip", "GeoJSON", limits=Limits(archive_bytes=2 * MiB)).reason == "archive_bytes"
    bench.zip("many.zip", {f"{i}.txt": b"" for i in range(50)})
    assert bench.refused("many.zip", "GeoJSON", limits=Limits(archive_entries=20)).reason == "archive_entries"


def test_a_header_that_lies_about_its_size(bench: Bench) -> None:
    bench.zip("a.zip", {"x.geojson": b" " * (20 * MiB)})
    raw = (bench.landing / "a.zip").read_bytes()
    bench.write("a.zip", raw.replace(struct.pack("<L", 20 * MiB), struct.pack("<L", 10)))
    assert bench.refused("a.zip", "GeoJSON").reason in ("archive_invalid", "archive_ratio")


def test_a_file_and_a_directory_of_one_name(bench: Bench) -> None:
    bench.zip("a.zip", {"x": b"1", "x/y.geojson": POINT})
    assert bench.refused("a.zip", "GeoJSON").reason == "archive_duplicate"


def test_duplicate_names(bench: Bench) -> None:
    with zipfile.ZipFile(bench.landing / "a.zip", "w") as archive:
        archive.writestr("x.geojson", POINT)
        archive.writestr("X.geojson", POINT)
    assert bench.refused("a.zip", "GeoJSON").reason == "archive_duplicate"


def test_encrypted_truncated_and_odd_archives(bench: Bench) -> None:
    bench.zip("a.zip", {"x.geojson": POINT})
    raw = bytearray((bench.landing / "a.zip").read_bytes())
    bench.write("cut.zip", bytes(raw[: len(raw) // 2]))
    assert bench.refused("cut.zip", "GeoJSON").reason == "archive_invalid"
    flipped = bytearray(raw)
    flipped[40] ^= 0xFF
    bench.write("flipped.zip", bytes(flipped))
    assert bench.refused("flipped.zip", "GeoJSON").reason == "archive_invalid"
    raw[6] |= 1
    raw[raw.find(b"PK\x01\x02") + 8] |= 1
    bench.write("secret.zip", bytes(raw))
    assert bench.refused("secret.zip", "GeoJSON").reason == "archive_encrypted"
    with zipfile.ZipFile(bench.landing / "lzma.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.geojson", POINT)
    assert bench.refused("lzma.zip", "GeoJSON").reason == "archive_method"


def test_what_an_archive_holds(bench: Bench) -> None:
    bench.zip("none.zip", {"readme.txt": "hello"})
    error = bench.refused("none.zip", "GeoJSON")
    assert error.reason == "archive_no_source"
    assert "readme.txt" in error.detail
    bench.zip("two.zip", {"a.geojson": POINT, "b.geojson": POINT})
    error = bench.refused("two.zip", "GeoJSON")
    assert error.reason == "archive_ambiguous"
    assert "a.geojson" in error.detail
    assert "b.geojson" in error.detail
    bench.zip("clutter.zip", {"é/a.geojson": POINT, "__MACOSX/é/._a.geojson": b"\x00", ".b.geojson": b""})
    assert len(bench.one("clutter.zip", "GeoJSON").frame) == 1


def test_names_that_are_not_utf8(bench: Bench) -> None:
    bench.zip("a.zip", {"aXb/x.geojson": POINT})
    raw = (bench.landing / "a.zip").read_bytes().replace(b"aXb/", b"a\xe4b/")
    bench.write("a.zip", raw)
    assert len(bench.one("a.zip", "GeoJSON").frame) == 1


# --- files that are not what they are declared to be


VRT = (
    "<OGRVRTDataSource><OGRVRTLayer name='a'><SrcDataSource>/etc/passwd</SrcDataSource></OGRVRTLayer>"
    "</OGRVRTDataSource>"
)


@pytest.mark.parametrize(
    "fmt", ["GeoJSON", "GeoJSONSeq", "GPKG", "SHP", "FlatGeobuf", "KML", "GML", "OpenFileGDB", "GeoParquet"]
)
@pytest.mark.parametrize(
    "content",
    [VRT.encode(), b"/vsicurl/http://127.0.0.1/x.geojson", b"SQLite format 3\x00" + bytes(10), b"\x00" * 64, b"hello"],
    ids=["vrt", "vsicurl", "sqlite", "zeros", "text"],
)
def test_content_that_is_something_else(bench: Bench, fmt: str, content: bytes) -> None:
    bench.write("x.dat", content)
    expected = {"content_mismatch"}
    if fmt == "GPKG" and content.startswith(b"SQLite"):
        expected = {"file_truncated"}
    assert bench.refused("x.dat", fmt).reason in expected


def test_a_vrt_beside_the_source_is_not_opened(bench: Bench) -> None:
    """The drivers of other formats are not there at all while a file is opened."""
    from app.pipelines.common import gdal

    target = bench.landing / "x.vrt"
    target.write_text(VRT)
    import pyogrio

    with gdal.only_drivers(("GPKG",)), pytest.raises(pyogrio.errors.DataSourceError, match="not recognized"):
        pyogrio.read_info(target)
    assert "OGR_VRT" in pyogrio.list_drivers()


def test_missing_and_empty(bench: Bench) -> None:
    assert bench.refused("nowhere.gpkg", "GPKG").reason == "file_missing"
    bench.write("empty.gpkg", b"")
    assert bench.refused("empty.gpkg", "GPKG").reason == "file_empty"


@pytest.mark.parametrize("fmt", ["GeoJSON", "GeoJSONSeq", "GPKG", "SHP", "FlatGeobuf", "KML", "GML", "GeoParquet"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated(bench: Bench, countries: geopandas.GeoDataFrame, fmt: str, share: float) -> None:
    from tests.pipelines.test_formats import put

    name = put(bench, countries, fmt)
    raw = (bench.landing / name).read_bytes()
    bench.write(name, raw[: int(len(raw) * share)])
    reason = bench.refused(name, fmt).reason
    assert reason in {"file_truncated", "file_damaged", "json_invalid", "xml_invalid", "content_mismatch"}


def test_limits(bench: Bench, countries: geopandas.GeoDataFrame) -> None:
    from tests.pipelines.test_formats import put

    for fmt in ("GPKG", "GeoJSON", "GeoParquet"):
        name = put(bench, countries, fmt)
        assert bench.refused(name, fmt, limits=Limits(rows=100)).reason == "rows_too_many"
        assert bench.refused(name, fmt, limits=Limits(columns=3)).reason == "columns_too_many"
        assert bench.refused(name, fmt, limits=Limits(file_bytes=1000)).reason == "file_too_large"


# --- ways out: nothing may be fetched or run


def test_a_crs_link_is_not_followed(bench: Bench, web: Visits) -> None:
    for kind, properties in (("link", {"href": f"{web.url}/a", "type": "ogcwkt"}), ("url", {"url": f"{web.url}/b"})):
        text = POINT.replace(
            '"features"',
            f'"crs":{{"type":"{kind}","properties":{str(properties).replace(chr(39), chr(34))}}},"features"',
        )
        bench.write("x.geojson", text)
        assert bench.refused("x.geojson", "GeoJSON").reason == "crs_unknown"
    bench.write(
        "x.geojson",
        POINT.replace('"features"', f'"crs":{{"type":"name","properties":{{"name":"{web.url}/c"}}}},"features"'),
    )
    assert bench.refused("x.geojson", "GeoJSON").reason == "crs_unknown"
    assert web == []


GML = """<?xml version="1.0" encoding="UTF-8"?>{doctype}
<ogr:FeatureCollection xmlns:ogr="http://ogr.maptools.org/" xmlns:gml="http://www.opengis.net/gml"
 xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:schemaLocation="http://ogr.maptools.org/ {web}/s.xsd">
<gml:featureMember><ogr:thing fid="t.0">
<ogr:geometryProperty><gml:Point srsName="EPSG:4326">
<gml:coordinates>9,48</gml:coordinates></gml:Point></ogr:geometryProperty>
<ogr:a>{value}</ogr:a><ogr:b xlink:href="{web}/x"/>
</ogr:thing></gml:featureMember></ogr:FeatureCollection>"""


def test_gml_fetches_nothing(bench: Bench, web: Visits) -> None:
    bench.write("x.gml", GML.format(doctype="", web=web.url, value="1"))
    result = bench.one("x.gml", "GML")
    assert result.frame["a"].tolist() in ([1], ["1"])
    assert web == []


@pytest.mark.parametrize("entity", ['SYSTEM "file:///etc/passwd"', 'SYSTEM "{web}/e"', '"lol"'])
@pytest.mark.parametrize("fmt", ["GML", "KML"])
def test_xml_entities(bench: Bench, web: Visits, fmt: str, entity: str) -> None:
    doctype = f"<!DOCTYPE x [<!ENTITY e {entity.format(web=web.url)}>]>"
    text = GML.format(doctype=doctype, web=web.url, value="&e;")
    if fmt == "KML":
        text = f'<?xml version="1.0"?>{doctype}<kml xmlns="http://www.opengis.net/kml/2.2"><Document><name>&e;</name></Document></kml>'
    bench.write("x.xml", text)
    assert bench.refused("x.xml", fmt).reason == "xml_doctype"
    assert web == []


def test_kml_network_links_are_not_followed(bench: Bench, web: Visits) -> None:
    bench.write(
        "x.kml",
        f"""<kml xmlns="http://www.opengis.net/kml/2.2"><Document><name>d</name>
<NetworkLink><Link><href>{web.url}/n.kml</href></Link></NetworkLink>
<Placemark><name>p</name><styleUrl>{web.url}/s.kml#a</styleUrl><Point><coordinates>9,48</coordinates></Point></Placemark></Document></kml>""",
    )
    assert bench.one("x.kml", "KML").frame["Name"].tolist() == ["p"]
    assert web == []


def test_triggers_do_not_run_and_views_are_refused(bench: Bench, countries: geopandas.GeoDataFrame) -> None:
    target = bench.landing / "x.gpkg"
    countries.head(3).to_file(target, driver="GPKG", layer="land")
    with sqlite3.connect(target) as db:
        db.execute("CREATE TABLE log (t TEXT)")
        db.execute("CREATE TRIGGER t AFTER INSERT ON gpkg_contents BEGIN INSERT INTO log VALUES ('ran'); END")
        db.execute("CREATE VIEW spy AS SELECT * FROM land")
        db.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, srs_id) "
            "VALUES ('spy', 'features', 'spy', 4326)"
        )
        db.execute("DELETE FROM log")
        db.execute("INSERT INTO gpkg_geometry_columns VALUES ('spy', 'geom', 'GEOMETRY', 4326, 0, 0)")
    before = target.read_bytes()
    assert len(bench.one("x.gpkg", "GPKG", layer="land").frame) == 3
    (bench.lake / "v1.parquet").unlink()
    assert target.read_bytes() == before
    assert bench.refused("x.gpkg", "GPKG", layer="spy").reason == "gpkg_view"


def virtual_table(target: Path, create: str, name: str, *, listed: bool) -> None:
    """Put a virtual table into the schema of a GeoPackage, maybe as a layer."""
    with sqlite3.connect(target) as db:
        db.execute("PRAGMA writable_schema=ON")
        db.execute("INSERT INTO sqlite_master VALUES ('table', ?, ?, 0, ?)", (name, name, create))
        if listed:
            values = (name, name)
            db.execute(
                "INSERT INTO gpkg_contents (table_name, data_type, identifier) VALUES (?, 'features', ?)", values
            )
            db.execute("INSERT INTO gpkg_geometry_columns VALUES (?, 'geom', 'GEOMETRY', 4326, 0, 0)", (name,))


@pytest.mark.parametrize(
    ("create", "name"),
    [
        ("CREATE VIRTUAL TABLE v USING VirtualOGR('{web}/x')", "v"),
        ("CREATE/**/VIRTUAL -- x\n TABLE v USING VirtualOGR('{web}/x')", "v"),
        ("CREATE \ufeffVIRTUAL\tTABLE v\nUSING\n\"VirtualOGR\"('{web}/x')", "v"),
        ("CREATE VIRTUAL TABLE \"v using rtree(\" USING VirtualOGR('{web}/x')", "v using rtree("),
        ("CREATE VIRTUAL TABLE [v using rtree] USING VirtualOGR('{web}/x')", "v using rtree"),
        ("CREATE VIRTUAL TABLE IF NOT EXISTS v USING VirtualOGR('{web}/x')", "v"),
    ],
)
def test_virtual_tables_are_refused(
    bench: Bench, countries: geopandas.GeoDataFrame, web: Visits, create: str, name: str
) -> None:
    """As a layer; beside a layer they are taken out of the schema before GDAL sees it, in a copy."""
    target = bench.landing / "x.gpkg"
    create = create.format(web=f"/vsicurl/{web.url}")
    countries.head(3).to_file(target, driver="GPKG", layer="land")
    virtual_table(target, create, name, listed=False)
    before = target.read_bytes()
    result = bench.one("x.gpkg", "GPKG")
    assert result.frame["name"].tolist() == countries["name"].head(3).tolist()
    message, count, samples = result.watch.warnings["layers_ignored"]
    assert (count, samples) == (1, (name,))
    assert "virtualogr" in message
    assert target.read_bytes() == before
    (bench.lake / "v1.parquet").unlink()
    target.unlink()
    countries.head(3).to_file(target, driver="GPKG", layer="land")
    virtual_table(target, create, name, listed=True)
    for named in ({}, {"layer": name}, {"layers": "*"}):
        assert bench.refused("x.gpkg", "GPKG", **named).reason == "gpkg_virtual_table"
    assert len(bench.one("x.gpkg", "GPKG", layer="land").frame) == 3
    assert web == []


def test_views_and_triggers_beside_a_layer(bench: Bench, countries: geopandas.GeoDataFrame) -> None:
    """Views that GDAL cannot even describe; triggers on the tables from which foreign tables are taken out."""
    target = bench.landing / "x.gpkg"
    countries.head(3).to_file(target, driver="GPKG", layer="land")
    virtual_table(target, "CREATE VIRTUAL TABLE v USING VirtualShape('x', 'CP1252', 4326)", "v", listed=True)
    with sqlite3.connect(target) as db:
        db.execute("CREATE VIEW seen AS SELECT fid, geom, VirtualThing(name) AS n FROM land")
        db.execute("INSERT INTO gpkg_contents (table_name, data_type, identifier) VALUES ('seen', 'features', 'seen')")
        db.execute("INSERT INTO gpkg_geometry_columns VALUES ('seen', 'geom', 'GEOMETRY', 4326, 0, 0)")
        db.execute("CREATE TRIGGER t AFTER DELETE ON gpkg_contents BEGIN DELETE FROM land; END")
    assert len(bench.one("x.gpkg", "GPKG", layer="land").frame) == 3
    (bench.lake / "v1.parquet").unlink()
    assert bench.refused("x.gpkg", "GPKG", layer="seen").reason == "gpkg_view"


def test_sidecars_of_other_drivers_are_not_seen(bench: Bench) -> None:
    """A .gfs in an archive would tell the GML driver how to read the file, and may name other files."""
    gfs = (
        "<GMLFeatureClassList><GMLFeatureClass><Name>other</Name><ElementPath>thing</ElementPath></GMLFeatureClass>"
        "</GMLFeatureClassList>"
    )
    bench.zip("x.zip", {"x.gml": GML.format(doctype="", web="", value="7"), "x.gfs": gfs})
    assert "a" in bench.one("x.zip", "GML").frame


def test_damaged_geometry_names_its_row(bench: Bench) -> None:
    frame = geopandas.GeoDataFrame({"a": [1, 2]}, geometry=shapely.points([[9, 48], [9, 49]]), crs=4326)
    frame.to_file(bench.landing / "x.gpkg", driver="GPKG", layer="x", SPATIAL_INDEX="NO")
    with sqlite3.connect(bench.landing / "x.gpkg") as db:
        (blob,) = db.execute("SELECT geom FROM x WHERE fid = 2").fetchone()
        db.create_function("ST_IsEmpty", 1, lambda _: 0)
        db.create_function("ST_MinX", 1, lambda _: 0)
        db.create_function("ST_MaxX", 1, lambda _: 0)
        db.create_function("ST_MinY", 1, lambda _: 0)
        db.create_function("ST_MaxY", 1, lambda _: 0)
        db.execute("UPDATE x SET geom = ? WHERE fid = 2", (blob[:-5],))
    error = bench.refused("x.gpkg", "GPKG")
    assert error.reason in ("geometry_damaged", "file_damaged")
    assert "row 1" in error.detail


PAGE = b"<!DOCTYPE html>\n<html><head><title>503 Service Unavailable</title></head><body></body></html>"


@pytest.mark.parametrize("fmt", [fmt.name for fmt in FORMATS if fmt.type == "vector" and not fmt.directory_marker])
@pytest.mark.parametrize(
    ("body", "found"),
    [
        (PAGE, "an HTML page ('503 Service Unavailable')"), (gzip.compress(b"x"), "compressed with gzip"),
        (b"<Error><Code>NoSuchKey</Code></Error>", "'?Error|NoSuchKey"),
    ],
)  # fmt: skip
def test_what_came_instead_of_the_file_is_named(bench: Bench, fmt: str, body: bytes, found: str) -> None:
    name = bench.write("x", body)
    for suffix in (".shx", ".dbf"):
        bench.write(f"x{suffix}", b"x")
    error = bench.refused(name, fmt)
    assert error.reason == "content_mismatch"
    assert re.search(found.replace("(", "[(]").replace(")", "[)]"), error.detail)
