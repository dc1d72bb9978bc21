"""Deletion of versions, and removal of old records."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from app.models.asset import Asset, Deletion


class RetentionLedger(Protocol):
    """Deletes versions and removes old records.

    A version is deleted in two steps: the ledger marks it as deleted, then its objects are removed. So no reader is
    given a version whose objects are missing.
    """

    async def delete_version(
        self, dataset_id: str, version: int, deletion: Deletion, *, keep_newest: bool = True, ip: str | None = None
    ) -> Asset | None:
        """Mark a version as deleted, with an entry in the audit trail.

        Args:
            dataset_id: of the dataset.
            version: its number.
            deletion: when, by whom and why.
            keep_newest: refuse the newest version of the dataset.
            ip: of the caller, for the audit trail.

        Returns:
            The version as stored, unchanged if it was deleted before. None: there is no such version.

        Raises:
            VersionIsNewest: it is the newest, and `keep_newest` is set.
            VersionHasChildren: versions that were made from it exist; the error names them. Of a deletion and a
                commit that names the version as a parent at once, one succeeds.
        """
        ...

    async def list_deleted(self, limit: int) -> tuple[Asset, ...]:
        """List deleted versions whose objects may still exist, oldest first."""
        ...

    async def version_removed(self, dataset_id: str, version: int, at: datetime) -> Asset | None:
        """Record that the objects of a deleted version are removed. None: that is recorded already."""
        ...

    async def remove_companion(self, dataset_id: str, version: int, name: str, at: datetime) -> Asset | None:
        """Record that a companion file of a version is removed. None: there is no such file, or no more."""
        ...

    async def list_logged_runs(self, over_before: datetime, limit: int) -> tuple[str, ...]:
        """List the ids of runs that ended before that time and still have their log."""
        ...

    async def remove_log(self, run_id: str) -> bool:
        """Remove the log of a run that is over. False: the log was removed before, or the run is not over."""
        ...

    async def remove_batch(self, batch_id: str) -> bool:
        """Remove the runs of a batch with their logs, and the records of their versions.

        The manifest stays with status `removed` and without its document, so that its batch id is not used again.

        Returns:
            False, and nothing is changed, unless all its runs are over and the objects of their versions removed.
        """
        ...

    async def remove_rejected(self, batch_id: str) -> bool:
        """Remove a rejected manifest. False: no rejected manifest has this id."""
        ...

    async def remove_deliveries(self, before: datetime, limit: int) -> int:
        """Remove webhook deliveries that are done and were received before that time; return how many."""
        ...

    async def remove_activity(self, before: datetime, limit: int) -> int:
        """Remove entries of the audit trail from before that time; return how many."""
        ...
