"""Hostile KML, GML and archives."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from typing import Any

from tests.hostile.case import Bait, Hostile, Maker, always, zipped
from tests.hostile.vectors import GRID, VRT, collection, feature
from tests.service import POINTS


def case(fmt: str, name: str, tries: str, make: Maker, outcome: str | int, **more: Any) -> Hostile:
    return Hostile(f"{fmt.lower()}-{name}", "vector", fmt, tries, make, outcome, more)


PLACE = "<Placemark><name>p</name>{0}<Point><coordinates>9,48</coordinates></Point></Placemark>"
LAUGHS = (
    '<!DOCTYPE l [<!ENTITY a "lol">'
    + "".join(f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefghi", "bcdefghij", strict=True))
    + "]>"
)


def kml(inside: str, *, doctype: str = "", place: str = "", encoding: str = "utf-8") -> Maker:
    def make(bait: Bait) -> bytes:
        text = (
            f'<?xml version="1.0" encoding="{encoding}"?>{doctype}<kml xmlns="http://www.opengis.net/kml/2.2"><Document>'
            f"<name>d</name>{inside}{PLACE.format(place)}</Document></kml>"
        )
        return text.replace("@url", bait.url).replace("@path", bait.path).encode(encoding)

    return make


KML = [
    case("KML", "network-link", "a link to more features",
         kml("<NetworkLink><Link><href>@url/n.kml</href></Link></NetworkLink>"), 1),
    case("KML", "network-link-file", "a link to a file",
         kml("<NetworkLink><Link><href>@path</href></Link></NetworkLink>"), 1),
    case("KML", "style", "a style behind an address", kml("", place="<styleUrl>@url/s.kml#a</styleUrl>"), 1),
    case("KML", "style-file", "a style in another file", kml("", place="<styleUrl>@path#a</styleUrl>"), 1),
    case("KML", "schema-url", "a schema behind an address",
         kml("", place='<ExtendedData><SchemaData schemaUrl="@url#s"/></ExtendedData>'), 1),
    case("KML", "overlay", "a picture behind an address",
         kml("<GroundOverlay><Icon><href>@url/i.png</href></Icon></GroundOverlay>"), 2),
    case("KML", "entity-file", "an entity that is a file",
         kml("<name>&e;</name>", doctype='<!DOCTYPE kml [<!ENTITY e SYSTEM "file://@path">]>'), "xml_doctype"),
    case("KML", "entity-url", "an entity behind an address",
         kml("<name>&e;</name>", doctype='<!DOCTYPE kml [<!ENTITY e SYSTEM "@url/e">]>'), "xml_doctype"),
    case("KML", "doctype-url", "a document type behind an address",
         kml("", doctype='<!DOCTYPE kml SYSTEM "@url/d">'), "xml_doctype"),
    case("KML", "laughs", "an entity of 3 GB", kml("<name>&j;</name>", doctype=LAUGHS), "xml_doctype"),
    case("KML", "laughs-utf16", "the same in UTF-16", kml("<name>&j;</name>", doctype=LAUGHS, encoding="utf-16"),
         "xml_doctype"),
    case("KML", "deep", "50,000 folders in one another", kml("<Folder>" * 50_000 + "</Folder>" * 50_000),
         "content_mismatch"),
    case("KML", "deep-geometry", "50,000 geometries in one another",
         kml("<Placemark>" + "<MultiGeometry>" * 50_000 + "</MultiGeometry>" * 50_000 + "</Placemark>"),
         "content_mismatch"),
    case("KML", "kmz", "an archive with another name inside", always(zipped({"doc.kml": "x", "../e.kml": "x"})),
         "archive_path"),
]  # fmt: skip

GML_TEXT = """<?xml version="1.0" encoding="UTF-8"?>@doctype
<ogr:FeatureCollection xmlns:ogr="http://ogr.maptools.org/" xmlns:gml="http://www.opengis.net/gml"
 xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:schemaLocation="http://ogr.maptools.org/ @schema">
<gml:featureMember><ogr:thing fid="t.0"><ogr:geometryProperty>@geometry</ogr:geometryProperty>
<ogr:a>1</ogr:a>@more</ogr:thing></gml:featureMember></ogr:FeatureCollection>"""
GML_POINT = '<gml:Point srsName="@srs"><gml:coordinates>9,48</gml:coordinates></gml:Point>'


def gml(
    doctype: str = "", schema: str = "s.xsd", geometry: str = GML_POINT, more: str = "", srs: str = "EPSG:4326"
) -> Maker:
    text = GML_TEXT.replace("@doctype", doctype).replace("@schema", schema).replace("@geometry", geometry)
    text = text.replace("@more", more).replace("@srs", srs)
    return lambda bait: text.replace("@url", bait.url).replace("@path", bait.path).encode()


XSD = """<?xml version="1.0"?><xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"
 targetNamespace="http://ogr.maptools.org/"><xs:include schemaLocation="@url/i.xsd"/>
<xs:import namespace="http://www.opengis.net/gml" schemaLocation="@path"/></xs:schema>"""


def with_schema(schema: str) -> Maker:
    def make(bait: Bait) -> dict[str, bytes]:
        body = gml()(bait)
        assert isinstance(body, bytes)
        return {"x.gml": body, "x.xsd": schema.replace("@url", bait.url).replace("@path", bait.path).encode()}

    return make


def beside(suffix: str, text: str) -> Maker:
    """In an archive, with a file beside it that a driver might follow."""

    def make(bait: Bait) -> bytes:
        body = gml()(bait)
        assert isinstance(body, bytes)
        return zipped({"x.gml": body, f"x.{suffix}": text.replace("@url", bait.url).replace("@path", bait.path)})

    return make


NEST = "<gml:MultiGeometry><gml:geometryMember>"
TSEN = "</gml:geometryMember></gml:MultiGeometry>"
GFS = (
    "<GMLFeatureClassList><GMLFeatureClass><Name>o</Name><ElementPath>@path</ElementPath>"
    "<SRSName>@url</SRSName></GMLFeatureClass></GMLFeatureClassList>"
)

GML = [
    case("GML", "vrt", "a VRT", lambda b: VRT.format(b.path).encode(), "content_mismatch"),
    case("GML", "schema-url", "a schema behind an address", gml(schema="@url/s.xsd"), 1),
    case("GML", "schema-file", "a schema that is another file", gml(schema="file://@path"), 1),
    case("GML", "schema-include", "a schema that includes others", with_schema(XSD), 1),
    case("GML", "gfs", "a description that names a file", beside("gfs", GFS), 1),
    case("GML", "resolved", "a copy with links resolved", beside("resolved.gml", "@path"), "archive_ambiguous"),
    case("GML", "xlink", "a value behind a link", gml(more='<ogr:b xlink:href="@url/b"/>'), 1),
    case("GML", "xlink-file", "a value in a file", gml(more='<ogr:b xlink:href="file://@path#b"/>'), 1),
    case("GML", "xlink-geometry", "a geometry behind a link",
         gml(geometry='<gml:Point xlink:href="@url/p#p" srsName="EPSG:4326"/>'), "crs_missing"),
    case("GML", "entity-file", "an entity that is a file",
         gml('<!DOCTYPE x [<!ENTITY e SYSTEM "file://@path">]>', more="<ogr:b>&e;</ogr:b>"), "xml_doctype"),
    case("GML", "entity-parameter", "a parameter entity behind an address",
         gml('<!DOCTYPE x [<!ENTITY % e SYSTEM "@url/e"> %e;]>'), "xml_doctype"),
    case("GML", "laughs", "an entity of 3 GB", gml(LAUGHS, more="<ogr:b>&j;</ogr:b>"), "xml_doctype"),
    case("GML", "stylesheet", "a style sheet behind an address",
         gml('<?xml-stylesheet href="@url/s.xsl" type="text/xsl"?>'), 1),
    case("GML", "srs-url", "a CRS behind an address", gml(srs="@url/crs"), "crs_missing"),
    case("GML", "srs-file", "a CRS out of a file", gml(srs="@path"), "crs_missing"),
    case("GML", "srs-grid", "a CRS with a grid that is another file",
         gml(srs=GRID.replace("{path}", "@path")), "crs_unknown"),
    case("GML", "deep", "20,000 geometries in one another",
         gml(geometry=NEST * 20_000 + GML_POINT + TSEN * 20_000), "geometry_missing"),
]  # fmt: skip


# --- archives


def archive(*entries: tuple[str, bytes], mode: int = 0, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, body in entries:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr, info.compress_type = 3, mode << 16, method
            made.writestr(info, body)
    return out.getvalue()


def overlapping(count: int) -> bytes:
    """Many entries over one and the same compressed block: small outside, huge inside."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = b" " * (4 << 20)
    body = packed.compress(data) + packed.flush()
    crc = zlib.crc32(data)
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 0x21, crc, len(body), len(data), 1, 0) + b"x" + body
    central = b"".join(
        struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 0x21, crc, len(body), len(data), 1, 0, 0, 0, 0, 0, 0)
        + bytes([65 + number])
        for number in range(count)
    )
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(central), len(local), 0)
    return local + central + end


def nested(levels: int) -> bytes:
    body = b"\x00" * (1 << 20)
    for level in range(levels):
        body = archive(*((f"{level}-{i}.zip", body) for i in range(8)))
    return body


def encrypted() -> bytes:
    raw = bytearray(archive(("x.geojson", POINTS)))
    raw[6] |= 1
    raw[raw.find(b"PK\1\2") + 8] |= 1
    return bytes(raw)


def zip64(entries: int) -> bytes:
    """An end record of the large kind, with a count that lies."""
    body = archive(("x.geojson", POINTS))
    at = body.rfind(b"PK\5\6")
    large = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, entries, entries, 2**50, 2**50)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)
    return body[:at] + large + locator + body[at:]


PASSWD = b"/etc/passwd"
ARCHIVES = [
    case("GeoJSON", f"zip-{name}", tries, always(body) if isinstance(body, bytes) else body, outcome)
    for name, tries, body, outcome in (
        ("dotdot", "a path upwards", archive(("../../evil.geojson", POINTS)), "archive_path"),
        ("absolute", "a path from the root", archive(("/etc/evil.geojson", POINTS)), "archive_path"),
        ("backslash", "a path of another system", archive(("..\\evil.geojson", POINTS)), "archive_path"),
        ("nul", "a name with a zero byte", archive(("eviX.geojson", POINTS)).replace(b"eviX.g", b"evi\0.g"),
         "archive_path"),
        ("link", "a link to a file", archive(("x.geojson", PASSWD), mode=stat.S_IFLNK | 0o777), "archive_link"),
        ("device", "a device", archive(("x.geojson", b""), mode=stat.S_IFCHR | 0o666), "archive_link"),
        ("twice", "one name twice", archive(("x.geojson", POINTS), ("X.GEOJSON", POINTS)), "archive_duplicate"),
        ("file-and-folder", "a name that is both", archive(("x", b""), ("x/x.geojson", POINTS)), "archive_duplicate"),
        ("encrypted", "a password", encrypted(), "archive_encrypted"),
        ("lzma", "another method", archive(("x.geojson", POINTS), method=zipfile.ZIP_LZMA), "archive_method"),
        ("bomb", "64 MB of blanks", lambda _: archive(("x.geojson", b" " * (64 << 20))), "archive_ratio"),
        ("overlapping", "entries that share their bytes", lambda _: overlapping(26), "archive_invalid"),
        ("nested", "archives in archives", lambda _: nested(3), "archive_no_source"),
        ("entries", "20,000 entries", lambda _: archive(*((f"{i}", b"") for i in range(20_000))), "archive_entries"),
        ("zip64", "a count of 2^60 entries", zip64(2**60), "archive_entries"),
        ("cut", "no end", archive(("x.geojson", POINTS))[:-30], "archive_invalid"),
        ("long-name", "a name of 60,000 characters", archive(("x" * 60_000 + ".geojson", POINTS)), "archive_path"),
        ("beside", "a VRT beside the source",
         archive(("x.geojson", collection(feature(a=1)).encode()), ("x.vrt", b"<OGRVRTDataSource/>")), 1),
    )
]  # fmt: skip

CASES = [*KML, *GML, *ARCHIVES]
