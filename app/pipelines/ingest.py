"""Any other `ingest_*`: the pipeline that its files ask for. A manifest's files are all of one type."""

from __future__ import annotations

from app.models.asset import Asset
from app.pipelines import raster, vector
from app.pipelines.context import RunContext
from app.pipelines.plan import Rehearsal


def run(ctx: RunContext) -> Asset:
    """Raster files make a COG, vector files a GeoParquet."""
    return raster.run(ctx) if _has_rasters(ctx) else vector.run(ctx)


def plan(ctx: Rehearsal) -> None:
    """What `run` would do."""
    (raster if _has_rasters(ctx) else vector).plan(ctx)


def _has_rasters(ctx: RunContext) -> bool:
    return any(file.type == "raster" for file in ctx.manifest.files)
