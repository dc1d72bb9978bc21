"""What a file is, by its first bytes."""

from __future__ import annotations

import re

_SIGNATURES = (
    (b"PK", "a zip archive"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ\x00", "compressed with xz"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\xd0\xcf\x11\xe0", "an older or encrypted Office document"),
    (b"SQLite format 3\x00", "an SQLite database (GeoPackage?)"),
    (b"\x00\x00\x27\x0a", "a shapefile (.shp)"),
    (b"fgb", "FlatGeobuf"),
    (b"PAR1", "Parquet"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"II+\x00", "a BigTIFF image"),
    (b"MM\x00+", "a BigTIFF image"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x00\x00\x00\x0cjP", "a JPEG 2000 image"),
    (b"\x89HDF", "HDF5 (netCDF-4?)"),
    (b"CDF", "netCDF"),
    (b"GRIB", "GRIB"),
    (b"%PDF", "a PDF document"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
)
# The root element, after a declaration, comments and a document type.
_ROOT = re.compile(rb"(?:\s*<[?!][^>]*>)*\s*<(?:[\w.-]+:)?([\w.-]+)")
_HTML = re.compile(rb"(?:\s*<[?!][^>]*>)*\s*(?:<!doctype\s+html|<html)", re.IGNORECASE)
_TITLE = re.compile(rb"<title[^>]*>([^<]{1,200})", re.IGNORECASE)
_CODE = re.compile(rb"<Code>([^<]{1,200})")
_ERRORS = ("Error", "ExceptionReport", "ServiceExceptionReport")
_ESRI = re.compile(rb'"geometryType"\s*:\s*"esri')
_TOPOJSON = re.compile(rb'"type"\s*:\s*"Topology"')
_ERROR_MEMBER = re.compile(rb'\{\s*"error"\s*:')


def looks_like(head: bytes) -> str:
    """What the first bytes of a file look like, for messages: "a zip archive"."""
    for magic, name in _SIGNATURES:
        if head.startswith(magic):
            return name
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<"):
        return _markup(text)
    if text.startswith((b"{", b"[")):
        return _json(text)
    beginning = head[:16].decode("ascii", "backslashreplace")
    return f"of an unknown format (it begins with {beginning!r})"


def is_html(head: bytes) -> bool:
    """Whether a text begins as an HTML page, such as the answer of a server instead of a file."""
    return _HTML.match(head.removeprefix(b"\xef\xbb\xbf")) is not None


def _markup(text: bytes) -> str:
    if text.startswith((b"<OGRVRT", b"<VRTDataset")):
        return "a GDAL VRT"
    if is_html(text):
        return f"an HTML page{_quoted(_TITLE.search(text))}"
    root = _ROOT.match(text)
    name = root[1].decode("ascii", "replace") if root else ""
    if name in _ERRORS:
        return f"an error message of a server in XML{_quoted(_CODE.search(text))}"
    return f"XML with the root element {name!r}" if name else "XML or HTML"


def _quoted(found: re.Match[bytes] | None) -> str:
    words = " ".join(found[1].decode("utf-8", "replace").split())[:80] if found else ""
    return f" ({words!r})" if words else ""


def _json(text: bytes) -> str:
    if _ESRI.search(text):
        return "Esri JSON"
    if _TOPOJSON.search(text):
        return "TopoJSON"
    return "an error message of a server in JSON" if _ERROR_MEMBER.match(text) else "JSON"
