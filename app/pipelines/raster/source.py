"""Opening and describing a raster source: content checks, layer, CRS, geotransform, bands. No pixel is read."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
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
    DTYPE_NOT_SUPPORTED,
    FORMAT_NOT_RASTER,
    LAYER_AMBIGUOUS,
    NO_RASTER,
    NODATA_DIFFERS,
    NODATA_IMPOSSIBLE,
    PIXELS_TOO_MANY,
    PRJ_CONFLICT,
    TAGS_NOT_UTF8,
    TAGS_TOO_LARGE,
)
from app.models.formats import find_format
from app.models.manifest import ManifestFile
from app.models.numbers import whole_number
from app.models.run import RunWarning
from app.pipelines.common.crs import crs_name, parse_crs, resolve_crs, same_crs
from app.pipelines.common.unknown_layer import unknown_layer
from app.pipelines.contract.context import FetchedFile
from app.pipelines.raster.content import RASTER_FORMATS, check_raster_content
from app.pipelines.raster.gdal import UNREADABLE, read_wide_nodata, refuse_unreadable, undecodable_tags
from app.pipelines.raster.georef import resolve_transform
from app.settings import Limits

Colour = tuple[int, int, int, int]
_REAL = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
_MAX_TAG_BYTES = 1 << 20


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
        tags: metadata of the raster.
        block_height: rows that are decoded together.
        warnings: what a user should know about the source.
        carries_crs: whether the source, or the .prj beside it, declares its CRS.
    """

    file: str
    name: str
    format: str
    driver: str
    layer: str | None
    crs: CRS
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
    tags: Mapping[str, str]
    block_height: int
    warnings: tuple[RunWarning, ...]
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
    try:
        name, layer = _choose_layer(own, fmt.drivers[0], declared.layer, file, limits)
        with rasterio.open(name, driver=fmt.drivers[0], sharing=False) as dataset:
            return _describe(dataset, name, layer, fmt.name, fetched, limits)
    except UNREADABLE as err:
        refuse_unreadable(err, file, own)


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
    with rasterio.open(path, driver=driver, sharing=False) as dataset:
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
    dataset: DatasetReader, name: str, layer: str | None, fmt: str, fetched: FetchedFile, limits: Limits
) -> RasterSource:
    file = fetched.declared.key
    _check_size(dataset, limits, file)
    dtype, bits = _dtype(dataset, file)
    crs = _resolve_crs(dataset, fetched.declared, fetched.path)
    warnings = RASTER_FORMATS[fmt].warnings(dataset, file)
    wide = read_wide_nodata(name, dtype) if dtype in ("int64", "uint64") else None
    nodata = None if dtype in ("int64", "uint64") else _nodata(dataset, dtype, file, warnings)
    if dropped := sum(undecodable_tags(name, dataset.count)):
        warnings.append(TAGS_NOT_UTF8(file=file, count=dropped))
    return RasterSource(
        file=file,
        name=name,
        format=fmt,
        driver=dataset.driver,
        layer=layer,
        crs=crs,
        transform=resolve_transform(dataset, fetched.path, file),
        width=dataset.width,
        height=dataset.height,
        dtype=dtype,
        bits=bits,
        bands=tuple(_band(dataset, index, file) for index in dataset.indexes),
        nodata=nodata,
        wide_nodata=wide,
        masked=any(flags == [MaskFlags.per_dataset] for flags in dataset.mask_flag_enums),
        colours=_colours(dataset, nodata, file, warnings),
        tags=_tags(dataset, 0, file),
        block_height=int(dataset.block_shapes[0][0]),
        warnings=tuple(warnings),
        carries_crs=bool(dataset.crs) or fetched.path.with_suffix(".prj").is_file(),
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


def _nodata(dataset: DatasetReader, dtype: str, file: str, warnings: list[RunWarning]) -> float | None:
    values = {repr(value): value for value in dataset.nodatavals}
    if len(values) > 1:
        raise NODATA_DIFFERS(file=file, values=", ".join("none" if value == "None" else value for value in values))
    (value,) = values.values()
    if value is None or np.dtype(dtype).kind == "f":
        return value if value is None else float(value)
    limits = np.iinfo(dtype)
    if math.isfinite(value) and value == int(value) and limits.min <= value <= limits.max:
        return float(value)
    warnings.append(NODATA_IMPOSSIBLE(file=file, value=value, dtype=dtype))
    return None


def _resolve_crs(dataset: DatasetReader, declared: ManifestFile, beside: Path) -> CRS:
    file = declared.key
    found = parse_crs(dataset.crs.to_wkt(), file, "in the source") if dataset.crs else None
    prj = beside.with_suffix(".prj")
    if prj.is_file():
        text = prj.read_bytes()[: 1 << 16].decode("utf-8", "replace").strip("\ufeff\x00 \r\n")
        in_prj = parse_crs(text, file, "in its .prj")
        if found is not None and not same_crs(found, in_prj):
            raise PRJ_CONFLICT(file=file, inside=crs_name(found), beside=crs_name(in_prj))
        found = found or in_prj
    return resolve_crs(found, declared.crs, file, "Declare it in files[].crs, or upload its .prj beside it.")


def _band(dataset: DatasetReader, index: int, file: str) -> Band:
    return Band(
        description=dataset.descriptions[index - 1] or None,
        unit=dataset.units[index - 1] or None,
        scale=float(dataset.scales[index - 1]),
        offset=float(dataset.offsets[index - 1]),
        interpretation=ColorInterp(dataset.colorinterp[index - 1]).name,
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
