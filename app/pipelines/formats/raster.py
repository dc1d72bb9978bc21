"""Opening a raster source of any format: check, choose the variable, settle place and CRS; no pixel is read."""

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

from app.errors import RunRefused
from app.jobs.notes import file_at_hand
from app.models.formats import find_format
from app.models.manifest import ManifestFile
from app.pipelines.context import FetchedFile
from app.pipelines.formats.crs import crs_name, parse_crs, resolve_crs, same_crs
from app.pipelines.formats.raster_content import check_raster_content
from app.pipelines.formats.raster_gdal import UNREADABLE, read_wide_nodata, refuse_unreadable, undecodable_tags
from app.pipelines.formats.raster_georef import resolve_transform
from app.pipelines.formats.source import unknown_layer
from app.settings import Limits

Colour = tuple[int, int, int, int]
_REAL = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
_MAX_TAG_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Band:
    """What a source says about one band. scale, offset: value = number in the file · scale + offset."""

    description: str | None
    unit: str | None
    scale: float
    offset: float
    interpretation: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RasterSource:
    """One raster, checked and described. name: what GDAL opens; transform: pixel corner → CRS.

    masked: a mask of its own, for all bands together. bits: below the type's own for packed pixels (1 is a mask).
    wide_nodata: nodata as an integer where the type has 64 bits; nodata is then None.
    block_height: rows that are decoded together. notes: (code, message) of what a reader should know.
    carries_crs: whether the source, or the .prj beside it, says its CRS.
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
    notes: tuple[tuple[str, str], ...]
    carries_crs: bool = True

    @property
    def missing(self) -> float | int | None:
        """The value that means nodata, exactly."""
        return self.nodata if self.wide_nodata is None else self.wide_nodata

    @property
    def alpha(self) -> int | None:
        """Index (from 0) of the alpha band."""
        return next((i for i, band in enumerate(self.bands) if band.interpretation == "alpha"), None)


def inspect(fetched: FetchedFile, limits: Limits) -> RasterSource:
    """Open and check one manifest file, by the driver of its declared format only, away from everything beside it.

    Raises RunRefused: format_not_raster, file_*, content_mismatch, external_data, layer_*, pixels_too_many,
    bands_too_many, dtype_not_supported, crs_*, georeference_*, world_file_invalid.
    """
    declared = fetched.declared
    file = declared.key
    file_at_hand(file)
    fmt = find_format(declared.format)
    if fmt is None or fmt.type != "raster":
        raise RunRefused(
            f"{file} is declared as {declared.type} {declared.format}, this pipeline takes raster files.",
            "Use an intent for that type of file.",
            reason="format_not_raster",
            file=file,
        )
    check_raster_content(fetched.path, fmt.name, file)
    own = _own_copy(fetched.path, fmt.suffixes[0])
    try:
        name, layer = _choose_layer(own, fmt.drivers[0], declared.layer, file, limits)
        with rasterio.open(name, driver=fmt.drivers[0], sharing=False) as dataset:
            return _describe(dataset, name, layer, fmt.name, fetched, limits)
    except UNREADABLE as err:
        refuse_unreadable(err, file, own)


def _own_copy(path: Path, suffix: str) -> Path:
    """A link to the source in a fresh directory: nothing beside it, and a name that means nothing to any driver."""
    own = Path(tempfile.mkdtemp(prefix="source-", dir=path.parent)) / f"source{suffix}"
    try:
        os.link(path, own)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, own)
    return own


def _choose_layer(path: Path, driver: str, wanted: str | None, file: str, limits: Limits) -> tuple[str, str | None]:
    """(what to open, its name): a variable of a netCDF file, a page of a TIFF; None where there is just one raster."""
    with rasterio.open(path, driver=driver, sharing=False) as dataset:
        found = {_layer_name(name, path): name for name in dataset.subdatasets}
        count, only = dataset.count, dataset.tags(1).get("NETCDF_VARNAME") if dataset.count else None
    if len(found) > limits.layers:
        raise RunRefused(
            f"{file} has {len(found)} layers, the limit is {limits.layers}.",
            "Split it, or raise SPATIAL_ETL_LIMITS__LAYERS.",
            reason="layers_too_many",
            file=file,
        )
    if wanted is None and len(found) > 1:
        raise RunRefused(
            f"{file} has {len(found)} rasters: {', '.join(map(repr, found))}.",
            "Name one of them in files[].layer.",
            reason="layer_ambiguous",
            file=file,
        )
    if found:
        layer = next(iter(found)) if wanted is None else wanted
        if layer not in found:
            raise unknown_layer(layer, list(found), file)
        return found[layer], layer
    if not count:
        raise RunRefused(f"{file} holds no raster.", "Send one that does.", reason="layer_unknown", file=file)
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
    notes: list[tuple[str, str]] = []
    wide = read_wide_nodata(name, dtype) if dtype in ("int64", "uint64") else None
    nodata = None if dtype in ("int64", "uint64") else _nodata(dataset, dtype, file, notes)
    if fmt == "COG" and dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") != "COG":
        notes.append(("cog_layout", f"{file} is declared as COG, and is a GeoTIFF of another layout; read as that."))
    if lost := sum(undecodable_tags(name, dataset.count)):
        notes.append(("tags_not_utf8", f"{file}: {lost} of its tags are not UTF-8 text; they are left out."))
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
        colours=_colours(dataset, nodata, file, notes),
        tags=_tags(dataset, 0, file),
        block_height=int(dataset.block_shapes[0][0]),
        notes=tuple(notes),
        carries_crs=bool(dataset.crs) or fetched.path.with_suffix(".prj").is_file(),
    )


def _check_size(dataset: DatasetReader, limits: Limits, file: str) -> None:
    if dataset.count > limits.bands:
        raise RunRefused(
            f"{file} has {dataset.count} bands, the limit is {limits.bands}.",
            "Send fewer bands, or raise SPATIAL_ETL_LIMITS__BANDS.",
            reason="bands_too_many",
            file=file,
        )
    check_pixels(dataset.width, dataset.height, dataset.count, limits, file)


def check_pixels(width: int, height: int, count: int, limits: Limits, file: str) -> None:
    """Raises RunRefused pixels_too_many."""
    if width * height * count > limits.pixels:
        raise RunRefused(
            f"{file} has {width} x {height} pixels in {count} bands, {width * height * count} in all; "
            f"the limit is {limits.pixels}.",
            "Split it, or raise SPATIAL_ETL_LIMITS__PIXELS.",
            reason="pixels_too_many",
            file=file,
        )


def _dtype(dataset: DatasetReader, file: str) -> tuple[str, int | None]:
    kinds = sorted(set(dataset.dtypes))
    if len(kinds) > 1 or kinds[0] not in _REAL:
        raise RunRefused(
            f"{file} has pixels of type {', '.join(kinds)}; one real number type for all bands is taken.",
            "Split complex numbers into two bands, and bands of several types into several files.",
            reason="dtype_not_supported",
            file=file,
        )
    bits = dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS")
    return str(kinds[0]), int(bits) if bits else None


def _nodata(dataset: DatasetReader, dtype: str, file: str, notes: list[tuple[str, str]]) -> float | None:
    values = {repr(value): value for value in dataset.nodatavals}
    if len(values) > 1:
        raise RunRefused(
            f"{file} has another nodata value for each band: {', '.join(values)}; a GeoTIFF has one for all.",
            "Give all bands the same nodata value, or send them as several files.",
            reason="nodata_differs",
            file=file,
        )
    (value,) = values.values()
    if value is None or np.dtype(dtype).kind == "f":
        return value if value is None else float(value)
    limits = np.iinfo(dtype)
    if math.isfinite(value) and value == int(value) and limits.min <= value <= limits.max:
        return float(value)
    notes.append(("nodata_impossible", f"{file}: its nodata value {value} cannot occur in {dtype}; it is left out."))
    return None


def _resolve_crs(dataset: DatasetReader, declared: ManifestFile, beside: Path) -> CRS:
    file = declared.key
    found = parse_crs(dataset.crs.to_wkt(), file, "in the source") if dataset.crs else None
    prj = beside.with_suffix(".prj")
    if prj.is_file():
        text = prj.read_bytes()[: 1 << 16].decode("utf-8", "replace").strip("\ufeff\x00 \r\n")
        said = parse_crs(text, file, "in its .prj")
        if found is not None and not same_crs(found, said):
            raise RunRefused(
                f"{file} is in {crs_name(found)} by itself, and in {crs_name(said)} by its .prj.",
                "Remove the one that is wrong.",
                reason="crs_conflict",
                file=file,
            )
        found = found or said
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
    """Those of a band, or (0) of the raster; statistics are left out, because they are computed anew."""
    found: Mapping[str, str] = dataset.tags(index)
    kept = {name: text for name, text in found.items() if not name.startswith("STATISTICS_")}
    size = sum(len(name) + len(text) for name, text in kept.items())
    if size > _MAX_TAG_BYTES:
        raise RunRefused(
            f"{file} has tags of {size} characters, the limit is {_MAX_TAG_BYTES}.",
            "Remove the large ones (`gdal_edit.py -unsetmd`).",
            reason="tags_too_large",
            file=file,
        )
    return kept


def _colours(
    dataset: DatasetReader, nodata: float | None, file: str, notes: list[tuple[str, str]]
) -> Mapping[int, Colour] | None:
    """The colour table of the first band. In a GeoTIFF only its nodata value can be transparent."""
    if dataset.colorinterp[0] is not ColorInterp.palette:
        return None
    try:
        table: dict[int, Colour] = dataset.colormap(1)
    except ValueError:
        raise RunRefused(
            f"{file} says that its numbers are colours, and has no colour table.",
            "Write it again, with its table or as plain numbers.",
            reason="file_damaged",
            file=file,
        ) from None
    if any(alpha != 255 and (index != nodata or alpha) for index, (*_rgb, alpha) in table.items()):
        text = f"{file}: its colour table has transparent colours, a GeoTIFF's has none; statistics.bands has them all."
        notes.append(("colour_table_alpha", text))
    return table
