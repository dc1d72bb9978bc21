"""Pixels that mean nodata to a person and are values to the file: -3.4028e38 beside the nodata value -3.4e38."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from tests.pipelines.rasters import Rasters

LOWEST = float(np.finfo(np.float32).min)


@pytest.fixture
def rasters(tmp_path: Path) -> Rasters:
    return Rasters(tmp_path)


@pytest.mark.parametrize(
    ("dtype", "nodata", "value"),
    [
        ("float32", -3.4e38, LOWEST),
        ("float32", None, LOWEST),
        ("float32", -9999.0, -LOWEST),
        ("float64", -3.4e38, float(np.finfo(np.float64).min)),
        ("float64", LOWEST, -3.4028e38),
    ],
)
def test_pixels_beside_nodata_are_kept_and_left_out_of_the_statistics(
    rasters: Rasters, dtype: str, nodata: float | None, value: float
) -> None:
    pixels = np.arange(600, dtype=dtype).reshape(1, 20, 30)
    pixels[0, 3:5, 4:9] = value
    if nodata is not None:
        pixels[0, 0, 0] = nodata
    found = rasters.ingest((rasters.put("a.tif", pixels, nodata=nodata), "GTiff"))
    assert np.array_equal(found.pixels, pixels)
    message, count, samples = found.watch.warnings["pixels_extreme"]
    assert (count, samples) == (10, ({"band": 1, "value": value},))
    assert f"-a_nodata {value:.17g}`" in message
    usual = pixels[(np.abs(pixels) < 1e38) & (pixels != nodata)].astype(float)
    band = found.bands[0]
    assert (band["min"], band["max"], band["valid"]) == (usual.min(), usual.max(), usual.size)
    assert band["mean"] == pytest.approx(usual.mean())
    assert band["std"] == pytest.approx(usual.std())
    assert sum(band["histogram"]["counts"]) == usual.size
    assert (band["extreme"], band["nodata"]) == (10, int(nodata is not None))
    with found.open() as dataset:
        assert float(dataset.tags(1)["STATISTICS_MINIMUM"]) == usual.min()
    with rasterio.open(found.product.companions["preview.png"]) as preview:
        shown = preview.read(4) > 0
        assert np.array_equal(shown, (np.abs(pixels[0]) < 1e38) & (pixels[0] != nodata))


@pytest.mark.parametrize("values", [[9.9e37, -9.9e37], [float("nan"), float("inf")], [1.0, 2.0]])
def test_other_values_are_not_said_to_be_extreme(rasters: Rasters, values: list[Any]) -> None:
    found = rasters.ingest((rasters.put("a.tif", np.array([[[*values, 5.0]]], np.float32)), "GTiff"))
    assert "pixels_extreme" not in found.watch.warnings
    assert "extreme" not in found.bands[0]


def test_every_band_and_file_is_counted(rasters: Rasters) -> None:
    pixels = np.ones((2, 4, 4), np.float32)
    pixels[0, 0, 0], pixels[1, :2] = LOWEST, -LOWEST
    found = rasters.ingest((rasters.put("a.tif", pixels), "GTiff"))
    _, count, samples = found.watch.warnings["pixels_extreme"]
    assert (count, [each["band"] for each in samples]) == (9, [1, 2])
    assert [band["extreme"] for band in found.bands] == [1, 8]


def test_a_band_of_nothing_else_has_no_statistics(rasters: Rasters) -> None:
    found = rasters.ingest((rasters.put("a.tif", np.full((1, 3, 3), LOWEST, np.float32)), "GTiff"))
    assert found.bands[0]["extreme"] == 9
    assert "min" not in found.bands[0]
