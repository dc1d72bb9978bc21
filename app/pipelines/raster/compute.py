"""The working raster: mosaic and warp, window by window, with statistics of every band.

The working raster is an uncompressed tiled GeoTIFF in scratch. So the sources are decoded once, and all later steps
(histograms, overviews, the COG) read at the speed of the disk.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.io import DatasetReader, DatasetWriter
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from app.jobs.shared_state import record_current_file
from app.models.runs.run import RunWarning
from app.pipelines.common.crs import crs_name
from app.pipelines.raster.colour import creation_options
from app.pipelines.raster.crs import rasterio_crs
from app.pipelines.raster.domains import write_domains
from app.pipelines.raster.gdal import UNREADABLE, gdal_warnings, refuse_unreadable, write_epoch, write_wide_nodata
from app.pipelines.raster.grid import Grid, RasterPart
from app.pipelines.raster.reading import Pixels, open_raster
from app.pipelines.raster.source import RasterSource, check_pixels, gdal_notices
from app.pipelines.raster.statistics import BandStatistics, Mask
from app.settings import Limits

BLOCK = 512
_SMALLEST_BLOCK = 128
_WINDOW_BYTES = 48 * 1024 * 1024
_TALLEST = 2048
_MOST_OPEN = 32

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Raster:
    """A finished working raster.

    Attributes:
        template: the source whose bands, type, nodata value and tags it has.
        missing: how many values of a file, by its key, mean nodata beside its nodata value (see `Reading`).
        warnings: what GDAL warned of while it read the sources.
    """

    path: Path
    template: RasterSource
    crs: CRS
    transform: Affine
    width: int
    height: int
    masked: bool
    statistics: tuple[BandStatistics, ...]
    missing: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[RunWarning, ...] = ()

    @property
    def has_nan(self) -> bool:
        """Whether it has pixels that are no number and that no nodata value or mask leaves out."""
        return any(found.not_finite for found in self.statistics)

    @property
    def is_categorical(self) -> bool:
        """Whether averages of values make no sense: classes, masks, and integers that floats cannot hold."""
        packed = self.template.bits is not None and self.template.bits <= 2
        wide = self.template.dtype in ("int64", "uint64")
        colours = [
            found
            for band, found in zip(self.template.bands, self.statistics, strict=True)
            if band.interpretation != "alpha"
        ]
        few = bool(colours) and all(found.is_categorical for found in colours)
        return self.template.colours is not None or packed or wide or few


def block_size(bands: int, dtype: str) -> int:
    """Width and height of a tile: 512, smaller where a tile of all bands would have more than 48 MiB."""
    size = BLOCK
    while size > _SMALLEST_BLOCK and size * size * bands * np.dtype(dtype).itemsize > _WINDOW_BYTES:
        size //= 2
    return size


def check_first_and_last_pixel(source: RasterSource) -> None:
    """Decode the first and the last pixel, to find truncated files without reading them.

    Raises:
        RunRefused: file_damaged.
    """
    try:
        with open_raster(source.name, source.driver, source.reading) as dataset:
            for column, row in ((0, 0), (source.width - 1, source.height - 1)):
                source.reading.pixels(dataset, Window(column, row, 1, 1))
    except UNREADABLE as err:
        refuse_unreadable(err, source.file, source.name)


def assemble(grid: Grid, target: Path, progress: Progress, *, for_warp: bool) -> Raster:
    """Copy all parts into one raster, pixel values unchanged. Where parts overlap, the later file's valid pixels win.

    Pixels that no part covers are nodata, or masked where there is no nodata value.

    Args:
        grid: the parts and their positions.
        target: where to write the working raster.
        progress: called with the share that is done, 0 to 1.
        for_warp: masked pixels get the nodata value where there is one, because GDAL's warp uses only one of the two;
            histograms are not computed.

    Raises:
        RunRefused: file_damaged when a source cannot be read to its end.
    """
    template = grid.parts[0].source
    fold = for_warp and template.nodata_value is not None
    needs_mask = any(part.source.masked for part in grid.parts) or (
        grid.gaps > 0 and template.nodata_value is None and template.alpha_index is None
    )
    masked = needs_mask and not fold
    collect = _StatisticsCollector(template)
    tall = grid.parts[0].source.block_height if len(grid.parts) == 1 else BLOCK
    pixel_bytes = len(template.bands) * np.dtype(template.dtype).itemsize
    with ExitStack() as stack:
        sources = stack.enter_context(_OpenSources())
        made = stack.enter_context(
            _create(target, template, grid.crs, grid.transform, (grid.height, grid.width), masked)
        )
        for window in windows(
            grid.width, grid.height, pixel_bytes, block_size(len(template.bands), template.dtype), tall, progress
        ):
            pixels, mask = _read_window(sources, grid.parts, window, template, needs_mask)
            collect.add(pixels, mask)
            if fold and mask is not None:
                pixels = np.where(mask, pixels, np.array(template.nodata_value, pixels.dtype))
            made.write(pixels, window=window)
            if masked and mask is not None:
                made.write_mask(mask, window=window)
    made = _finish(target, grid, template, masked, collect, second_pass=not for_warp)
    write_domains(str(target), template.domains, moved=len(grid.parts) > 1 or template.reading.transposed)
    return replace(made, missing=dict(sources.missing), warnings=tuple(sources.warnings))


def warp(source: Raster, target: Path, crs: CRS, resampling: str, limits: Limits, progress: Progress) -> Raster:
    """Warp a working raster to `crs`, on the grid that GDAL suggests.

    Pixels outside the source become nodata, transparent or masked.

    Args:
        source: the working raster of `assemble`.
        target: where to write the new working raster.
        crs: the CRS to warp to.
        resampling: GDAL's name of the method: `nearest`, `bilinear`, …
        limits: those of the run; the result may have more pixels than the source.
        progress: called with the share that is done, 0 to 1.

    Raises:
        RunRefused: pixels_too_many.
    """
    template, file = source.template, source.template.file
    adds_mask = template.nodata_value is None and template.alpha_index is None
    collect = _StatisticsCollector(template)
    how = Resampling[resampling]
    with (
        rasterio.open(source.path, driver="GTiff") as opened,
        WarpedVRT(opened, crs=crs_name(crs), resampling=how, add_alpha=adds_mask, warp_mem_limit=64) as warped,
    ):
        check_pixels(
            warped.width, warped.height, len(template.bands), limits, f"{file} warped to {crs_name(crs)}", file
        )
        grid = Raster(target, template, crs, warped.transform, warped.width, warped.height, adds_mask, ())
        pixel_bytes = warped.count * np.dtype(template.dtype).itemsize
        shape = (warped.height, warped.width)
        with _create(target, template, crs, warped.transform, shape, adds_mask) as made:
            block = block_size(warped.count, template.dtype)
            for window in windows(warped.width, warped.height, pixel_bytes, block, BLOCK, progress):
                pixels, mask = warped.read(window=window), None
                if adds_mask:
                    pixels, mask = pixels[:-1], pixels[-1] != 0
                    made.write_mask(mask, window=window)
                collect.add(pixels, mask)
                made.write(pixels, window=window)
    made = _finish(target, grid, template, adds_mask, collect, second_pass=True)
    write_domains(str(target), template.domains, moved=True)
    return made


def windows(
    width: int, height: int, pixel_bytes: int, block: int, block_height: int, progress: Progress
) -> Iterator[Window]:
    """Windows that cover a raster, row by row, each of whole blocks and of at most about 48 MiB.

    Args:
        width: of the raster, in pixels.
        height: of the raster, in pixels.
        pixel_bytes: bytes of one pixel in all bands.
        block: width and height of the blocks that are written.
        block_height: height of the blocks that are read, so that each of them is decoded once.
        progress: called after each window with the share that is done, 0 to 1.
    """
    tall = min(-(-block_height // block) * block, _TALLEST) if block_height < height else block
    wide = max(block, _WINDOW_BYTES // (tall * pixel_bytes) // block * block)
    done, total = 0, width * height
    for row in range(0, height, tall):
        for column in range(0, width, wide):
            window = Window(column, row, min(wide, width - column), min(tall, height - row))
            yield window
            done += int(window.width * window.height)
            progress(done / total)


class _StatisticsCollector:
    """Statistics of every band, of pixels that are neither nodata, masked nor transparent."""

    def __init__(self, template: RasterSource) -> None:
        self.template = template
        self.bands = tuple(BandStatistics(np.dtype(template.dtype)) for _ in template.bands)

    def add(self, pixels: Pixels, mask: Mask | None, *, second_pass: bool = False) -> None:
        template = self.template
        if template.alpha_index is not None:
            opaque = pixels[template.alpha_index] != 0
            mask = opaque if mask is None else mask & opaque
        for index, found in enumerate(self.bands):
            valid = None if index == template.alpha_index else _with_nodata(pixels[index], template, mask)
            (found.add_second_pass if second_pass else found.add)(pixels[index], valid)


def _with_nodata(pixels: Pixels, template: RasterSource, mask: Mask | None) -> Mask | None:
    """Which pixels are neither nodata nor masked; None for all."""
    if template.nodata_value is None:
        return mask
    value = np.array(template.nodata_value).astype(pixels.dtype)
    valid: Mask = ~np.isnan(pixels) if value != value else pixels != value  # noqa: PLR0124 # NaN
    return valid if mask is None else valid & mask


def usable(pixels: Pixels, template: RasterSource, mask: Mask | None) -> Mask | None:
    """Which pixels of a file are neither nodata in all bands nor masked; None for all. A pixel is never made of the
    bands of two files."""
    bands = (values for index, values in enumerate(pixels) if index != template.alpha_index)
    shown = np.zeros(pixels.shape[1:], bool)
    for values in bands:
        found = _with_nodata(values, template, mask)
        if found is None:
            return None
        shown |= found
    return shown


class _OpenSources(AbstractContextManager["_OpenSources"]):
    """Sources of a mosaic, opened when they are first read. The least recently read are closed."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, DatasetReader] = OrderedDict()
        self.missing: Counter[str] = Counter()
        self.warnings: list[RunWarning] = []

    def read(self, source: RasterSource, window: Window) -> tuple[Pixels, Mask | None]:
        """Pixels (bands, rows, columns) and mask of a window. Raises RunRefused file_damaged."""
        record_current_file(source.file)
        try:
            with gdal_warnings() as texts:
                found = self._read(source, window)
            self.warnings += gdal_notices(texts, source, [*source.warnings, *self.warnings])
            return found
        except UNREADABLE as err:
            refuse_unreadable(err, source.file, source.name)

    def _read(self, source: RasterSource, window: Window) -> tuple[Pixels, Mask | None]:
        dataset = self._open.pop(source.name, None) or open_raster(source.name, source.driver, source.reading)
        self._open[source.name] = dataset
        if len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)[1].close()
        pixels = source.reading.pixels(dataset, window)
        if (found := source.reading.store_missing(pixels, source.nodata_value)) > 0:
            self.missing[source.file] += found
        return pixels, source.reading.mask(dataset, window) if source.masked else None

    def __exit__(self, *_exc: object) -> None:
        for dataset in self._open.values():
            dataset.close()


def _read_window(
    sources: _OpenSources, parts: Sequence[RasterPart], window: Window, template: RasterSource, needs_mask: bool
) -> tuple[Pixels, Mask | None]:
    """Pixels (bands, rows, columns) and mask (True: valid) of one window of the grid."""
    if len(parts) == 1:
        pixels, mask = sources.read(parts[0].source, window)
        return pixels, np.ones(pixels.shape[1:], bool) if needs_mask and mask is None else mask
    shape = (int(window.height), int(window.width))
    pixels = np.full(
        (len(template.bands), *shape), 0 if template.nodata_value is None else template.nodata_value, template.dtype
    )
    mask = np.zeros(shape, bool) if needs_mask else None
    for part in parts:
        left, top = max(part.column, int(window.col_off)), max(part.row, int(window.row_off))
        right = min(part.column + part.source.width, int(window.col_off + window.width))
        bottom = min(part.row + part.source.height, int(window.row_off + window.height))
        if left >= right or top >= bottom:
            continue
        part_window = Window(left - part.column, top - part.row, right - left, bottom - top)
        found, valid = sources.read(part.source, part_window)
        rows = slice(top - int(window.row_off), bottom - int(window.row_off))
        columns = slice(left - int(window.col_off), right - int(window.col_off))
        if template.alpha_index is not None:
            opaque = found[template.alpha_index] != 0
            valid = opaque if valid is None else valid & opaque
        shown = usable(found, template, valid)
        np.copyto(pixels[:, rows, columns], found, where=True if shown is None else shown)
        if mask is not None:
            mask[rows, columns] |= True if valid is None else valid
    return pixels, mask


@contextmanager
def _create(
    path: Path, template: RasterSource, crs: CRS, transform: Affine, shape: tuple[int, int], masked: bool
) -> Iterator[DatasetWriter]:
    """A new working raster with the description of `template`, without pixels."""
    block = block_size(len(template.bands), template.dtype)
    made = rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=shape[0],
        width=shape[1],
        count=len(template.bands),
        dtype=template.dtype,
        crs=rasterio_crs(crs),
        transform=transform,
        nodata=template.nodata,
        tiled=True,
        blockxsize=block,
        blockysize=block,
        interleave="pixel",
        bigtiff="IF_SAFER",
        sparse_ok=True,
        **creation_options(template),
    )
    with made:
        made.update_tags(**template.tags)
        made.colorinterp = [ColorInterp[band.interpretation] for band in template.bands]
        if template.colours is not None:
            made.write_colormap(1, dict(template.colours))
        made.scales = [band.scale for band in template.bands]
        made.offsets = [band.offset for band in template.bands]
        for index, band in enumerate(template.bands, 1):
            made.update_tags(index, **band.tags)
            if band.description:
                made.set_band_description(index, band.description)
            if band.unit:
                made.set_band_unit(index, band.unit)
        if masked:
            made.write_mask(False)  # creates the mask; every window then writes its own part
        yield made


def _finish(
    path: Path,
    grid: Grid | Raster,
    template: RasterSource,
    masked: bool,
    collect: _StatisticsCollector,
    *,
    second_pass: bool,
) -> Raster:
    """Complete the statistics, store them as band tags, and set the nodata value that rasterio cannot write."""
    for found in collect.bands:
        found.finish()
    if second_pass and any(found.needs_second_pass for found in collect.bands):
        pixel_bytes = len(template.bands) * np.dtype(template.dtype).itemsize
        with rasterio.open(path, driver="GTiff") as made:
            block = made.block_shapes[0][0]
            for window in windows(grid.width, grid.height, pixel_bytes, block, block, lambda _: None):
                mask = made.read_masks(1, window=window) != 0 if masked else None
                collect.add(made.read(window=window), mask, second_pass=True)
    if second_pass:
        with rasterio.open(path, "r+", driver="GTiff") as made:
            for index, found in enumerate(collect.bands, 1):
                made.update_tags(index, **found.tags())
    if template.wide_nodata is not None:
        write_wide_nodata(str(path), template.dtype, template.wide_nodata)
    if template.epoch is not None:
        write_epoch(str(path), template.epoch)
    return Raster(path, template, grid.crs, grid.transform, grid.width, grid.height, masked, collect.bands)
