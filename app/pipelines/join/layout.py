"""The inputs of a join and the columns of its result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pyproj import CRS

from app.messages.join import JOIN_COLUMN_UNKNOWN, KIND_WRONG
from app.models.asset import Asset, ColumnSchema, ParentInput
from app.models.manifests.metadata import JoinConfig
from app.models.manifests.nearest import nearest
from app.models.products import GEOMETRY
from app.pipelines.common.column_names import product_names
from app.pipelines.contract.context import FetchedAsset

Role = Literal["tabular", "spatial"]

_KINDS: dict[Role, tuple[str, ...]] = {"tabular": ("tabular",), "spatial": ("spatial", "joined")}
# How many columns a refusal lists.
_NAMED = 30


@dataclass(frozen=True, slots=True)
class JoinTable:
    """One of the two versions, fetched. attributes: its columns without the geometry and its box."""

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
class SpatialTable:
    """The spatial version. box: name of the column with the bounding boxes."""

    table: JoinTable
    crs: CRS
    box: str


@dataclass(frozen=True, slots=True)
class JoinColumns:
    """The columns of the result.

    Attributes:
        left, right: names of the attributes in the sources, in the order of the result.
        schema: the attributes of both sides in the result.
        box: name of the column with the bounding boxes in the result.
        renamed: {name in its source: name in the result}, where they differ.
    """

    left: tuple[str, ...]
    right: tuple[str, ...]
    left_key: str
    right_key: str
    schema: pa.Schema
    box: str
    renamed: dict[str, str]
    column_schema: dict[str, ColumnSchema]


def open_tabular(fetched: FetchedAsset) -> JoinTable:
    """Raises RunRefused: kind_wrong, for a version that is not tabular."""
    _check_kind("tabular", fetched.asset)
    with pq.ParquetFile(fetched.path) as parquet:
        return JoinTable("tabular", fetched, parquet.schema_arrow, parquet.metadata.num_rows)


def open_spatial(fetched: FetchedAsset) -> SpatialTable:
    """Raises RunRefused: kind_wrong, for a version that is neither spatial nor joined."""
    _check_kind("spatial", fetched.asset)
    with pq.ParquetFile(fetched.path) as parquet:
        schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
        column = json.loads(parquet.metadata.metadata[b"geo"])["columns"][GEOMETRY]
    box = column["covering"]["bbox"]["xmin"][0]
    attributes = pa.schema([field for field in schema if field.name not in (GEOMETRY, box)])
    return SpatialTable(JoinTable("spatial", fetched, attributes, rows), CRS.from_json_dict(column["crs"]), box)


def _check_kind(role: Role, asset: Asset) -> None:
    if asset.kind not in _KINDS[role]:
        name = f"{asset.dataset_id} version {asset.version}"
        raise KIND_WRONG(table=name, kind=asset.kind, role=role, kinds=" or ".join(_KINDS[role]))


def lay_out(config: JoinConfig, left: JoinTable, right: JoinTable) -> JoinColumns:
    """The columns of the result: all tabular ones, then the selected spatial ones.

    A spatial column with the name of a tabular one gets the suffix `_spatial`.

    Raises:
        RunRefused: column_unknown.
    """
    right_key = config.right_key or config.left_key
    _check_column(config.left_key, left, "left_key")
    _check_column(right_key, right, "right_key" if config.right_key else "left_key, because right_key is not set")
    selected = right.attributes.names if "*" in config.spatial_columns else list(dict.fromkeys(config.spatial_columns))
    for column in selected:
        _check_column(column, right, "spatial_columns")
    tabular = left.attributes.names
    spatial = _unused_names(selected, tabular)
    names, box = product_names([*tabular, *spatial])
    sources = [*((left, name) for name in tabular), *((right, name) for name in selected)]
    may_lack_rows = {left.role: config.how in ("right", "outer"), right.role: config.how in ("left", "outer")}
    fields = [pa.field(new, table.attributes.field(old).type) for (table, old), new in zip(sources, names, strict=True)]
    described = {
        new: _column_schema(table, old, may_lack_rows=may_lack_rows[table.role])
        for (table, old), new in zip(sources, names, strict=True)
    }
    renamed = {old: new for (_, old), new in zip(sources, names, strict=True) if old != new}
    schema = pa.schema(fields)
    return JoinColumns(tuple(tabular), tuple(selected), config.left_key, right_key, schema, box, renamed, described)


def _check_column(column: str, table: JoinTable, field: str) -> None:
    names = table.attributes.names
    if column in names:
        return
    near = table.asset.metadata.header_mapping.get(column)
    near = near if near in names else nearest(column, names)
    hint = f"Did you mean {near!r}? " if near else ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    listed = ", ".join(map(repr, names[:_NAMED])) + more
    raise JOIN_COLUMN_UNKNOWN(table=table.name, column=column, field=field, hint=hint, columns=listed)


def _unused_names(selected: Sequence[str], tabular: Sequence[str]) -> list[str]:
    used = {name.casefold() for name in tabular}
    found = []
    for name in selected:
        candidate, number = name, 1
        while candidate.casefold() in used:
            candidate = f"{name}_spatial" if number == 1 else f"{name}_spatial_{number}"
            number += 1
        used.add(candidate.casefold())
        found.append(candidate)
    return found


def _column_schema(table: JoinTable, name: str, *, may_lack_rows: bool) -> ColumnSchema:
    """The column as its parent describes it. may_lack_rows: the result may have rows without this parent."""
    known = table.asset.metadata.column_schema.get(name)
    if known is None:
        known = ColumnSchema(title=name, type_name=str(table.attributes.field(name).type))
    return known.model_copy(update={"nullable": known.nullable or may_lack_rows})
