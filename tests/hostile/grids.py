"""Hostile rasters."""

from __future__ import annotations

import io
import struct
import tempfile
import warnings
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.shutil import copy

from tests.hostile.case import Bait, Hostile, Maker, always
from tests.hostile.vectors import GRID, WKT_GRID, changed

PLACE = rasterio.Affine(10, 0, 500_000, 0, -10, 5_500_000)
DEGREES = rasterio.Affine(0.01, 0, 9, 0, -0.01, 48)
VRT = (
    '<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
    "<SourceFilename>{0}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
)
PAM = (
    '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">@path</MDI></Metadata>'
    "<Metadata domain='xml:VRT'>@path</Metadata><PAMRasterBand band='1'><HistItem/></PAMRasterBand></PAMDataset>"
)


def case(fmt: str, name: str, tries: str, make: Maker, outcome: str | int, **more: Any) -> Hostile:
    return Hostile(f"{fmt.lower()}-{name}", "raster", fmt, tries, make, outcome, more)


@cache
def drawn(driver: str = "GTiff", **profile: Any) -> bytes:
    """64 x 64 pixels in UTM."""
    settings = {"count": 1, "height": 64, "width": 64, "dtype": "uint8", "crs": "EPSG:32632", "transform": PLACE}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as directory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        first, second = Path(directory, "a.tif"), Path(directory, "b")
        with rasterio.open(first, "w", driver="GTiff", **{**settings, **profile}) as made:
            if made.width == 64:
                made.write(np.arange(4096, dtype="uint8").reshape(1, 64, 64))
        if driver == "GTiff":
            return first.read_bytes()
        copy(first, second, driver=driver)
        return second.read_bytes()


def tagged(**tags: str) -> Maker:
    """Metadata of GDAL's in the domains that lead to other files."""

    def make(bait: Bait) -> bytes:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "x.tif")
            path.write_bytes(drawn())
            with rasterio.open(path, "r+") as made:
                for domain, text in tags.items():
                    said = text.replace("@url", bait.url).replace("@path", bait.path)
                    made.update_tags(ns=domain, OVERVIEW_FILE=said, SOURCE=said, LINE_OFFSET="0")
            return path.read_bytes()

    return make


def entries(body: bytes) -> dict[int, int]:
    """Where each tag of a little-endian TIFF's first directory lies."""
    start = struct.unpack("<L", body[4:8])[0]
    count = struct.unpack("<H", body[start : start + 2])[0]
    places = (start + 2 + 12 * number for number in range(count))
    return {struct.unpack("<H", body[at : at + 2])[0]: at for at in places}


def lying(tag: int, count: int | None = None, value: int | None = None) -> Maker:
    def make(_: Bait) -> bytes:
        body = drawn()
        at = entries(body)[tag]
        if count is not None:
            body = changed(body, at + 4, struct.pack("<L", count))
        return body if value is None else changed(body, at + 8, struct.pack("<L", value))

    return make


def looping(_: Bait) -> bytes:
    """A directory whose next one is itself."""
    body = drawn()
    start = struct.unpack("<L", body[4:8])[0]
    count = struct.unpack("<H", body[start : start + 2])[0]
    return changed(body, start + 2 + 12 * count, struct.pack("<L", start))


def beside(**files: str) -> Maker:
    def make(bait: Bait) -> dict[str, bytes]:
        texts = {f"x.{suffix.replace('_', '.')}": text for suffix, text in files.items()}
        made = {name: text.replace("@path", bait.path).replace("@url", bait.url) for name, text in texts.items()}
        return {"x.tif": drawn(), **{name: text.encode() for name, text in made.items()}}

    return make


HUGE = {"width": 400_000, "height": 400_000, "tiled": True, "blockxsize": 4096, "blockysize": 4096, "sparse_ok": True}
# Within the limit of pixels, one tile of them: what is decoded at once has to be bounded too.
TILE = {"width": 9_984, "height": 9_984, "tiled": True, "blockxsize": 9_984, "blockysize": 9_984, "sparse_ok": True}

TIFF = [
    case("GTiff", "vrt", "a VRT that names a file", lambda b: VRT.format(b.path).encode(), "content_mismatch"),
    case("GTiff", "vsicurl", "a path of an address", lambda b: f"/vsicurl/{b.url}/x".encode(), "content_mismatch"),
    case("GTiff", "wms", "a description of a web service",
         lambda b: f"<GDAL_WMS><Service name='WMS'><ServerUrl>{b.url}</ServerUrl></Service></GDAL_WMS>".encode(),
         "content_mismatch"),
    case("GTiff", "huge", "160 thousand million pixels", lambda _: drawn(**HUGE), "pixels_too_many"),
    case("GTiff", "huge-tile", "a tile of 800 MB", lambda _: drawn(dtype="float64", **TILE), "memory_limit"),
    case("GTiff", "overviews-file", "overviews in another file", tagged(OVERVIEWS="@path"), 64),
    case("GTiff", "overviews-url", "overviews behind an address", tagged(OVERVIEWS="/vsicurl/@url/x"), 64),
    case("GTiff", "geolocation", "a grid of places in another file", tagged(GEOLOCATION="@path", RPC="@path"), 64),
    case("GTiff", "width", "a width of 2^31", lying(256, value=2**31 - 1), "file_damaged"),
    case("GTiff", "bands", "65,535 bands", lying(277, value=65_535), "bands_too_many"),
    case("GTiff", "offsets-count", "a list of 2^30 offsets", lying(273, count=2**30), "file_damaged"),
    case("GTiff", "offset", "pixels behind the end", lying(273, value=2**31), "file_damaged"),
    case("GTiff", "keys", "keys of its place behind the end", lying(34735, value=2**31), "crs_missing"),
    case("GTiff", "compression", "a method that is none", lying(259, value=77), "file_damaged"),
    case("GTiff", "loop", "a directory that leads to itself", looping, 64),
    case("GTiff", "cut", "no end", lambda _: drawn()[:2000], "file_damaged"),
    case("GTiff", "aux", "metadata beside it that names a file", beside(tif_aux_xml=PAM, aux_xml=PAM), 64),
    case("GTiff", "ovr", "overviews beside it that are a VRT", beside(tif_ovr=VRT, ovr=VRT, tif_msk=VRT), 64),
    case("GTiff", "world", "a place that is no number", beside(tfw="nan\n0\n0\ninf\n1e999\n0\n"),
         "georeference_conflict"),
    case("GTiff", "prj-grid", "a CRS with a grid that is another file",
         beside(prj=GRID.replace("{path}", "@path")), "crs_unknown"),
    case("GTiff", "prj-wkt-grid", "a CRS with an extension that names a file",
         beside(prj=WKT_GRID.replace("{path}", "@path")), "crs_unknown"),
    case("GTiff", "prj-url", "a CRS behind an address", beside(prj="@url/crs"), "crs_unknown"),
]  # fmt: skip


# --- netCDF


def hdf5(filename: str) -> Maker:
    def make(bait: Bait) -> bytes:
        body = io.BytesIO()
        with h5py.File(body, "w") as file:
            path = bait.path if filename == "@path" else filename
            file.create_dataset("v", shape=(8, 8), dtype="u1", external=[(path, 0, 64)])
        return body.getvalue()

    return make


def linked(kind: str) -> Maker:
    def make(bait: Bait) -> bytes:
        body = io.BytesIO()
        with h5py.File(body, "w", libver="latest") as file:
            if kind == "link":
                file["v"] = h5py.ExternalLink(bait.path, "/v")
            else:
                layout = h5py.VirtualLayout(shape=(8, 8), dtype="u1")
                layout[:] = h5py.VirtualSource(bait.path, "v", shape=(8, 8))
                file.create_virtual_dataset("v", layout)
        return body.getvalue()

    return make


def classic(at: int, new: bytes) -> Maker:
    return lambda _: changed(drawn("netCDF"), at, new)


def with_grid(bait: Bait) -> bytes:
    """A CRS that GDAL would not have written so: in the place of one with a long name."""
    name = "x" * 300
    body = drawn("netCDF", crs=WKT_GRID.format(path="").replace('"x"', f'"{name}"', 1), transform=DEGREES)
    start, end = body.index(b'GEOGCS["xxx'), body.index(b"\0", body.index(b'GEOGCS["xxx'))
    written = body[start:end]
    assert body.count(written) == 2
    return body.replace(written, WKT_GRID.format(path=bait.path).encode().ljust(len(written)))


def hdf5_grid(bait: Bait) -> bytes:
    body = io.BytesIO()
    with h5py.File(body, "w") as file:
        file.create_dataset("v", data=np.zeros((8, 8), "u1")).attrs["grid_mapping"] = "crs"
        file.create_dataset("crs", data=0).attrs["crs_wkt"] = WKT_GRID.format(path=bait.path)
    return body.getvalue()


NETCDF = [
    case("netCDF", "vrt", "a VRT", lambda b: VRT.format(b.path).encode(), "content_mismatch"),
    case("netCDF", "url", "an address", lambda b: b.url.encode(), "content_mismatch"),
    case("netCDF", "external", "values in another file", hdf5("@path"), "external_data"),
    case("netCDF", "environment", "values in the worker's environment", hdf5("/proc/self/environ"), "external_data"),
    case("netCDF", "link", "a variable in another file", linked("link"), "external_data"),
    case("netCDF", "virtual", "values made of another file's", linked("virtual"), "external_data"),
    case("netCDF", "dimensions", "a list of 2^31 dimensions", classic(12, b"\x7f\xff\xff\xff"), "file_damaged"),
    case("netCDF", "crs-wkt-grid", "a CRS with an extension that names a file",
         with_grid, "crs_unknown"),
    case("netCDF", "crs-wkt-grid-4", "the same in an HDF5 file", hdf5_grid, "crs_unknown"),
    case("netCDF", "cut", "half a file", lambda _: drawn("netCDF")[:3000], "file_truncated"),
]  # fmt: skip


# --- pictures


def png(width: int, height: int, *more: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))

    head = struct.pack(">2L5B", width, height, 8, 0, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1 << 20), 9))
    return b"".join((b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", head), *more, pixels, chunk(b"IEND", b"")))


def jpeg(height: int, width: int) -> Maker:
    def make(_: Bait) -> dict[str, bytes]:
        body = drawn("JPEG")
        at = body.find(b"\xff\xc0")
        return placed(changed(body, at + 5, struct.pack(">2H", height, width)), "jpg", "jgw")

    return make


def placed(body: bytes, suffix: str, world: str) -> dict[str, bytes]:
    return {f"x.{suffix}": body, f"x.{world}": b"10\n0\n0\n-10\n500005\n5499995\n"}


def jp2(at: bytes, offset: int, new: bytes) -> Maker:
    def make(_: Bait) -> bytes:
        body = drawn("JP2OpenJPEG")
        return changed(body, body.find(at) + offset, new)

    return make


UTM = {"crs": "EPSG:32632"}
PICTURES = [
    case("PNG", "bomb", "81 million pixels in 1 kB",
         lambda _: placed(png(9_000, 9_000), "png", "pgw"), "file_damaged", **UTM),
    case("PNG", "limit", "a million million pixels",
         lambda _: placed(png(1_000_000, 1_000_000), "png", "pgw"), "pixels_too_many", **UTM),
    case("PNG", "chunk", "a chunk of 2 GB",
         lambda _: placed(png(8, 8, b"\x7f\xff\xff\xfftEXt"), "png", "pgw"), "file_truncated", **UTM),
    case("JPEG", "bomb", "81 million pixels in 2 kB", jpeg(9_000, 9_000), "file_damaged", **UTM),
    case("JPEG", "nothing", "no pixels", jpeg(0, 0), "file_damaged", **UTM),
    case("JP2", "huge", "a codestream of 2^31 pixels a side",
         jp2(b"\xff\x51", 6, struct.pack(">2L", 2**31 - 1, 2**31 - 1)), "file_damaged", **UTM),
    case("JP2", "tiles", "tiles of one pixel", jp2(b"\xff\x51", 22, struct.pack(">2L", 1, 1)),
         "georeference_missing", **UTM),
    case("JP2", "cut", "half a codestream", lambda _: drawn("JP2OpenJPEG")[:-600], "georeference_missing", **UTM),
    case("JP2", "box", "a box of nothing for ever", jp2(b"jp2h", -4, b"\0\0\0\0"), "georeference_missing", **UTM),
    case("JP2", "raw", "only a mark", always(b"\xff\x4f\xff\x51" + bytes(100)), "file_damaged"),
]  # fmt: skip

CASES = [*TIFF, *NETCDF, *PICTURES]
