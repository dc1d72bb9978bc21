"""The vector pipeline: any number of vector files of one schema become one GeoParquet version of a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from app.messages.vector import INTENT_NOT_VECTOR
from app.models.asset import Asset
from app.models.recipes.steps import Recipe
from app.models.recipes.vector import VectorRecipe
from app.pipelines.common.check_product import box_of, checked, fetch_compared, plan_checks, plan_compared
from app.pipelines.common.findings import Findings
from app.pipelines.common.plan_answers import schema_columns
from app.pipelines.contract.context import FetchedAsset, FetchedFile, Product, RunContext
from app.pipelines.contract.engine import Report
from app.pipelines.contract.plan_context import PlanContext
from app.pipelines.vector.engines.columns import choose_columns
from app.pipelines.vector.engines.dry_run import look_through
from app.pipelines.vector.engines.filter import check_one_crs, keep_rows
from app.pipelines.vector.engines.measure import warn_reduced
from app.pipelines.vector.engines.places import Places
from app.pipelines.vector.engines.report import warn_after, warn_before
from app.pipelines.vector.engines.stream import output_crs
from app.pipelines.vector.files import SourceFiles, VectorFiles
from app.pipelines.vector.source import VectorSource
from app.pipelines.vector.sources import together


def run(ctx: RunContext, files: SourceFiles | None = None) -> Asset:
    """Load, transform and export the vector files of a manifest.

    Every row in is a row out, also one with a null or empty geometry. Rows that `recipe.where` leaves out, and
    those of a table that are in quarantine, are counted.

    Args:
        ctx: the attempt of the run.
        files: opens the files; None for files of vector formats.

    Returns:
        The registered version, as the manifest's recipe says, x before y; or the existing version when the same files
        have been processed in the same way before.

    Raises:
        RunRefused: for input that cannot become a dataset. RunCanceled and StaleAttempt pass through.
    """
    recipe = _recipe(ctx)
    files = files or VectorFiles(ctx)
    target = ctx.scratch / "product.parquet"

    with ctx.step("load"):
        fetched = [ctx.fetch(file) for file in ctx.manifest.files]
        compared = fetch_compared(ctx)
        inputs: list[FetchedFile | FetchedAsset] = [*fetched, *(each.fetched for each in compared)]
        if (same := ctx.unchanged(inputs, (*files.steps, *recipe.describe()), ctx.engine.versions())) is not None:
            return same
        opened = together(ctx, fetched, [source for file in fetched for source in files.open(file)])
        sources = [_rows_and_columns(source, recipe) for source in opened]
        check_one_crs(sources, recipe.where)

    with ctx.step("transform"):
        report = ctx.engine.run(sources, recipe, target, ctx.watch, ctx.threads)
        warn_reduced(report.statistics, ctx.limits.geometry_reduced_share, recipe, ctx.watch)

    with ctx.step("export"):
        product = checked(ctx, _product(ctx, report, sources), compared, is_valid=report.is_valid)
        read = [found for file in fetched for found in file.inputs]
        return ctx.publish(product, [*read, *(each.parent for each in compared)])


def plan(ctx: PlanContext, files: SourceFiles | None = None) -> None:
    """Fill the draft of a plan with what `run` would do, from the descriptions of the files and the rows of tables.

    Raises:
        RunRefused: as `run` does, for all files at once.
    """
    draft, recipe = ctx.draft, _recipe(ctx)
    opener = files or VectorFiles(ctx)
    draft.steps, draft.engine = (*opener.steps, *recipe.describe()), ctx.engine.versions()
    filtered = ("Rows: for which of them recipe.where is true.",) if recipe.where else ()
    draft.objects, draft.not_looked_at = ["data-{sha256}.parquet"], (*filtered, *opener.not_looked_at)
    fetched = ctx.gather(ctx.manifest.files, ctx.fetch)
    compared = plan_compared(ctx)
    ctx.unchanged([*fetched, *(each.fetched for each in compared)], draft.steps, draft.engine)

    def opened(file: FetchedFile) -> list[VectorSource]:
        sources = opener.open(file)
        draft.files += [opener.planned(file, source) for source in sources]
        return sources

    found = together(ctx, fetched, list(chain.from_iterable(ctx.each(fetched, opened))))
    sources = ctx.each(found, lambda source: _rows_and_columns(source, recipe))
    check_one_crs(sources, recipe.where)
    described = ctx.engine.describe(sources, recipe)
    warn_before(sources, described.warnings, ctx.watch)
    draft.sql, draft.columns = described.statements, schema_columns(described.column_schema)
    if all(source.rows is not None for source in sources):
        rows = sum(source.rows or 0 for source in sources)
        counts = {"rows_in": rows} | ({} if recipe.where else {"rows_out": rows})
        draft.counts = _counted(counts, sources)
    kept_aside = (name.removesuffix(".parquet") for name in _quarantines(sources))
    draft.objects = [*draft.objects, *(f"{name}-{{sha256}}.parquet" for name in kept_aside)]
    if opener.reads_rows:
        _look_through(ctx, sources, recipe)
    crs = output_crs(sources, recipe)
    plan_checks(ctx, described.schema, box_of(described.column_schema), crs, compared)


def _look_through(ctx: PlanContext, sources: Sequence[VectorSource], recipe: Recipe) -> None:
    """Warn as the run will of where the rows lie; collect what it would be refused for."""
    seen, places = Findings(), Places(output_crs(sources, recipe))

    def look(source: VectorSource) -> None:
        seen.merge(look_through(source, recipe, places), source.name)

    ctx.gather(sources, look)
    places.warn(ctx.watch)
    warn_after(seen, ctx.watch)


def _recipe(ctx: RunContext) -> Recipe:
    """The steps of the manifest's recipe, which was made whole when the manifest was accepted."""
    intent = ctx.manifest.intent_row
    others = [file.key for file in ctx.manifest.files if not file.has_geometries]
    if "vector" not in intent.file_types or others:
        raise INTENT_NOT_VECTOR(subject=", ".join(others) or intent.name, file=others[0] if others else None)
    return (ctx.manifest.recipe or VectorRecipe()).steps(intent.name, ctx.limits.coverage_vertices)


def _rows_and_columns(source: VectorSource, recipe: Recipe) -> VectorSource:
    """What the recipe takes from a source. Raises RunRefused as `keep_rows` and `choose_columns` do."""
    return choose_columns(keep_rows(source, recipe.where), recipe.columns)


def _counted(counts: Mapping[str, int], sources: Sequence[VectorSource]) -> dict[str, int]:
    """The counts of the rows with what the sources left out, such as rows in quarantine."""
    total = Counter(dict(counts))
    for source in sources:
        total.update(source.left_out)
        total["rows_in"] += source.left_out.get("rows_quarantined", 0)
    return dict(total)


def _quarantines(sources: Sequence[VectorSource]) -> dict[str, Path]:
    """The files with rows that cannot be read; of several sources they have the position in files[], from 1."""
    return {
        "quarantine.parquet" if len(sources) == 1 else f"quarantine.{position}.parquet": source.quarantine
        for position, source in enumerate(sources, 1)
        if source.quarantine is not None
    }


def _product(ctx: RunContext, report: Report, sources: Sequence[VectorSource]) -> Product:
    return Product(
        path=ctx.scratch / "product.parquet",
        kind="spatial",
        format="geoparquet",
        crs=report.crs,
        bounds=report.bounds,
        column_schema=report.column_schema,
        geometry_type=report.geometry_type,
        counts=_counted(report.counts, sources),
        statistics=report.statistics,
        engine=report.engine,
        header_mapping=report.header_mapping,
        companions=_quarantines(sources),
    )
