"""The vector pipeline: any number of vector files of one schema become one GeoParquet version of a dataset."""

from __future__ import annotations

from app.errors import RunRefused
from app.models.asset import Asset
from app.models.intents import intent_names, is_known
from app.models.recipe import Recipe
from app.pipelines.context import FetchedFile, Product, RunContext
from app.pipelines.engines import Report
from app.pipelines.engines.report import warn_before
from app.pipelines.formats.source import VectorSource
from app.pipelines.formats.vector import inspect
from app.pipelines.plan import Rehearsal
from app.pipelines.plan_files import schema_columns, vector_file


def run(ctx: RunContext) -> Asset:
    """Load, transform, export. Output: EPSG:4326 (x,y), valid geometries; every row in is a row out, nulls included.

    Raises RunRefused, with a reason, for input that cannot become a dataset; RunCanceled and StaleAttempt pass through.
    """
    recipe = _recipe(ctx)
    target = ctx.scratch / "product.parquet"

    with ctx.step("load"):
        files = [ctx.fetch(file) for file in ctx.manifest.files]
        if (same := ctx.unchanged(files, recipe.describe(), ctx.engine.versions())) is not None:
            return same
        sources = [inspect(file, ctx.limits, ctx.threads) for file in files]

    with ctx.step("transform"):
        report = ctx.engine.run(sources, recipe, target, ctx.watch, ctx.threads)

    with ctx.step("export"):
        product = _product(ctx, report)
        return ctx.publish(product, [found for file in files for found in file.inputs])


def plan(ctx: Rehearsal) -> None:
    """What `run` would do, as far as the files' descriptions tell: no row is transformed.

    Raises RunRefused as `run` does, for all files at once.
    """
    draft, recipe = ctx.draft, _recipe(ctx)
    draft.steps, draft.engine, draft.objects = recipe.describe(), ctx.engine.versions(), ["data-{sha256}.parquet"]
    draft.not_looked_at = (
        "Geometries: which are null, empty, invalid or curved, and whether they lie where their CRS is meant for.",
        "Values of the rows, except in GeoJSON, which is read as a whole; damage behind a file's description.",
    )
    files = ctx.each(ctx.manifest.files, ctx.fetch)
    ctx.unchanged(files, draft.steps, draft.engine)

    def look(file: FetchedFile) -> VectorSource:
        source = inspect(file, ctx.limits, ctx.threads)
        draft.files.append(vector_file(file, source))
        return source

    sources = ctx.each(files, look)
    foreseen = ctx.engine.foresee(sources, recipe)
    warn_before(sources, foreseen.warnings, ctx.watch)
    draft.sql, draft.columns = foreseen.statements, schema_columns(foreseen.column_schema)
    if all(source.rows is not None for source in sources):
        rows = sum(source.rows or 0 for source in sources)
        draft.counts = {"rows_in": rows, "rows_out": rows}


def _recipe(ctx: RunContext) -> Recipe:
    """The recipe of the manifest's intent; a warning when the intent has no row of its own."""
    intent = ctx.manifest.intent_row
    rasters = [file.key for file in ctx.manifest.files if file.type != "vector"]
    if intent.recipe is None or rasters:
        raise RunRefused(
            f"{', '.join(rasters) or intent.name} cannot run through the vector pipeline.",
            "Send vector files, or use an intent for that type of file.",
            reason="format_not_vector",
            file=rasters[0] if rasters else None,
        )
    if not is_known(intent.name):
        ctx.watch.warn(
            "intent_unknown",
            f"The intent {intent.name!r} is not in the table; the default recipe runs. "
            f"Known intents: {', '.join(intent_names())}.",
        )
    return intent.recipe


def _product(ctx: RunContext, report: Report) -> Product:
    return Product(
        path=ctx.scratch / "product.parquet",
        kind="spatial",
        format="geoparquet",
        crs=report.crs,
        bounds=report.bounds,
        column_schema=report.column_schema,
        geometry_type=report.geometry_type,
        counts=report.counts,
        statistics=report.statistics,
        engine=report.engine,
        header_mapping=report.header_mapping,
    )
