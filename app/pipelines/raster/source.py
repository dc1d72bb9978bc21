"""Opening and describing a raster source: content checks, layer, CRS, geotransform, bands. No pixel is read."""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
from affine import Affine
from pyproj import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader

from app.jobs.shared_state import record_current_file
from app.messages.common import LAYERS_TOO_MANY
from app.messages.raster import (
    BANDS_TOO_MANY,
    COLOUR_TABLE_ALPHA,
    COLOUR_TABLE_MISSING,
    COLOURS_CONVERTED,
    DTYPE_NOT_SUPPORTED,
    FORMAT_NOT_RASTER,
    GDAL_WARNED,
    LAYER_AMBIGUOUS,
    NO_RASTER,
    NODATA_DIFFERS,
    NODATA_IMPOSSIBLE,
    PIXELS_TOO_MANY,
    TAGS_NOT_UTF8,
    TAGS_TOO_LARGE,
)
from app.models.formats import find_format
from app.models.numbers import whole_number
from app.models.runs.run import RunWarning
from app.pipelines.common.unknown_layer import unknown_layer
from app.pipelines.contract.context import FetchedFile
from app.pipelines.raster.content import RASTER_FORMATS, check_raster_content
from app.pipelines.raster.crs import find_crs
from app.pipelines.raster.domains import Domains, read_domains
from app.pipelines.raster.gdal import (
    UNREADABLE,
    gdal_warnings,
    read_epoch,
    read_wide_nodata,
    refuse_unreadable,
    undecodable_tags,
)
from app.pipelines.raster.georef import check_georeference, resolve_transform
from app.pipelines.raster.reading import Reading, open_raster
from app.pipelines.raster.tiff_tags import EXTRA_SAMPLES, PHOTOMETRIC
from app.settings import Limits

Colour = tuple[int, int, int, int]
_REAL = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
_MAX_TAG_BYTES = 1 << 20
_MOST_WARNINGS = 5
# Colours that GDAL converts to RGB. YCbCr, which JPEG stores, is not among them.
_CONVERTED = ("CMYK", "YCCK", "CIELAB", "ICCLAB", "ITULAB")
# The path, or the name, of a local copy; see `inspect`.
_LOCAL_NAME = re.compile(r"(?:\S*/)?(?:source|signed)\.(?:tiff?|nc|jp2|png|jpe?g)\b")
# One mask for all bands: a band of its pixels, or all pixels of the colour that the tag NODATA_VALUES names.
_MASKED, _MASKED_BY_COLOUR = [MaskFlags.per_dataset], [MaskFlags.per_dataset, MaskFlags.nodata]
_PREMULTIPLIED = 1  # of ExtraSamples


@dataclass(frozen=True, slots=True)
class Band:
    """The description of one band. scale, offset: value = number in the file * scale + offset."""

    description: str | None
    unit: str | None
    scale: float
    offset: float
    interpretation: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RasterSource:
    """One raster, checked and described.

    Attributes:
        file: the key in the landing zone.
        name: what GDAL opens: the path of the local copy, or a subdataset of it.
        format: name of the declared format.
        driver: the GDAL driver that opens it.
        layer: the variable or page; None where the file is one raster.
        crs: its CRS.
        epoch: the coordinate epoch, as a year, of a dynamic CRS.
        transform: from (column, row) of pixel corners to coordinates of the CRS, x before y.
        width: in pixels.
        height: in pixels.
        dtype: NumPy's name of the type of all bands.
        bits: fewer than the type's where pixels are packed (1: a mask); else None.
        bands: their descriptions, in order.
        nodata: the nodata value; None for types of 64-bit integers.
        wide_nodata: the nodata value where the type is a 64-bit integer.
        masked: whether it has one mask for all bands.
        colours: the colour table of the first band.
        white_is_zero: of a raster without colours, 0 is white and the largest value black.
        premultiplied: the colours are multiplied with the alpha band.
        tags: metadata of the raster.
        domains: further metadata of the raster and its bands.
        block_height: rows that are decoded together.
        reading: how its pixels differ from what GDAL gives.
        warnings: what a user should know about the source.
        carries_crs: whether the source, or the .prj beside it, declares its CRS.
    """

    file: str
    name: str
    format: str
    driver: str
    layer: str | None
    crs: CRS
    epoch: float | None
    transform: Affine
    width: int
    height: int
    dtype: str
    bits: int | None
    bands: tuple[Band, ...]
    nodata: float | None
    wide_nodata: int | None
    masked: bool
    colours: Mapping[int, Colour] | None
    white_is_zero: bool
    premultiplied: bool
    tags: Mapping[str, str]
    domains: Domains
    block_height: int
    warnings: tuple[RunWarning, ...]
    reading: Reading = field(default_factory=Reading)
    carries_crs: bool = True

    @property
    def nodata_value(self) -> float | int | None:
        """The exact nodata value, also of 64-bit integers."""
        return self.nodata if self.wide_nodata is None else self.wide_nodata

    @property
    def alpha_index(self) -> int | None:
        """Index (from 0) of the alpha band."""
        return next((i for i, band in enumerate(self.bands) if band.interpretation == "alpha"), None)


def inspect(fetched: FetchedFile, limits: Limits) -> RasterSource:
    """Check and describe one file of a manifest. Only the GDAL driver of its declared format can open it.

    The file is linked into an empty directory first, so that GDAL finds no sidecar files.

    Raises:
        RunRefused: format_not_raster, file_*, content_mismatch, external_data, layer_*, pixels_too_many,
            bands_too_many, dtype_not_supported, nodata_differs, tags_too_large, crs_*, georeference_*,
            world_file_invalid.
    """
    declared = fetched.declared
    file = declared.key
    record_current_file(file)
    fmt = find_format(declared.format)
    if fmt is None or fmt.type != "raster":
        raise FORMAT_NOT_RASTER(file=file, type=declared.type, format=declared.format)
    check_raster_content(fetched.path, fmt.name, file)
    own = _own_copy(fetched.path, fmt.suffixes[0])
    opened = own
    try:
        opened = RASTER_FORMATS[fmt.name].readable(own)
        with gdal_warnings() as texts:
            name, layer = _choose_layer(opened, fmt.drivers[0], declared.layer, file, limits)
            with open_raster(name, fmt.drivers[0]) as dataset:
                source = _describe(dataset, own, layer, fmt.name, fetched, limits)
    except UNREADABLE as err:
        refuse_unreadable(err, file, opened)
    return replace(source, warnings=(*source.warnings, *gdal_notices(texts, source, source.warnings)))


def gdal_notices(texts: Sequence[str], source: RasterSource, known: Sequence[RunWarning]) -> list[RunWarning]:
    """Warnings of the run for those of GDAL, without the names of local copies; at most five of a file.

    Those about the place are left out where it was checked here.

    Args:
        texts: what GDAL warned of.
        source: the file that was read.
        known: the warnings that there are already.
    """
    ignored = RASTER_FORMATS[source.format].ignored if source.reading.bottom_up is not None else ()
    problems = (_LOCAL_NAME.sub(source.file, text)[:300].rstrip(".") for text in texts if not text.startswith(ignored))
    made = (GDAL_WARNED(file=source.file, problem=problem) for problem in problems)
    said = sum(each.code == GDAL_WARNED.code and source.file in each.message for each in known)
    return list(islice((warning for warning in made if warning not in known), max(_MOST_WARNINGS - said, 0)))


def _own_copy(path: Path, suffix: str) -> Path:
    """A hard link to the source in a new directory, under a fixed name."""
    own = Path(tempfile.mkdtemp(prefix="source-", dir=path.parent)) / f"source{suffix}"
    try:
        os.link(path, own)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, own)
    return own


def _choose_layer(path: Path, driver: str, wanted: str | None, file: str, limits: Limits) -> tuple[str, str | None]:
    """(what GDAL opens, name of the layer: a variable of a netCDF file, a page of a TIFF, None for a plain raster)."""
    with open_raster(str(path), driver) as dataset:
        found = {_layer_name(name, path): name for name in dataset.subdatasets}
        count, only = dataset.count, dataset.tags(1).get("NETCDF_VARNAME") if dataset.count else None
    if len(found) > limits.layers:
        raise LAYERS_TOO_MANY(file=file, layers=len(found), limit=limits.layers)
    if wanted is None and len(found) > 1:
        raise LAYER_AMBIGUOUS(file=file, layers=len(found), names=", ".join(map(repr, found)))
    if found:
        layer = next(iter(found)) if wanted is None else wanted
        if layer not in found:
            raise unknown_layer(layer, list(found), file)
        return found[layer], layer
    if not count:
        raise NO_RASTER(file=file)
    if wanted not in (None, only):
        raise unknown_layer(wanted or "", [only] if only else [], file)
    return str(path), only


def _layer_name(name: str, path: Path) -> str:
    """`t2m` of netcdf:/path:t2m, `2` of GTIFF_DIR:2:/path."""
    kind, _, rest = name.partition(":")
    if kind == "GTIFF_DIR":
        return rest.partition(":")[0]
    return rest.replace(f'"{path}"', str(path)).removeprefix(f"{path}:")


def _describe(
    dataset: DatasetReader, own: Path, layer: str | None, fmt: str, fetched: FetchedFile, limits: Limits
) -> RasterSource:
    file, name = fetched.declared.key, dataset.name
    _check_size(dataset, limits, file)
    stored, bits = _dtype(dataset, file)
    raster_format = RASTER_FORMATS[fmt]
    check_georeference(dataset, fetched.path, file, raster_format)
    crs = find_crs(dataset, fetched.declared, fetched.path)
    meaning = raster_format.meaning(dataset, own, crs, file)
    dtype, (height, width) = meaning.reading.dtype or stored, meaning.reading.shape(dataset)
    warnings = [*crs.warnings, *raster_format.warnings(dataset, file), *meaning.warnings]
    wide = read_wide_nodata(name, stored) if stored in ("int64", "uint64") else None
    wide = wide if wide is None else int(np.array(wide, stored).view(dtype))
    masked, by_colour = (
        any(flags == kind for flags in dataset.mask_flag_enums) for kind in (_MASKED, _MASKED_BY_COLOUR)
    )
    no_value = by_colour or stored in ("int64", "uint64")
    nodata = None if no_value else _nodata(dataset, stored, dtype, file, warnings)
    page = int(layer) if layer and layer.isdigit() else 1
    tags = raster_format.page_tags(own, page)
    reading, mask = meaning.reading, raster_format.mask_page(own, page) if layer else None
    if mask is not None:  # GDAL reads the masks of first pages only
        reading = replace(reading, mask_name=name.replace(f":{page}:", f":{mask}:", 1))
    white_is_zero = tags.get(PHOTOMETRIC) == (0,)
    space = dataset.tags(ns="IMAGE_STRUCTURE").get("SOURCE_COLOR_SPACE")
    if space in _CONVERTED:
        warnings.append(COLOURS_CONVERTED(file=file, space=space))
    if dropped := sum(undecodable_tags(name, dataset.count)):
        warnings.append(TAGS_NOT_UTF8(file=file, count=dropped))
    return RasterSource(
        file=file,
        name=name,
        format=fmt,
        driver=dataset.driver,
        layer=layer,
        crs=crs.crs,
        epoch=read_epoch(name),
        transform=meaning.transform or resolve_transform(dataset, fetched.path, file, raster_format),
        width=width,
        height=height,
        dtype=dtype,
        bits=bits,
        bands=tuple(_band(dataset, index, file, grey=white_is_zero) for index in dataset.indexes),
        nodata=nodata,
        wide_nodata=wide,
        masked=masked or by_colour or mask is not None,
        # For white that is zero, GDAL makes up a colour table.
        colours=None if white_is_zero else _colours(dataset, nodata, file, warnings),
        white_is_zero=white_is_zero,
        premultiplied=_PREMULTIPLIED in tags.get(EXTRA_SAMPLES, ()),
        # The colour of these values is nodata: that becomes a mask.
        tags={key: text for key, text in _tags(dataset, 0, file).items() if not (by_colour and key == "NODATA_VALUES")},
        domains=read_domains(name, dataset.count, file),
        block_height=int(dataset.block_shapes[0][meaning.reading.transposed]),
        reading=reading,
        warnings=tuple(warnings),
        carries_crs=crs.carried,
    )


def _check_size(dataset: DatasetReader, limits: Limits, file: str) -> None:
    if dataset.count > limits.bands:
        raise BANDS_TOO_MANY(file=file, bands=dataset.count, limit=limits.bands)
    check_pixels(dataset.width, dataset.height, dataset.count, limits, file, file)


def check_pixels(width: int, height: int, bands: int, limits: Limits, raster: str, file: str | None) -> None:
    """Check the limit of pixels, counted in all bands.

    Args:
        width: in pixels.
        height: in pixels.
        bands: number of bands.
        limits: those of the run.
        raster: what has this size, for the message: a file, a mosaic, the result of a warp.
        file: the key of the file, where it is one file.

    Raises:
        RunRefused: pixels_too_many.
    """
    pixels = width * height * bands
    if pixels > limits.pixels:
        raise PIXELS_TOO_MANY(
            file=file, raster=raster, width=width, height=height, bands=bands, pixels=pixels,
            limit=limits.pixels,
        )  # fmt: skip


def _dtype(dataset: DatasetReader, file: str) -> tuple[str, int | None]:
    kinds = sorted(set(dataset.dtypes))
    if len(kinds) > 1 or kinds[0] not in _REAL:
        raise DTYPE_NOT_SUPPORTED(file=file, types=", ".join(kinds))
    bits = dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS")
    return str(kinds[0]), whole_number(bits or "")


def _nodata(dataset: DatasetReader, stored: str, dtype: str, file: str, warnings: list[RunWarning]) -> float | None:
    values = {repr(value): value for value in dataset.nodatavals}
    if len(values) > 1:
        raise NODATA_DIFFERS(file=file, values=", ".join("none" if value == "None" else value for value in values))
    (value,) = values.values()
    if value is None or np.dtype(dtype).kind == "f":
        return value if value is None else float(value)
    limits = np.iinfo(stored)
    if math.isfinite(value) and value == int(value) and limits.min <= value <= limits.max:
        return float(np.array(value).astype(stored).view(dtype))
    warnings.append(NODATA_IMPOSSIBLE(file=file, value=value, dtype=dtype))
    return None


def _band(dataset: DatasetReader, index: int, file: str, *, grey: bool) -> Band:
    interpretation = ColorInterp(dataset.colorinterp[index - 1]).name
    return Band(
        description=dataset.descriptions[index - 1] or None,
        unit=dataset.units[index - 1] or None,
        scale=float(dataset.scales[index - 1]),
        offset=float(dataset.offsets[index - 1]),
        interpretation="gray" if grey and interpretation == "palette" else interpretation,
        tags=_tags(dataset, index, file),
    )


def _tags(dataset: DatasetReader, index: int, file: str) -> dict[str, str]:
    """The tags of a band, or of the raster (index 0), without statistics: those are computed again."""
    found: Mapping[str, str] = dataset.tags(index)
    kept = {name: text for name, text in found.items() if not name.startswith("STATISTICS_")}
    size = sum(len(name) + len(text) for name, text in kept.items())
    if size > _MAX_TAG_BYTES:
        raise TAGS_TOO_LARGE(file=file, size=size, limit=_MAX_TAG_BYTES)
    return kept


def _colours(
    dataset: DatasetReader, nodata: float | None, file: str, warnings: list[RunWarning]
) -> Mapping[int, Colour] | None:
    """The colour table of the first band. In a GeoTIFF only the nodata value can be transparent."""
    if dataset.colorinterp[0] is not ColorInterp.palette:
        return None
    try:
        table: dict[int, Colour] = dataset.colormap(1)
    except ValueError:
        raise COLOUR_TABLE_MISSING(file=file) from None
    if any(alpha != 255 and (index != nodata or alpha) for index, (*_rgb, alpha) in table.items()):
        warnings.append(COLOUR_TABLE_ALPHA(file=file))
    return table
