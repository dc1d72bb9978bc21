"""The preview: a small PNG of a raster for people, not for computation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, Resampling
from rasterio.io import DatasetReader

from app.pipelines.raster.statistics import EXTREME

LARGEST = 512
# Shares of the pixels that may be darker or brighter than the picture shows.
_DARK, _BRIGHT = 0.02, 0.98

Bytes = npt.NDArray[np.uint8]


def write_preview(
    cog: Path,
    target: Path,
    statistics: Sequence[Mapping[str, Any]],
    *,
    white_is_zero: bool = False,
    premultiplied: bool = False,
) -> None:
    """Write an RGBA PNG of at most 512 x 512 pixels, with the top of the CRS at the top. Nodata is transparent.

    Colours come from the colour table, from the red, green and blue bands, or are grey from the first band. Values
    other than bytes are stretched between the 2nd and the 98th percentile of their histogram.

    Args:
        cog: the raster.
        white_is_zero: of a raster without colours, 0 is white.
        premultiplied: the colours are multiplied with the alpha band.
        target: where to write the PNG.
        statistics: those of each band, as `BandStatistics.describe` gives them.
    """
    with rasterio.open(cog, driver="GTiff") as dataset:
        factor = max(dataset.width, dataset.height) / LARGEST
        shape = tuple(max(1, round(side / factor)) if factor > 1 else side for side in dataset.shape)
        picture = _picture(dataset, (int(shape[0]), int(shape[1])), statistics)
        if white_is_zero:
            picture[:3] = 255 - picture[:3]
        if premultiplied:
            picture = _unmultiplied(picture, dataset)
        picture = _upright(picture, dataset.transform)
    size = {"height": picture.shape[1], "width": picture.shape[2]}
    with rasterio.open(target, "w", driver="PNG", count=4, dtype="uint8", **size) as made:
        made.write(picture)


def _upright(picture: Bytes, transform: Affine) -> Bytes:
    """The picture with y growing to the top and x to the right, as far as turns by 90 degrees do that."""
    a, b, _, d, e, _ = transform[:6]
    across, down = a, e
    if abs(b) + abs(d) > abs(a) + abs(e):
        picture, across, down = picture.swapaxes(1, 2), b, d
    return np.ascontiguousarray(picture[:, :: -1 if down > 0 else 1, :: -1 if across < 0 else 1])


def _unmultiplied(picture: Bytes, dataset: DatasetReader) -> Bytes:
    """Colours that were multiplied with the alpha band, as they were before."""
    alpha = dataset.read(
        dataset.colorinterp.index(ColorInterp.alpha) + 1, out_shape=picture.shape[1:], resampling=Resampling.nearest
    ).astype(np.float64)
    full = np.iinfo(dataset.dtypes[0]).max if np.dtype(dataset.dtypes[0]).kind in "iu" else 1.0
    colours = picture[:3] * (full / np.where(alpha > 0, alpha, full))
    return np.concatenate([np.round(colours.clip(0, 255)).astype(np.uint8), picture[3:]])


def _picture(dataset: DatasetReader, shape: tuple[int, int], statistics: Sequence[Mapping[str, Any]]) -> Bytes:
    kinds = list(dataset.colorinterp)
    colours = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    bands = [kinds.index(kind) + 1 for kind in colours] if all(kind in kinds for kind in colours) else [1]
    masks = (dataset.read_masks(band, out_shape=shape, resampling=Resampling.nearest) != 0 for band in bands)
    opaque = np.logical_or.reduce(list(masks))
    if kinds[0] is ColorInterp.palette:
        table = np.zeros((max(dataset.colormap(1)) + 1, 4), np.uint8)
        for index, colour in dataset.colormap(1).items():
            table[index] = colour
        values = dataset.read(1, out_shape=shape, resampling=Resampling.nearest)
        picture: Bytes = np.moveaxis(table[np.minimum(values, len(table) - 1)], -1, 0).copy()
        picture[3][~opaque] = 0
        return picture
    layers = []
    for band in bands:
        values = dataset.read(band, out_shape=shape)
        if np.dtype(dataset.dtypes[0]).kind == "f":
            opaque &= np.abs(values) < EXTREME
        layers.append(_stretched(values, statistics[band - 1]))
    alpha = np.where(opaque, 255, 0).astype(np.uint8)
    return np.stack([*(layers if len(layers) == 3 else layers * 3), alpha])


def _stretched(values: npt.NDArray[Any], statistics: Mapping[str, Any]) -> Bytes:
    if values.dtype == np.uint8 and statistics.get("max", 0) > 15:
        return values
    low, high = _ends(statistics)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        shares = np.nan_to_num((values.astype(np.float64) - low) / (high - low), nan=0.0, posinf=1.0, neginf=0.0)
    return np.round(shares.clip(0, 1) * 255).astype(np.uint8)


def _ends(statistics: Mapping[str, Any]) -> tuple[float, float]:
    low, high = float(statistics.get("min", 0)), float(statistics.get("max", 1))
    histogram = statistics.get("histogram")
    if histogram and sum(histogram["counts"]):
        edges = np.array(histogram["edges"])
        share = np.cumsum(histogram["counts"]) / sum(histogram["counts"])
        low = max(low, float(edges[np.searchsorted(share, _DARK)]))
        high = min(high, float(edges[np.searchsorted(share, _BRIGHT) + 1]))
    return (low, high) if high > low and np.isfinite(high - low) else (low, low + 1)
