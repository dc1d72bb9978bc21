"""The tabular pipeline: turns one table of any format into one Parquet version of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from app.messages.tabular import (
    ALL_QUARANTINED,
    HEADER_ONLY,
    LINES_BLANK,
    QUARANTINE_TOO_LARGE,
    ROWS_NULL_FILLED,
    ROWS_QUARANTINED,
    TABLE_ROWS_LOST,
)
from app.models.asset import Asset, ColumnSchema
from app.models.file_options import FileOptions
from app.models.formats import find_format
from app.pipelines.common.column_types import types_by_column
from app.pipelines.common.profile import profile
from app.pipelines.contract.context import FetchedFile, Product, RunContext
from app.pipelines.contract.plan_context import PlanContext
from app.pipelines.tabular.headers import clean_headers, header_mapping
from app.pipelines.tabular.notation import notation_of
from app.pipelines.tabular.open import open_table
from app.pipelines.tabular.plan import planned_columns, planned_file
from app.pipelines.tabular.quarantine import Quarantine
from app.pipelines.tabular.source import OpenedTable, TypedSource
from app.pipelines.tabular.typed_table import WriteOptions, WrittenTable, copy_table, write_table
from app.pipelines.tabular.warnings import text_column_warnings


def run(ctx: RunContext) -> Asset:
    """Load, transform, export. Every row of the source goes to the product or to quarantine.parquet, in order.

    Raises:
        RunRefused: the input cannot become a dataset.
        RunCanceled, StaleAttempt: from the context.
    """
    with ctx.step("load"):
        fetched = ctx.fetch(ctx.manifest.files[0])
        if (unchanged := ctx.unchanged([fetched], (), {"engine": "arrow"})) is not None:
            return unchanged
        source = _open(ctx, fetched)
        cleaned = clean_headers(source.names)

    with ctx.step("transform"), Quarantine(ctx.scratch / "quarantine.parquet") as quarantine:
        outcome = _convert(ctx, fetched, source, cleaned, quarantine)
        _check(ctx, _options(fetched), source, outcome, quarantine)

    with ctx.step("export"):
        columns = profile(ctx.scratch / "product.parquet", outcome.schema, outcome.counts["rows_out"], ctx.threads)
        return ctx.publish(_product(ctx, source, cleaned, outcome, columns), fetched.inputs)


def plan(ctx: PlanContext) -> None:
    """Fill `ctx.draft` with what `run` would do.

    Reads and types the whole table, because the types depend on all rows, but keeps no product.

    Raises:
        RunRefused: as `run` does.
    """
    draft = ctx.draft
    draft.engine, draft.objects = _engine(), ["data-{sha256}.parquet"]
    fetched = ctx.fetch(ctx.manifest.files[0])
    ctx.unchanged([fetched], (), {"engine": "arrow"})
    source = _open(ctx, fetched)
    cleaned = clean_headers(source.names)
    draft.files = [planned_file(fetched, source, (), {})]
    draft.steps = ("clean the names of the columns", "read all rows, type each column by all of its values")
    with Quarantine(ctx.scratch / "quarantine.parquet") as quarantine:
        outcome = _convert(ctx, fetched, source, cleaned, quarantine)
        draft.counts = dict(outcome.counts)
        _check(ctx, _options(fetched), source, outcome, quarantine)
    if outcome.counts["rows_quarantined"]:
        draft.objects = ["data-{sha256}.parquet", "quarantine-{sha256}.parquet"]
    draft.columns = planned_columns(ctx.scratch / "product.parquet", fetched, source, outcome)
    draft.files = [planned_file(fetched, source, draft.columns, outcome.counts)]


def _open(ctx: RunContext, fetched: FetchedFile) -> OpenedTable:
    source = open_table(fetched, ctx.limits, ctx.watch)
    for warning in source.warnings:
        ctx.watch.warn(warning)
    return source


def _convert(
    ctx: RunContext,
    fetched: FetchedFile,
    source: OpenedTable,
    cleaned: Sequence[str],
    quarantine: Quarantine,
) -> WrittenTable:
    target = ctx.scratch / "product.parquet"
    if isinstance(source, TypedSource):
        return copy_table(source, cleaned, target, ctx.watch)
    options = _options(fetched)
    declared = types_by_column(options.types or {}, source.names, cleaned, source.file)
    plan = WriteOptions(cleaned, declared, options.nulls or (), notation_of(options), ctx.limits.rows, ctx.threads)
    return write_table(source, plan, target, quarantine, ctx.watch)


def _check(
    ctx: RunContext, options: FileOptions, source: OpenedTable, outcome: WrittenTable, quarantine: Quarantine
) -> None:
    """Check that no row is lost and that few enough are quarantined; warn of what was found."""
    counts, file = outcome.counts, source.file
    read, written, quarantined = counts["rows_in"], counts["rows_out"], counts["rows_quarantined"]
    if read != written + quarantined:
        raise TABLE_ROWS_LOST(file=file, read=read, written=written, quarantined=quarantined)
    lines_quarantined = counts["lines_quarantined"]
    if lines_quarantined:
        lines = written + lines_quarantined
        share = ctx.limits.quarantine_share if options.quarantine_share is None else options.quarantine_share
        worst = "; ".join(f"line {each['line']}: {each['reason']}" for each in quarantine.samples[:3])
        if lines_quarantined > share * lines:
            raise QUARANTINE_TOO_LARGE(
                file=file, lines_quarantined=lines_quarantined, lines=lines, worst=worst, share=share
            )
        ctx.watch.warn(ROWS_QUARANTINED(file=file, worst=worst, count=quarantined, samples=quarantine.samples))
    if written == 0:
        raise ALL_QUARANTINED(file=file) if lines_quarantined else HEADER_ONLY(file=file)
    if counts["rows_null_filled"]:
        ctx.watch.warn(ROWS_NULL_FILLED(file=file, count=counts["rows_null_filled"]))
    if counts["lines_blank"]:
        ctx.watch.warn(LINES_BLANK(file=file, count=counts["lines_blank"]))
    fmt = find_format(ctx.manifest.files[0].format)
    takes = fmt.options if fmt is not None else ()
    for warning in text_column_warnings(ctx.scratch / "product.parquet", outcome.schema, source, options, takes):
        ctx.watch.warn(warning)


def _options(fetched: FetchedFile) -> FileOptions:
    return fetched.declared.options or FileOptions()


def _engine() -> dict[str, str]:
    return {"engine": "local", "pyarrow": pa.__version__}


def _product(
    ctx: RunContext,
    source: OpenedTable,
    cleaned: Sequence[str],
    outcome: WrittenTable,
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
        statistics={"columns": columns, "source": dict(source.read_options)},
        engine=_engine(),
        header_mapping=header_mapping(source.names, cleaned) if any(source.names) else {},
        companions={"quarantine.parquet": quarantine} if quarantine.exists() else {},
    )
