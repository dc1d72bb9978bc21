"""Versions of datasets (assets), their catalogue and their lineage."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from app.models.asset import Asset, Bounds
from app.models.page import Page, Slice


@dataclass(frozen=True, slots=True)
class AssetFilter:
    """Conditions of a search in the catalogue. None: not checked. `app.storage.shared.search_terms` compares them.

    Attributes:
        dataset_id: exact.
        run_id: of the run that made the version.
        kind: exact, for example `spatial`.
        latest_only: one version per dataset, its newest, if that one meets the other conditions. Without it, indexes
            serve `dataset_id` and `run_id` only.
        keywords: the version has all of them.
        tags: `name:value`; the version has all of them.
        project: exact.
        testing: whether the manifest marks the version as a test.
        text: the version has all words of it in title, description, dataset id or keywords.
        bbox: overlaps the version; degrees (longitude before latitude), minx > maxx across the antimeridian. A
            version whose bounds in degrees are unknown is never found.
        since: created then or later.
        deleted: also list deleted versions.
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


class AssetLedger(Protocol):
    """Gives out version numbers, registers versions, and finds them again.

    The record in the ledger is the commit point: an object in the lake without a record is not part of any dataset. The
    attempt of a run is a fencing token: an attempt that is not the newest can neither reserve nor commit.
    """

    async def reserve_version(self, run_id: str, attempt: int) -> int | None:
        """Reserve the version number that a run publishes.

        The numbers of a dataset (`run.partition_key`) count from 1. A run gets one number, the same in every later
        attempt, and no two runs get the same.

        Returns:
            The number; None when the attempt is not the newest or the run is not running.
        """
        ...

    async def commit_asset(self, asset: Asset, attempt: int) -> Asset | None:
        """Register a version with its inputs, if its run is running in this attempt. This is the commit point.

        Repeating the call returns the registered version, even when the run is over by then.

        Returns:
            The version as stored; None when the attempt is not the newest or the run is not running.

        Raises:
            VersionTaken: another run registered (dataset_id, version) or s3_key.
            VersionDeleted: a parent was deleted. Of a commit and a deletion of its parent at once, one succeeds.
        """
        ...

    async def get_asset(self, dataset_id: str, version: int | None = None) -> Asset | None:
        """Return a version, or None.

        Args:
            dataset_id: of the dataset.
            version: that one, even if it was deleted. None: the newest that was not deleted.
        """
        ...

    async def list_assets(self, where: AssetFilter, page: Page) -> Slice[Asset]:
        """List versions, newest first by (created_at, dataset_id, version).

        Raises:
            InvalidRequest: the cursor belongs to a listing with another filter.
        """
        ...

    async def get_asset_by_key(self, s3_key: str) -> Asset | None:
        """Return the version whose data is this object of the lake, or None."""
        ...

    async def list_children(self, parents: tuple[tuple[str, int], ...], limit: int | None = None) -> tuple[Asset, ...]:
        """List the versions made from any of these (dataset_id, version), also deleted ones, oldest first.

        limit: the most that are read; None: all.
        """
        ...
