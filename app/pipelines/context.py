"""What a pipeline sees of the world: its manifest, local copies of its files, a scratch directory, and someone to tell.

Pipelines are synchronous and run on the main thread of the job's process. They build no client.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from app.models.asset import Asset, AssetInput, Bounds, ColumnSchema, SourceInput
from app.models.manifest import Manifest, ManifestFile
from app.settings import Limits

if TYPE_CHECKING:
    from app.pipelines.engines import VectorEngine

T = TypeVar("T")


class Call(Protocol):
    """Runs a coroutine function on the event loop beside the job's thread, and waits for its result."""

    def __call__(self, function: Callable[..., Awaitable[T]], *args: Any) -> T: ...


class Watch(Protocol):
    """Who an engine tells how far it is. Every call may raise RunCanceled or StaleAttempt: let it pass through."""

    def advance(self, rows_done: int, rows_total: int | None) -> None:
        """Call between batches; cheap, as often as you like."""
        ...

    def warn(self, code: str, message: str, count: int = 1, samples: Sequence[Any] = ()) -> None:
        """Something a reader should know about a run that goes on."""
        ...


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """Local copy of one manifest file: `path`, with any sidecars beside it under the same stem."""

    declared: ManifestFile
    path: Path
    inputs: tuple[SourceInput, ...]


@dataclass(frozen=True, slots=True)
class FetchedAsset:
    """Local copy of the data of one version."""

    asset: Asset
    path: Path


@dataclass(frozen=True, slots=True)
class Product:
    """One finished file in scratch and all that the catalogue will say about it.

    counts: rows_in, rows_out and whatever else was counted; kept on the run and in the asset's statistics.
    engine: names and versions of what computed it (engine, geos, proj, gdal, …).
    header_mapping: source column name → column name in the product, where they differ.
    companions: further finished files by their names (preview.png, quarantine.parquet), kept beside the data.
    """

    path: Path
    kind: Literal["spatial", "raster", "tabular", "joined"]
    format: Literal["geoparquet", "cog", "parquet"]
    crs: str | None
    bounds: Bounds | None
    column_schema: Mapping[str, ColumnSchema]
    geometry_type: str | None
    counts: Mapping[str, int]
    statistics: Mapping[str, Any]
    engine: Mapping[str, str]
    header_mapping: Mapping[str, str] = field(default_factory=dict)
    companions: Mapping[str, Path] = field(default_factory=dict)


class RunContext(Protocol):
    """One attempt of one run."""

    @property
    def manifest(self) -> Manifest: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def scratch(self) -> Path:
        """An empty directory of this attempt's own; removed whatever happens."""
        ...

    @property
    def threads(self) -> int: ...
    @property
    def memory_bytes(self) -> int:
        """What may be held in memory of work that can also be done through scratch."""
        ...

    @property
    def engine(self) -> VectorEngine:
        """What runs the recipes of vector intents."""
        ...

    @property
    def watch(self) -> Watch: ...
    def step(self, name: Literal["load", "transform", "export"]) -> AbstractContextManager[None]:
        """Record the step, its start, end and duration; errors raised inside carry its name."""
        ...

    def fetch(self, file: ManifestFile) -> FetchedFile:
        """Download a landing-zone file (and its format's sidecars) into scratch. Raises RunRefused when missing."""
        ...

    def fetch_asset(self, dataset_id: str, version: int | None) -> FetchedAsset:
        """Download that version, or the newest, into scratch. Raises RunRefused: dataset_unknown, version_unknown."""
        ...

    def unchanged(
        self, inputs: Sequence[FetchedFile | FetchedAsset], recipe: Sequence[str], engine: Mapping[str, str]
    ) -> Asset | None:
        """The newest version of the dataset, if this run would make the same again and the manifest leaves it at that.

        It would where inputs, recipe, engine and metadata are the same. Call it before `publish`, which keeps what it
        found.
        """
        ...

    def publish(self, product: Product, inputs: Sequence[AssetInput]) -> Asset:
        """Upload and commit: the product becomes the next version of the dataset."""
        ...
