"""What a plan says about a source, and the answers that could stand in its manifest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pyogrio
from pyproj import CRS

from app.errors import RunRefused
from app.models.asset import ColumnSchema
from app.models.formats import find_format
from app.models.manifest import ManifestFile
from app.models.plan import Answers, PlannedBand, PlannedColumn, PlannedCrs, PlannedFile, options_of
from app.pipelines.context import FetchedFile
from app.pipelines.formats import gdal
from app.pipelines.formats.crs import crs_name, parse_crs, same_crs
from app.pipelines.formats.source import VectorSource

if TYPE_CHECKING:
    from app.pipelines.formats.raster import RasterSource

# Why a column has its type where the format says so itself.
AS_THERE = "as in the source"


def vector_file(fetched: FetchedFile, source: VectorSource) -> PlannedFile:
    """One layer of one file, as `inspect` found it."""
    declared = fetched.declared
    columns = tuple(
        PlannedColumn(name=each.name, title=each.name, type_name=str(each.type), reason=AS_THERE)
        for each in source.schema
    )
    # GeoJSON is UTF-8 unless the manifest says otherwise, so there is no answer to write down.
    found_encoding = source.encoding if source.format == "SHP" else declared.options and declared.options.encoding
    return PlannedFile(
        file=declared.key,
        format=source.format,
        driver=source.driver,
        size=fetched.inputs[0].size,
        sha256=fetched.inputs[0].sha256,
        layer=source.layer,
        layers=_layers(source),
        crs=_crs(declared, source.crs, carried=source.carries_crs),
        encoding=source.encoding,
        geometry_type=source.geometry_type,
        rows=source.rows,
        columns=columns,
        editable=Answers(
            layer=_layer(source.layer),
            crs=_crs_answer(declared, source.crs),
            options=options_of(_options(declared), encoding=found_encoding),
        ),
    )


def raster_file(fetched: FetchedFile, source: RasterSource) -> PlannedFile:
    """One raster, as `inspect` found it."""
    declared, asked = fetched.declared, fetched.declared.options
    return PlannedFile(
        file=declared.key,
        format=source.format,
        driver=source.driver,
        size=fetched.inputs[0].size,
        sha256=fetched.inputs[0].sha256,
        layer=source.layer,
        crs=_crs(declared, source.crs, carried=source.carries_crs),
        width=source.width,
        height=source.height,
        dtype=source.dtype,
        nodata=_number(source.missing),
        transform=tuple(source.transform[:6]),
        bands=tuple(
            PlannedBand(
                name=band.description or f"band_{number}",
                interpretation=band.interpretation,
                unit=band.unit,
                scale=band.scale,
                offset=band.offset,
            )
            for number, band in enumerate(source.bands, 1)
        ),
        editable=Answers(
            layer=_layer(source.layer),
            crs=_crs_answer(declared, source.crs),
            options=options_of(_options(declared), warp=asked and asked.warp, resampling=asked and asked.resampling),
        ),
    )


def schema_columns(schema: Mapping[str, ColumnSchema]) -> tuple[PlannedColumn, ...]:
    """The columns of a result, as the catalogue would have them."""
    return tuple(
        PlannedColumn(name=name, title=each.title, type_name=each.type_name, logical_type=each.logical_type)
        for name, each in schema.items()
    )


def _options(declared: ManifestFile) -> tuple[str, ...]:
    fmt = find_format(declared.format)
    return fmt.options if fmt is not None else ()


def _layers(source: VectorSource) -> tuple[str, ...]:
    """The names of all layers; a shapefile, read under a name of our own, is its only one."""
    fmt = find_format(source.format)
    if fmt is None or source.driver not in fmt.drivers or source.format in ("GeoJSON", "GeoJSONSeq", "SHP"):
        return (source.layer,) if source.layer else ()
    with gdal.only(fmt.drivers):
        return tuple(str(name) for name, _ in pyogrio.list_layers(source.path))


def _layer(name: str | None) -> str | None:
    """A manifest trims the names of layers: one with blanks around it cannot be given there."""
    return name if name and name == name.strip() else None


def _crs(declared: ManifestFile, used: CRS, *, carried: bool) -> PlannedCrs:
    name = crs_name(used)
    return PlannedCrs(found=name if carried else None, declared=declared.crs, used=name)


def _crs_answer(declared: ManifestFile, used: CRS) -> str | None:
    """A text that stands for the CRS; None for one without a code, which only the source can say."""
    if declared.crs is not None:
        return declared.crs
    name = crs_name(used)
    try:
        return name if same_crs(parse_crs(name, declared.key, "of the plan"), used) else None
    except RunRefused:
        return None


def _number(value: float | None) -> float | int | str | None:
    """JSON has no NaN and no infinity."""
    return value if value is None or isinstance(value, int) or math.isfinite(value) else str(value)
