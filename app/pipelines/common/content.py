"""What a file is, by its first bytes."""

from __future__ import annotations


def looks_like(head: bytes) -> str:
    """What the first bytes of a file look like, for messages: "a zip archive"."""
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
    beginning = head[:16].decode("ascii", "backslashreplace")
    return f"of an unknown format (it begins with {beginning!r})"
