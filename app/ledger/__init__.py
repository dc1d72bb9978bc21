"""The ledger protocol: the source of truth for manifests, runs, assets, lineage and audit.

Every implementation passes tests/contract/test_ledger.py. Changes of a run are compare-and-set: the caller says which
states (and which attempt) it believes in, and a write that no longer fits changes nothing and returns None.
Driver errors stop inside the implementations, which raise `LedgerUnavailable` instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from app.ledger.election import ElectionLedger
from app.ledger.keys import KeyLedger
from app.ledger.lanes import LaneLedger
from app.ledger.retention import RetentionLedger
from app.ledger.told import NOTHING, Told
from app.ledger.unfinished import UnfinishedLedger
from app.models.activity import Activity
from app.models.asset import Asset, Bounds
from app.models.delivery import Delivery, EventOutcome
from app.models.manifest import ManifestRecord
from app.models.page import Page, Slice
from app.models.run import Run, RunEvent, RunStatus


@dataclass(frozen=True, slots=True)
class Accepted:
    """What `accept` found or made. created: False when the batch was there before (with whatever content)."""

    manifest: ManifestRecord
    run: Run
    created: bool


@dataclass(frozen=True, slots=True)
class Guard:
    """What a change of a run insists on. None: not checked."""

    statuses: frozenset[RunStatus]
    attempt: int | None = None
    lease_owner: str | None = None
    lease_expired_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ManifestFilter:
    status: str | None = None
    intent: str | None = None
    uploader: str | None = None
    project: str | None = None
    testing: bool | None = None
    since: datetime | None = None
    object_key: str | None = None


@dataclass(frozen=True, slots=True)
class RunFilter:
    status: RunStatus | None = None
    batch_id: str | None = None
    dataset_id: str | None = None
    lane: str | None = None
    reserved_version: int | None = None


@dataclass(frozen=True, slots=True)
class AssetFilter:
    """latest_only: one row a dataset, its newest version, where that one fits the other fields.

    keywords, tags (`name:value`), words of `text`: all of them. bbox: degrees, minx > maxx across the antimeridian; a
    version whose place in degrees is unknown is in none. How each is compared: `app.storage.ledger_search`.
    deleted: those that were deleted as well.
    """

    dataset_id: str | None = None
    run_id: str | None = None
    kind: str | None = None
    latest_only: bool = False
    keywords: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    project: str | None = None
    testing: bool | None = None
    text: str | None = None
    bbox: Bounds | None = None
    since: datetime | None = None
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class RunTotal:
    """The runs of one status and lane. oldest: created_at of the first."""

    status: RunStatus
    lane: str
    runs: int
    attempts: int
    oldest: datetime


@dataclass(frozen=True, slots=True)
class AssetTotal:
    """The versions of one kind. bytes: of their data, without companions."""

    kind: str
    versions: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Totals:
    runs: tuple[RunTotal, ...]
    assets: tuple[AssetTotal, ...]


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """What answers: for health checks."""

    name: str
    version: str
    details: Mapping[str, Any]


class Ledger(ElectionLedger, LaneLedger, RetentionLedger, UnfinishedLedger, KeyLedger, Protocol):
    """All times are UTC with zone, to the millisecond. Lists are newest first unless said otherwise.

    told: what the change says of itself. It is written if, and only if, the change is made by this call.
    """

    async def accept(self, manifest: ManifestRecord, run: Run, told: Told = NOTHING) -> Accepted:
        """Write both, or neither. When the batch id exists, write nothing and return what is there: its newest run.

        Raises BatchConflict when it is the id of a rejected manifest, which has no run.
        """
        ...

    async def add_run(self, run: Run, told: Told = NOTHING) -> Run | None:
        """A further run of a batch that is there; `run.retry_of` names an earlier one. It speaks for the manifest now.

        None, and nothing is written, unless the newest run of the batch is over and the run id is new: of several that
        ask for the same at once, one succeeds. Raises ValueError for a run that could not become the newest of its
        batch: without retry_of, not younger than the newest by (created_at, run_id), or with the id of another's run.
        """
        ...

    async def reject_manifest(self, manifest: ManifestRecord, told: Told = NOTHING) -> ManifestRecord:
        """Keep a manifest that never becomes a run (status `rejected`); what is there already when its id exists."""
        ...

    async def get_manifest(self, batch_id: str) -> ManifestRecord | None: ...

    async def list_manifests(self, where: ManifestFilter, page: Page) -> Slice[ManifestRecord]:
        """Newest first by (ingested_at, batch_id)."""
        ...

    async def get_run(self, run_id: str) -> Run | None: ...

    async def get_runs(self, run_ids: tuple[str, ...]) -> tuple[Run, ...]:
        """Those of them that there are, in any order; at most a few hundred are asked for at once."""
        ...

    async def list_runs(self, where: RunFilter, page: Page) -> Slice[Run]:
        """Newest first by (created_at, run_id)."""
        ...

    async def list_due_runs(self, limit: int) -> tuple[Run, ...]:
        """Runs that somebody should be carrying (running, canceling), with their leases; oldest first.

        By (created_at, run_id). There are only as many as workers. Also finishes what anybody left half done.
        """
        ...

    async def change_run(self, run_id: str, guard: Guard, told: Told = NOTHING, **changes: Any) -> Run | None:
        """Set the named fields of the run if it still fits `guard`; add one to its revision; return it, else None.

        A change of `status` is mirrored to the run's manifest in the same write where the backend can: the run's
        status, `error_message` from its error, `completed_at` when final; only the newest run of a batch speaks for
        its manifest. Of the guard's statuses only those count from which the table in `app.models.run` allows the new
        one (the same status again: allowed while not final). Raises ValueError, before anything is read, when none
        does, and for a field that is unknown or never changes.
        """
        ...

    async def reserve_version(self, run_id: str, attempt: int) -> int | None:
        """The version this run will publish: reserved once, the same for every later attempt.

        Versions of one dataset (`run.partition_key`) count from 1, each given to one run only. None when the attempt
        is stale or the run is no longer running.
        """
        ...

    async def commit_asset(self, asset: Asset, attempt: int) -> Asset | None:
        """THE commit point: insert the version with its inputs, if run `asset.run_id` still runs at this attempt.

        None when the attempt is stale. Committing what this attempt's run has registered already returns that asset,
        also when the run is no longer running. Raises VersionTaken when (dataset_id, version) or s3_key belongs to
        another run, VersionDeleted when a parent is not there any more.
        """
        ...

    async def get_asset(self, dataset_id: str, version: int | None = None) -> Asset | None:
        """That version, also when it was deleted; the newest that was not when version is None."""
        ...

    async def list_assets(self, where: AssetFilter, page: Page) -> Slice[Asset]:
        """Newest first by (created_at, dataset_id, version). A cursor is good for the same filter only."""
        ...

    async def get_asset_by_key(self, s3_key: str) -> Asset | None:
        """The version that owns this object of the lake."""
        ...

    async def list_children(self, parents: tuple[tuple[str, int], ...]) -> tuple[Asset, ...]:
        """The versions made from any of these (dataset_id, version), deleted ones too; oldest first."""
        ...

    async def add_event(
        self,
        run_id: str,
        *,
        code: str,
        message: str,
        level: Literal["info", "warning", "error"] = "info",
        step: str | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> RunEvent:
        """Append one line to the run's log; seq is given here, without gaps. Raises NotFound without such a run."""
        ...

    async def list_events(self, run_id: str, after: int = 0, limit: int = 100) -> tuple[RunEvent, ...]:
        """Oldest first, seq greater than `after`."""
        ...

    async def add_activity(self, entry: Activity) -> None: ...

    async def list_activity(self, page: Page) -> Slice[Activity]:
        """Newest first by timestamp; of one millisecond, the last written first."""
        ...

    async def add_delivery(self, delivery: Delivery) -> Delivery:
        """Write it when its id is new; else add one to `repeats` of what is there. Returns what is there now."""
        ...

    async def finish_delivery(
        self, delivery_id: str, outcomes: tuple[EventOutcome, ...], at: datetime
    ) -> Delivery | None:
        """received → done with these outcomes; None when it is not `received`."""
        ...

    async def list_deliveries(self, status: Literal["received", "done"] | None, page: Page) -> Slice[Delivery]:
        """Newest first by (received_at, delivery_id)."""
        ...

    async def totals(self) -> Totals:
        """How many runs and versions there are (without deleted ones); reads all of them, so not for every request."""
        ...

    async def count(self, amounts: Mapping[str, int]) -> None:
        """Add to the counters of these names, which begin at 0: what no other entry tells (seconds, repairs)."""
        ...

    async def get_counts(self) -> Mapping[str, int]:
        """Every counter that was ever counted."""
        ...

    async def migrate(self) -> tuple[str, ...]:
        """Bring the schema up to date; the names of the migrations applied. Safe when two run at once."""
        ...

    async def ping(self) -> BackendInfo:
        """Raises LedgerUnavailable with a fix when the ledger cannot be used (away, or not migrated)."""
        ...
