"""The tabular pipeline: one table of any format becomes one Parquet version of a dataset, with nothing bent or lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from app.errors import RunRefused
from app.models.asset import Asset, ColumnSchema
from app.pipelines.context import FetchedFile, Product, RunContext
from app.pipelines.formats.profile import profile
from app.pipelines.formats.tabular import open_table
from app.pipelines.formats.tabular_headers import clean_headers, mapping_of
from app.pipelines.formats.tabular_hints import hints
from app.pipelines.formats.tabular_overrides import types_by_column
from app.pipelines.formats.tabular_parquet import ParquetTable, copy_parquet
from app.pipelines.formats.tabular_quarantine import Quarantine
from app.pipelines.formats.tabular_source import TableSource, no_rows
from app.pipelines.formats.tabular_table import Outcome, Plan, write_table
from app.pipelines.plan import Rehearsal
from app.pipelines.plan_table import reasons, table_file


def run(ctx: RunContext) -> Asset:
    """Load, transform, export. Every row of the source is a row of the product or of its quarantine, in order.

    Raises RunRefused, with a reason, for input that cannot become a dataset; RunCanceled and StaleAttempt pass through.
    """
    with ctx.step("load"):
        fetched = ctx.fetch(ctx.manifest.files[0])
        if (same := ctx.unchanged([fetched], (), {"engine": "arrow"})) is not None:
            return same
        source = open_table(fetched, ctx.limits, ctx.watch)
        cleaned = clean_headers(source.names)
        for code, message, count, samples in source.notes:
            ctx.watch.warn(code, message, count, samples)

    with ctx.step("transform"), Quarantine(ctx.scratch / "quarantine.parquet") as quarantine:
        outcome = _convert(ctx, fetched, source, cleaned, quarantine)
        _check(ctx, source, outcome, quarantine)

    with ctx.step("export"):
        columns = profile(ctx.scratch / "product.parquet", outcome.schema, outcome.counts["rows_out"], ctx.threads)
        return ctx.publish(_product(ctx, source, cleaned, outcome, columns), fetched.inputs)


def plan(ctx: Rehearsal) -> None:
    """What `run` would do: the whole table is read and typed, because only all rows tell the types. Nothing is kept.

    Raises RunRefused as `run` does.
    """
    draft = ctx.draft
    draft.engine, draft.objects = _engine(), ["data-{sha256}.parquet"]
    fetched = ctx.fetch(ctx.manifest.files[0])
    ctx.unchanged([fetched], (), {"engine": "arrow"})
    source = open_table(fetched, ctx.limits, ctx.watch)
    cleaned = clean_headers(source.names)
    for code, message, count, samples in source.notes:
        ctx.watch.warn(code, message, count, samples)
    draft.files = [table_file(fetched, source, (), {})]
    draft.steps = ("clean the names of the columns", "read all rows, type each column by all of its values")
    with Quarantine(ctx.scratch / "quarantine.parquet") as quarantine:
        outcome = _convert(ctx, fetched, source, cleaned, quarantine)
        draft.counts = dict(outcome.counts)
        _check(ctx, source, outcome, quarantine)
    if outcome.counts["rows_quarantined"]:
        draft.objects = ["data-{sha256}.parquet", "quarantine-{sha256}.parquet"]
    draft.columns = reasons(ctx.scratch / "product.parquet", fetched, source, outcome)
    draft.files = [table_file(fetched, source, draft.columns, outcome.counts)]


def _convert(
    ctx: RunContext,
    fetched: FetchedFile,
    source: TableSource | ParquetTable,
    cleaned: Sequence[str],
    quarantine: Quarantine,
) -> Outcome:
    target = ctx.scratch / "product.parquet"
    if isinstance(source, ParquetTable):
        return copy_parquet(source, cleaned, target, ctx.watch)
    options = fetched.declared.options
    asked = types_by_column((options and options.types) or {}, source.names, cleaned, source.file)
    plan = Plan(cleaned, asked, (options and options.nulls) or (), ctx.limits.rows, ctx.threads)
    return write_table(source, plan, target, quarantine, ctx.watch)


def _check(ctx: RunContext, source: TableSource | ParquetTable, outcome: Outcome, quarantine: Quarantine) -> None:
    """Rows in = rows out + rows set aside, and not too many of these."""
    counts, file = outcome.counts, source.file
    if counts["rows_in"] != counts["rows_out"] + counts["rows_quarantined"]:
        detail = (
            f"{file}: {counts['rows_in']} rows read, {counts['rows_out']} written, "
            f"{counts['rows_quarantined']} set aside."
        )
        raise RunRefused(detail, "This is a defect of the service.", reason="rows_lost", file=file)
    aside = counts["lines_quarantined"]
    if aside:
        lines = counts["rows_out"] + aside
        limit = ctx.limits.quarantine_share
        worst = "; ".join(f"line {each['line']}: {each['reason']}" for each in quarantine.samples[:3])
        if aside > limit * lines:
            raise RunRefused(
                f"{file}: {aside} of {lines} lines cannot be read as rows ({worst}), more than {limit:.2%}.",
                "Correct the file or files[].options, or raise SPATIAL_ETL_LIMITS__QUARANTINE_SHARE.",
                reason="rows_quarantined",
                file=file,
            )
        message = f"{counts['rows_quarantined']} rows of {file} were set aside in quarantine.parquet ({worst})."
        ctx.watch.warn("rows_quarantined", message, counts["rows_quarantined"], quarantine.samples)
    if counts["rows_out"] == 0:
        raise no_rows(
            file, "every line after the header was set aside" if aside else "there is nothing after the header"
        )
    if counts["lines_blank"]:
        message = f"{counts['lines_blank']} lines of {file} are blank: they are no rows."
        ctx.watch.warn("lines_blank", message, counts["lines_blank"])
    for code, message, count, samples in hints(ctx.scratch / "product.parquet", outcome.schema):
        ctx.watch.warn(code, message, count, samples)


def _engine() -> dict[str, str]:
    return {"engine": "local", "pyarrow": pa.__version__}


def _product(
    ctx: RunContext,
    source: TableSource | ParquetTable,
    cleaned: Sequence[str],
    outcome: Outcome,
    columns: Mapping[str, Mapping[str, Any]],
) -> Product:
    quarantine = ctx.scratch / "quarantine.parquet"
    return Product(
        path=ctx.scratch / "product.parquet",
        kind="tabular",
        format="parquet",
        crs=None,
        bounds=None,
        column_schema={
            field.name: ColumnSchema(
                title=name or field.name,
                type_name=str(field.type),
                logical_type=outcome.logical.get(field.name),
                nullable=columns[field.name]["nulls"] > 0,
            )
            for name, field in zip(source.names, outcome.schema, strict=True)
        },
        geometry_type=None,
        counts=dict(outcome.counts),
        statistics={"columns": columns, "source": dict(source.described)},
        engine=_engine(),
        header_mapping=mapping_of(source.names, cleaned) if any(source.names) else {},
        companions={"quarantine.parquet": quarantine} if quarantine.exists() else {},
    )
