"""Opening a raster and reading its pixels in the order, and as the type, that its format means them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.io import DatasetReader
from rasterio.windows import Window

Pixels = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Reading:
    """How the pixels of a raster differ from what GDAL gives.

    Attributes:
        bottom_up: whether the file's first row is the southernmost, for GDAL's netCDF driver; None to let it guess.
        transposed: GDAL's rows are columns of the raster.
        flipped: of a transposed raster, the rows come in reverse order.
        dtype: NumPy's name of the type that the bits of a pixel stand for; None for GDAL's.
        missing: values that mean nodata, beside the nodata value itself.
        valid: (smallest, largest) value that does not mean nodata; None for all.
        options: open options for GDAL's driver.
        mask_name: what GDAL opens to read the mask, where that is another page of the file.
    """

    bottom_up: bool | None = None
    transposed: bool = False
    flipped: bool = False
    dtype: str | None = None
    missing: tuple[float, ...] = ()
    valid: tuple[float, float] | None = None
    options: tuple[tuple[str, str], ...] = ()
    mask_name: str | None = None

    def shape(self, dataset: DatasetReader) -> tuple[int, int]:
        """(height, width) of the raster."""
        height, width = dataset.shape
        return (width, height) if self.transposed else (height, width)

    def pixels(self, dataset: DatasetReader, window: Window) -> Pixels:
        """The pixels (bands, rows, columns) of a window of the raster. Raises what rasterio raises."""
        found: Pixels = dataset.read(window=self._inside(dataset, window))
        if self.transposed:
            found = np.ascontiguousarray(found.transpose(0, 2, 1)[:, :: -1 if self.flipped else 1])
        return found if self.dtype in (None, found.dtype) else found.view(self.dtype)

    def mask(self, dataset: DatasetReader, window: Window) -> Mask:
        """The mask (rows, columns) of a window of a raster with one. Raises what rasterio raises."""
        if self.mask_name is None:
            valid: Mask = dataset.read_masks(1, window=window) != 0
        else:
            with rasterio.open(self.mask_name, driver=dataset.driver, sharing=False) as page:
                valid = page.read(1, window=window) != 0
        return valid

    def store_missing(self, pixels: Pixels, nodata: float | None) -> int:
        """Set all values that mean nodata to the nodata value, in place, if there is one. Returns their number."""
        found = np.zeros(pixels.shape, bool)
        for value in self.missing:
            found |= pixels == np.array(value).astype(pixels.dtype)
        if self.valid is not None:
            found |= (pixels < self.valid[0]) | (pixels > self.valid[1])
        if nodata is not None:
            found &= pixels != np.array(nodata).astype(pixels.dtype)
            pixels[found] = nodata
        return int(np.count_nonzero(found))

    def _inside(self, dataset: DatasetReader, window: Window) -> Window:
        if not self.transposed:
            return window
        first = dataset.width - window.row_off - window.height if self.flipped else window.row_off
        return Window(first, window.col_off, window.height, window.width)


def open_raster(name: str, driver: str, reading: Reading = Reading()) -> DatasetReader:
    """Open a raster with that driver only."""
    order = {} if reading.bottom_up is None else {"GDAL_NETCDF_BOTTOMUP": "YES" if reading.bottom_up else "NO"}
    with rasterio.Env(**order):
        return rasterio.open(name, driver=driver, sharing=False, **dict(reading.options))
