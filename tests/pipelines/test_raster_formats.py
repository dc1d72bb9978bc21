"""Every raster format of the table is read rightly, and what is wrong, hostile or placed nowhere is refused by name."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import PIL.Image
import pytest
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning
from rasterio.rpc import RPC

from app.models.formats import FORMATS
from app.pipelines.raster.content import check_raster_content
from app.pipelines.raster.formats.netcdf_classic import extent
from tests.pipelines.rasters import UTM, Rasters, terrain

WORLD = "10\n0\n0\n-10\n500005\n5499995\n"
PRJ = CRS.from_epsg(32632).to_wkt("WKT1_ESRI")


@pytest.fixture
def rasters(tmp_path: Path) -> Rasters:
    return Rasters(tmp_path)


def decoded(path: Path, driver: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, driver=driver) as dataset:
            return dataset.read()


def jp2(rasters: Rasters) -> str:
    return rasters.put("x.jp2", terrain("uint16", 3), driver="JP2OpenJPEG", quality=100, reversible=True)


def netcdf(rasters: Rasters) -> str:
    return rasters.put_netcdf("x.nc", terrain("float32"), nodata=-1)


def png(rasters: Rasters, world: bool = True) -> str:
    if world:
        rasters.write("x.pgw", WORLD)
        rasters.write("x.prj", PRJ)
    return rasters.put("x.png", terrain("uint16", 3), driver="PNG", crs=None, transform=None)


def jpeg(rasters: Rasters) -> str:
    rasters.write("x.jgw", WORLD)
    return rasters.put("x.jpg", terrain("uint8", 3), driver="JPEG", crs=None, transform=None)


def cog(rasters: Rasters) -> str:
    return rasters.put("x.tif", terrain("uint8", 3), driver="COG", compress="JPEG")


MADE: dict[str, tuple[Callable[[Rasters], str], dict[str, Any]]] = {
    "GTiff": (lambda rasters: rasters.put("x.tif", terrain("uint8", 3), compress="JPEG", photometric="YCBCR"), {}),
    "COG": (cog, {}),
    "JP2": (jp2, {}),
    "netCDF": (netcdf, {}),
    "PNG": (png, {}),
    "JPEG": (jpeg, {"crs": "EPSG:32632"}),
}


@pytest.mark.parametrize("fmt", [fmt for fmt in FORMATS if fmt.type == "raster"], ids=lambda fmt: fmt.name)
def test_every_format_gives_its_decoded_pixels(rasters: Rasters, fmt: Any) -> None:
    assert fmt.available
    make, more = MADE[fmt.name]
    name = make(rasters)
    made = rasters.ingest((name, fmt.name), **more)
    assert made.pixels.tobytes() == decoded(rasters.landing / name, fmt.drivers[0]).tobytes()
    with made.open() as dataset:
        assert dataset.crs == "EPSG:32632"
        assert dataset.transform.almost_equals(UTM, precision=1e-6)
    assert made.product.statistics["files"][0]["format"] == fmt.name
    again = rasters.ingest((name, fmt.name), **more)
    assert again.path.read_bytes() == made.path.read_bytes()
    assert "cog_layout" not in made.watch.warnings


def test_a_plain_geotiff_declared_as_cog_is_said(rasters: Rasters) -> None:
    made = rasters.ingest((rasters.put("x.tif", terrain()), "COG"))
    assert "x.tif" in made.watch.warnings["cog_layout"][0]


def test_a_netcdf_of_several_variables_needs_a_layer(rasters: Rasters) -> None:
    pixels = terrain("int16", bands=2)
    name = rasters.put_netcdf("two.nc", pixels)
    error = rasters.refuses((name, "netCDF"))
    assert error.reason == "layer_ambiguous"
    assert "'Band1', 'Band2'" in error.detail
    unknown = rasters.refuses((name, "netCDF"), layer="band2")
    assert unknown.reason == "layer_unknown"
    assert "Did you mean 'Band2'?" in unknown.fix
    made = rasters.ingest((name, "netCDF"), layer="Band2")
    assert made.pixels.tobytes() == pixels[1:].tobytes()
    assert made.product.statistics["files"][0]["layer"] == "Band2"
    one = rasters.put_netcdf("one.nc", terrain("int16"))
    assert rasters.ingest((one, "netCDF"), layer="Band1").product.statistics["files"][0]["layer"] == "Band1"
    assert rasters.refuses((one, "netCDF"), layer="other").reason == "layer_unknown"


def hdf5(rasters: Rasters, name: str, fill: Callable[[h5py.File], None], pixels: Any = None) -> str:
    """A netCDF-4 file on a grid of 8 x 8 degrees/10: `fill` makes its variable v, or `pixels` are its values."""
    with h5py.File(rasters.landing / name, "w") as file:
        for axis, first, step, unit in (("lat", 5.0, -0.1, "degrees_north"), ("lon", 7.0, 0.1, "degrees_east")):
            values = file.create_dataset(axis, data=first + step * np.arange(8))
            values.attrs["units"] = unit
            values.make_scale(axis)
        fill(file)
        if pixels is not None:
            file.create_dataset("v", data=pixels)
        axes = ("lat", "lon") if file["v"].ndim == 2 else ("time", "lat", "lon")
        for number, axis in enumerate(axes):
            file["v"].dims[number].attach_scale(file[axis])
    return name


def test_a_netcdf_4_file_that_takes_values_from_elsewhere_is_refused(rasters: Rasters, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret!!" * 8)

    def external(file: h5py.File) -> None:
        file.create_dataset("v", shape=(8, 8), dtype="u1", external=[(str(secret), 0, 64)])

    def virtual(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((8, 8), "u1")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "d", (8, 8))
        file.create_virtual_dataset("v", layout)

    def link(file: h5py.File) -> None:
        file.create_dataset("v", data=np.zeros((8, 8), "u1"))
        file["elsewhere"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/d")

    for number, fill in enumerate((external, virtual, link)):
        error = rasters.refuses((hdf5(rasters, f"{number}.nc", fill), "netCDF"), crs="EPSG:4326")
        assert error.reason == "external_data"
    plain = hdf5(
        rasters, "plain.nc", lambda file: file.create_dataset("v", data=np.arange(64, dtype="u1").reshape(8, 8))
    )
    made = rasters.ingest((plain, "netCDF"), crs="EPSG:4326")
    assert made.pixels.tobytes() == bytes(range(64))
    assert made.product.bounds is not None
    assert (made.product.bounds.minx, made.product.bounds.maxy) == pytest.approx((6.95, 5.05))


def test_world_files_place_pixels_by_their_centres(rasters: Rasters) -> None:
    for suffix in ("pgw", "wld", "PGW"):
        name = rasters.put(f"{suffix}1.png", terrain("uint8"), driver="PNG", crs=None, transform=None)
        rasters.write(f"{suffix}1.{suffix.lower()}", "10,5\r\n0.25\r\n-0.5\r\n-10\r\n500000\r\n5500000\r\n")
        made = rasters.ingest((name, "PNG"), crs="EPSG:32632")
        with made.open() as dataset:
            assert dataset.transform @ (0.5, 0.5) == pytest.approx((500_000, 5_500_000))
            assert dataset.transform @ (1.5, 0.5) == pytest.approx((500_010.5, 5_500_000.25))
            assert dataset.transform @ (0.5, 1.5) == pytest.approx((499_999.5, 5_499_990))


def test_a_world_file_beside_a_geotiff(rasters: Rasters) -> None:
    name = rasters.put("x.tif", terrain())
    rasters.write("x.tfw", WORLD)
    assert rasters.ingest((name, "GTiff")).watch.warnings == {}
    rasters.write("x.tfw", WORLD.replace("500005", "500105"))
    error = rasters.refuses((name, "GTiff"))
    assert error.reason == "georeference_conflict"
    assert "x.tfw" in error.detail
    bare = rasters.put("y.tif", terrain(), transform=None)
    rasters.write("y.tfw", WORLD)
    with rasters.ingest((bare, "GTiff")).open() as dataset:
        assert dataset.transform.almost_equals(UTM)
    rasters.write("y.tfw", "10 0 0")
    assert rasters.refuses((bare, "GTiff")).reason == "world_file_invalid"


def test_a_palette_png_keeps_its_colours(rasters: Rasters) -> None:
    rasters.write("p.pgw", WORLD)
    pixels = np.random.default_rng(1).integers(0, 3, (1, 90, 80), dtype="uint8")
    colours = {0: (255, 0, 0, 255), 1: (0, 255, 0, 128), 2: (0, 0, 255, 0)}
    describe = lambda file: file.write_colormap(1, colours)  # noqa: E731
    name = rasters.put("p.png", pixels, driver="PNG", crs=None, transform=None, describe=describe)
    made = rasters.ingest((name, "PNG"), crs="EPSG:32632")
    assert made.pixels.tobytes() == pixels.tobytes()
    assert made.bands[0]["colour_table"]["1"] == [0, 255, 0, 128]
    assert "colour_table_alpha" in made.watch.warnings


def test_pages_of_a_tiff_are_layers(rasters: Rasters) -> None:
    first, second = terrain("uint8"), terrain("uint8")[:, ::-1]
    frames = [PIL.Image.fromarray(page[0]) for page in (first, second)]
    frames[0].save(rasters.landing / "frames.tif", save_all=True, append_images=frames[1:])
    rasters.write("frames.tfw", WORLD)
    error = rasters.refuses(("frames.tif", "GTiff"), crs="EPSG:32632")
    assert error.reason == "layer_ambiguous"
    assert "'1', '2'" in error.detail
    found = rasters.ingest(("frames.tif", "GTiff"), crs="EPSG:32632", layer="2")
    assert found.pixels.tobytes() == second.tobytes()


def test_crs_from_the_manifest_the_prj_or_the_file(rasters: Rasters) -> None:
    name = rasters.put("x.tif", terrain(), crs=None)
    assert rasters.refuses((name, "GTiff")).reason == "crs_missing"
    assert rasters.ingest((name, "GTiff"), crs="EPSG:25832").product.crs == "EPSG:25832"
    rasters.write("x.prj", PRJ)
    made = rasters.ingest((name, "GTiff"))
    with made.open() as dataset:
        assert dataset.crs.to_epsg() == 32632
    assert rasters.refuses((name, "GTiff"), crs="EPSG:25832").reason == "crs_conflict"
    assert rasters.refuses((name, "GTiff"), crs="EPSG:nothing").reason == "crs_unknown"
    known = rasters.put("y.tif", terrain())
    assert rasters.refuses((known, "GTiff"), crs="EPSG:4326").reason == "crs_conflict"
    rasters.write("y.prj", CRS.from_epsg(25833).to_wkt("WKT1_ESRI"))
    assert "y.tif" in rasters.refuses((known, "GTiff")).detail


def test_a_crs_without_a_code_stays(rasters: Rasters) -> None:
    laea = CRS.from_proj4("+proj=laea +lat_0=12 +lon_0=34 +ellps=bessel +units=m")
    made = rasters.ingest((rasters.put("x.tif", terrain(), crs=laea.to_wkt()), "GTiff"))
    with made.open() as dataset:
        assert CRS.from_wkt(dataset.crs.to_wkt()).to_dict()["lat_0"] == 12


def test_coordinates_far_outside_the_crs_are_refused(rasters: Rasters) -> None:
    error = rasters.refuses((rasters.put("x.tif", terrain(), crs="EPSG:4326"), "GTiff"))
    assert error.reason == "outside_area_of_use"
    wide = rasters.put("w.tif", terrain(height=180, width=360), crs="EPSG:4326", transform=Affine(1, 0, 0, 0, -1, 90))
    assert "outside_area_of_use" in rasters.ingest((wide, "GTiff")).watch.warnings


def test_rasters_that_are_not_placed_by_a_grid_are_refused(rasters: Rasters) -> None:
    points = [GroundControlPoint(r, c, x, y) for r, c, x, y in ((0, 0, 7, 50), (0, 900, 8, 50), (700, 0, 7, 49))]
    with rasterio.open(
        rasters.landing / "g.tif", "w", driver="GTiff", width=9, height=7, count=1, dtype="uint8"
    ) as made:
        made.write(np.ones((1, 7, 9), "uint8"))
        made.gcps = (points, rasterio.crs.CRS.from_epsg(4326))
    gcps = rasters.refuses(("g.tif", "GTiff"), crs="EPSG:4326")
    assert gcps.reason == "georeference_not_affine"
    assert "3 ground control points" in gcps.detail
    coefficients = [1.0, *[0.0] * 19]
    rpc = RPC(height_off=0, height_scale=1, lat_off=50, lat_scale=1, line_den_coeff=coefficients,
              line_num_coeff=coefficients, line_off=1, line_scale=1, long_off=7, long_scale=1,
              samp_den_coeff=coefficients, samp_num_coeff=coefficients, samp_off=1, samp_scale=1)  # fmt: skip
    with rasterio.open(
        rasters.landing / "r.tif", "w", driver="GTiff", width=9, height=7, count=1, dtype="uint8"
    ) as made:
        made.write(np.ones((1, 7, 9), "uint8"))
        made.rpcs = rpc
    error = rasters.refuses(("r.tif", "GTiff"), crs="EPSG:4326")
    assert error.reason == "georeference_not_affine"
    assert "gdalwarp" in error.fix
    nowhere = rasters.put("n.png", terrain("uint8"), driver="PNG", crs=None, transform=None)
    assert rasters.refuses((nowhere, "PNG"), crs="EPSG:4326").reason == "georeference_missing"


def test_complex_numbers_are_refused(rasters: Rasters) -> None:
    name = rasters.put("x.tif", np.ones((1, 9, 9), "complex64"))
    error = rasters.refuses((name, "GTiff"))
    assert error.reason == "dtype_not_supported"
    assert "complex64" in error.detail


@pytest.mark.parametrize("fmt", list(MADE))
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_refused(rasters: Rasters, fmt: str, share: float) -> None:
    make, more = MADE[fmt]
    path = rasters.landing / make(rasters)
    body = path.read_bytes()
    path.write_bytes(body[: int(len(body) * share)])
    assert rasters.refuses((path.name, fmt), **more).reason in ("file_truncated", "file_damaged")


@pytest.mark.parametrize("fmt", list(MADE))
def test_content_of_another_kind_is_refused(rasters: Rasters, fmt: str) -> None:
    source = rasters.put("real.tif", terrain())
    vrt = (
        '<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{rasters.landing / source}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    suffix = next(f for f in FORMATS if f.name == fmt).suffixes[0]
    for number, body in enumerate(
        (vrt, "/etc/passwd", "/vsicurl/http://127.0.0.1:1/x.tif", b"PK\x03\x04" + b"\0" * 99)
    ):
        name = rasters.write(f"{number}{suffix}", body)
        assert rasters.refuses((name, fmt), crs="EPSG:4326").reason == "content_mismatch"
    assert "a GDAL VRT" in rasters.refuses((f"0{suffix}", fmt)).detail
    if fmt not in ("GTiff", "COG"):
        assert rasters.refuses((source, fmt)).reason == "content_mismatch"
    assert rasters.refuses((rasters.write("empty", b""), fmt)).reason == "file_empty"


def test_what_lies_beside_or_is_named_inside_is_not_followed(rasters: Rasters) -> None:
    """Statistics, overviews and a mask in sidecars, and metadata that names a file of overviews."""
    pixels = terrain("uint8", height=1200, width=1200)
    name = rasters.put("x.tif", pixels, tiled=True)
    rasters.put("x.tif.ovr", pixels[:, ::2, ::2] * 0)
    rasters.put("x.tif.msk", pixels * 0)
    pam = '<SRS>EPSG:3857</SRS><PAMRasterBand band="1"><NoDataValue>7</NoDataValue></PAMRasterBand>'
    rasters.write("x.tif.aux.xml", f"<PAMDataset>{pam}</PAMDataset>")
    made = rasters.ingest((name, "GTiff"))
    with made.open() as dataset:
        assert (dataset.crs, dataset.nodata) == ("EPSG:32632", None)
        assert dataset.read(1, out_shape=(300, 300)).any()
    assert made.bands[0]["valid"] == 1200 * 1200
    trick = rasters.put("t.tif", pixels, describe=lambda file: file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE="/x.ovr"))
    with rasters.ingest((trick, "GTiff")).open() as dataset:
        assert dataset.tags(ns="OVERVIEWS") == {}


def test_a_tiny_file_of_a_huge_raster_is_refused_before_it_is_decoded(rasters: Rasters) -> None:
    with rasterio.open(rasters.landing / "bomb.tif", "w", driver="GTiff", width=400_000, height=400_000, count=1,
                       dtype="uint8", sparse_ok=True, tiled=True, blockxsize=4096, blockysize=4096, crs="EPSG:32632",
                       transform=UTM):  # fmt: skip
        pass
    error = rasters.refuses(("bomb.tif", "GTiff"))
    assert error.reason == "pixels_too_many"
    assert "400000 x 400000" in error.detail
    head = struct.pack(">IIBBBBB", 300_000, 300_000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    body = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    rasters.write("bomb.png", body)
    rasters.write("bomb.pgw", WORLD)
    assert rasters.refuses(("bomb.png", "PNG"), crs="EPSG:32632").reason == "pixels_too_many"


def test_tags_of_megabytes_are_refused(rasters: Rasters) -> None:
    name = rasters.put("x.tif", terrain(), describe=lambda made: made.update_tags(much="x" * 2_000_000))
    assert rasters.refuses((name, "GTiff")).reason == "tags_too_large"


@pytest.mark.parametrize("kind", ["NC", "NC2", "NC4"])
@pytest.mark.parametrize("lost", [1, 5000])
def test_a_netcdf_of_every_kind_must_be_whole(rasters: Rasters, kind: str, lost: int) -> None:
    """The netCDF library fills what is missing with zeros; nothing but our own look at the header notices."""
    pixels = terrain("int16", bands=1, height=101, width=103)
    name = rasters.put_netcdf("x.nc", pixels, options={"FORMAT": kind})
    made = rasters.ingest((name, "netCDF"))
    assert made.pixels.tobytes() == pixels.tobytes()
    path = rasters.landing / name
    body = path.read_bytes()
    end = body.rindex(pixels[:, ::-1].astype(">i2").tobytes()[-64:]) + 64 if kind != "NC4" else len(body)
    path.write_bytes(body[: end - lost])
    assert rasters.refuses((name, "netCDF")).reason in ("file_truncated", "file_damaged")


def test_records_of_a_netcdf_must_be_whole(rasters: Rasters) -> None:
    """Two variables along an unlimited dimension, written by hand: records of 2 x 3 shorts and of one int."""

    def text(value: bytes) -> bytes:
        return struct.pack(">I", len(value)) + value + b"\0" * (-len(value) % 4)

    def variable(name: bytes, axes: tuple[int, ...], kind: int, size: int, begin: int) -> bytes:
        return text(name) + struct.pack(f">I{len(axes)}IIIIII", len(axes), *axes, 0, 0, kind, size, begin)

    def header(begin: int) -> bytes:
        axes = b"".join(text(name) + struct.pack(">I", length) for name, length in ((b"t", 0), (b"y", 2), (b"x", 3)))
        variables = variable(b"a", (0, 1, 2), 3, 12, begin) + variable(b"n", (0,), 4, 4, begin + 12)
        return b"CDF\x01" + struct.pack(">III", 5, 10, 3) + axes + struct.pack(">IIII", 0, 0, 11, 2) + variables

    whole = header(len(header(0))) + bytes(5 * 16)
    path = rasters.landing / "r.nc"
    path.write_bytes(whole)
    assert extent(path) == (len(whole) - 5 * 16, len(whole))
    path.write_bytes(whole[:-1])
    assert rasters.refuses(("r.nc", "netCDF"), layer="a").reason == "file_truncated"
    path.write_bytes(whole[:40] + b"\xff" * 30 + whole[70:])
    assert rasters.refuses(("r.nc", "netCDF"), layer="a").reason == "file_damaged"


def test_further_dimensions_of_a_netcdf_are_bands(rasters: Rasters) -> None:
    pixels = np.arange(3 * 64, dtype="i2").reshape(3, 8, 8)

    def fill(file: h5py.File) -> None:
        times = file.create_dataset("time", data=[10.0, 20.0, 30.0])
        times.attrs["units"] = "days since 2026-01-01"
        times.make_scale("time")

    name = hdf5(rasters, "t.nc", fill, pixels)
    made = rasters.ingest((name, "netCDF"), crs="EPSG:4326")
    assert made.pixels.tobytes() == pixels.tobytes()
    with made.open() as dataset:
        assert [dataset.tags(band)["NETCDF_DIM_time"] for band in (1, 2, 3)] == ["10", "20", "30"]


def test_hidden_and_circular_groups_are_looked_through(rasters: Rasters) -> None:
    def fill(file: h5py.File) -> None:
        group = file
        for depth in range(60):
            group = group.create_group(f"g{depth}")
            group["top"], group["again"] = file["/"], group
        group.create_dataset("d", shape=(8,), dtype="u1", external=[("/etc/passwd", 0, 8)])

    name = hdf5(rasters, "deep.nc", fill, np.zeros((8, 8), "u1"))
    error = rasters.refuses((name, "netCDF"), crs="EPSG:4326")
    assert error.reason == "external_data"
    assert "/g59/d" in error.detail


def test_tags_that_are_not_utf8_are_left_out_and_said(rasters: Rasters) -> None:
    pixels = terrain()
    name = rasters.put("x.tif", pixels, describe=lambda made: made.update_tags(TIFFTAG_ARTIST="Z\u00fcrich!"))
    path = rasters.landing / name
    body = path.read_bytes()
    assert body.count("Z\u00fcrich!".encode()) == 1
    path.write_bytes(body.replace("Z\u00fcrich!".encode(), "Z\u00fcrich!!".encode("latin-1")))
    made = rasters.ingest((name, "GTiff"))
    assert made.pixels.tobytes() == pixels.tobytes()
    assert "x.tif" in made.watch.warnings["tags_not_utf8"][0]


def test_attributes_of_types_that_numpy_has_not(rasters: Rasters) -> None:
    """They are no texts, and no reason to stop."""
    path = rasters.landing / "t.nc"
    with h5py.File(path, "w") as file:
        file["crs"] = 0
        kind, space = h5py.h5t.UNIX_D32LE, h5py.h5s.create(h5py.h5s.SCALAR)
        h5py.h5a.create(file["crs"].id, b"made", kind, space)
        with pytest.raises(TypeError):
            file["crs"].attrs.get_id("made").dtype  # noqa: B018 # this is what NumPy says of it
        file["crs"].attrs["long_name"] = "a place"
    check_raster_content(path, "netCDF", "t.nc")


def test_warnings_of_gdal_are_warnings_of_the_run(rasters: Rasters) -> None:
    """Tags of a TIFF have to be sorted: here, the first two are exchanged."""
    name = rasters.put("x.tif", terrain())
    path = rasters.landing / name
    body = bytearray(path.read_bytes())
    at = int.from_bytes(body[4:8], "little") + 2
    body[at : at + 24] = body[at + 12 : at + 24] + body[at : at + 12]
    path.write_bytes(body)
    text = rasters.ingest((name, "GTiff")).watch.warnings["gdal_warning"][0]
    assert text.startswith("GDAL warns about x.tif: ")
    assert "sorted" in text
    assert "source" not in text


def test_warnings_while_pixels_are_read_are_warnings_of_the_run(rasters: Rasters) -> None:
    """A wrong bit in a fax: libtiff finds lines of another length, and goes on."""
    lines = PIL.Image.fromarray(np.indices((200, 300)).sum(axis=0) % 17 < 8).convert("1")
    lines.save(rasters.landing / "x.tif", compression="group3")
    rasters.write("x.tfw", WORLD)
    assert rasters.ingest(("x.tif", "GTiff"), crs="EPSG:32632").watch.warnings == {}
    body = bytearray((rasters.landing / "x.tif").read_bytes())
    body[len(body) // 2] ^= 0x10
    rasters.write("x.tif", bytes(body))
    text = rasters.ingest(("x.tif", "GTiff"), crs="EPSG:32632").watch.warnings["gdal_warning"][0]
    assert "x.tif" in text
    assert "line" in text.lower()
