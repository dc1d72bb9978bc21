"""Refusals of rasters say what is true, and following their advice helps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.control import GroundControlPoint

from tests.pipelines.rasters import UTM, Rasters, terrain
from tests.pipelines.tiffs import PIXEL_SCALE, TIE_POINT, geo_keys, tiff

WORLD = "10\n0\n0\n-10\n500005\n5499995\n"
PRJ = CRS.from_epsg(32632).to_wkt("WKT1_ESRI")
PIXELS = np.arange(48, dtype="u1").reshape(1, 6, 8)
UTM_KEYS = geo_keys({1024: 1, 1025: 1, 3072: 32632})

# What writes a raster that does not say where it lies, and the endings of the files that do.
BARE: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "GTiff": (".tif", {}, (".tfw", ".wld")),
    "COG": (".tif", {}, (".tfw", ".wld")),
    "JP2": (".jp2", {"driver": "JP2OpenJPEG", "quality": 100, "reversible": True}, (".j2w", ".wld")),
    "PNG": (".png", {"driver": "PNG"}, (".pgw", ".wld")),
    "JPEG": (".jpg", {"driver": "JPEG"}, (".jgw", ".wld")),
}


@pytest.fixture
def rasters(tmp_path: Path) -> Rasters:
    return Rasters(tmp_path)


@pytest.mark.parametrize("fmt", BARE)
def test_the_files_that_a_refusal_asks_for_are_read(rasters: Rasters, fmt: str) -> None:
    suffix, profile, worlds = BARE[fmt]
    name = rasters.put(f"x{suffix}", terrain("uint8", 1, 40, 50), crs=None, transform=None, **profile)
    assert rasters.refuses((name, fmt)).reason == "crs_missing"
    rasters.write("x.prj", PRJ)
    error = rasters.refuses((name, fmt))
    assert error.reason == "georeference_missing"
    for world in worlds:
        assert world in error.fix
        path = rasters.landing / rasters.write(f"x{world}", WORLD)
        made = rasters.ingest((name, fmt))
        path.unlink()
        with made.open() as dataset:
            assert (dataset.crs, dataset.transform) == ("EPSG:32632", UTM)


def test_a_netcdf_without_coordinates_is_no_case_for_a_world_file(rasters: Rasters) -> None:
    name = rasters.put_netcdf("x.nc", terrain("float32", 1, 9, 9), crs=None, transform=None)
    error = rasters.refuses((name, "netCDF"), crs="EPSG:4326")
    assert error.reason == "georeference_missing"
    assert "coordinate variable" in error.fix


@pytest.mark.parametrize("compression", [50002, 34712, 34661])
def test_a_compression_that_is_not_known_is_no_damage(rasters: Rasters, compression: int) -> None:
    """JPEG XL, JPEG 2000 and JBIG within TIFF."""
    error = rasters.refuses((rasters.write("x.tif", tiff(PIXELS, {**UTM_KEYS, 259: ("H", [compression])})), "GTiff"))
    assert error.reason == "compression_not_supported"
    assert "codec" in error.detail
    assert "gdal_translate" in error.fix
    assert "source" not in error.detail


def test_control_points_are_named_before_the_crs(rasters: Rasters) -> None:
    points = [GroundControlPoint(r, c, x, y) for r, c, x, y in ((0, 0, 7, 50), (0, 9, 8, 50), (7, 0, 7, 49))]
    size = {"width": 9, "height": 7, "count": 1}
    with rasterio.open(rasters.landing / "x.tif", "w", driver="GTiff", dtype="uint8", **size) as made:
        made.gcps = (points, rasterio.crs.CRS.from_epsg(4326))
    error = rasters.refuses(("x.tif", "GTiff"))
    assert error.reason == "georeference_not_affine"
    assert "3 ground control points" in error.detail


def test_pixels_of_one_unit_at_the_origin(rasters: Rasters) -> None:
    keys = geo_keys({1024: 2, 1025: 1, 2048: 4326})
    place = {PIXEL_SCALE: ("d", [1.0, 1.0, 0.0]), TIE_POINT: ("d", [0.0] * 6)}
    with rasters.ingest((rasters.write("x.tif", tiff(PIXELS, {**keys, **place})), "GTiff")).open() as dataset:
        assert dataset.transform == Affine(1, 0, 0, 0, -1, 0)
    nowhere = rasters.write("y.tif", tiff(PIXELS, {**keys, PIXEL_SCALE: ("d", None), TIE_POINT: ("d", None)}))
    assert rasters.refuses((nowhere, "GTiff")).reason == "georeference_missing"
