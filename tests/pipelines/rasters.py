"""Small real rasters in the landing zone, and the raster pipeline over them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetReader
from rasterio.shutil import copy
from rio_cogeo import cog_validate

from app.errors import RunRefused
from app.pipelines.contract.context import Product
from app.pipelines.raster import pipeline as raster
from tests.pipelines.conftest import Bench, Watch

UTM = Affine(10, 0, 500_000, 0, -10, 5_500_000)
LIMITS = {"limits"}


@dataclass
class Made:
    """What came out, opened by plain rasterio."""

    product: Product
    watch: Watch
    path: Path

    def open(self) -> DatasetReader:
        return rasterio.open(self.path)

    @property
    def pixels(self) -> Any:
        with self.open() as dataset:
            return dataset.read()

    @property
    def bands(self) -> Any:
        return self.product.statistics["bands"]


class Rasters(Bench):
    """A landing zone for rasters."""

    def put(self, name: str, pixels: Any, **profile: Any) -> str:
        """Write (bands, rows, columns) with rasterio; the profile's defaults are a UTM GeoTIFF. Returns the key."""
        pixels = np.asarray(pixels)
        described = profile.pop("describe", None)
        settings = {
            "driver": "GTiff", "count": len(pixels), "height": pixels.shape[1], "width": pixels.shape[2],
            "dtype": str(pixels.dtype), "crs": "EPSG:32632", "transform": UTM, **profile,
        }  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with (
                rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
                rasterio.open(self.landing / name, "w", **settings) as made,
            ):
                made.write(pixels)
                if described:
                    described(made)
        return name

    def put_netcdf(self, name: str, pixels: Any, **profile: Any) -> str:
        """The same as netCDF, one variable a band (rasterio writes that format by copying only)."""
        options = profile.pop("options", {})
        source = self.put("source.tif", pixels, **profile)
        copy(self.landing / source, self.landing / name, driver="netCDF", **options)
        (self.landing / source).unlink()
        return name

    def ingest(self, *files: tuple[str, str] | dict[str, Any], intent: str = "ingest_raster", **more: Any) -> Made:
        """Run over (key, format) pairs; limits=… goes to the context, everything else into every file's entry."""
        context = {"limits": more.pop("limits")} if "limits" in more else {}
        entries = [
            dict(zip(("path", "format"), file, strict=True)) if isinstance(file, tuple) else file for file in files
        ]
        ctx = self.context(*({"type": "raster", **entry, **more} for entry in entries), intent=intent, **context)
        raster.run(ctx)
        assert ctx.product is not None
        assert cog_validate(ctx.product.path, strict=True) == (True, [], [])
        assert not list(ctx.product.path.parent.glob("*.aux.xml"))
        return Made(ctx.product, ctx.watch, ctx.product.path)

    def refuses(self, *files: tuple[str, str] | dict[str, Any], **more: Any) -> RunRefused:
        """Run over files that must be refused; what it says must name the file and a fix."""
        with pytest.raises(RunRefused) as caught:
            self.ingest(*files, **more)
        error = caught.value
        assert error.fix
        assert error.file is None or error.file in error.detail
        assert str(self.landing.parent) not in str(error)
        return error


def terrain(dtype: str = "int16", bands: int = 1, height: int = 700, width: int = 900) -> Any:
    """Smooth hills with noise, over the whole range of small types; never 0."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:height, :width]
    layers = np.stack([np.sin(x / (90 + 10 * b)) * np.cos(y / 70) + rng.normal(0, 0.05, x.shape) for b in range(bands)])
    if np.dtype(dtype).kind == "f":
        return (layers * 1234.5).astype(dtype)
    info = np.iinfo(dtype)
    if info.bits == 64:
        return info.max - rng.integers(0, 10**6, layers.shape).astype(dtype)
    shares = (layers - layers.min()) / np.ptp(layers)
    found = (info.min + shares * (float(info.max) - info.min)).clip(info.min, info.max).astype(dtype)
    found[found == 0] = 1
    return found
