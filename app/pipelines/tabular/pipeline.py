"""The tabular pipeline: turns one table of any format into one Parquet version of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from app.models.asset import Asset, ColumnSchema
from app.pipelines.common.check_product import answer_in_plan, checked
from app.pipelines.common.column_names import header_mapping
from app.pipelines.common.profile import profile
from app.pipelines.contract.context import Product, RunContext
from app.pipelines.contract.plan_context import PlanContext
from app.pipelines.tabular.convert import check, convert, open_file
from app.pipelines.tabular.coordinates import proposed_geometry
from app.pipelines.tabular.headers import clean_headers
from app.pipelines.tabular.plan import planned_columns, planned_file
from app.pipelines.tabular.quarantine import Quarantine
from app.pipelines.tabular.source import OpenedTable
from app.pipelines.tabular.typed_table import WrittenTable

PRODUCT = "product.parquet"


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
        source = open_file(ctx, fetched)
        cleaned = clean_headers(source.names)

    with ctx.step("transform"), Quarantine(ctx.scratch / "quarantine.parquet") as quarantine:
        outcome = convert(ctx, fetched, source, cleaned, ctx.scratch / PRODUCT, quarantine)
        check(ctx, fetched, source, ctx.scratch / PRODUCT, outcome, quarantine)

    with ctx.step("export"):
        columns = profile(ctx.scratch / PRODUCT, outcome.schema, outcome.counts["rows_out"], ctx.threads)
        product = checked(ctx, _product(ctx, source, cleaned, outcome, columns))
        return ctx.publish(product, fetched.inputs)


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
    source = open_file(ctx, fetched)
    cleaned = clean_headers(source.names)
    draft.files = [planned_file(fetched, source, (), {})]
    draft.steps = ("clean the names of the columns", "read all rows, type each column by all of its values")
    with Quarantine(ctx.scratch / "quarantine.parquet") as quarantine:
        outcome = convert(ctx, fetched, source, cleaned, ctx.scratch / PRODUCT, quarantine)
        draft.counts = dict(outcome.counts)
        check(ctx, fetched, source, ctx.scratch / PRODUCT, outcome, quarantine)
    if outcome.counts["rows_quarantined"]:
        draft.objects = ["data-{sha256}.parquet", "quarantine-{sha256}.parquet"]
    draft.columns = planned_columns(ctx.scratch / PRODUCT, fetched, source, outcome)
    draft.files = [planned_file(fetched, source, draft.columns, outcome.counts)]
    if (proposal := proposed_geometry(ctx.scratch / PRODUCT, outcome.schema, source.names, source.file)) is not None:
        ctx.watch.warn(proposal)
    answer_in_plan(ctx, ctx.scratch / PRODUCT)


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
        path=ctx.scratch / PRODUCT,
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
