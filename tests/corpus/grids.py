"""Tiny rasters: every type, everything that says which pixels count, every way to be placed."""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.shutil import copy

from tests.corpus.case import Case, Grid, Refused, bytes_as

UTM = Affine(10, 0, 500_000, 0, -10, 5_500_000)
WORLD = "10\n0\n0\n-10\n500005\n5499995\n"
INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")
Put = Callable[[Path], str]


def pixels(dtype: str = "int16", bands: int = 1) -> Any:
    """5 x 7 pixels of each band, from the least to the greatest value of the type; none is 0."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        made = np.linspace(-1e6, 1e6, bands * 35).astype(kind)
        made[:2] = np.finfo(kind).min, np.finfo(kind).max
    else:
        info = np.iinfo(kind)
        made = np.arange(1, bands * 35 + 1).astype(kind)
        made[:2] = info.max, info.min or 3
    return made.reshape(bands, 5, 7)


def tif(values: Any, *, name: str = "t.tif", describe: Callable[[Any], None] | None = None, **profile: Any) -> Put:
    """Written by rasterio: a UTM GeoTIFF, where `profile` does not say otherwise."""

    def put(landing: Path) -> str:
        settings = {
            "driver": "GTiff",
            "count": len(values),
            "height": values.shape[1],
            "width": values.shape[2],
            "dtype": str(values.dtype),
            "crs": "EPSG:32632",
            "transform": UTM,
            **profile,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with (
                rasterio.Env(GDAL_TIFF_INTERNAL_MASK=settings.pop("mask_inside", True)),
                rasterio.open(landing / name, "w", **settings) as made,
            ):
                made.write(values)
                if describe:
                    describe(made)
        return name

    return put


def beside(put: Put, **files: str) -> Put:
    """files: {suffix: content} next to it."""

    def both(landing: Path) -> str:
        key = put(landing)
        for suffix, content in files.items():
            (landing / key).with_suffix(f".{suffix}").write_text(content)
        return key

    return both


def copied(put: Put, name: str, driver: str) -> Put:
    def both(landing: Path) -> str:
        key = put(landing)
        copy(landing / key, landing / name, driver=driver)
        (landing / key).unlink()
        return name

    return both


def good(
    name: str,
    put: Put,
    values: Any,
    fmt: str = "GTiff",
    warns: Iterable[str] = (),
    *,
    valid: Any = True,
    nodata: float | None = None,
    crs: str | None = None,
    options: dict[str, Any] | None = None,
    layer: str | None = None,
    **says: Any,
) -> Case:
    extremes = ["pixels_extreme"] if np.any(_is_extreme(values) & np.asarray(valid)) else []
    wanted = Grid(values, np.asarray(valid), nodata, {"transform": UTM, **says}, frozenset([*warns, *extremes]))
    more = {"crs": crs, "options": options, "layer": layer}
    return Case(name, "raster", fmt, put, wanted, {key: value for key, value in more.items() if value is not None})


def _is_extreme(values: Any) -> Any:
    """Where a value is beyond what is ever measured."""
    values = np.asarray(values)
    return np.isfinite(values) & (np.abs(values.astype(float)) > 1e38)


def bad(name: str, put: Put, code: str, fmt: str = "GTiff", **more: Any) -> Case:
    return Case(name, "raster", fmt, put, Refused(code), more)


def holed(dtype: str, missing: float) -> Any:
    values = pixels(dtype)
    values[0, 1, :3] = missing
    return values


def with_nodata(name: str, dtype: str, missing: float) -> Case:
    values = holed(dtype, missing)
    valid = ~np.isnan(values) if math.isnan(missing) else values != np.dtype(dtype).type(missing)
    return good(name, tif(values, nodata=missing), values, valid=valid, nodata=missing)


MASK = np.ones((5, 7), bool)
MASK[1:3, 2:6] = False
BITS = (np.indices((5, 7)).sum(axis=0) % 2).astype("uint8")[None]
COLOURS = {1: (255, 0, 0, 255), 2: (0, 128, 0, 255), 3: (1, 2, 3, 255)}
CLASSES = (np.arange(35).reshape(1, 5, 7) % 3 + 1).astype("uint8")
RGB = pixels("uint8", 3)
RGBA = np.concatenate([RGB, np.where(MASK, 255, 0)[None].astype("uint8")])
TURNED = Affine.translation(500_000, 5_500_000) @ Affine.rotation(30) @ Affine.scale(10, -10)
SOUTH_UP = Affine(10, 0, 500_000, 0, 10, 5_400_000)
PLAIN, NOT_FINITE = pixels("uint8"), pixels("float32")
NOT_FINITE[0, 2, :3] = math.nan, math.inf, -math.inf
DEGREES = Affine(0.25, 0, 7, 0, -0.25, 50)


def placed_by_points(made: Any) -> None:
    corners = ((0, 0, 7, 50), (0, 7, 8, 50), (5, 0, 7, 49))
    made.gcps = ([GroundControlPoint(r, c, x, y) for r, c, x, y in corners], rasterio.crs.CRS.from_epsg(4326))


def described(made: Any) -> None:
    made.set_band_description(1, "Höhe über NN")
    made.set_band_unit(1, "m")
    made.scales, made.offsets = (0.01, 1.0), (-100.0, 0.0)
    made.update_tags(sensor="MSI")
    made.update_tags(2, wavelength="665 nm")


def picture(name: str, mode: str, **save: Any) -> Put:
    """An image by Pillow, of the first bands of RGB."""

    def put(landing: Path) -> str:
        array = {"L": RGB[0], "RGB": RGB.transpose(1, 2, 0), "RGBA": RGBA.transpose(1, 2, 0)}[mode]
        PIL.Image.fromarray(np.ascontiguousarray(array)).save(landing / name, **save)
        return name

    return put


def interlaced(landing: Path) -> str:
    """A 3 x 2 PNG of grey pixels 1 to 6 in Adam7's passes."""
    grey = np.arange(1, 7, dtype=np.uint8).reshape(2, 3)
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    lines = b"".join(
        b"\x00" + grey[y, x0::dx].tobytes()
        for y0, x0, dy, dx in passes
        for y in range(y0, 2, dy)
        if grey[y, x0::dx].size
    )
    head = struct.pack(">IIBBBBB", 3, 2, 8, 0, 0, 0, 1)
    body = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")):
        body += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    (landing / "t.png").write_bytes(body)
    return "t.png"


def jpeg_within(landing: Path) -> str:
    return tif(RGB, compress="JPEG", photometric="YCBCR", height=5, width=7)(landing)


TYPED = [
    good(f"{dtype} without nodata", tif(pixels(dtype)), pixels(dtype)) for dtype in (*INTEGERS, "float32", "float64")
]
MISSING = [
    *(with_nodata(f"{dtype} with nodata 7", dtype, 7) for dtype in INTEGERS),
    *(
        with_nodata(f"{dtype} with nodata {missing}", dtype, missing)
        for dtype in ("float32", "float64")
        for missing in (math.nan, math.inf, -math.inf, -9999.0)
    ),
    good("values that are not finite", tif(NOT_FINITE), NOT_FINITE, valid=np.isfinite(NOT_FINITE)),
    good("mask inside", tif(PLAIN, describe=lambda made: made.write_mask(MASK)), PLAIN, valid=MASK),
    good(
        "mask in a .msk beside: not read",
        tif(PLAIN, mask_inside=False, describe=lambda made: made.write_mask(MASK)),
        PLAIN,
    ),
    good(
        "alpha",
        tif(RGBA, photometric="RGB", alpha="YES"),
        RGBA,
        valid=MASK,
        colorinterp=(ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha),
    ),
    good("grey with alpha", tif(RGBA[[0, 3]], alpha="YES"), RGBA[[0, 3]], valid=MASK),
    good(
        "statistics that are wrong", tif(PLAIN, describe=lambda made: made.update_tags(1, STATISTICS_MEAN="1e9")), PLAIN
    ),
]
COLOURED = [
    good(
        "palette",
        tif(CLASSES, describe=lambda made: made.write_colormap(1, COLOURS)),
        CLASSES,
        colorinterp=(ColorInterp.palette,),
    ),
    good("1 bit", tif(BITS, nbits=1), BITS),
    good("4 bits", tif(CLASSES, nbits=4), CLASSES),
    good("12 bits", tif(pixels("int16").astype("uint16") & 0xFFF, nbits=12), pixels("int16").astype("uint16") & 0xFFF),
    good("white is zero", tif(PLAIN, photometric="MINISWHITE"), PLAIN),
    good(
        "names, units, scales, offsets",
        tif(pixels(bands=2), describe=described),
        pixels(bands=2),
        descriptions=("Höhe über NN", None),
        units=("m", None),
        scales=(0.01, 1.0),
        offsets=(-100.0, 0.0),
    ),
    *(
        good(f"compressed by {how}", tif(pixels(), compress=how), pixels())
        for how in ("LZW", "DEFLATE", "ZSTD", "PACKBITS", "LERC")
    ),
    good("predictor 3", tif(pixels("float32"), compress="DEFLATE", predictor=3), pixels("float32")),
    good("BigTIFF, big-endian, bands apart", tif(RGB, bigtiff="YES", endianness="BIG", interleave="BAND"), RGB),
    good("tiles larger than the raster", tif(pixels(), tiled=True, blockxsize=16, blockysize=16), pixels()),
    good("one pixel", tif(pixels()[:, :1, :1]), pixels()[:, :1, :1]),
]
PLACED = [
    good("south-up", tif(PLAIN, transform=SOUTH_UP), PLAIN, transform=SOUTH_UP),
    good("turned", tif(PLAIN, transform=TURNED), PLAIN, transform=TURNED),
    good("degrees", tif(PLAIN, crs="EPSG:4326", transform=DEGREES), PLAIN, transform=DEGREES),
    good("CRS declared", tif(PLAIN, crs=None), PLAIN, crs="EPSG:32632"),
    good("CRS by .prj", beside(tif(PLAIN, crs=None), prj=CRS.from_epsg(32632).to_wkt("WKT1_ESRI")), PLAIN),
    good("world file", beside(tif(PLAIN, transform=None), tfw=WORLD), PLAIN),
    good("world file that says the same", beside(tif(PLAIN), tfw=WORLD), PLAIN),
    bad(
        "world file that says otherwise",
        beside(tif(PLAIN), tfw=WORLD.replace("500005", "600005")),
        "georeference_conflict",
    ),
    bad(
        "world file of five numbers", beside(tif(PLAIN, transform=None), tfw="10\n0\n0\n-10\n5\n"), "world_file_invalid"
    ),
    bad("placed nowhere", tif(PLAIN, transform=None), "georeference_missing"),
    bad(
        "ground control points only",
        tif(PLAIN, transform=None, crs=None, describe=placed_by_points),
        "georeference_not_affine",
        crs="EPSG:4326",
    ),
    bad("no CRS", tif(PLAIN, crs=None), "crs_missing"),
    bad("CRS declared otherwise", tif(PLAIN), "crs_conflict", crs="EPSG:4326"),
    bad("meters declared as degrees", tif(PLAIN, crs="EPSG:4326"), "outside_area_of_use"),
    bad("complex numbers", tif(pixels("float32").astype("complex64")), "dtype_not_supported"),
    bad("empty file", bytes_as("t.tif", b""), "file_empty"),
    bad("PNG", picture("t.tif", "L", format="PNG"), "content_mismatch"),
]
BARE = {"crs": None, "transform": None}
OTHERS = [
    good("as COG", tif(PLAIN, driver="COG"), PLAIN, "COG"),
    good("COG of another layout", tif(PLAIN), PLAIN, "COG", ["cog_layout"]),
    good(
        "JPEG 2000 without loss",
        tif(pixels("uint16"), name="t.jp2", driver="JP2OpenJPEG", quality=100, reversible=True),
        pixels("uint16"),
        "JP2",
    ),
    good(
        "PNG with world file",
        beside(tif(RGB, name="t.png", driver="PNG", **BARE), pgw=WORLD),
        RGB,
        "PNG",
        crs="EPSG:32632",
    ),
    good(
        "PNG of 16 bits",
        beside(tif(pixels("uint16"), name="t.png", driver="PNG", **BARE), wld=WORLD),
        pixels("uint16"),
        "PNG",
        crs="EPSG:32632",
    ),
    good("PNG with alpha", beside(picture("t.png", "RGBA"), pgw=WORLD), RGBA, "PNG", valid=MASK, crs="EPSG:32632"),
    good(
        "PNG in passes",
        beside(interlaced, pgw=WORLD),
        np.arange(1, 7, dtype="uint8").reshape(1, 2, 3),
        "PNG",
        crs="EPSG:32632",
    ),
    bad("PNG without world file", picture("t.png", "L"), "georeference_missing", "PNG", crs="EPSG:32632"),
    good(
        "netCDF of one variable",
        copied(tif(pixels("float32"), name="s.tif"), "t.nc", "netCDF"),
        pixels("float32"),
        "netCDF",
        nodata=float(np.float32(9.969209968386869e36)),
    ),
    good(
        "netCDF, the variable that is named",
        copied(tif(pixels(bands=2), name="s.tif"), "t.nc", "netCDF"),
        pixels(bands=2)[1:],
        "netCDF",
        layer="Band2",
        nodata=-32767,
    ),
    bad(
        "netCDF of two variables",
        copied(tif(pixels(bands=2), name="s.tif"), "t.nc", "netCDF"),
        "layer_ambiguous",
        "netCDF",
    ),
    bad("netCDF of eight bytes", bytes_as("t.nc", b"CDF\x01\x00\x00\x00\x00"), "file_damaged", "netCDF"),
]

# (put, format, further fields): what a lossy source decodes to is what must come out.
LOSSY: list[tuple[str, Put, str, dict[str, Any]]] = [
    ("JPEG within a TIFF", jpeg_within, "GTiff", {}),
    ("JPEG with world file", beside(picture("t.jpg", "RGB", quality=60), jgw=WORLD), "JPEG", {"crs": "EPSG:32632"}),
    ("JPEG in passes", beside(picture("t.jpg", "RGB", progressive=True), jgw=WORLD), "JPEG", {"crs": "EPSG:32632"}),
    ("JPEG 2000 with loss", tif(np.tile(RGB, (1, 20, 20)), name="t.jp2", driver="JP2OpenJPEG", quality=20), "JP2", {}),
]

GRIDS = [*TYPED, *MISSING, *COLOURED, *PLACED, *OTHERS]
