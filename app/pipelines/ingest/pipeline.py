"""Pipeline of the intents that take vector files: by the type of the files, which is one for a manifest."""

from __future__ import annotations

from app.models.asset import Asset
from app.pipelines.contract.context import RunContext
from app.pipelines.contract.plan_context import PlanContext
from app.pipelines.ingest.tables import TableFiles
from app.pipelines.raster import pipeline as raster
from app.pipelines.vector import pipeline as vector


def run(ctx: RunContext) -> Asset:
    """Make a COG of raster files, GeoParquet of vector files and of tables with coordinates."""
    match _type(ctx):
        case "raster":
            return raster.run(ctx)
        case "tabular":
            return vector.run(ctx, TableFiles(ctx))
        case _:
            return vector.run(ctx)


def plan(ctx: PlanContext) -> None:
    """Describe what `run` would do."""
    match _type(ctx):
        case "raster":
            raster.plan(ctx)
        case "tabular":
            vector.plan(ctx, TableFiles(ctx))
        case _:
            vector.plan(ctx)


def _type(ctx: RunContext) -> str:
    types = {file.type for file in ctx.manifest.files}
    return types.pop() if len(types) == 1 else "vector"
