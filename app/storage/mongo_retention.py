"""The part of the MongoDB ledger that removes entries for good: see `app.ledger.retention`.

**remove_batch** empties the manifest, and leaves in it which runs are to go (`removing`): compare-and-set of one
document, in which further runs begin too, so that none begins any more. Finished: their logs, their versions' records
and they themselves go, then the mark. The sweep finishes what was broken off, through `list_due_runs`.

A log goes before its run says so; whoever dies in between leaves a run whose log is removed again, of nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.models.asset import Asset
from app.models.manifest import ManifestStatus
from app.models.run import RunStatus
from app.storage.deletion_rules import REMOVED
from app.storage.ledger_rules import plain_text, utc_milliseconds
from app.storage.mongo_database import Collection
from app.storage.mongo_deletion import MongoDeletion
from app.storage.mongo_documents import (
    Document,
    asset_from,
    milliseconds,
    removed_manifest,
    version_key,
    without_companion,
)
from app.storage.mongo_told import Telling

_OVER = [status.value for status in RunStatus if status.is_final]
_NO_BATCH = (ManifestStatus.REJECTED.value, ManifestStatus.REMOVED.value)


class MongoRetention(MongoDeletion):
    """`app.ledger.retention.RetentionLedger` in MongoDB."""

    _manifests: Collection
    _runs: Collection
    _events: Collection
    _deliveries: Collection
    _telling: Telling

    async def list_logged_runs(self, over_before: datetime, limit: int) -> tuple[str, ...]:
        before = {"$lt": utc_milliseconds(over_before)}
        query = {"log_removed": False, "completed_at": before, "status": {"$in": _OVER}}
        found = await self._runs.many(query, (("completed_at", 1),), limit)
        return tuple(each["run_id"] for each in found)

    async def remove_log(self, run_id: str) -> bool:
        def removed(document: Document) -> Document | None:
            due = document["status"] in _OVER and not document["log_removed"]
            return document | {"log_removed": True} if due else None

        key = plain_text(run_id)
        run = await self._runs.one({"_id": key})
        if run is None or removed(run) is None:
            return False
        await self._events.remove_many({"run_id": key})
        return await self._runs.change(key, removed) is not None

    async def remove_companion(self, dataset_id: str, version: int, name: str, at: datetime) -> Asset | None:
        def removed(document: Document) -> Document | None:
            changed = asset_from(document).without_companion(name, at)
            return None if changed is None else without_companion(document, changed)

        done = await self._assets.change(version_key(dataset_id, version), removed)
        return None if done is None else asset_from(done)

    async def remove_batch(self, batch_id: str) -> bool:
        key = plain_text(batch_id)
        while True:
            manifest = await self._manifests.one({"_id": key})
            if manifest is not None and "pending_run" in manifest:
                manifest = await self._pairs.finish_accept(manifest)
            if manifest is None or manifest["status"] in _NO_BATCH:
                return False
            runs = await self._runs.many({"batch_id": key})
            if any(run["status"] not in _OVER for run in runs):
                return False
            await self._telling.finish(self._manifests, manifest)
            for run in runs:
                # The audit trail outlives what it speaks of.
                await self._telling.finish(self._runs, run)
                if "mirror_due" in run:
                    await self._pairs.mirror(run)
                if "turn_due" in run:
                    # Who waits for this run would not find it any more.
                    await self._pairs.turns.hand_over(run)
            run_ids = [run["_id"] for run in runs]
            if any(each["state"] != REMOVED for each in await self._assets.many({"run_id": {"$in": run_ids}})):
                return False
            begun = await self._manifests.change(key, _emptied(manifest["newest_run"], run_ids))
            if begun is not None:
                await self._finish_removal(begun)
                return True

    async def _settle_removals(self) -> None:
        """Finish what anybody left half done."""
        for manifest in await self._manifests.many({"removing.run_ids": {"$exists": True}}):
            await self._finish_removal(manifest)

    async def _finish_removal(self, manifest: Document) -> None:
        for run_id in manifest["removing"]["run_ids"]:
            await self._events.remove_many({"run_id": run_id})
            await self._assets.remove_many({"run_id": run_id, "state": REMOVED})
            await self._runs.remove({"_id": run_id})

        def done(document: Document) -> Document | None:
            rest = {name: value for name, value in document.items() if name != "removing"}
            return rest if "removing" in document else None

        await self._manifests.change(manifest["_id"], done)

    async def remove_rejected(self, batch_id: str) -> bool:
        return await self._manifests.remove({"_id": plain_text(batch_id), "status": ManifestStatus.REJECTED.value})

    async def remove_deliveries(self, before: datetime, limit: int) -> int:
        return await _remove_old(self._deliveries, {"status": "done"}, before, limit)

    async def remove_activity(self, before: datetime, limit: int) -> int:
        return await _remove_old(self._activity, {}, before, limit)


def _emptied(newest_run: Any, run_ids: list[str]) -> Any:
    """Unless something has happened to the batch since its runs were read."""

    def emptied(document: Document) -> Document | None:
        spoken = document["newest_run"]
        if "pending_run" in document or "removing" in document or spoken != newest_run:
            return None
        # What spoke last stays: so an old status that comes late does not win.
        return removed_manifest(document) | {"removing": {"run_ids": run_ids}}

    return emptied


async def _remove_old(collection: Collection, where: Mapping[str, Any], before: datetime, limit: int) -> int:
    query = {**where, "sort_at": {"$lt": milliseconds(before)}}
    found = await collection.many(query, (("sort_at", 1),), limit)
    return await collection.remove_many({"_id": {"$in": [each["_id"] for each in found]}}) if found else 0
