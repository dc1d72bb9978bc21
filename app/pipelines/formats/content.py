"""Is a file what it is declared to be? Decided by its bytes, before any driver sees it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from app.errors import RunRefused

_KML_NAMESPACES = ("http://www.opengis.net/kml/", "http://earth.google.com/kml/")
_BLOCK = 1 << 20


def check_content(path: Path, fmt: str, file: str) -> None:
    """Refuse a file whose content is not format `fmt`, or that ends too early.

    Raises RunRefused: file_missing, file_empty, content_mismatch, file_truncated, xml_invalid, xml_doctype.
    """
    if not path.exists():
        raise RunRefused(f"{file} is missing.", "Upload it before the manifest.", reason="file_missing", file=file)
    if path.is_dir():
        if fmt != "OpenFileGDB" or not (path / "a00000001.gdbtable").is_file():
            _mismatch(file, fmt, "a directory")
        return
    size = path.stat().st_size
    if size == 0:
        raise RunRefused(f"{file} is empty (0 bytes).", "Upload the file again.", reason="file_empty", file=file)
    with path.open("rb") as stream:
        head = stream.read(4096)
    checks = {"GPKG": _check_gpkg, "SHP": _check_shp, "FlatGeobuf": _check_fgb, "GeoParquet": _check_parquet}
    if fmt in checks:
        checks[fmt](path, head, size, file)
    elif fmt in ("KML", "GML"):
        _check_xml(path, fmt, head, file)
    elif fmt in ("GeoJSON", "GeoJSONSeq"):
        text = head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n\x1e")
        if not text.startswith(b"{"):
            _mismatch(file, fmt, looks_like(head))
    else:
        _mismatch(file, fmt, looks_like(head))


def looks_like(head: bytes) -> str:
    """What the first bytes of a file suggest, in words for a message."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    known = (
        (b"PK", "a zip archive"),
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
        (b"\x89HDF", "HDF5 (netCDF-4?)"),
        (b"CDF", "netCDF"),
        (b"%PDF", "a PDF document"),
    )
    for magic, name in known:
        if head.startswith(magic):
            return name
    if text.startswith((b"<OGRVRT", b"<VRTDataset")):
        return "a GDAL VRT"
    if text.startswith(b"<"):
        return "XML or HTML"
    if text.startswith((b"{", b"[")):
        return "JSON"
    return f"something else (it begins with {head[:16]!r})"


def _check_gpkg(_path: Path, head: bytes, size: int, file: str) -> None:
    if not head.startswith(b"SQLite format 3\x00"):
        _mismatch(file, "GPKG", looks_like(head))
    if len(head) < 100:
        _truncated(file, size, 100)
    page = struct.unpack(">H", head[16:18])[0]
    page = 65_536 if page == 1 else page
    pages, changed, valid_for = (struct.unpack(">L", head[at : at + 4])[0] for at in (28, 24, 92))
    if changed == valid_for and pages * page > size:
        _truncated(file, size, pages * page)


def _check_shp(_path: Path, head: bytes, size: int, file: str) -> None:
    if not head.startswith(b"\x00\x00\x27\x0a"):
        _mismatch(file, "SHP", looks_like(head))
    expected = struct.unpack(">L", head[24:28])[0] * 2 if len(head) >= 100 else 100
    if size < expected:
        _truncated(file, size, expected)


def _check_fgb(_path: Path, head: bytes, size: int, file: str) -> None:
    if not (head.startswith(b"fgb") and head[4:7] == b"fgb"):
        _mismatch(file, "FlatGeobuf", looks_like(head))
    header = struct.unpack("<L", head[8:12])[0] if len(head) >= 12 else 0
    if size < 12 + header:
        _truncated(file, size, 12 + header)


def _check_parquet(path: Path, head: bytes, size: int, file: str) -> None:
    if not head.startswith(b"PAR1"):
        _mismatch(file, "GeoParquet", looks_like(head))
    with path.open("rb") as stream:
        stream.seek(max(size - 4, 0))
        if size < 12 or stream.read() != b"PAR1":
            raise RunRefused(
                f"{file} is truncated: Parquet's closing mark is missing after {size} bytes.",
                "Upload the file again.",
                reason="file_truncated",
                file=file,
            )


def _check_xml(path: Path, fmt: str, head: bytes, file: str) -> None:
    """Well-formed to its end, the right root element, and no DOCTYPE (entities, external subsets)."""
    if (
        not head.removeprefix(b"\xef\xbb\xbf")
        .removeprefix(b"\xff\xfe")
        .removeprefix(b"\xfe\xff")
        .lstrip(b" \t\r\n\x00")
        .startswith(b"<")
    ):
        _mismatch(file, fmt, looks_like(head))
    parser = expat.ParserCreate(namespace_separator=" ")
    root: list[str] = []
    namespaces: list[str] = []

    def start(name: str, _attributes: dict[str, str]) -> None:
        root.append(name)
        parser.StartElementHandler = None  # only the root is of interest; the rest parses at C speed

    def doctype(*_args: object) -> None:
        raise RunRefused(
            f"{file} has a DOCTYPE, which can name entities and other files.",
            "Save it without a DOCTYPE.",
            reason="xml_doctype",
            file=file,
        )

    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = doctype
    parser.StartNamespaceDeclHandler = lambda _prefix, uri: namespaces.append(uri) if not root else None
    try:
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK):
                parser.Parse(block, False)
                if root and not _root_fits(fmt, root[0], namespaces):
                    _mismatch(file, fmt, f"XML with the root element {root[0].rpartition(' ')[2]!r}")
            parser.Parse(b"", True)
    except (expat.ExpatError, LookupError, ValueError) as err:  # the latter two: an encoding that is none, or not read
        early = isinstance(err, expat.ExpatError) and err.code in (3, 4, 5, 6) and "no element found" in str(err)
        raise RunRefused(
            f"{file} is not well-formed XML: {err}.",
            "Upload the file again; `xmllint --noout` should find no error.",
            reason="file_truncated" if early else "xml_invalid",
            file=file,
        ) from None


def _root_fits(fmt: str, root: str, namespaces: list[str]) -> bool:
    if fmt == "KML":
        return root.rpartition(" ")[2] == "kml" and (" " not in root or root.startswith(_KML_NAMESPACES))
    return any(uri.startswith("http://www.opengis.net/gml") for uri in (root, *namespaces))


def _mismatch(file: str, fmt: str, found: str) -> NoReturn:
    raise RunRefused(
        f"{file} is declared as {fmt}, its content is {found}.",
        "Correct files[].format, or send the right file.",
        reason="content_mismatch",
        file=file,
    )


def _truncated(file: str, size: int, expected: int) -> NoReturn:
    raise RunRefused(
        f"{file} is truncated: it has {size} bytes and its header says at least {expected}.",
        "Upload the file again.",
        reason="file_truncated",
        file=file,
    )
