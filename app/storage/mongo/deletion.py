"""Deletion of versions in MongoDB; `run_writes` explains the method of marks.

**delete_version** leaves `pending_deletion` in the version: compare-and-set of one document. To finish: when the
version has children or is the newest, remove the mark, and nothing is deleted. Otherwise mark the version that becomes
the newest (`newest`); then one write removes the mark of the deletion, deletes the version and leaves the mark
`untold`, until the entry of the audit trail is written.

A commit becomes `checked` (compare-and-set on its run) after its parents were read and found neither deleted nor
marked. The process that finishes a deletion refuses unchecked commits with the version as a parent, finishes checked
ones, and reads again until every commit is finished; only then it reads the children. So either the commit sees the
mark and waits until it is gone, or the deletion sees the commit; the document of the run decides between the two.

In this order, because a commit adds the child before it removes its own mark. The other order would miss a commit that
finishes between the two reads. This also holds for a process that still reads from a primary that was deposed: what a
majority has is a prefix of all writes, so each of its reads shows the ledger as it was at one time, a later read no
earlier time; and its writes fail, or reach the new primary and are compared with what is there.

The audit entry is written before its mark is removed: after a crash between the two it may be written twice, but is
never lost.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.errors import DomainError
from app.models.asset import Asset, Deletion
from app.models.base import new_id
from app.storage.mongo.base import MongoBase
from app.storage.mongo.documents import (
    Document,
    activity_document,
    asset_from,
    deletion_document,
    removing,
    version_key,
    without,
)
from app.storage.shared.deletion_rules import DELETED, LIVING, NAMED, REMOVED, audit_entry, has_children, is_newest
from app.storage.shared.ledger_rules import utc_milliseconds


class MongoDeletion(MongoBase):
    """The methods of `RetentionLedger` that delete versions."""

    async def delete_version(
        self, dataset_id: str, version: int, deletion: Deletion, *, keep_newest: bool = True, ip: str | None = None
    ) -> Asset | None:
        key = version_key(dataset_id, version)
        mark = {"deletion_id": new_id(), "deletion": deletion_document(deletion), "keep_newest": keep_newest, "ip": ip}

        def marked(document: Document) -> Document | None:
            free = document["state"] == LIVING and "pending_deletion" not in document
            return document | {"pending_deletion": mark} if free else None

        while True:
            asset = await self._assets.one({"_id": key})
            if asset is None:
                return None
            if "untold" in asset:
                await self._finish_deleted(asset)
            if asset["state"] != LIVING:
                return asset_from(asset)
            if "pending_deletion" in asset:
                await self._finish_deletion(asset)
                continue
            if (begun := await self._assets.change(key, marked)) is not None:
                refused = await self._finish_deletion(begun)
                if refused is not None:
                    raise refused

    async def list_deleted(self, limit: int) -> tuple[Asset, ...]:
        oldest = (("sort_at", 1), ("dataset_id", 1), ("version", 1))
        return tuple(asset_from(each) for each in await self._assets.many({"state": DELETED}, oldest, limit))

    async def version_removed(self, dataset_id: str, version: int, at: datetime) -> Asset | None:
        def removed(document: Document) -> Document | None:
            if document["state"] != DELETED:
                return None
            deletion = document["deletion"] | {"removed_at": utc_milliseconds(at)}
            return document | {"deletion": deletion, "state": REMOVED}

        done = await self._assets.change(version_key(dataset_id, version), removed)
        return None if done is None else asset_from(done)

    async def _finish_deletions(self) -> None:
        """Finish the deletions that were interrupted."""
        for asset in await self._assets.many({"pending_deletion.deletion_id": {"$exists": True}}):
            await self._finish_deletion(asset)
        for asset in await self._assets.many({"untold": {"$exists": True}}):
            await self._finish_deleted(asset)

    async def _finish_deletion(self, asset: Document) -> DomainError | None:
        """Finish the deletion of a version that has its mark.

        Returns:
            Why the deletion was refused; None when the version is deleted.
        """
        mark = asset["pending_deletion"]
        refused = await self._refusal(asset)
        if refused is None:
            await self._newest_marks.before_deletion(asset)

        def decided(document: Document) -> Document | None:
            found = document.get("pending_deletion")
            if found is None or found["deletion_id"] != mark["deletion_id"]:
                return None
            rest = without(document, "pending_deletion")
            if refused is not None:
                return rest
            return rest | {"state": DELETED, "deletion": mark["deletion"], "untold": {"ip": mark["ip"]}}

        done = await self._assets.change(asset["_id"], decided)
        if done is not None and refused is None:
            await self._finish_deleted(done)
        return refused

    async def _refusal(self, asset: Document) -> DomainError | None:
        dataset_id, version = asset["dataset_id"], asset["version"]
        if asset["pending_deletion"]["keep_newest"]:
            living: dict[str, Any] = {"dataset_id": dataset_id, "state": LIVING}
            newest = await self._assets.one(living, sort=(("version", -1),))
            if newest is None or newest["version"] <= version:
                return is_newest(dataset_id, version)
        while pending := await self._asset_writes.pending_commits(asset["_id"]):
            for run in pending:
                if run["pending_commit"]["checked"]:
                    await self._asset_writes.finish_commit(run)
                else:
                    await self._asset_writes.refuse_commit(run)
        made = {"parents": {"$in": [asset["_id"]]}, "state": LIVING}
        children = await self._assets.many(made, (("dataset_id", 1), ("version", 1)), NAMED + 1)
        if not children:
            return None
        return has_children(dataset_id, version, [(each["dataset_id"], each["version"]) for each in children])

    async def _finish_deleted(self, asset: Document) -> None:
        """Settle which version is the newest, write the audit entry of a deleted version, then remove its mark."""
        await self._newest_marks.settle(asset["dataset_id"])
        entry = audit_entry(asset_from(asset), asset["untold"]["ip"])
        while not await self._activity.add(activity_document(entry, await self._db.next_number("activity_logs"))):
            pass
        await self._assets.change(asset["_id"], removing("untold"))
