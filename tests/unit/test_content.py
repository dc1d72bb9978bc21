"""Files of another format are named for what they are."""

from __future__ import annotations

import bz2
import gzip
import lzma

import pytest

from app.pipelines.common.content import is_html, looks_like

PAGE = b'<!DOCTYPE html>\n<html lang="en"><head><title>\n 404 Not\n Found </title></head><body></body></html>'
XHTML = b'<?xml version="1.0"?>\n<!-- made by x --><html xmlns="http://www.w3.org/1999/xhtml"></html>'
S3 = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code><Message>m</Message></Error>'
OWS = b'<ows:ExceptionReport xmlns:ows="http://www.opengis.net/ows/1.1" version="2.0.0"></ows:ExceptionReport>'

FOUND = {
    PAGE: "an HTML page ('404 Not Found')",
    b"\xef\xbb\xbf  <HTML><body>busy</body></HTML>": "an HTML page",
    XHTML: "an HTML page",
    S3: "an error message of a server in XML ('NoSuchKey')",
    OWS: "an error message of a server in XML",
    b'<?xml version="1.0"?><kml xmlns="http://www.opengis.net/kml/2.2"/>': "XML with the root element 'kml'",
    b"<OGRVRTDataSource></OGRVRTDataSource>": "a GDAL VRT",
    b"< what is this": "XML or HTML",
    b'{"error": {"code": 498, "message": "Invalid token."}}': "an error message of a server in JSON",
    b'{"displayFieldName": "", "geometryType": "esriGeometryPoint", "features": []}': "Esri JSON",
    b'{"type": "Topology", "objects": {}}': "TopoJSON",
    b"[1, 2]": "JSON",
    gzip.compress(b"x"): "compressed with gzip",
    bz2.compress(b"x"): "compressed with bzip2",
    lzma.compress(b"x"): "compressed with xz",
    "{}".encode("utf-16"): "text in UTF-16",
    b"\x07\x08": r"of an unknown format (it begins with '\x07\x08')",
}


@pytest.mark.parametrize("head", FOUND, ids=FOUND.values())
def test_what_the_first_bytes_show(head: bytes) -> None:
    assert looks_like(head) == FOUND[head]
    assert is_html(head) == ("HTML page" in FOUND[head])


@pytest.mark.parametrize(
    "head", [b"<title>" + b" " * 4_000, b"<" * 4_096, b"<!" * 2_000, b"<title" * 600, b" " * 4_096, b"<?a>" * 1_000]
)
def test_bytes_that_match_for_long(head: bytes) -> None:
    """Each of them is looked at within the time of this test."""
    assert looks_like(b"<!DOCTYPE html>" + head).startswith("an HTML page")
    assert looks_like(head)
