"""Rules of deletion that all ledgers share: states of a version, errors, and the audit entry."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors import VersionDeleted, VersionHasChildren, VersionIsNewest
from app.models.asset import Asset, Deletion
from app.models.runs.activity import Activity

# Deleted: the objects may still exist. Removed: they do not.
LIVING, DELETED, REMOVED = "living", "deleted", "removed"
# The most children that an error names.
NAMED = 10


def state_of(deletion: Deletion | None) -> str:
    """Return the state of a version."""
    if deletion is None:
        return LIVING
    return DELETED if deletion.removed_at is None else REMOVED


def audit_entry(asset: Asset, ip: str | None) -> Activity:
    """Return the audit entry for a version that was deleted."""
    assert asset.deletion is not None  # noqa: S101 # called for deleted versions only
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
    """Return the error for the newest version of a dataset."""
    return VersionIsNewest(
        f"Version {version} is the newest of {dataset_id!r}.",
        "Publish a newer version first. The newest version of a dataset cannot be deleted.",
    )


def has_children(dataset_id: str, version: int, children: Sequence[tuple[str, int]]) -> VersionHasChildren:
    """Return the error for a version with children, which names the first of them."""
    shown = ", ".join(f"{child} v{number}" for child, number in children[:NAMED])
    more = " and others" if len(children) > NAMED else ""
    return VersionHasChildren(
        f"Version {version} of {dataset_id!r} is a parent of {shown}{more}.",
        "Delete the versions made from it first, or keep it.",
    )


def parent_deleted(parents: Sequence[tuple[str, int]]) -> VersionDeleted:
    """Return the error for a commit whose parents were deleted."""
    shown = ", ".join(f"{dataset_id} v{version}" for dataset_id, version in parents)
    return VersionDeleted(
        f"Versions that this run read were deleted before its own version was registered: {shown}.",
        "Name existing versions, or no version for the newest one, and run it again.",
    )
