"""The entry of a raster in a plan."""

from __future__ import annotations

import math

from app.models.plan import Answers, PlannedBand, PlannedFile, options_of
from app.pipelines.common.plan_answers import crs_answer, declared_options, layer_answer, planned_crs
from app.pipelines.contract.context import FetchedFile
from app.pipelines.raster.source import RasterSource


def raster_file(fetched: FetchedFile, source: RasterSource) -> PlannedFile:
    """Describe a raster as `inspect` found it."""
    declared, asked = fetched.declared, fetched.declared.options
    return PlannedFile(
        file=declared.key,
        format=source.format,
        driver=source.driver,
        size=fetched.inputs[0].size,
        sha256=fetched.inputs[0].sha256,
        layer=source.layer,
        crs=planned_crs(declared, source.crs, carried=source.carries_crs),
        width=source.width,
        height=source.height,
        dtype=source.dtype,
        nodata=json_number(source.nodata_value),
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
            layer=layer_answer(source.layer),
            crs=crs_answer(declared, source.crs),
            options=options_of(
                declared_options(declared),
                area_of_use=asked and asked.area_of_use,
                warp=asked and asked.warp,
                resampling=asked and asked.resampling,
            ),
        ),
    )


def json_number(value: float | None) -> float | int | str | None:
    """The number for JSON, which has no NaN and no infinity: those become text."""
    return value if value is None or isinstance(value, int) or math.isfinite(value) else str(value)
