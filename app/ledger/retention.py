"""What the ledger does so that things can go: versions are marked as deleted before their objects are removed."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from app.models.asset import Asset, Deletion


class RetentionLedger(Protocol):
    """A part of `app.ledger.Ledger`."""

    async def delete_version(
        self, dataset_id: str, version: int, deletion: Deletion, *, keep_newest: bool = True, ip: str | None = None
    ) -> Asset | None:
        """Mark the version as deleted, with an entry in the audit trail; as it is when it was deleted before.

        None when there is no such version. Raises VersionIsNewest with keep_newest, and VersionHasChildren, naming
        them. Of this and a commit that names the version as a parent, at once, exactly one succeeds.
        """
        ...

    async def list_deleted(self, limit: int) -> tuple[Asset, ...]:
        """Versions that are deleted and whose objects may still be there; oldest first."""
        ...

    async def list_logged_runs(self, over_before: datetime, limit: int) -> tuple[str, ...]:
        """Runs that were over before that time and still have their log."""
        ...

    async def remove_log(self, run_id: str) -> bool:
        """Remove the events of a run that is over; False when that was done, or it is not over."""
        ...

    async def remove_companion(self, dataset_id: str, version: int, name: str, at: datetime) -> Asset | None:
        """Note that a file beside the data is removed; None when there is no such file (any more)."""
        ...

    async def remove_batch(self, batch_id: str) -> bool:
        """Remove the runs of a batch with their logs, and the records of their versions.

        The manifest stays with status `removed`, without its document: nobody takes its batch id again. False, and
        nothing is changed, unless all its runs are over and their versions deleted and their objects gone.
        """
        ...

    async def remove_rejected(self, batch_id: str) -> bool:
        """Remove a rejected manifest; False when there is none of that id."""
        ...

    async def remove_deliveries(self, before: datetime, limit: int) -> int:
        """Remove webhook deliveries that were received before that time and are done; how many there were."""
        ...

    async def remove_activity(self, before: datetime, limit: int) -> int:
        """Remove entries of the audit trail that are older; how many there were."""
        ...

    async def version_removed(self, dataset_id: str, version: int, at: datetime) -> Asset | None:
        """Note that the objects of a deleted version are gone; None unless that was still to be noted."""
        ...
