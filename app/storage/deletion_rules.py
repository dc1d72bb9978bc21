"""What every ledger decides the same way about versions that are deleted: states, refusals, the audit entry."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors import VersionDeleted, VersionHasChildren, VersionIsNewest
from app.models.activity import Activity
from app.models.asset import Asset, Deletion

# Deleted: its objects may still be there. Removed: they are gone.
LIVING, DELETED, REMOVED = "living", "deleted", "removed"
# Children that a refusal names.
NAMED = 10


def state_of(deletion: Deletion | None) -> str:
    if deletion is None:
        return LIVING
    return DELETED if deletion.removed_at is None else REMOVED


def audit_entry(asset: Asset, ip: str | None) -> Activity:
    """Of a version that was deleted."""
    assert asset.deletion is not None  # noqa: S101 # of others nobody asks
    return Activity(
        timestamp=asset.deletion.at,
        user=asset.deletion.by,
        action="asset.deleted",
        resource_type="asset",
        resource_id=f"{asset.dataset_id}/v{asset.version}",
        details={
            "reason": asset.deletion.reason,
            "keys": sorted(asset.object_keys),
            "content_hash": asset.content_hash,
            "run_id": asset.run_id,
        },
        ip=ip,
    )


def is_newest(dataset_id: str, version: int) -> VersionIsNewest:
    return VersionIsNewest(
        f"Version {version} is the newest of {dataset_id!r}.",
        "Publish a newer one first; the newest version of a dataset is never deleted.",
    )


def has_children(dataset_id: str, version: int, children: Sequence[tuple[str, int]]) -> VersionHasChildren:
    """children: at least one, of many the first few."""
    shown = ", ".join(f"{child} v{number}" for child, number in children[:NAMED])
    more = " and others" if len(children) > NAMED else ""
    return VersionHasChildren(
        f"Version {version} of {dataset_id!r} is what {shown}{more} was made from.",
        "Delete what was made from it first, or keep it.",
    )


def parent_deleted(parents: Sequence[tuple[str, int]]) -> VersionDeleted:
    shown = ", ".join(f"{dataset_id} v{version}" for dataset_id, version in parents)
    return VersionDeleted(
        f"What this run read was deleted before its own version could be registered: {shown}.",
        "Name versions that are there (or none, for the newest), and run it again.",
    )
