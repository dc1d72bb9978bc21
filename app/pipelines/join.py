"""The join pipeline: a tabular version and a spatial version become one GeoParquet version.

All rows and columns of the tabular side keep their order, names and types; `geom` and the attributes that the manifest
asks for come from the spatial side. Nothing is computed on geometries.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyproj import CRS

from app.errors import RunRefused
from app.models.asset import Asset, ColumnSchema, ParentInput
from app.models.manifest import JoinConfig
from app.models.nearest import nearest
from app.pipelines.context import FetchedAsset, Product, RunContext
from app.pipelines.engines.report import bounds_of, one_type
from app.pipelines.formats.crs import crs_name
from app.pipelines.formats.geoparquet import GEOMETRY, GeoParquetWriter, column_names
from app.pipelines.join_pairs import KeyReport, Pairs, Side
from app.pipelines.join_rows import Rows

_STEP_ROWS = 65_536
_STEP_BYTES = 8 * 1024 * 1024
_KINDS = {"tabular": ("tabular",), "spatial": ("spatial", "joined")}
_TYPE_NAMES = (
    "",
    "Point",
    "LineString",
    "Polygon",
    "MultiPoint",
    "MultiLineString",
    "MultiPolygon",
    "GeometryCollection",
)

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Table:
    """One of the two versions, fetched. attributes: without geometry and its box; box: the covering column."""

    role: str
    fetched: FetchedAsset
    attributes: pa.Schema
    rows: int
    crs: CRS | None
    box: str | None

    @property
    def asset(self) -> Asset:
        return self.fetched.asset

    @property
    def path(self) -> Path:
        return self.fetched.path

    @property
    def name(self) -> str:
        return f"{self.asset.dataset_id} version {self.asset.version}"

    @property
    def parent(self) -> ParentInput:
        return ParentInput(dataset_id=self.asset.dataset_id, version=self.asset.version, role=self.role)


@dataclass(frozen=True, slots=True)
class _Layout:
    """The columns of the result. left, right: their names in the sources; names: all attributes, as they come out."""

    left: tuple[str, ...]
    right: tuple[str, ...]
    schema: pa.Schema
    box: str
    renamed: dict[str, str]
    column_schema: dict[str, ColumnSchema]


def run(ctx: RunContext) -> Asset:
    """Load, transform, export. Rows: those of the asked kind of join; CRS: that of the spatial version.

    Raises RunRefused: dataset_unknown, version_unknown, kind_wrong, column_unknown, key_type, no_rows; RunCanceled and
    StaleAttempt pass through.
    """
    config = ctx.manifest.metadata.join_config
    if config is None:
        raise RunRefused("The manifest has no join_config.", "Give metadata.join_config.", reason="join_config_missing")

    with ctx.step("load"):
        left = _describe("tabular", ctx.fetch_asset(config.tabular_dataset_id, config.tabular_version))
        right = _describe("spatial", ctx.fetch_asset(config.spatial_dataset_id, config.spatial_version))
        engine = {"engine": "duckdb", "duckdb": duckdb.__version__, "pyarrow": pa.__version__}
        if (same := ctx.unchanged([left.fetched, right.fetched], (), engine)) is not None:
            return same
        keys = _keys(config, left, right)
        layout = _layout(config, left, right)

    with ctx.step("transform"):
        product = _join(ctx, config, left, right, keys, layout)

    with ctx.step("export"):
        return ctx.publish(product, [left.parent, right.parent])


def _describe(role: str, fetched: FetchedAsset) -> _Table:
    asset = fetched.asset
    name = f"{asset.dataset_id} version {asset.version}"
    if asset.kind not in _KINDS[role]:
        raise RunRefused(
            f"{name} is {asset.kind}; the {role} side of a join must be {' or '.join(_KINDS[role])}.",
            f"Name another dataset in join_config.{role}_dataset_id.",
            reason="kind_wrong",
        )
    with pq.ParquetFile(fetched.path) as parquet:
        schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
        raw = (parquet.metadata.metadata or {}).get(b"geo")
    crs, box = None, None
    if role == "spatial" and raw is not None:
        column = json.loads(raw)["columns"][GEOMETRY]
        crs, box = CRS.from_json_dict(column["crs"]), column["covering"]["bbox"]["xmin"][0]
    fields = [field for field in schema if role == "tabular" or field.name not in (GEOMETRY, box)]
    return _Table(role, fetched, pa.schema(fields), rows, crs, box)


def _keys(config: JoinConfig, left: _Table, right: _Table) -> tuple[str, str]:
    """The key columns of both sides."""
    right_key = config.right_key or config.left_key
    _check_column(config.left_key, left, "left_key")
    _check_column(right_key, right, "right_key")
    return config.left_key, right_key


def _check_column(column: str, table: _Table, field: str) -> None:
    names = table.attributes.names
    if column in names:
        return
    headers = {old: new for old, new in table.asset.metadata.header_mapping.items() if old == column}
    near = headers.get(column) or nearest(column, names)
    hint = f"Did you mean {near!r}? " if near else ""
    raise RunRefused(
        f"{table.name} has no column {column!r} (join_config.{field}).",
        f"{hint}Its columns: {', '.join(map(repr, names))}.",
        reason="column_unknown",
    )


def _layout(config: JoinConfig, left: _Table, right: _Table) -> _Layout:
    """Tabular columns first, then the spatial ones asked for; a name that is taken gets `_spatial`."""
    wanted = right.attributes.names if "*" in config.spatial_columns else list(dict.fromkeys(config.spatial_columns))
    for column in wanted:
        _check_column(column, right, "spatial_columns")
    taken = {name.casefold() for name in left.attributes.names}
    fresh = [_fresh(name, taken) for name in wanted]
    names, box, moved = column_names([*left.attributes.names, *fresh])
    sources = [*((left, name) for name in left.attributes.names), *((right, name) for name in wanted)]
    fields = [
        table.attributes.field(old).with_name(new).with_nullable(True)
        for (table, old), new in zip(sources, names, strict=True)
    ]
    titles = {
        new: table.asset.metadata.column_schema.get(old, ColumnSchema(title=old, type_name=str(field.type)))
        for (table, old), new, field in zip(sources, names, fields, strict=True)
    }
    renamed = {old: moved.get(new, new) for old, new in zip(wanted, fresh, strict=True) if old != moved.get(new, new)}
    renamed |= {old: new for old, new in moved.items() if old in left.attributes.names}
    return _Layout(tuple(left.attributes.names), tuple(wanted), pa.schema(fields), box, renamed, titles)


def _fresh(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate.casefold() in taken:
        candidate = f"{name}_spatial" if number == 1 else f"{name}_spatial_{number}"
        number += 1
    taken.add(candidate.casefold())
    return candidate


def _join(
    ctx: RunContext, config: JoinConfig, left: _Table, right: _Table, keys: tuple[str, str], layout: _Layout
) -> Product:
    target = ctx.scratch / "product.parquet"
    types: Counter[str] = Counter()
    lost_keys = no_geometry = 0
    sides = Side(left.name, left.path, keys[0]), Side(right.name, right.path, keys[1])
    if right.crs is None or right.box is None:
        raise RunRefused(f"{right.name} has no geometry.", "Name a spatial dataset.", reason="kind_wrong")
    with Pairs(*sides, config.how, ctx.scratch, ctx.threads) as pairs:
        total = pairs.count()
        found = {"tabular": pairs.report("l"), "spatial": pairs.report("r")}
        if total == 0:
            _refuse_empty(left, right, found)
        assembler = _Assembler(ctx.scratch, left, right, keys, layout, fills=config.how in ("right", "outer"))
        with GeoParquetWriter(target, layout.schema, layout.box, right.crs) as writer:
            for part in _assembled(pairs, assembler, ctx.threads):
                writer.write(part.attributes, part.wkb, part.boxes, set(part.types), part.heights)
                types.update(part.types)
                lost_keys += part.lost_keys
                no_geometry += part.wkb.null_count
                ctx.watch.advance(writer.rows, total)
    if writer.rows != total:
        raise RunRefused(
            f"The join has {total} rows, {writer.rows} were written.", "This is an error of the service.",
            reason="rows_lost",
        )  # fmt: skip
    _warn(ctx, left, right, found, lost_keys)
    counts = {"rows_in": left.rows, "rows_spatial": right.rows, "rows_out": writer.rows, "null_geometries": no_geometry}
    for role, report in found.items():
        counts |= {f"{role}_keys_missing": report.missing, f"{role}_rows_unmatched": report.unmatched,
                   f"{role}_keys_duplicated": report.duplicated}  # fmt: skip
    return Product(
        path=target,
        kind="joined",
        format="geoparquet",
        crs=crs_name(right.crs),
        bounds=bounds_of(writer.bounds),
        column_schema=layout.column_schema | _geometry_schema(writer.schema, layout.box),
        geometry_type=one_type(writer.geometry_types),
        counts=counts,
        statistics={"geometry_types": dict(sorted(types.items())), "bytes": target.stat().st_size},
        engine={"engine": "duckdb", "duckdb": duckdb.__version__, "pyarrow": pa.__version__},
        header_mapping=layout.renamed,
    )


def _geometry_schema(schema: pa.Schema, box: str) -> dict[str, ColumnSchema]:
    return {
        name: ColumnSchema(title=name, type_name=str(schema.field(name).type), logical_type=logical)
        for name, logical in ((GEOMETRY, "geometry"), (box, "bbox"))
    }


def _refuse_empty(left: _Table, right: _Table, found: dict[str, KeyReport]) -> NoReturn:
    here, there = (", ".join(map(repr, found[role].unmatched_samples)) or "none" for role in ("tabular", "spatial"))
    raise RunRefused(
        f"The join of {left.name} and {right.name} has no rows: no key of the one is a key of the other "
        f"(tabular: {here}; spatial: {there}).",
        "Check left_key and right_key, or choose another kind of join.",
        reason="no_rows",
    )


def _warn(ctx: RunContext, left: _Table, right: _Table, found: dict[str, KeyReport], lost_keys: int) -> None:
    for table in (left, right):
        report = found[table.role]
        if report.missing:
            message = f"{report.missing} rows of {table.name} have no key (null or blank); they match nothing."
            ctx.watch.warn(f"{table.role}_keys_missing", message, report.missing)
        if report.unmatched:
            message = f"{report.unmatched} rows of {table.name} have a key that the other side does not have."
            ctx.watch.warn(f"{table.role}_rows_unmatched", message, report.unmatched, report.unmatched_samples)
        if report.duplicated:
            message = f"{report.duplicated} keys of {table.name} belong to several rows: matches are multiplied."
            ctx.watch.warn(f"{table.role}_keys_duplicated", message, report.duplicated, report.duplicated_samples)
    if lost_keys:
        message = f"{lost_keys} keys of unmatched spatial rows do not fit the type of the tabular key; they are null."
        ctx.watch.warn("keys_not_kept", f"{message} Ask for the column with join_config.spatial_columns.", lost_keys)


@dataclass(frozen=True, slots=True)
class _Part:
    """Some rows of the result, ready to be written."""

    attributes: list[pa.Array]
    wkb: pa.Array
    boxes: npt.NDArray[np.float64]
    types: Counter[str]
    heights: tuple[float, float] | None
    lost_keys: int


class _Assembler:
    """Puts rows of the result together from the numbers of their sources."""

    def __init__(
        self, scratch: Path, left: _Table, right: _Table, keys: tuple[str, str], layout: _Layout, *, fills: bool
    ) -> None:
        """fills: rows without a tabular side take their key from the spatial side."""
        self._layout = layout
        self._left = Rows(left.path, layout.left, scratch / "left.arrow")
        geometry = [GEOMETRY, str(right.box)]
        columns = [*geometry, *layout.right]
        self._fill_from = None
        if fills:
            columns += [] if keys[1] in columns else [keys[1]]
            self._fill_from = columns.index(keys[1])
        self._fill_to = layout.left.index(keys[0])
        self._right = Rows(right.path, columns, scratch / "right.arrow")
        self._sizes = self._right.sizes(GEOMETRY)

    def cut(self, left: Numbers, right: Numbers) -> Generator[tuple[Numbers, Numbers], None, None]:
        """Pieces of bounded size in bytes of geometry, one row at least."""
        ends = np.cumsum(np.where(right < 0, 0, self._sizes[right] if len(self._sizes) else 0))
        start = 0
        while start < len(left):
            before = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + _STEP_BYTES, side="right")))
            yield left[start:stop], right[start:stop]
            start = stop

    def assemble(self, left: Numbers, right: Numbers) -> _Part:
        """Runs in any thread."""
        attributes = self._left.take(left)
        wkb, box, *spatial = self._right.take(right)
        lost = 0
        if self._fill_from is not None and (left < 0).any():
            key = [wkb, box, *spatial][self._fill_from]
            attributes[self._fill_to], lost = _filled(attributes[self._fill_to], key, left < 0)
        boxes = np.column_stack([_side(box, name) for name in ("xmin", "ymin", "xmax", "ymax")])
        types, heights = _types(wkb)
        return _Part([*attributes, *spatial[: len(self._layout.right)]], wkb, boxes, types, heights, lost)


def _assembled(pairs: Pairs, assembler: _Assembler, threads: int) -> Generator[_Part, None, None]:
    """All rows of the result, in order, put together by `threads` threads; a few parts in memory."""
    waiting: list[Future[_Part]] = []
    with ThreadPoolExecutor(threads, thread_name_prefix="join") as pool:
        try:
            for left, right in pairs.batches():
                for piece in assembler.cut(_numbers(left), _numbers(right)):
                    waiting.append(pool.submit(assembler.assemble, *piece))
                    if len(waiting) > threads + 1:
                        yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()


def _numbers(rows: pa.Array) -> Numbers:
    """Row numbers, -1 for none."""
    found: Numbers = pc.fill_null(rows, -1).to_numpy(zero_copy_only=False)
    return found


def _side(box: pa.Array, name: str) -> npt.NDArray[np.float64]:
    """One side of the boxes, NaN where there is none."""
    values = pc.struct_field(box, name)
    found: npt.NDArray[np.float64] = pc.fill_null(values, float("nan")).to_numpy(zero_copy_only=False)
    return found


def _types(wkb: pa.Array) -> tuple[Counter[str], tuple[float, float] | None]:
    """Rows by geometry type, and the lowest and highest z, from ISO WKB in little-endian order (as it is written)."""
    offsets = np.frombuffer(wkb.buffers()[1], np.int32, len(wkb) + 1, wkb.offset * 4)
    raw = np.frombuffer(wkb.buffers()[2] or b"", np.uint8)
    starts = offsets[:-1][~np.asarray(wkb.is_null())] if wkb.null_count else offsets[:-1]
    codes = raw[starts[:, None] + np.arange(1, 5)].copy().view("<u4").ravel() if len(starts) else np.zeros(0, np.uint32)
    counted = Counter({f"{_TYPE_NAMES[code % 1000]}{' Z' * (code // 1000)}": int(n) for code, n in _count(codes)})
    return counted, _heights(wkb) if (codes >= 1000).any() else None


def _count(codes: npt.NDArray[np.uint32]) -> list[tuple[int, int]]:
    kinds, numbers = np.unique(codes, return_counts=True)
    return [(int(kind), int(number)) for kind, number in zip(kinds, numbers, strict=True)]


def _heights(wkb: pa.Array) -> tuple[float, float] | None:
    import shapely

    z = shapely.get_coordinates(shapely.from_wkb(wkb.to_numpy(zero_copy_only=False)), include_z=True)[:, 2]
    z = z[np.isfinite(z)]
    return (float(z.min()), float(z.max())) if len(z) else None


def _filled(keys: pa.Array, others: pa.Array, where: npt.NDArray[np.bool_]) -> tuple[pa.Array, int]:
    """The keys, taken from the other side `where` this one has no row; and how many do not fit this one's type."""
    mask = pa.array(where)
    wanted = pc.if_else(mask, others, pa.scalar(None, others.type))
    try:
        fitting = wanted.cast(keys.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        fitting = pa.array([_fit(value, keys.type) for value in wanted], keys.type)
    lost = fitting.null_count - wanted.null_count
    return pc.if_else(mask, fitting, keys), lost


def _fit(value: Any, kind: pa.DataType) -> Any:
    try:
        return value.cast(kind).as_py()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
