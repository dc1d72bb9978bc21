"""Writing a Cloud Optimized GeoTIFF."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from app.messages.raster import RASTER_NOT_WRITTEN
from app.pipelines.common.malloc import trim_heap
from app.pipelines.raster.gdal import create_copy

# With a predictor, level 9 takes three times as long as level 1 for a tenth fewer bytes.
_COMPRESSION, _LEVEL = "ZSTD", "1"


def predictor(dtype: str, *, plain: bool) -> str:
    """GDAL's PREDICTOR. plain: neighbouring values say nothing about each other (colour tables, packed bits)."""
    if plain:
        return "NO"
    return "FLOATING_POINT" if np.dtype(dtype).kind == "f" else "STANDARD"


def write_cog(
    source: Path,
    target: Path,
    *,
    block: int,
    predictor: str,
    resampling: str,
    threads: int,
    progress: Callable[[float], None],
) -> None:
    """Copy a GeoTIFF with its pixels and descriptions, and add overviews. The same source gives the same bytes.

    Args:
        source: a GeoTIFF.
        target: where to write the COG.
        block: width and height of a tile, in pixels.
        predictor: see `predictor`.
        resampling: how overviews are computed: `nearest`, `average`, …
        threads: for compression; the number does not change the bytes.
        progress: called with the share that is done, 0 to 1. What it raises stops the copy and passes through.

    Raises:
        RunRefused: raster_not_written.
    """
    options = {
        "BIGTIFF": "IF_SAFER",
        "BLOCKSIZE": str(block),
        "COMPRESS": _COMPRESSION,
        "LEVEL": _LEVEL,
        "NUM_THREADS": str(threads),
        "OVERVIEWS": "IGNORE_EXISTING",
        "OVERVIEW_RESAMPLING": resampling.upper(),
        "PREDICTOR": predictor,
    }
    trim_heap()
    try:
        create_copy(source, target, "COG", options, progress)
    except RasterioError as err:
        problem = str(err).replace(str(source), "the raster").replace(str(target), "the result")
        raise RASTER_NOT_WRITTEN(problem=problem[:300]) from None


def describe_layout(cog: DatasetReader) -> Mapping[str, Any]:
    """Tile size, overview factors and compression of a COG written by `write_cog`."""
    return {
        "block": cog.block_shapes[0][0],
        "overviews": cog.overviews(1),
        "compression": f"{_COMPRESSION} {_LEVEL}",
    }
