"""The input of the raster part, and what is in a result: python -m bench.raster make|check FILE [SIZE]."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window
from rio_cogeo import cog_validate

BANDS = 3
ROWS = 512


def make(path: str, size: int) -> None:
    """Three bands of uint16: hills, with noise as of a sensor; tiled, uncompressed. Always the same."""
    rng = np.random.default_rng(20260101)
    unfinished = Path(path).with_suffix(".unfinished")
    x = np.arange(size) / 700
    transform = rasterio.Affine(10, 0, 400_000, 0, -10, 5_900_000)
    described = {"dtype": "uint16", "nodata": 0, "crs": "EPSG:25832", "transform": transform}
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512}
    with rasterio.open(
        unfinished, "w", driver="GTiff", width=size, height=size, count=BANDS, **described, **layout
    ) as made:
        for row in range(0, size, ROWS):
            y = np.arange(row, min(row + ROWS, size))[:, None] / 500
            hills = 3000 + 1500 * np.sin(x + 0.3 * np.sin(y)) * np.cos(y)
            bands = [hills * (0.6 + 0.2 * band) + rng.normal(0, 12, hills.shape) for band in range(BANDS)]
            pixels = np.stack(bands).clip(1, 65_535).astype(np.uint16)
            made.write(pixels, window=Window(0, row, size, len(y)))
    unfinished.rename(path)


def check(path: str) -> dict[str, object]:
    """Strict validity, a hash of all pixels, and bytes."""
    digest = hashlib.sha256()
    with rasterio.open(path) as dataset:
        for row in range(0, dataset.height, ROWS):
            window = Window(0, row, dataset.width, min(ROWS, dataset.height - row))
            digest.update(dataset.read(window=window).tobytes())
    valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
    return {
        "valid": valid and not errors and not warnings,
        "pixels": digest.hexdigest(),
        "bytes": Path(path).stat().st_size,
    }


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], int(sys.argv[3]))
    else:
        sys.stdout.write(json.dumps(check(sys.argv[2])))
