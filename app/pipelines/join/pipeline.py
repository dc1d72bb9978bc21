"""The join pipeline: joins a tabular and a spatial version into one GeoParquet version.

The rows and columns of the tabular side keep their order, names and types; `geom` and the selected attributes come from
the spatial side. Geometries are not changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from app.messages.join import (
    JOIN_EMPTY,
    JOIN_ROWS_LOST,
    JOIN_ROWS_TOO_MANY,
    KEYS_NOT_KEPT,
    KEYS_UNICODE_FORM,
    SPATIAL_KEYS_DUPLICATED,
    SPATIAL_KEYS_MISSING,
    SPATIAL_ROWS_UNMATCHED,
    TABULAR_KEYS_DUPLICATED,
    TABULAR_KEYS_MISSING,
    TABULAR_ROWS_UNMATCHED,
)
from app.messages.message import Notice
from app.models.asset import Asset, ColumnSchema
from app.models.manifests.metadata import JoinConfig
from app.models.products import GEOMETRY
from app.pipelines.common.check_product import (
    answer_rows_in_plan,
    checked,
    fetch_compared,
    plan_checks,
    plan_compared,
)
from app.pipelines.common.crs import crs_name
from app.pipelines.common.geoparquet_writer import GeoParquetWriter, bounds_of, one_type, product_schema
from app.pipelines.contract.context import Product, RunContext
from app.pipelines.contract.plan_context import PlanContext
from app.pipelines.join.assemble import Assembler
from app.pipelines.join.layout import JoinColumns, JoinTable, Role, SpatialTable, lay_out, open_spatial, open_tabular
from app.pipelines.join.match import JoinResources, KeyColumn, KeyMatches, KeyReport, Tick
from app.pipelines.join.plan import parent, result_columns

# Notices of missing, unmatched and duplicated keys.
_NOTICES: Mapping[Role, tuple[Notice, Notice, Notice]] = {
    "tabular": (TABULAR_KEYS_MISSING, TABULAR_ROWS_UNMATCHED, TABULAR_KEYS_DUPLICATED),
    "spatial": (SPATIAL_KEYS_MISSING, SPATIAL_ROWS_UNMATCHED, SPATIAL_KEYS_DUPLICATED),
}


@dataclass
class _JoinFindings:
    """What was counted while joining."""

    keys: Mapping[Role, KeyReport]
    types: Counter[str] = field(default_factory=Counter)
    lost_keys: int = 0
    no_geometry: int = 0


def run(ctx: RunContext) -> Asset:
    """Load, transform, export.

    The rows are those of join_config.how (left, inner, right, outer); the CRS is that of the spatial version.

    Raises:
        RunRefused: dataset_unknown, version_unknown, kind_wrong, column_unknown, key_type, no_rows, rows_too_many,
            memory_limit.
        RunCanceled, StaleAttempt: from the context.
    """
    config = ctx.manifest.metadata.join_config
    if config is None:
        raise ValueError("join_datasets without join_config: the manifest was not validated")

    with ctx.step("load"):
        tabular = ctx.fetch_asset(config.tabular_dataset_id, config.tabular_version)
        spatial = ctx.fetch_asset(config.spatial_dataset_id, config.spatial_version)
        compared = fetch_compared(ctx)
        inputs = [tabular, spatial, *(each.fetched for each in compared)]
        if (unchanged := ctx.unchanged(inputs, (), _engine())) is not None:
            return unchanged
        left, right = open_tabular(tabular), open_spatial(spatial)
        layout = lay_out(config, left, right.table)

    with ctx.step("transform"):
        product = _join(ctx, config, left, right, layout)

    with ctx.step("export"):
        parents = [left.parent, right.table.parent, *(each.parent for each in compared)]
        return ctx.publish(checked(ctx, product, compared), parents)


def plan(ctx: PlanContext) -> None:
    """Fill `ctx.draft` with what `run` would do: the keys of both versions are compared, but no row is built.

    Raises:
        RunRefused: as `run` does, for both versions at once.
    """
    draft, config = ctx.draft, ctx.manifest.metadata.join_config
    if config is None:
        raise ValueError("join_datasets without join_config: the manifest was not validated")
    draft.engine, draft.objects = _engine(), ["data-{sha256}.parquet"]
    right_key = config.right_key or config.left_key
    draft.steps = [f"{config.how} join on keys as trimmed text: {config.left_key} = {right_key}"]
    draft.not_looked_at = ["Values and geometries of the rows."]
    wanted = [(config.tabular_dataset_id, config.tabular_version), (config.spatial_dataset_id, config.spatial_version)]
    sides = ctx.gather(wanted, lambda version: ctx.fetch_asset(*version))
    compared = plan_compared(ctx)
    tabular, spatial = sides
    ctx.unchanged([tabular, spatial, *(each.fetched for each in compared)], (), _engine())
    left, right = open_tabular(tabular), open_spatial(spatial)
    draft.parents = [parent(left), parent(right.table), *draft.parents]
    layout = lay_out(config, left, right.table)
    draft.columns = result_columns(layout)
    plan_checks(ctx, product_schema(layout.schema, layout.box), layout.box, right.crs, compared)
    with _match_keys(ctx, config, left, right.table, layout, lambda: None) as matches:
        total, findings = _count_rows(ctx, matches, left, right.table)
    _warn(ctx, left, right.table, findings)
    draft.counts = {"rows_in": left.rows, "rows_spatial": right.table.rows, "rows_out": total}
    answer_rows_in_plan(ctx, total)


def _engine() -> dict[str, str]:
    return {"engine": "duckdb", "duckdb": duckdb.__version__, "pyarrow": pa.__version__}


def _join(ctx: RunContext, config: JoinConfig, left: JoinTable, right: SpatialTable, layout: JoinColumns) -> Product:
    target = ctx.scratch / "product.parquet"
    total: int | None = None

    def tick() -> None:
        ctx.watch.advance(0, total)

    with _match_keys(ctx, config, left, right.table, layout, tick) as matches:
        total, findings = _count_rows(ctx, matches, left, right.table)
        assembler = Assembler(left, right, layout, ctx.scratch, tick, fills_keys=config.how in ("right", "outer"))
        with GeoParquetWriter(target, layout.schema, layout.box, right.crs) as writer:
            for part in assembler.parts(matches.batches(), ctx.threads):
                writer.write(part.attributes, part.wkb, part.boxes, set(part.types), part.heights)
                findings.types.update(part.types)
                findings.lost_keys += part.lost_keys
                findings.no_geometry += part.wkb.null_count
                ctx.watch.advance(writer.rows, total)
    if writer.rows != total:
        raise JOIN_ROWS_LOST(left=left.name, right=right.table.name, total=total, written=writer.rows)
    _warn(ctx, left, right.table, findings)
    return _product(ctx, left, right, layout, writer, findings)


def _match_keys(
    ctx: RunContext, config: JoinConfig, left: JoinTable, right: JoinTable, layout: JoinColumns, tick: Tick
) -> KeyMatches:
    left_key, right_key = (
        KeyColumn(table.name, table.path, key, table.attributes.field(key).type)
        for table, key in ((left, layout.left_key), (right, layout.right_key))
    )
    resources = JoinResources(ctx.scratch, ctx.threads, ctx.memory_bytes, tick)
    return KeyMatches(left_key, right_key, config.how, resources)


def _count_rows(ctx: RunContext, matches: KeyMatches, left: JoinTable, right: JoinTable) -> tuple[int, _JoinFindings]:
    """(rows of the result, what was found about the keys). Raises RunRefused: no_rows, rows_too_many."""
    total = matches.count()
    findings = _JoinFindings({"tabular": matches.report("l"), "spatial": matches.report("r")})
    if total == 0:
        samples = {
            f"{role}_keys": ", ".join(map(repr, report.unmatched_samples)) or "no keys"
            for role, report in findings.keys.items()
        }
        form = any(report.other_form for report in findings.keys.values())
        hint = (
            "Write the keys of both sides in one Unicode form, such as NFC: some differ in that only. " if form else ""
        )
        raise JOIN_EMPTY(left=left.name, right=right.name, hint=hint, **samples)
    if total > ctx.limits.rows:
        key, left_rows, right_rows = matches.largest_key()
        raise JOIN_ROWS_TOO_MANY(
            left=left.name,
            right=right.name,
            total=total,
            limit=ctx.limits.rows,
            key=key,
            left_rows=left_rows,
            right_rows=right_rows,
        )
    return total, findings


def _warn(ctx: RunContext, left: JoinTable, right: JoinTable, findings: _JoinFindings) -> None:
    for table in (left, right):
        report = findings.keys[table.role]
        missing, unmatched, duplicated = _NOTICES[table.role]
        if report.missing:
            ctx.watch.warn(missing(table=table.name, count=report.missing))
        if report.unmatched:
            ctx.watch.warn(unmatched(table=table.name, count=report.unmatched, samples=report.unmatched_samples))
        if report.duplicated:
            ctx.watch.warn(duplicated(table=table.name, count=report.duplicated, samples=report.duplicated_samples))
    for table in (left, right):
        report = findings.keys[table.role]
        if report.other_form:
            samples = report.other_form_samples
            ctx.watch.warn(KEYS_UNICODE_FORM(table=table.name, count=report.other_form, samples=samples))
            break
    if findings.lost_keys:
        ctx.watch.warn(KEYS_NOT_KEPT(count=findings.lost_keys))


def _product(
    ctx: RunContext,
    left: JoinTable,
    right: SpatialTable,
    layout: JoinColumns,
    writer: GeoParquetWriter,
    findings: _JoinFindings,
) -> Product:
    counts = {"rows_in": left.rows, "rows_spatial": right.table.rows, "rows_out": writer.rows,
              "null_geometries": findings.no_geometry}  # fmt: skip
    for role, report in findings.keys.items():
        counts |= {f"{role}_keys_missing": report.missing, f"{role}_rows_unmatched": report.unmatched,
                   f"{role}_keys_duplicated": report.duplicated}  # fmt: skip
    path = ctx.scratch / "product.parquet"
    made = {
        name: ColumnSchema(title=name, type_name=str(writer.schema.field(name).type), logical_type=logical)
        for name, logical in ((GEOMETRY, "geometry"), (layout.box, "bbox"))
    }
    return Product(
        path=path,
        kind="joined",
        format="geoparquet",
        crs=crs_name(right.crs),
        bounds=bounds_of(writer.bounds),
        column_schema=layout.column_schema | made,
        geometry_type=one_type(writer.geometry_types),
        counts=counts,
        statistics={"geometry_types": dict(sorted(findings.types.items())), "bytes": path.stat().st_size},
        engine=_engine(),
        header_mapping=layout.renamed,
    )
