"""What a pipeline gets from its job: the manifest, local copies of the inputs, a scratch directory, and progress calls.

Pipelines are synchronous and run on the main thread of the job's process. They build no client.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from app.models.asset import Asset, AssetInput, Bounds, ColumnSchema, SourceInput
from app.models.checks.kinds import CheckResult
from app.models.manifests.manifest import Manifest, ManifestFile
from app.models.products import ProductFormat, ProductKind
from app.pipelines.contract.watch import Watch
from app.settings import Limits

if TYPE_CHECKING:
    from app.pipelines.contract.engine import VectorEngine

T = TypeVar("T")


class Call(Protocol):
    """Runs a coroutine function on the event loop beside the job's thread, and waits for its result."""

    def __call__(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Return the result of `function(*args)`, or raise what it raised."""
        ...


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """Local copy of one file of the manifest.

    Attributes:
        declared: the file's entry in the manifest.
        path: the copy in scratch, with any sidecars beside it under the same stem.
        inputs: key, size and hash of the file and then of each sidecar, for the lineage.
    """

    declared: ManifestFile
    path: Path
    inputs: tuple[SourceInput, ...]


@dataclass(frozen=True, slots=True)
class FetchedAsset:
    """Local copy of the data of one version.

    Attributes:
        asset: the version, as the catalogue has it.
        path: the copy in scratch.
    """

    asset: Asset
    path: Path


@dataclass(frozen=True, slots=True)
class Product:
    """One finished file in scratch, with the values that the catalogue stores about it.

    Attributes:
        path: the finished file.
        kind: spatial, raster, tabular or joined.
        format: the format of the file.
        crs: of the coordinates; None for a table.
        bounds: smallest box around the data in `crs`, x before y; None without coordinates.
        column_schema: the columns (of a raster: its bands) by name, in order.
        geometry_type: for all rows together; None for a raster or a table.
        counts: rows_in, rows_out and other counts by name, which the run and the asset's statistics keep.
        statistics: further values for the asset, which JSON can express.
        engine: names and versions of the software that computed it (engine, geos, proj, gdal, …).
        header_mapping: {source column name: column name in the product}, where they differ.
        companions: further finished files by name (preview.png, quarantine.parquet), kept beside the data.
        checks: the results of the manifest's checks, in its order.
    """

    path: Path
    kind: ProductKind
    format: ProductFormat
    crs: str | None
    bounds: Bounds | None
    column_schema: Mapping[str, ColumnSchema]
    geometry_type: str | None
    counts: Mapping[str, int]
    statistics: Mapping[str, Any]
    engine: Mapping[str, str]
    header_mapping: Mapping[str, str] = field(default_factory=dict)
    companions: Mapping[str, Path] = field(default_factory=dict)
    checks: tuple[CheckResult, ...] = ()


class InputAccess(Protocol):
    """Copies of the inputs of a run or plan, and what the catalogue says of the dataset."""

    def fetch(self, file: ManifestFile) -> FetchedFile:
        """Download a file of the landing zone, with the sidecars of its format, into scratch; each file once.

        Raises:
            RunRefused: file_missing, file_empty, file_too_large.
        """
        ...

    def fetch_asset(self, dataset_id: str, version: int | None) -> FetchedAsset:
        """Download the data of one version into scratch, and check its hash.

        Args:
            dataset_id: of a dataset in the catalogue.
            version: its number; None for the newest.

        Raises:
            RunRefused: dataset_unknown, version_unknown, version_deleted.
            StoreUnavailable: the object is missing in the lake, or has another hash than in the ledger.
        """
        ...

    def unchanged(
        self, inputs: Sequence[FetchedFile | FetchedAsset], recipe: Sequence[str], engine: Mapping[str, str]
    ) -> Asset | None:
        """Return the newest version of the dataset if this run would make the same version again.

        Call it before `publish`, which stores the fingerprint that this method computes.

        Args:
            inputs: all inputs, in order.
            recipe: the steps, as text.
            engine: names and versions of the software that computes.

        Returns:
            The newest version if its inputs, recipe, engine and metadata are the same; None otherwise, and always None
            if the manifest has `new_version: always`.
        """
        ...

    def newest_rows(self) -> int | None:
        """Return how many rows the newest version of the dataset has; None without such a version, or without rows."""
        ...


class RunContext(InputAccess, Protocol):
    """What a pipeline gets for one attempt of one run. Its methods may raise RunCanceled or StaleAttempt."""

    @property
    def manifest(self) -> Manifest:
        """The manifest of the run."""
        ...

    @property
    def limits(self) -> Limits:
        """Limits for sources, from the settings."""
        ...

    @property
    def scratch(self) -> Path:
        """A directory for this attempt only. It is empty at the start and removed after success and failure alike."""
        ...

    @property
    def threads(self) -> int:
        """How many threads the pipeline may use."""
        ...

    @property
    def memory_bytes(self) -> int:
        """How much memory work may hold that could also be done through scratch."""
        ...

    @property
    def engine(self) -> VectorEngine:
        """The engine that runs the recipes of vector intents."""
        ...

    @property
    def watch(self) -> Watch:
        """Takes progress and warnings."""
        ...

    def step(self, name: Literal["load", "transform", "export"]) -> AbstractContextManager[None]:
        """Record the step with its start, end and duration. Errors raised inside carry its name."""
        ...

    def publish(self, product: Product, inputs: Sequence[AssetInput]) -> Asset:
        """Upload the product and register it as the next version of the dataset.

        A product that fails a check with severity error is kept for a look, and not registered.

        Args:
            product: a finished file; it is hashed here.
            inputs: the versions that it was made of, for the lineage; empty for sources.

        Returns:
            The new version, as the catalogue has it.

        Raises:
            RunRefused: checks_failed.
        """
        ...
