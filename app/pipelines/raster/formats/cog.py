"""Cloud Optimized GeoTIFF as a source: any GeoTIFF is accepted, one of another layout with a warning."""

from __future__ import annotations

from dataclasses import replace

from rasterio.io import DatasetReader

from app.messages.raster import COG_LAYOUT
from app.models.runs.run import RunWarning
from app.pipelines.raster.formats import geotiff


def _layout_warnings(dataset: DatasetReader, file: str) -> list[RunWarning]:
    is_cog = dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG"
    return [] if is_cog else [COG_LAYOUT(file=file)]


FORMAT = replace(geotiff.FORMAT, warnings=_layout_warnings)
