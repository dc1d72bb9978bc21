"""Any other `ingest_*`: the pipeline that its files ask for. A manifest's files are all of one type."""

from __future__ import annotations

from app.models.asset import Asset
from app.pipelines import raster, vector
from app.pipelines.context import RunContext


def run(ctx: RunContext) -> Asset:
    """Raster files make a COG, vector files a GeoParquet."""
    rasters = any(file.type == "raster" for file in ctx.manifest.files)
    return raster.run(ctx) if rasters else vector.run(ctx)
