"""What a join is made of: its two versions, their key columns, and the columns of the result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pyproj import CRS

from app.errors import RunRefused
from app.models.asset import Asset, ColumnSchema, ParentInput
from app.models.manifest import JoinConfig
from app.models.nearest import nearest
from app.pipelines.context import FetchedAsset
from app.pipelines.formats.geoparquet import GEOMETRY, column_names

Role = Literal["tabular", "spatial"]

_KINDS: dict[Role, tuple[str, ...]] = {"tabular": ("tabular",), "spatial": ("spatial", "joined")}
# Columns that a refusal names.
_NAMED = 30


@dataclass(frozen=True, slots=True)
class Table:
    """One of the two versions, fetched. attributes: without geometry and its box."""

    role: Role
    fetched: FetchedAsset
    attributes: pa.Schema
    rows: int

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
class Places:
    """The spatial version and where its geometries lie. box: the covering column."""

    table: Table
    crs: CRS
    box: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of the result.

    left, right: names of the attributes in the sources, in the order of the result. schema: all of these as they come
    out. box: the covering column. renamed: {name in its source: name here} where they differ.
    """

    left: tuple[str, ...]
    right: tuple[str, ...]
    left_key: str
    right_key: str
    schema: pa.Schema
    box: str
    renamed: dict[str, str]
    column_schema: dict[str, ColumnSchema]


def open_tabular(fetched: FetchedAsset) -> Table:
    """Raises RunRefused: kind_wrong."""
    _check_kind("tabular", fetched.asset)
    with pq.ParquetFile(fetched.path) as parquet:
        return Table("tabular", fetched, parquet.schema_arrow, parquet.metadata.num_rows)


def open_spatial(fetched: FetchedAsset) -> Places:
    """Raises RunRefused: kind_wrong."""
    _check_kind("spatial", fetched.asset)
    with pq.ParquetFile(fetched.path) as parquet:
        schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
        column = json.loads(parquet.metadata.metadata[b"geo"])["columns"][GEOMETRY]
    box = column["covering"]["bbox"]["xmin"][0]
    attributes = pa.schema([field for field in schema if field.name not in (GEOMETRY, box)])
    return Places(Table("spatial", fetched, attributes, rows), CRS.from_json_dict(column["crs"]), box)


def _check_kind(role: Role, asset: Asset) -> None:
    if asset.kind not in _KINDS[role]:
        raise RunRefused(
            f"{asset.dataset_id} version {asset.version} is {asset.kind}; the {role} side of a join must be "
            f"{' or '.join(_KINDS[role])}.",
            f"Name another dataset in join_config.{role}_dataset_id.",
            reason="kind_wrong",
        )


def lay_out(config: JoinConfig, left: Table, right: Table) -> Layout:
    """Tabular columns first, then the spatial ones asked for; one whose name is taken gets `_spatial`.

    Raises RunRefused: column_unknown.
    """
    right_key = config.right_key or config.left_key
    _check_column(config.left_key, left, "left_key")
    _check_column(right_key, right, "right_key" if config.right_key else "left_key, for want of right_key")
    wanted = right.attributes.names if "*" in config.spatial_columns else list(dict.fromkeys(config.spatial_columns))
    for column in wanted:
        _check_column(column, right, "spatial_columns")
    own = left.attributes.names
    fresh = _free_names(wanted, own)
    names, box, _ = column_names([*own, *fresh])
    sources = [*((left, name) for name in own), *((right, name) for name in wanted)]
    gaps = {left.role: config.how in ("right", "outer"), right.role: config.how in ("left", "outer")}
    fields = [pa.field(new, table.attributes.field(old).type) for (table, old), new in zip(sources, names, strict=True)]
    described = {
        new: _described(table, old, gaps=gaps[table.role]) for (table, old), new in zip(sources, names, strict=True)
    }
    renamed = {old: new for (_, old), new in zip(sources, names, strict=True) if old != new}
    schema = pa.schema(fields)
    return Layout(tuple(own), tuple(wanted), config.left_key, right_key, schema, box, renamed, described)


def _check_column(column: str, table: Table, field: str) -> None:
    names = table.attributes.names
    if column in names:
        return
    near = table.asset.metadata.header_mapping.get(column)
    near = near if near in names else nearest(column, names)
    hint = f"Did you mean {near!r}? " if near else ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    raise RunRefused(
        f"{table.name} has no column {column!r} (join_config.{field}).",
        f"{hint}Its columns: {', '.join(map(repr, names[:_NAMED]))}{more}.",
        reason="column_unknown",
    )


def _free_names(wanted: Sequence[str], own: Sequence[str]) -> list[str]:
    taken = {name.casefold() for name in own}
    found = []
    for name in wanted:
        candidate, number = name, 1
        while candidate.casefold() in taken:
            candidate = f"{name}_spatial" if number == 1 else f"{name}_spatial_{number}"
            number += 1
        taken.add(candidate.casefold())
        found.append(candidate)
    return found


def _described(table: Table, name: str, *, gaps: bool) -> ColumnSchema:
    """What the parent says of its column. gaps: the result may have rows to which this parent gives nothing."""
    known = table.asset.metadata.column_schema.get(name)
    if known is None:
        known = ColumnSchema(title=name, type_name=str(table.attributes.field(name).type))
    return known.model_copy(update={"nullable": known.nullable or gaps})
