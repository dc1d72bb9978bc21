"""Removal of old records in MongoDB; `run_writes` explains the method of marks.

**remove_batch** empties the manifest and leaves in it the runs to remove (`removing`): compare-and-set of one document.
Further runs begin in the same document, so none begins after that. To finish: take the runs and versions out of the
totals (`totals`), remove the logs and versions of the runs and the runs themselves, then the mark. The sweep finishes
an interrupted removal through `list_due_runs`.

A log is removed before its run is marked. After a crash between the two the sweep removes the log, now empty, again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.models.asset import Asset
from app.models.manifests.manifest import ManifestStatus
from app.models.runs.run import RunStatus
from app.storage.mongo.database import Collection
from app.storage.mongo.deletion import MongoDeletion
from app.storage.mongo.documents import (
    Document,
    asset_from,
    milliseconds,
    removed_manifest,
    removing,
    version_key,
    without_companion,
)
from app.storage.shared.deletion_rules import REMOVED
from app.storage.shared.ledger_rules import plain_text, utc_milliseconds

_OVER = [status.value for status in RunStatus if status.is_final]
_NO_BATCH = (ManifestStatus.REJECTED.value, ManifestStatus.REMOVED.value)


class MongoRetention(MongoDeletion):
    """`app.ledger.retention.RetentionLedger` in MongoDB."""

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
                manifest = await self._run_writes.finish_accept(manifest)
            if manifest is None or manifest["status"] in _NO_BATCH:
                return False
            runs = await self._runs.many({"batch_id": key})
            if any(run["status"] not in _OVER for run in runs):
                return False
            await self._outbox.finish(self._manifests, manifest)
            for run in runs:
                # The audit trail is kept when the run is removed.
                await self._outbox.finish(self._runs, run)
                if "mirror_due" in run:
                    await self._run_writes.mirror(run)
                if "turn_due" in run:
                    # The runs that wait for this one would wait for ever.
                    await self._dataset_queue.release(run)
            run_ids = [run["_id"] for run in runs]
            if any(each["state"] != REMOVED for each in await self._assets.many({"run_id": {"$in": run_ids}})):
                return False
            begun = await self._manifests.change(key, _emptied(manifest["newest_run"], run_ids))
            if begun is not None:
                await self._finish_removal(begun)
                return True

    async def _finish_removals(self) -> None:
        """Finish the removals that were interrupted."""
        for manifest in await self._manifests.many({"removing.run_ids": {"$exists": True}}):
            await self._finish_removal(manifest)

    async def _finish_removal(self, manifest: Document) -> None:
        # The versions were deleted, and so what is due has them.
        await self._totals.count_due()
        await self._totals.take_out(manifest["removing"]["run_ids"])
        for run_id in manifest["removing"]["run_ids"]:
            await self._events.remove_many({"run_id": run_id})
            for asset in await self._assets.many({"run_id": run_id, "state": REMOVED}):
                await self._assets.remove({"_id": asset["_id"]})
            if (run := await self._runs.one({"_id": run_id})) is not None:
                await self._newest_marks.after_removal(run["partition_key"])
                await self._runs.remove({"_id": run_id})
        await self._manifests.change(manifest["_id"], removing("removing"))

    async def remove_rejected(self, batch_id: str) -> bool:
        return await self._manifests.remove({"_id": plain_text(batch_id), "status": ManifestStatus.REJECTED.value})

    async def remove_deliveries(self, before: datetime, limit: int) -> int:
        return await _remove_old(self._deliveries, {"status": "done"}, before, limit)

    async def remove_activity(self, before: datetime, limit: int) -> int:
        return await _remove_old(self._activity, {}, before, limit)


def _emptied(newest_run: Any, run_ids: list[str]) -> Any:
    """A change that empties a manifest, unless the batch has changed since its runs were read."""

    def emptied(document: Document) -> Document | None:
        if "pending_run" in document or "removing" in document or document["newest_run"] != newest_run:
            return None
        # `newest_run` stays, so that a late copy of an older status is not taken over.
        return removed_manifest(document) | {"removing": {"run_ids": run_ids}}

    return emptied


async def _remove_old(collection: Collection, where: Mapping[str, Any], before: datetime, limit: int) -> int:
    query = {**where, "sort_at": {"$lt": milliseconds(before)}}
    found = await collection.many(query, (("sort_at", 1),), limit)
    return await collection.remove_many({"_id": {"$in": [each["_id"] for each in found]}}) if found else 0
