"""An asset: one version of a dataset in the lake, and what it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from app.models.base import Frozen


class Bounds(Frozen):
    """Smallest box around the data, in the asset's CRS, x before y."""

    minx: float
    miny: float
    maxx: float
    maxy: float


class SourceInput(Frozen):
    """A landing-zone object as it was when the run read it."""

    kind: Literal["source"] = "source"
    s3_key: str
    size: int
    etag: str
    sha256: str


class ParentInput(Frozen):
    """Another asset version that this one was made from."""

    kind: Literal["asset"] = "asset"
    dataset_id: str
    version: int
    role: str


AssetInput = Annotated[SourceInput | ParentInput, Field(discriminator="kind")]


class ColumnSchema(Frozen):
    """One column. type_name: the Arrow type; logical_type: what the column means (geometry, json, …)."""

    title: str
    description: str = ""
    type_name: str
    logical_type: str | None = None
    nullable: bool = True


class Companion(Frozen):
    """A further file of a version, beside its data: the preview of a raster, the rows that were set aside, …

    removed_at: when it was removed, while the version stays.
    """

    name: str
    s3_key: str
    size: int
    content_hash: str
    removed_at: datetime | None = None


class AssetMetadata(Frozen):
    """The manifest's own metadata, and what was found in the data.

    fingerprint: `sha256:…` of all that the version's content depends on; equal for runs that would make the same.
    """

    manifest: Mapping[str, Any]
    column_schema: Mapping[str, ColumnSchema]
    header_mapping: Mapping[str, str] = {}
    geometry_type: str | None = None
    companions: tuple[Companion, ...] = ()
    fingerprint: str | None = None


class Deletion(Frozen):
    """That a version was deleted. reason: `request`, or a rule's name. removed_at: when its objects were gone."""

    at: datetime
    by: str
    reason: str
    removed_at: datetime | None = None


class Asset(Frozen):
    """One registered version. The ledger record is the commit point: without it the object in the lake is nothing.

    One that was deleted stays as a record of what it was made from and what was made from it; its number is never given
    again.
    """

    dataset_id: str
    version: int
    s3_key: str
    content_hash: str
    size: int
    kind: Literal["spatial", "raster", "tabular", "joined"]
    format: Literal["geoparquet", "cog", "parquet"]
    crs: str | None
    bounds: Bounds | None
    run_id: str
    inputs: tuple[AssetInput, ...]
    metadata: AssetMetadata
    statistics: Mapping[str, Any]
    created_at: datetime
    deletion: Deletion | None = None

    @property
    def object_keys(self) -> frozenset[str]:
        """Every object of the lake that belongs to this version."""
        return frozenset({self.s3_key, *(each.s3_key for each in self.companions)})

    @property
    def companions(self) -> tuple[Companion, ...]:
        """Those that are there."""
        return tuple(each for each in self.metadata.companions if each.removed_at is None)

    def without_companion(self, name: str, at: datetime) -> Asset | None:
        """None when there is none of that name."""
        if all(each.name != name for each in self.companions):
            return None
        kept = tuple(
            each.model_copy(update={"removed_at": at}) if each.name == name else each
            for each in self.metadata.companions
        )
        return self.model_copy(update={"metadata": self.metadata.model_copy(update={"companions": kept})})
