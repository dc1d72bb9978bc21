"""Assets: versions of datasets in the lake, and what they were made from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from app.models.base import Frozen
from app.models.checks.kinds import CheckResult
from app.models.products import ProductFormat, ProductKind
from app.models.recipes.vector import VectorRecipe


class Bounds(Frozen):
    """Smallest box around the data, in the asset's CRS, x before y."""

    minx: float
    miny: float
    maxx: float
    maxy: float


class SourceInput(Frozen):
    """An object of the landing zone, as it was when the run read it."""

    kind: Literal["source"] = "source"
    s3_key: str
    size: int
    etag: str
    sha256: str


# The role of a parent that a check compared the product with: no value was made of it.
COMPARED = "within"


class ParentInput(Frozen):
    """Another asset version that this one was made from, or was compared with."""

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
    """A further file of a version, for example the preview of a raster, or the rows that were rejected.

    removed_at: when the file was removed, while the version was kept.
    """

    name: str
    s3_key: str
    size: int
    content_hash: str
    removed_at: datetime | None = None


class AssetMetadata(Frozen):
    """The manifest's own metadata, and what was found in the data.

    fingerprint: `sha256:…` of everything on which the content depends; equal for runs that make the same content.
    recipe: that of vector files, whole; None for everything else, and for versions that an earlier release made.
    """

    manifest: Mapping[str, Any]
    column_schema: Mapping[str, ColumnSchema]
    header_mapping: Mapping[str, str] = {}
    geometry_type: str | None = None
    companions: tuple[Companion, ...] = ()
    fingerprint: str | None = None
    recipe: VectorRecipe | None = None


class Deletion(Frozen):
    """When, by whom and why a version was deleted. reason: `request`, or the name of a rule.

    removed_at: when its objects were removed.
    """

    at: datetime
    by: str
    reason: str
    removed_at: datetime | None = None


class Asset(Frozen):
    """One registered version. Its record in the ledger is the commit point: an object without one is not a version.

    The record of a deleted version is kept for the lineage, and its number is not used again.
    """

    dataset_id: str
    version: int
    s3_key: str
    content_hash: str
    size: int
    kind: ProductKind
    format: ProductFormat
    crs: str | None
    bounds: Bounds | None
    run_id: str
    inputs: tuple[AssetInput, ...]
    metadata: AssetMetadata
    statistics: Mapping[str, Any]
    checks: tuple[CheckResult, ...] = ()
    created_at: datetime
    deletion: Deletion | None = None

    @property
    def object_keys(self) -> frozenset[str]:
        """Every object of the lake that belongs to this version."""
        return frozenset({self.s3_key, *(each.s3_key for each in self.companions)})

    @property
    def companions(self) -> tuple[Companion, ...]:
        """The companions that were not removed."""
        return tuple(each for each in self.metadata.companions if each.removed_at is None)

    def without_companion(self, name: str, at: datetime) -> Asset | None:
        """Return the version with this companion marked as removed; None when it has no companion of that name."""
        if all(each.name != name for each in self.companions):
            return None
        kept = tuple(
            each.model_copy(update={"removed_at": at}) if each.name == name else each
            for each in self.metadata.companions
        )
        return self.model_copy(update={"metadata": self.metadata.model_copy(update={"companions": kept})})
