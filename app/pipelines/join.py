"""The join pipeline: a tabular version and a spatial version become one GeoParquet version.

All rows and columns of the tabular side keep their order, names and types; `geom` and the attributes that the manifest
asks for come from the spatial side. Nothing is computed on geometries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

import duckdb
import pyarrow as pa

from app.errors import RunRefused
from app.models.asset import Asset, ColumnSchema
from app.models.manifest import JoinConfig
from app.pipelines.context import Product, RunContext
from app.pipelines.engines.report import bounds_of, one_type
from app.pipelines.formats.crs import crs_name
from app.pipelines.formats.geoparquet import GEOMETRY, GeoParquetWriter
from app.pipelines.join_assemble import Assembler
from app.pipelines.join_layout import Layout, Places, Role, Table, lay_out, open_spatial, open_tabular
from app.pipelines.join_pairs import KeyReport, Means, Pairs, Side
from app.pipelines.plan import Rehearsal
from app.pipelines.plan_join import parent, result_columns


@dataclass
class _Found:
    """What was met while joining."""

    keys: Mapping[Role, KeyReport]
    types: Counter[str] = field(default_factory=Counter)
    lost_keys: int = 0
    no_geometry: int = 0


def run(ctx: RunContext) -> Asset:
    """Load, transform, export. Rows: those of the asked kind of join; CRS: that of the spatial version.

    Raises RunRefused: dataset_unknown, version_unknown, kind_wrong, column_unknown, key_type, no_rows, rows_too_many,
    memory_limit; RunCanceled and StaleAttempt pass through.
    """
    config = ctx.manifest.metadata.join_config
    if config is None:
        raise ValueError("join_datasets without join_config: the manifest was not validated")

    with ctx.step("load"):
        tabular = ctx.fetch_asset(config.tabular_dataset_id, config.tabular_version)
        spatial = ctx.fetch_asset(config.spatial_dataset_id, config.spatial_version)
        if (same := ctx.unchanged([tabular, spatial], (), _engine())) is not None:
            return same
        left, right = open_tabular(tabular), open_spatial(spatial)
        layout = lay_out(config, left, right.table)

    with ctx.step("transform"):
        product = _join(ctx, config, left, right, layout)

    with ctx.step("export"):
        return ctx.publish(product, [left.parent, right.table.parent])


def plan(ctx: Rehearsal) -> None:
    """What `run` would do: the keys of both versions are compared, no row is put together.

    Raises RunRefused as `run` does, for both versions at once.
    """
    draft, config = ctx.draft, ctx.manifest.metadata.join_config
    if config is None:
        raise ValueError("join_datasets without join_config: the manifest was not validated")
    draft.engine, draft.objects = _engine(), ["data-{sha256}.parquet"]
    right_key = config.right_key or config.left_key
    draft.steps = [f"{config.how} join on keys as trimmed text: {config.left_key} = {right_key}"]
    draft.not_looked_at = ["Values and geometries of the rows."]
    wanted = [(config.tabular_dataset_id, config.tabular_version), (config.spatial_dataset_id, config.spatial_version)]
    tabular, spatial = ctx.each(wanted, lambda version: ctx.fetch_asset(*version))
    ctx.unchanged([tabular, spatial], (), _engine())
    left, right = open_tabular(tabular), open_spatial(spatial)
    draft.parents = [parent(left), parent(right.table)]
    layout = lay_out(config, left, right.table)
    draft.columns = result_columns(layout)
    means = Means(ctx.scratch, ctx.threads, ctx.memory_bytes, lambda: None)
    with Pairs(_side(left, layout.left_key), _side(right.table, layout.right_key), config.how, means) as pairs:
        total = pairs.count()
        found = _Found({"tabular": pairs.report("l"), "spatial": pairs.report("r")})
        _check_rows(ctx, pairs, total, left, right.table, found)
    _warn(ctx, left, right.table, found)
    draft.counts = {"rows_in": left.rows, "rows_spatial": right.table.rows, "rows_out": total}


def _engine() -> dict[str, str]:
    return {"engine": "duckdb", "duckdb": duckdb.__version__, "pyarrow": pa.__version__}


def _join(ctx: RunContext, config: JoinConfig, left: Table, right: Places, layout: Layout) -> Product:
    target = ctx.scratch / "product.parquet"
    total: int | None = None

    def tick() -> None:
        ctx.watch.advance(0, total)

    means = Means(ctx.scratch, ctx.threads, ctx.memory_bytes, tick)
    with Pairs(_side(left, layout.left_key), _side(right.table, layout.right_key), config.how, means) as pairs:
        total = pairs.count()
        found = _Found({"tabular": pairs.report("l"), "spatial": pairs.report("r")})
        _check_rows(ctx, pairs, total, left, right.table, found)
        assembler = Assembler(left, right, layout, ctx.scratch, tick, fills=config.how in ("right", "outer"))
        with GeoParquetWriter(target, layout.schema, layout.box, right.crs) as writer:
            for part in assembler.parts(pairs.batches(), ctx.threads):
                writer.write(part.attributes, part.wkb, part.boxes, set(part.types), part.heights)
                found.types.update(part.types)
                found.lost_keys += part.lost_keys
                found.no_geometry += part.wkb.null_count
                ctx.watch.advance(writer.rows, total)
    if writer.rows != total:
        detail = f"The join of {left.name} and {right.table.name} has {total} rows, {writer.rows} were written."
        raise RunRefused(detail, "This is an error of the service.", reason="rows_lost")
    _warn(ctx, left, right.table, found)
    return _product(ctx, left, right, layout, writer, found)


def _side(table: Table, key: str) -> Side:
    return Side(table.name, table.path, key, table.attributes.field(key).type)


def _check_rows(ctx: RunContext, pairs: Pairs, total: int, left: Table, right: Table, found: _Found) -> None:
    if total == 0:
        _refuse_empty(left, right, found)
    if total > ctx.limits.rows:
        key, here, there = pairs.most()
        raise RunRefused(
            f"The join of {left.name} and {right.name} has {total} rows, the limit is {ctx.limits.rows}: the key "
            f"{key!r} alone has {here} rows on the tabular and {there} on the spatial side.",
            "Choose keys that are unique on one side, or raise SPATIAL_ETL_LIMITS__ROWS.",
            reason="rows_too_many",
        )


def _refuse_empty(left: Table, right: Table, found: _Found) -> NoReturn:
    samples = {role: ", ".join(map(repr, report.unmatched_samples)) or "none" for role, report in found.keys.items()}
    raise RunRefused(
        f"The join of {left.name} and {right.name} has no rows: no key of the one is a key of the other "
        f"(tabular: {samples['tabular']}; spatial: {samples['spatial']}).",
        "Check left_key and right_key, or choose another kind of join.",
        reason="no_rows",
    )


def _warn(ctx: RunContext, left: Table, right: Table, found: _Found) -> None:
    for table in (left, right):
        report, name, role = found.keys[table.role], table.name, table.role
        if report.missing:
            message = f"{report.missing} rows of {name} have no key (null, blank or not a number): they match nothing."
            ctx.watch.warn(f"{role}_keys_missing", message, report.missing)
        if report.unmatched:
            message = f"{report.unmatched} rows of {name} have a key that the other side does not have."
            ctx.watch.warn(f"{role}_rows_unmatched", message, report.unmatched, report.unmatched_samples)
        if report.duplicated:
            message = f"{report.duplicated} keys of {name} belong to several rows each."
            ctx.watch.warn(f"{role}_keys_duplicated", message, report.duplicated, report.duplicated_samples)
    if found.lost_keys:
        message = (
            f"{found.lost_keys} keys of unmatched spatial rows are no values of the tabular key's type: they are null. "
            "Ask for the column with join_config.spatial_columns."
        )
        ctx.watch.warn("keys_not_kept", message, found.lost_keys)


def _product(
    ctx: RunContext, left: Table, right: Places, layout: Layout, writer: GeoParquetWriter, found: _Found
) -> Product:
    counts = {"rows_in": left.rows, "rows_spatial": right.table.rows, "rows_out": writer.rows,
              "null_geometries": found.no_geometry}  # fmt: skip
    for role, report in found.keys.items():
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
        statistics={"geometry_types": dict(sorted(found.types.items())), "bytes": path.stat().st_size},
        engine=_engine(),
        header_mapping=layout.renamed,
    )
