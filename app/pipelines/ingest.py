"""Pipeline of the other `ingest_*` intents: raster or vector, by the type of the files (a manifest has one type)."""

from __future__ import annotations

from app.models.asset import Asset
from app.pipelines.contract.context import RunContext
from app.pipelines.contract.plan_context import PlanContext
from app.pipelines.raster import pipeline as raster
from app.pipelines.vector import pipeline as vector


def run(ctx: RunContext) -> Asset:
    """Make a COG of raster files, GeoParquet of vector files."""
    return raster.run(ctx) if _has_rasters(ctx) else vector.run(ctx)


def plan(ctx: PlanContext) -> None:
    """Describe what `run` would do."""
    (raster if _has_rasters(ctx) else vector).plan(ctx)


def _has_rasters(ctx: RunContext) -> bool:
    return any(file.type == "raster" for file in ctx.manifest.files)
