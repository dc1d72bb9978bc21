"""Rasters outside the area of use of their CRS: published where they lie, refused where they lie nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS, Transformer

from tests.pipelines.rasters import Rasters

IGNORE: dict[str, Any] = {"options": {"area_of_use": "ignore"}}


@pytest.fixture
def rasters(tmp_path: Path) -> Rasters:
    return Rasters(tmp_path)


def raster_at(rasters: Rasters, crs: str, lon: float, lat: float, pixel: float = 100, name: str = "x.tif") -> Any:
    """64 x 64 pixels whose upper left corner is at this place, as PROJ gives it."""
    known = CRS(crs)
    x, y = Transformer.from_crs(known.geodetic_crs, known, always_xy=True).transform(lon, lat)
    pixels = np.arange(4096, dtype="int16").reshape(1, 64, 64)
    return rasters.put(name, pixels, crs=crs, transform=Affine(pixel, 0, x, 0, -pixel, y)), "GTiff"


@pytest.mark.parametrize(
    ("crs", "lon", "lat"),
    [
        ("EPSG:25833", 5.32, 60.39),
        ("EPSG:25833", 31.1, 70.3),
        ("EPSG:25833", 10.7, 59.9),  # Oslo, less than a zone away
        ("EPSG:32632", 18.17, 40.35),
        ("EPSG:5070", -149.9, 61.2),
        ("EPSG:3411", 30, 45),
    ],
)
def test_a_country_in_one_zone(rasters: Rasters, crs: str, lon: float, lat: float) -> None:
    """Bergen, Vardø, Oslo, Lecce, Anchorage and the Black Sea; the plan says the same."""
    file = raster_at(rasters, crs, lon, lat)
    made = rasters.ingest(file)
    assert made.pixels.ravel().tolist() == list(range(4096))
    box = made.product.statistics["bounds_4326"]
    assert (box["minx"], box["maxy"]) == pytest.approx((lon, lat), abs=0.1)
    message, _, _ = made.watch.warnings["outside_area_of_use"]
    assert f"100.0% of it lies outside the area of use of {crs} (" in message
    assert " km. If that is meant, state `files[].options.area_of_use: ignore`." in message
    entry = {"path": file[0], "format": "GTiff", "type": "raster"}
    plan = rasters.plan(entry, intent="ingest_raster")
    assert (plan.would, [each.message for each in plan.warnings]) == ("succeed", [message])

    assert rasters.ingest(file, **IGNORE).watch.warnings == {}
    options = rasters.plan({**entry, **IGNORE}, intent="ingest_raster").files[0].editable.options
    assert options is not None
    assert options.area_of_use == "ignore"


def test_a_raster_that_reaches_across_the_edge_of_its_zone(rasters: Rasters) -> None:
    """As all tiles beside one do."""
    assert "outside_area_of_use" not in rasters.ingest(raster_at(rasters, "EPSG:32632", 11.94, 50)).watch.warnings


def test_a_mosaic_is_meant_if_all_its_files_are(rasters: Rasters) -> None:
    (one, fmt), (two, _) = (raster_at(rasters, "EPSG:25833", 5.32, 60.39, name=name) for name in ("a.tif", "b.tif"))
    files = [{"path": one, "format": fmt}, {"path": two, "format": fmt}]
    assert "outside_area_of_use" in rasters.ingest({**files[0], **IGNORE}, files[1]).watch.warnings
    assert "outside_area_of_use" not in rasters.ingest(*files, **IGNORE).watch.warnings


@pytest.mark.parametrize(
    ("crs", "corner", "pixel", "reading"),
    [
        ("EPSG:25832", (9, 48), 0.01, "as degrees"),
        ("EPSG:32632", (5_400_000, 500_000), 10, "y before x"),
    ],
)
def test_a_raster_that_lies_inside_if_read_otherwise(
    rasters: Rasters, crs: str, corner: tuple[float, float], pixel: float, reading: str
) -> None:
    pixels = np.ones((1, 64, 64), "int16")
    transform = Affine(pixel, 0, corner[0], 0, -pixel, corner[1])
    file = (rasters.put("x.tif", pixels, crs=crs, transform=transform), "GTiff")
    error = rasters.refuses(file)
    assert (error.reason, error.file) == ("outside_area_of_use", "x.tif")
    assert f"lies inside it if its coordinates are read {reading}." in error.detail
    assert "options.area_of_use: ignore" in error.fix
    assert "outside_area_of_use" not in rasters.ingest(file, **IGNORE).watch.warnings


@pytest.mark.parametrize("more", [{}, IGNORE])
def test_a_raster_without_a_place_on_earth(rasters: Rasters, more: dict[str, Any]) -> None:
    """Metres as degrees, and metres of which the projection has no place."""
    pixels = np.ones((1, 64, 64), "int16")
    metres = Affine(10, 0, 500_000, 0, -10, 5_500_000)
    degrees = rasters.refuses((rasters.put("d.tif", pixels, crs="EPSG:4326", transform=metres), "GTiff"), **more)
    assert (degrees.reason, degrees.file) == ("outside_area_of_use", "d.tif")
    assert "no place on Earth in EPSG:4326: a corner is at x=500000, y=5500000" in degrees.detail
    far = Affine(10, 0, 3e7, 0, -10, 3e7)
    beyond = rasters.refuses((rasters.put("f.tif", pixels, crs="EPSG:3035", transform=far), "GTiff"), **more)
    assert (beyond.reason, "no place on Earth in EPSG:3035" in beyond.detail) == ("outside_area_of_use", True)


def test_a_map_of_the_whole_earth_has_corners_without_a_place(rasters: Rasters) -> None:
    half = 6_378_137 * np.pi
    transform = Affine(half / 32, 0, -half, 0, -half / 64, half / 2)
    pixels = np.ones((1, 64, 64), "int16")
    sinusoidal = "+proj=sinu +lon_0=0 +R=6378137 +units=m"
    made = rasters.ingest((rasters.put("s.tif", pixels, crs=sinusoidal, transform=transform), "GTiff"))
    assert made.pixels.all()
