"""The written COG against its sources: CRS, grid, colours, metadata, and pixels by their places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.io import DatasetReader
from rasterio.windows import Window

from app.messages.raster import (
    COLOURS_NOT_WRITTEN,
    CRS_NOT_IN_GEOTIFF,
    METADATA_LEFT_OUT,
    PIXEL_NOT_WRITTEN,
    RASTER_NOT_WRITTEN,
)
from app.models.runs.run import RunWarning
from app.pipelines.common.crs import crs_name, same_crs
from app.pipelines.raster.cog import describe_layout
from app.pipelines.raster.colour import extra_samples, photometric, photometric_value
from app.pipelines.raster.compute import Raster, usable
from app.pipelines.raster.content import RASTER_FORMATS
from app.pipelines.raster.crs import crs_of
from app.pipelines.raster.domains import read_domains
from app.pipelines.raster.gdal import UNREADABLE, read_epoch, refuse_unreadable
from app.pipelines.raster.georef import same_transform
from app.pipelines.raster.grid import Grid, RasterPart
from app.pipelines.raster.reading import Pixels, open_raster
from app.pipelines.raster.source import RasterSource
from app.pipelines.raster.tiff_tags import EXTRA_SAMPLES, PHOTOMETRIC, page_tags

# Files of a mosaic of which pixels are compared.
_MOST_PARTS = 8
# Where all lines above a pixel have to be decoded, pixels below this line are not compared.
_MOST_LINES = 64


def check_product(path: Path, raster: Raster, grid: Grid) -> tuple[Mapping[str, Any], Sequence[RunWarning]]:
    """Read the COG back and compare it with its sources.

    Not every CRS can be stored in a GeoTIFF. The full-size pixels are last in the file, so the last of them shows that
    it was written to its end. Some pixels are read from the sources again and compared at their places, unless the
    raster was warped.

    Returns:
        Its layout, and what a user should know about it.

    Raises:
        RunRefused: crs_not_in_geotiff, raster_not_written.
    """
    template, file = raster.template, raster.template.file
    with rasterio.open(path, driver="GTiff") as cog:
        stored = crs_of(cog.crs, file, "of the result") if cog.crs else None
        if (
            stored is None
            or not same_crs(stored, raster.crs)
            or read_epoch(str(path)) != template.epoch
            or not same_transform(raster.transform, cog.transform, cog.shape)
        ):
            name = crs_name(stored) if stored else "none"
            raise CRS_NOT_IN_GEOTIFF(file=file, crs=crs_name(raster.crs), stored=name)
        tags = page_tags(path)
        if tags[PHOTOMETRIC] != (photometric_value(template),) or tags.get(EXTRA_SAMPLES, ()) != extra_samples(
            template
        ):
            raise COLOURS_NOT_WRITTEN(file=file, photometric=photometric(template))
        try:
            cog.read(window=Window(cog.width - 1, cog.height - 1, 1, 1))
            if (raster.transform, raster.width, raster.height) == (grid.transform, grid.width, grid.height):
                _check_pixels(cog, grid)
        except UNREADABLE as err:
            raise RASTER_NOT_WRITTEN(problem=str(err).replace(str(path), "the result")) from None
        return describe_layout(cog), _metadata_left_out(path, template)


def _metadata_left_out(path: Path, template: RasterSource) -> list[RunWarning]:
    """A warning about the metadata domains of the source that the COG has not."""
    written = read_domains(str(path), len(template.bands), template.file)
    pairs = zip(template.domains, written, strict=True)
    lost = {domain for before, after in pairs for domain in before if domain not in after}
    if not lost:
        return []
    return [METADATA_LEFT_OUT(file=template.file, domains=", ".join(sorted(lost)), count=len(lost))]


def _check_pixels(cog: DatasetReader, grid: Grid) -> None:
    for number, part in list(enumerate(grid.parts))[:: -(-len(grid.parts) // _MOST_PARTS)]:
        source = part.source
        try:
            with open_raster(source.name, source.driver, source.reading) as dataset:
                for column, row in _places(source):
                    if not _is_covered(part, column, row, grid.parts[number + 1 :]):
                        _check_pixel(cog, dataset, source, (column, row), alone=len(grid.parts) == 1)
        except UNREADABLE as err:
            refuse_unreadable(err, source.file, source.name)


def _places(source: RasterSource) -> Iterator[tuple[int, int]]:
    """(column, row) of a few pixels, from the top down."""
    line_by_line = RASTER_FORMATS[source.format].line_by_line
    lowest, right = (min(source.height, _MOST_LINES) if line_by_line else source.height) - 1, source.width - 1
    yield from ((0, 0), (right * 2 // 3, lowest // 3), (right // 3, lowest * 2 // 3), (right, lowest))


def _is_covered(part: RasterPart, column: int, row: int, later: Sequence[RasterPart]) -> bool:
    x, y = part.column + column, part.row + row
    return any(
        0 <= x - other.column < other.source.width and 0 <= y - other.row < other.source.height for other in later
    )


def _check_pixel(
    cog: DatasetReader, dataset: DatasetReader, source: RasterSource, place: tuple[int, int], *, alone: bool
) -> None:
    """Compare one pixel and its mask. In a mosaic, pixels that show what lies below are left out."""
    window = Window(*place, 1, 1)
    wanted = source.reading.pixels(dataset, window)
    source.reading.store_missing(wanted, source.nodata_value)
    shown = not source.masked or bool(source.reading.mask(dataset, window)[0, 0])
    if not alone and not (shown and _has_value(wanted, source)):
        return
    x, y = source.transform @ (place[0] + 0.5, place[1] + 0.5)
    column, row = (floor(each) for each in ~cog.transform @ (x, y))
    there = Window(column, row, 1, 1)
    found = cog.read(window=there)
    same = found.shape == wanted.shape and np.array_equal(found, wanted, equal_nan=found.dtype.kind == "f")
    if not same or (source.masked and shown != bool(cog.read_masks(1, window=there)[0, 0])):
        raise PIXEL_NOT_WRITTEN(file=source.file, column=place[0], row=place[1])


def _has_value(pixel: Pixels, source: RasterSource) -> bool:
    if source.alpha_index is not None and not pixel[source.alpha_index].any():
        return False
    valid = usable(pixel, source, None)
    return valid is None or bool(valid.all())
