"""The vector pipeline: any number of vector files of one schema become one GeoParquet version of a dataset."""

from __future__ import annotations

from app.messages.vector import INTENT_NOT_VECTOR
from app.models.asset import Asset
from app.models.recipe import Recipe
from app.models.vector_recipe import VectorRecipe
from app.pipelines.common.plan_answers import schema_columns
from app.pipelines.contract.context import FetchedFile, Product, RunContext
from app.pipelines.contract.engine import Report
from app.pipelines.contract.plan_context import PlanContext
from app.pipelines.vector.engines.columns import choose_columns
from app.pipelines.vector.engines.filter import check_one_crs, keep_rows
from app.pipelines.vector.engines.measure import warn_reduced
from app.pipelines.vector.engines.report import warn_before
from app.pipelines.vector.formats.open import inspect
from app.pipelines.vector.plan import vector_file
from app.pipelines.vector.source import VectorSource


def run(ctx: RunContext) -> Asset:
    """Load, transform and export the vector files of a manifest.

    Every row in is a row out, also one with a null or empty geometry.

    Args:
        ctx: the attempt of the run.

    Returns:
        The registered version, as the manifest's recipe says, x before y; or the existing version when the same files
        have been processed in the same way before.

    Raises:
        RunRefused: for input that cannot become a dataset. RunCanceled and StaleAttempt pass through.
    """
    recipe = _recipe(ctx)
    target = ctx.scratch / "product.parquet"

    with ctx.step("load"):
        files = [ctx.fetch(file) for file in ctx.manifest.files]
        if (same := ctx.unchanged(files, recipe.describe(), ctx.engine.versions())) is not None:
            return same
        sources = [_rows_and_columns(inspect(file, ctx.limits, ctx.threads), recipe) for file in files]
        check_one_crs(sources, recipe.where)

    with ctx.step("transform"):
        report = ctx.engine.run(sources, recipe, target, ctx.watch, ctx.threads)
        warn_reduced(report.statistics, ctx.limits.geometry_reduced_share, ctx.watch)

    with ctx.step("export"):
        product = _product(ctx, report)
        return ctx.publish(product, [found for file in files for found in file.inputs])


def plan(ctx: PlanContext) -> None:
    """Fill the draft of a plan with what `run` would do, from the descriptions of the files; no row is transformed.

    Raises:
        RunRefused: as `run` does, for all files at once.
    """
    draft, recipe = ctx.draft, _recipe(ctx)
    draft.steps, draft.engine, draft.objects = recipe.describe(), ctx.engine.versions(), ["data-{sha256}.parquet"]
    draft.not_looked_at = (
        *(("Rows: for which of them recipe.where is true.",) if recipe.where else ()),
        "Geometries: which are null, empty, invalid or curved, and whether they lie where their CRS is meant for.",
        "Values of the rows, except in GeoJSON, which is read as a whole; damage behind a file's description.",
    )
    files = ctx.each(ctx.manifest.files, ctx.fetch)
    ctx.unchanged(files, draft.steps, draft.engine)

    def inspected(file: FetchedFile) -> VectorSource:
        source = inspect(file, ctx.limits, ctx.threads)
        draft.files.append(vector_file(file, source))
        return _rows_and_columns(source, recipe)

    sources = ctx.each(files, inspected)
    check_one_crs(sources, recipe.where)
    described = ctx.engine.describe(sources, recipe)
    warn_before(sources, described.warnings, ctx.watch)
    draft.sql, draft.columns = described.statements, schema_columns(described.column_schema)
    if all(source.rows is not None for source in sources):
        rows = sum(source.rows or 0 for source in sources)
        draft.counts = {"rows_in": rows} | ({} if recipe.where else {"rows_out": rows})


def _recipe(ctx: RunContext) -> Recipe:
    """The steps of the manifest's recipe, which was made whole when the manifest was accepted."""
    intent = ctx.manifest.intent_row
    others = [file.key for file in ctx.manifest.files if file.type != "vector"]
    if "vector" not in intent.file_types or others:
        raise INTENT_NOT_VECTOR(subject=", ".join(others) or intent.name, file=others[0] if others else None)
    return (ctx.manifest.recipe or VectorRecipe()).steps(intent.name, ctx.limits.coverage_vertices)


def _rows_and_columns(source: VectorSource, recipe: Recipe) -> VectorSource:
    """What the recipe takes from a source. Raises RunRefused as `keep_rows` and `choose_columns` do."""
    return choose_columns(keep_rows(source, recipe.where), recipe.columns)


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
