"""Pixels from sources to one working raster, window by window: the mosaic, the warp, and statistics on the way.

The working raster is an uncompressed tiled GeoTIFF in scratch: sources are decoded once, whatever their own layout, and
all that follows (histograms, overviews, the COG) reads it at the speed of the disk.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.io import DatasetReader, DatasetWriter
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from app.jobs.notes import file_at_hand
from app.pipelines.engines.raster_grid import Grid, Part
from app.pipelines.engines.raster_statistics import BandStatistics, Mask, Pixels
from app.pipelines.formats.crs import crs_name
from app.pipelines.formats.raster import RasterSource, check_pixels
from app.pipelines.formats.raster_gdal import UNREADABLE, refuse_unreadable, write_wide_nodata
from app.settings import Limits

BLOCK = 512
_SMALLEST_BLOCK = 128
_WINDOW_BYTES = 48 * 1024 * 1024
_TALLEST = 2048
_MOST_OPEN = 32

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Raster:
    """A finished working raster. like: the source whose description all share."""

    path: Path
    like: RasterSource
    crs: CRS
    transform: Affine
    width: int
    height: int
    masked: bool
    statistics: tuple[BandStatistics, ...]

    @property
    def is_categorical(self) -> bool:
        """Whether values may only be chosen, never averaged: classes, masks, and integers that floats cannot hold."""
        packed = self.like.bits is not None and self.like.bits <= 2
        wide = self.like.dtype in ("int64", "uint64")
        colours = [
            found
            for band, found in zip(self.like.bands, self.statistics, strict=True)
            if band.interpretation != "alpha"
        ]
        few = bool(colours) and all(found.is_categorical for found in colours)
        return self.like.colours is not None or packed or wide or few


def block_size(bands: int, dtype: str) -> int:
    """512, unless a block of all bands would then be huge."""
    size = BLOCK
    while size > _SMALLEST_BLOCK and size * size * bands * np.dtype(dtype).itemsize > _WINDOW_BYTES:
        size //= 2
    return size


def read_ends(source: RasterSource) -> None:
    """Decode the first and the last pixels: a file that was cut off while it was sent has no last ones.

    Raises RunRefused file_damaged, as reading all of them would.
    """
    try:
        with _open(source) as dataset:
            for column, row in ((0, 0), (source.width - 1, source.height - 1)):
                dataset.read(window=Window(column, row, 1, 1))
    except UNREADABLE as err:
        refuse_unreadable(err, source.file, source.name)


def assemble(grid: Grid, target: Path, progress: Progress, *, for_warp: bool) -> Raster:
    """All parts in one raster, exactly as they are; where they overlap, the later file's valid pixels win.

    Pixels that no part covers are nodata, or masked where there is no nodata value. for_warp: masked pixels get the
    nodata value where there is one, because GDAL warps with one or the other; histograms are left to the warp.
    Raises RunRefused file_damaged when a source cannot be read to its end.
    """
    like = grid.parts[0].source
    fold = for_warp and like.missing is not None
    needs_mask = any(part.source.masked for part in grid.parts) or (
        grid.gaps > 0 and like.missing is None and like.alpha is None
    )
    masked = needs_mask and not fold
    collect = _Collector(like)
    tall = grid.parts[0].source.block_height if len(grid.parts) == 1 else BLOCK
    shares = len(like.bands) * np.dtype(like.dtype).itemsize
    with ExitStack() as stack:
        readers = stack.enter_context(_Readers())
        made = stack.enter_context(_create(target, like, grid.crs, grid.transform, (grid.height, grid.width), masked))
        for window in windows(grid.width, grid.height, shares, block_size(len(like.bands), like.dtype), tall, progress):
            pixels, mask = _gather(readers, grid.parts, window, like, needs_mask)
            collect.add(pixels, mask)
            if fold and mask is not None:
                pixels = np.where(mask, pixels, np.array(like.missing, pixels.dtype))
            made.write(pixels, window=window)
            if masked and mask is not None:
                made.write_mask(mask, window=window)
    return _finish(target, grid, like, masked, collect, second_pass=not for_warp)


def warp(source: Raster, target: Path, crs: CRS, resampling: str, limits: Limits, progress: Progress) -> Raster:
    """The same raster on GDAL's own grid in `crs`. What the source does not cover is nodata, transparent or masked."""
    like, file = source.like, source.like.file
    adds_mask = like.missing is None and like.alpha is None
    collect = _Collector(like)
    how = Resampling[resampling]
    with (
        rasterio.open(source.path, driver="GTiff") as opened,
        WarpedVRT(opened, crs=crs_name(crs), resampling=how, add_alpha=adds_mask, warp_mem_limit=64) as warped,
    ):
        check_pixels(warped.width, warped.height, len(like.bands), limits, f"{file}, warped to {crs_name(crs)},")
        grid = Raster(target, like, crs, warped.transform, warped.width, warped.height, adds_mask, ())
        shares = warped.count * np.dtype(like.dtype).itemsize
        shape = (warped.height, warped.width)
        with _create(target, like, crs, warped.transform, shape, adds_mask) as made:
            block = block_size(warped.count, like.dtype)
            for window in windows(warped.width, warped.height, shares, block, BLOCK, progress):
                pixels, mask = warped.read(window=window), None
                if adds_mask:
                    pixels, mask = pixels[:-1], pixels[-1] != 0
                    made.write_mask(mask, window=window)
                collect.add(pixels, mask)
                made.write(pixels, window=window)
    return _finish(target, grid, like, adds_mask, collect, second_pass=True)


def windows(
    width: int, height: int, pixel_bytes: int, block: int, block_height: int, progress: Progress
) -> Iterator[Window]:
    """All windows of whole blocks, row by row, each of bounded size; `progress` hears of every finished one.

    block_height: the source's, so that its blocks are decoded once.
    """
    tall = min(-(-block_height // block) * block, _TALLEST) if block_height < height else block
    wide = max(block, _WINDOW_BYTES // (tall * pixel_bytes) // block * block)
    done, everything = 0, width * height
    for row in range(0, height, tall):
        for column in range(0, width, wide):
            window = Window(column, row, min(wide, width - column), min(tall, height - row))
            yield window
            done += int(window.width * window.height)
            progress(done / everything)


class _Collector:
    """Statistics of every band, and how validity is told from pixels."""

    def __init__(self, like: RasterSource) -> None:
        self.like = like
        self.bands = tuple(BandStatistics(np.dtype(like.dtype)) for _ in like.bands)

    def add(self, pixels: Pixels, mask: Mask | None, *, again: bool = False) -> None:
        like = self.like
        if like.alpha is not None:
            opaque = pixels[like.alpha] != 0
            mask = opaque if mask is None else mask & opaque
        for index, found in enumerate(self.bands):
            valid = None if index == like.alpha else _with_nodata(pixels[index], like, mask)
            (found.add_again if again else found.add)(pixels[index], valid)


def _with_nodata(pixels: Pixels, like: RasterSource, mask: Mask | None) -> Mask | None:
    """Which pixels are neither nodata nor masked; None for all."""
    if like.missing is None:
        return mask
    value = np.array(like.missing).astype(pixels.dtype)
    there: Mask = ~np.isnan(pixels) if value != value else pixels != value  # noqa: PLR0124 # NaN
    return there if mask is None else there & mask


class _Readers(AbstractContextManager["_Readers"]):
    """Sources, opened when they are first read; of a mosaic of thousands only the last few stay open."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, DatasetReader] = OrderedDict()

    def read(self, source: RasterSource, window: Window) -> tuple[Pixels, Mask | None]:
        """Raises RunRefused file_damaged."""
        file_at_hand(source.file)
        try:
            dataset = self._open.pop(source.name, None) or _open(source)
            self._open[source.name] = dataset
            if len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)[1].close()
            pixels: Pixels = dataset.read(window=window)
            return pixels, dataset.read_masks(1, window=window) != 0 if source.masked else None
        except UNREADABLE as err:
            refuse_unreadable(err, source.file, source.name)

    def __exit__(self, *_exc: object) -> None:
        for dataset in self._open.values():
            dataset.close()


def _gather(
    readers: _Readers, parts: Sequence[Part], window: Window, like: RasterSource, needs_mask: bool
) -> tuple[Pixels, Mask | None]:
    """Pixels (bands, rows, columns) and mask of one window of the grid."""
    if len(parts) == 1:
        pixels, mask = readers.read(parts[0].source, window)
        return pixels, np.ones(pixels.shape[1:], bool) if needs_mask and mask is None else mask
    shape = (int(window.height), int(window.width))
    pixels = np.full((len(like.bands), *shape), 0 if like.missing is None else like.missing, like.dtype)
    mask = np.zeros(shape, bool) if needs_mask else None
    for part in parts:
        left, top = max(part.column, int(window.col_off)), max(part.row, int(window.row_off))
        right = min(part.column + part.source.width, int(window.col_off + window.width))
        bottom = min(part.row + part.source.height, int(window.row_off + window.height))
        if left >= right or top >= bottom:
            continue
        there = Window(left - part.column, top - part.row, right - left, bottom - top)
        found, valid = readers.read(part.source, there)
        rows = slice(top - int(window.row_off), bottom - int(window.row_off))
        columns = slice(left - int(window.col_off), right - int(window.col_off))
        if like.alpha is not None:
            opaque = found[like.alpha] != 0
            valid = opaque if valid is None else valid & opaque
        for band, values in zip(pixels, found, strict=True):
            usable = _with_nodata(values, like, valid)
            np.copyto(band[rows, columns], values, where=True if usable is None else usable)
        if mask is not None:
            mask[rows, columns] |= True if valid is None else valid
    return pixels, mask


def _open(source: RasterSource) -> Any:
    return rasterio.open(source.name, driver=source.driver, sharing=False)


@contextmanager
def _create(
    path: Path, like: RasterSource, crs: CRS, transform: Affine, shape: tuple[int, int], masked: bool
) -> Iterator[DatasetWriter]:
    """A working raster with the description of `like`, its pixels still to be written."""
    block = block_size(len(like.bands), like.dtype)
    made = rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=shape[0],
        width=shape[1],
        count=len(like.bands),
        dtype=like.dtype,
        crs=rasterio_crs(crs),
        transform=transform,
        nodata=like.nodata,
        tiled=True,
        blockxsize=block,
        blockysize=block,
        interleave="pixel",
        bigtiff="IF_SAFER",
        sparse_ok=True,
        **({"photometric": "RGB"} if _is_rgb(like) else {}),
    )
    with made:
        made.update_tags(**like.tags)
        made.colorinterp = [ColorInterp[band.interpretation] for band in like.bands]
        if like.colours is not None:
            made.write_colormap(1, dict(like.colours))
        made.scales = [band.scale for band in like.bands]
        made.offsets = [band.offset for band in like.bands]
        for index, band in enumerate(like.bands, 1):
            made.update_tags(index, **band.tags)
            if band.description:
                made.set_band_description(index, band.description)
            if band.unit:
                made.set_band_unit(index, band.unit)
        if masked:
            made.write_mask(False)  # creates it; every window then writes its own
        yield made


def rasterio_crs(crs: CRS) -> rasterio.crs.CRS:
    """By code where there is one, so that every reader knows it; else in full."""
    code = crs.to_authority(min_confidence=100)
    return rasterio.crs.CRS.from_user_input(":".join(code) if code else crs.to_wkt())


def _is_rgb(like: RasterSource) -> bool:
    return [band.interpretation for band in like.bands[:3]] == ["red", "green", "blue"]


def _finish(
    path: Path, grid: Grid | Raster, like: RasterSource, masked: bool, collect: _Collector, *, second_pass: bool
) -> Raster:
    """Histograms of wide types, statistics as band tags, and the nodata value that rasterio cannot write."""
    for found in collect.bands:
        found.finish()
    if second_pass and any(found.needs_second_pass for found in collect.bands):
        shares = len(like.bands) * np.dtype(like.dtype).itemsize
        with rasterio.open(path, driver="GTiff") as made:
            block = made.block_shapes[0][0]
            for window in windows(grid.width, grid.height, shares, block, block, lambda _: None):
                mask = made.read_masks(1, window=window) != 0 if masked else None
                collect.add(made.read(window=window), mask, again=True)
    if second_pass:
        with rasterio.open(path, "r+", driver="GTiff") as made:
            for index, found in enumerate(collect.bands, 1):
                made.update_tags(index, **found.tags())
    if like.wide_nodata is not None:
        write_wide_nodata(str(path), like.dtype, like.wide_nodata)
    return Raster(path, like, grid.crs, grid.transform, grid.width, grid.height, masked, collect.bands)
