"""The part of the MongoDB ledger that lets things go: see `app.ledger.retention`, and `mongo_pairs` for the marks.

**delete_version** leaves `pending_deletion` in the version: compare-and-set of one document. Finished: when it has
living children, or is the newest, the mark goes and nothing was deleted; else the version is deleted in the write that
takes the mark away, and tells the audit trail by the mark `untold`.

A commit is `checked` (compare-and-set on its run) after its parents were read and found living, unmarked. Whoever
finishes a deletion refuses commits that name the version and are not checked yet, finishes those that are, and looks
again until there are none. So either the commit saw the mark and waits for its end, or the mark sees the commit; the
document of the run decides between the two. All reads see what a majority keeps, as everywhere.

An entry of the audit trail is written before its mark goes: a crash between the two writes it twice, never not.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.errors import DomainError
from app.models.asset import Asset, Deletion
from app.models.base import new_id
from app.storage.deletion_rules import DELETED, LIVING, NAMED, REMOVED, audit_entry, has_children, is_newest
from app.storage.ledger_rules import utc_milliseconds
from app.storage.mongo_database import Collection, MongoDatabase
from app.storage.mongo_documents import Document, activity_document, asset_from, deletion_document, version_key
from app.storage.mongo_pairs import Pairs


class MongoDeletion:
    """The part of it that deletes versions."""

    _db: MongoDatabase
    _pairs: Pairs
    _assets: Collection
    _activity: Collection

    async def delete_version(
        self, dataset_id: str, version: int, deletion: Deletion, *, keep_newest: bool = True, ip: str | None = None
    ) -> Asset | None:
        key = version_key(dataset_id, version)
        mark = {"deletion_id": new_id(), "deletion": deletion_document(deletion), "keep_newest": keep_newest, "ip": ip}

        def marked(document: Document) -> Document | None:
            free = document["state"] == LIVING and "pending_deletion" not in document
            return document | {"pending_deletion": mark} if free else None

        while True:
            there = await self._assets.one({"_id": key})
            if there is None:
                return None
            if "untold" in there:
                await self._tell(there)
            if there["state"] != LIVING:
                return asset_from(there)
            if "pending_deletion" in there:
                await self._finish_deletion(there)
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

    async def _settle_deletions(self) -> None:
        """Finish what anybody left half done."""
        for asset in await self._assets.many({"pending_deletion.deletion_id": {"$exists": True}}):
            await self._finish_deletion(asset)
        for asset in await self._assets.many({"untold": {"$exists": True}}):
            await self._tell(asset)

    async def _finish_deletion(self, asset: Document) -> DomainError | None:
        """Why it was refused, when it was."""
        mark = asset["pending_deletion"]
        refused = await self._reason_against(asset)

        def decided(document: Document) -> Document | None:
            there = document.get("pending_deletion")
            if there is None or there["deletion_id"] != mark["deletion_id"]:
                return None
            rest = {name: value for name, value in document.items() if name != "pending_deletion"}
            if refused is not None:
                return rest
            return rest | {"state": DELETED, "deletion": mark["deletion"], "untold": {"ip": mark["ip"]}}

        done = await self._assets.change(asset["_id"], decided)
        if done is not None and refused is None:
            await self._tell(done)
        return refused

    async def _reason_against(self, asset: Document) -> DomainError | None:
        dataset_id, version = asset["dataset_id"], asset["version"]
        if asset["pending_deletion"]["keep_newest"]:
            living: dict[str, Any] = {"dataset_id": dataset_id, "state": LIVING}
            newest = await self._assets.one(living, sort=(("version", -1),))
            if newest is None or newest["version"] <= version:
                return is_newest(dataset_id, version)
        while True:
            made = {"parents": {"$in": [asset["_id"]]}, "state": LIVING}
            children = await self._assets.many(made, (("dataset_id", 1), ("version", 1)), NAMED + 1)
            if children:
                return has_children(dataset_id, version, [(each["dataset_id"], each["version"]) for each in children])
            pending = await self._pairs.pending_commits(asset["_id"])
            if not pending:
                return None
            for run in pending:
                if run["pending_commit"]["checked"]:
                    await self._pairs.finish_commit(run)
                else:
                    await self._pairs.refuse_commit(run)

    async def _tell(self, asset: Document) -> None:
        """Write the entry of the audit trail, and that it is there."""
        entry = audit_entry(asset_from(asset), asset["untold"]["ip"])
        while not await self._activity.add(activity_document(entry, await self._db.next_number("activity_logs"))):
            pass

        def told(document: Document) -> Document | None:
            return {k: v for k, v in document.items() if k != "untold"} if "untold" in document else None

        await self._assets.change(asset["_id"], told)
