"""Manifests and the runs that carry them out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from app.ledger.outbox import NOTHING, Outbox
from app.models.manifests.manifest import ManifestRecord, ManifestSummary
from app.models.page import Page, Slice
from app.models.runs.run import Run, RunStatus


@dataclass(frozen=True, slots=True)
class Accepted:
    """What `accept` stored or found.

    Attributes:
        manifest: the stored manifest.
        run: its newest run.
        created: False when the batch id existed before, even with other content.
    """

    manifest: ManifestRecord
    run: Run
    created: bool


@dataclass(frozen=True, slots=True)
class Guard:
    """Conditions under which a change of a run is made. None: not checked."""

    statuses: frozenset[RunStatus]
    attempt: int | None = None
    lease_owner: str | None = None
    lease_expired_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ManifestFilter:
    """Conditions of a listing of manifests. None: not checked. Removed manifests are listed by their status only.

    status: of several, any.
    """

    status: str | tuple[str, ...] | None = None
    intent: str | None = None
    uploader: str | None = None
    project: str | None = None
    testing: bool | None = None
    since: datetime | None = None
    object_key: str | None = None


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Conditions of a listing of runs. None: not checked. status: of several, any."""

    status: RunStatus | tuple[RunStatus, ...] | None = None
    batch_id: str | None = None
    dataset_id: str | None = None
    lane: str | None = None
    reserved_version: int | None = None


class RunLedger(Protocol):
    """Stores manifests and runs, and is the only place where a run changes its state.

    A manifest shows status, error and end of its newest run. SQL databases change both in one transaction; MongoDB
    changes the manifest right after the run, and finishes that after a crash.
    """

    async def accept(self, manifest: ManifestRecord, run: Run, outbox: Outbox = NOTHING) -> Accepted:
        """Store a manifest with its first run: both or neither.

        When the batch id exists, nothing is written, and the result is what is stored. Of several calls with the same
        batch id at once, one creates it.

        Raises:
            BatchConflict: the batch id belongs to a manifest that was rejected or removed.
            ValueError: the run is of another batch, or another batch has a run of this id.
        """
        ...

    async def add_run(self, run: Run, outbox: Outbox = NOTHING) -> Run | None:
        """Add a further run to a batch. The manifest shows this run from now on.

        Args:
            run: `retry_of` names an earlier run of the batch.
            outbox: written with the run.

        Returns:
            The run as stored. None, and nothing is written, unless the newest run of the batch is over and the run id
            is new; of several calls at once one succeeds.

        Raises:
            ValueError: the run has no `retry_of`, is not younger than the newest by (created_at, run_id), or another
                batch has a run of this id.
        """
        ...

    async def supersede(
        self, manifest: ManifestRecord, run: Run, content_hash: str, outbox: Outbox = NOTHING
    ) -> Accepted | None:
        """Put a corrected manifest in the place of one of which no run succeeded, with a further run: both or neither.

        Args:
            manifest: without `earlier`, which gets what is stored until now.
            run: as for `add_run`.
            content_hash: that of the stored manifest.
            outbox: written with the run.

        Returns:
            What is stored now. None, and nothing is written, unless the stored manifest has that hash, its newest run
            is over, none of its runs succeeded, and the run id is new; of several calls at once one succeeds.

        Raises:
            ValueError: as `add_run`.
        """
        ...

    async def reject_manifest(self, manifest: ManifestRecord, outbox: Outbox = NOTHING) -> ManifestRecord:
        """Store a manifest that never becomes a run (status `rejected`).

        Returns:
            The manifest as stored; what was stored before when its batch id exists.
        """
        ...

    async def get_manifest(self, batch_id: str) -> ManifestRecord | None:
        """Return the manifest of this batch, or None."""
        ...

    async def list_manifests(self, where: ManifestFilter, page: Page) -> Slice[ManifestRecord]:
        """List manifests, newest first by (ingested_at, batch_id)."""
        ...

    async def list_manifest_summaries(self, where: ManifestFilter, page: Page) -> Slice[ManifestSummary]:
        """List as `list_manifests`, with the same cursors, but without the documents: memory is bounded by the page."""
        ...

    async def get_run(self, run_id: str) -> Run | None:
        """Return the run, or None."""
        ...

    async def get_runs(self, run_ids: tuple[str, ...]) -> tuple[Run, ...]:
        """Return those of the runs that exist, in any order. Ask for a few hundred at most."""
        ...

    async def list_runs(self, where: RunFilter, page: Page) -> Slice[Run]:
        """List runs, newest first by (created_at, run_id)."""
        ...

    async def list_due_runs(self, limit: int) -> tuple[Run, ...]:
        """List the runs that a worker should have (running, canceling), oldest first by (created_at, run_id).

        There are at most as many as workers. The call also finishes writes that a crash interrupted; see
        `UnfinishedLedger`.
        """
        ...

    async def change_run(self, run_id: str, guard: Guard, outbox: Outbox = NOTHING, **changes: Any) -> Run | None:
        """Set fields of a run by compare-and-set, and add one to its revision.

        Args:
            run_id: of the run.
            guard: what must hold for the change. Of its statuses only those count from which `TRANSITIONS` in
                `app.models.runs.run` allows the new status. The same status again is allowed while it is not final.
            outbox: written with the change.
            changes: new values by field of `Run`. A change of `status` also changes the manifest, when the run is the
                newest of its batch. A final status gives the dataset to the next run; see `SchedulingLedger`.

        Returns:
            The changed run; None, and nothing is written, when it does not exist or does not fit the guard.

        Raises:
            ValueError: a field is unknown or cannot change, or no status of the guard allows the new one. Raised
                before anything is read.
        """
        ...
