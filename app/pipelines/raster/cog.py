"""Writing a Cloud Optimized GeoTIFF.

GDAL's COG driver does it, but for what it has no options for: colours that it guesses wrongly, and overviews that leave
out NaN. Then the overviews are made here, and the GTiff driver copies them in the layout of a COG.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from app.messages.raster import RASTER_NOT_WRITTEN
from app.pipelines.common.malloc import trim_heap
from app.pipelines.raster.gdal import build_overviews, create_copy

# With a predictor, level 9 takes three times as long as level 1 for a tenth fewer bytes.
_COMPRESSION, _LEVEL = "ZSTD", "1"
# Names of the predictors in the COG driver, and their numbers in the GTiff driver.
_PREDICTORS = {"NO": "1", "STANDARD": "2", "FLOATING_POINT": "3"}


def predictor(dtype: str, *, plain: bool) -> str:
    """GDAL's PREDICTOR. plain: neighbouring values say nothing about each other (colour tables, packed bits)."""
    if plain:
        return "NO"
    return "FLOATING_POINT" if np.dtype(dtype).kind == "f" else "STANDARD"


@dataclass(frozen=True, slots=True)
class CogOptions:
    """How a COG is written.

    Attributes:
        block: width and height of a tile, in pixels.
        predictor: see `predictor`.
        resampling: how overviews are computed: `nearest`, `average`, …
        colours: creation options for the colours (see `colour.py`); None to let GDAL's COG driver guess them.
        skip_nan: leave NaN out of the averages of overviews, also where it is not the nodata value.
        domains: copy all metadata domains of the raster.
    """

    block: int
    predictor: str
    resampling: str
    colours: Mapping[str, str] | None = None
    skip_nan: bool = False
    domains: bool = False


def write_cog(source: Path, target: Path, how: CogOptions, *, threads: int, progress: Callable[[float], None]) -> None:
    """Copy a GeoTIFF with its pixels and descriptions, and add overviews. The same source gives the same bytes.

    Args:
        source: a GeoTIFF; overviews are added to it where the COG driver is not used.
        target: where to write the COG.
        how: see `CogOptions`.
        threads: for compression; the number does not change the bytes.
        progress: called with the share that is done, 0 to 1. What it raises stops the copy and passes through.

    Raises:
        RunRefused: raster_not_written.
    """
    common = {
        "BIGTIFF": "IF_SAFER",
        "COMPRESS": _COMPRESSION,
        "NUM_THREADS": str(threads),
        **({"COPY_SRC_MDD": "YES"} if how.domains else {}),
    }
    trim_heap()
    try:
        if how.colours is None and not how.skip_nan:
            driver = "COG"
            share = 0.0
            options = {
                "BLOCKSIZE": str(how.block),
                "LEVEL": _LEVEL,
                "OVERVIEWS": "IGNORE_EXISTING",
                "OVERVIEW_RESAMPLING": how.resampling.upper(),
                "PREDICTOR": how.predictor,
            }
        else:
            driver = "GTiff"
            share = 0.5
            _add_overviews(source, how, lambda done: progress(done * share))
            options = {
                "BLOCKXSIZE": str(how.block),
                "BLOCKYSIZE": str(how.block),
                "COPY_SRC_OVERVIEWS": "YES",
                "PREDICTOR": _PREDICTORS[how.predictor],
                "TILED": "YES",
                "ZSTD_LEVEL": _LEVEL,
                **(how.colours or {}),
            }
        create_copy(source, target, driver, common | options, lambda done: progress(share + done * (1 - share)))
    except RasterioError as err:
        problem = str(err).replace(str(source), "the raster").replace(str(target), "the result")
        raise RASTER_NOT_WRITTEN(problem=problem[:300]) from None


def _add_overviews(path: Path, how: CogOptions, progress: Callable[[float], None]) -> None:
    """Add overviews of half the size each, until one is not larger than a tile."""
    with rasterio.open(path, driver="GTiff") as raster:
        largest, nodata = max(raster.shape), raster.nodata
    factors = [2**power for power in range(1, 32) if largest > how.block * 2 ** (power - 1)]
    if not factors:
        progress(1.0)
        return
    if not how.skip_nan or nodata != nodata:  # noqa: PLR0124 # NaN
        build_overviews(path, factors, how.resampling, progress)
        return
    with _nan_hidden(path, nodata):
        build_overviews(path, factors, how.resampling, progress)


@contextmanager
def _nan_hidden(path: Path, nodata: float | None) -> Iterator[None]:
    """Inside, NaN is nodata: it becomes the nodata value of a raster without one, else it is replaced by that."""
    if nodata is None:
        with rasterio.open(path, "r+", driver="GTiff") as raster:
            raster.nodata = math.nan
        yield
        with rasterio.open(path, "r+", driver="GTiff") as raster:
            raster.nodata = None
        return
    kept = path.with_name(f"kept-{path.name}")
    shutil.copyfile(path, kept)
    with rasterio.open(kept, driver="GTiff") as original, rasterio.open(path, "r+", driver="GTiff") as raster:
        for _, window in original.block_windows(1):
            pixels = original.read(window=window)
            if np.isnan(pixels).any():
                raster.write(np.where(np.isnan(pixels), np.array(nodata, pixels.dtype), pixels), window=window)
    yield
    with rasterio.open(kept, driver="GTiff") as original, rasterio.open(path, "r+", driver="GTiff") as raster:
        for _, window in original.block_windows(1):
            pixels = original.read(window=window)
            if np.isnan(pixels).any():
                raster.write(pixels, window=window)
    kept.unlink()


def describe_layout(cog: DatasetReader) -> Mapping[str, Any]:
    """Tile size, overview factors and compression of a COG written by `write_cog`."""
    return {
        "block": cog.block_shapes[0][0],
        "overviews": cog.overviews(1),
        "compression": f"{_COMPRESSION} {_LEVEL}",
    }
