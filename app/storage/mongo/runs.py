"""Manifests and runs in MongoDB."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from app.ledger import Accepted, Guard, ManifestFilter, RunFilter
from app.ledger.outbox import NOTHING, Outbox
from app.models.manifests.manifest import ManifestRecord, ManifestStatus, ManifestSummary
from app.models.page import Page, Slice
from app.models.runs.run import UNDER_WAY, Run, RunStatus
from app.storage.mongo import documents
from app.storage.mongo.base import equal
from app.storage.mongo.dataset_queue import OLDEST_RUN
from app.storage.mongo.documents import Document
from app.storage.mongo.listing import Listing
from app.storage.mongo.outbox import PENDING
from app.storage.mongo.retention import MongoRetention
from app.storage.mongo.scheduling import MongoScheduling
from app.storage.shared.ledger_rules import (
    check_further_run,
    checked_change,
    name_without_run,
    plain_text,
    summary_of,
    superseding,
    utc_milliseconds,
)

_NEWEST_RUN = (("sort_at", -1), ("run_id", -1))


class MongoRuns(MongoScheduling, MongoRetention):
    """`app.ledger.runs.RunLedger` in MongoDB. Uses scheduling and retention to finish what a crash interrupted."""

    async def accept(self, manifest: ManifestRecord, run: Run, outbox: Outbox = NOTHING) -> Accepted:
        if run.batch_id != manifest.batch_id:
            raise ValueError(f"Run {run.run_id} is of batch {run.batch_id!r}, not {manifest.batch_id!r}.")
        pending = documents.waiting_run_document(run) | await self._outbox.mark(outbox, run.run_id)
        document = documents.manifest_document(manifest, run) | {"pending_run": pending}
        while True:
            if await self._manifests.add(document):
                if (made := await self._run_writes.finish_accept(document)) is None:
                    raise ValueError(f"The run id {run.run_id} is taken.")
                await self._outbox.finish(self._runs, pending)
                now = await self._runs.one({"_id": pending["_id"]}) or pending
                accepted = documents.run_from(pending | {"blocked": now["blocked"]})
                return Accepted(documents.manifest_from(made), accepted, created=True)
            stored = await self._manifest(manifest.batch_id)
            if stored is None:  # it was withdrawn meanwhile, so the batch id is free again
                continue
            newest = await self._runs.one({"batch_id": document["_id"]}, sort=_NEWEST_RUN)
            if newest is None:
                raise name_without_run(documents.manifest_from(stored))
            return Accepted(documents.manifest_from(stored), documents.run_from(newest), created=False)

    async def add_run(self, run: Run, outbox: Outbox = NOTHING) -> Run | None:
        check_further_run(run)
        pending = documents.waiting_run_document(run) | await self._outbox.mark(outbox, run.run_id)
        added = await self._run_writes.add_run(run, pending)
        if added is not None:
            await self._outbox.finish(self._runs, pending)
        return added

    async def supersede(
        self, manifest: ManifestRecord, run: Run, content_hash: str, outbox: Outbox = NOTHING
    ) -> Accepted | None:
        check_further_run(run)
        key = plain_text(run.batch_id)
        newest = await self._runs.one({"batch_id": key}, sort=_NEWEST_RUN)
        succeeded = {"batch_id": key, "status": RunStatus.SUCCESS.value}
        # When the newest run is over, all are, and stay so. A further one is seen by the write that decides.
        if newest is None or not RunStatus(newest["status"]).is_final or await self._runs.one(succeeded) is not None:
            return None

        def change(document: Document) -> Document | None:
            stored = documents.manifest_from(document)
            if stored.content_hash != content_hash or document["newest_run"]["run_id"] != newest["_id"]:
                return None
            return documents.superseding_document(document, superseding(manifest, stored, run))

        pending = documents.waiting_run_document(run) | await self._outbox.mark(outbox, run.run_id)
        added = await self._run_writes.add_run(run, pending, change)
        if added is None:
            return None
        await self._outbox.finish(self._runs, pending)
        now = await self._manifest(run.batch_id)
        return None if now is None else Accepted(documents.manifest_from(now), added, created=True)

    async def reject_manifest(self, manifest: ManifestRecord, outbox: Outbox = NOTHING) -> ManifestRecord:
        document = documents.manifest_document(manifest) | await self._outbox.mark(outbox)
        while not await self._manifests.add(document):
            if (stored := await self._manifest(manifest.batch_id)) is not None:
                return documents.manifest_from(stored)
        await self._outbox.finish(self._manifests, document)
        return documents.manifest_from(document)

    async def get_manifest(self, batch_id: str) -> ManifestRecord | None:
        found = await self._manifest(batch_id)
        return None if found is None else documents.manifest_from(found)

    async def list_manifests(self, where: ManifestFilter, page: Page) -> Slice[ManifestRecord]:
        query = _manifest_query(where)
        listing = _manifest_listing(page)
        while True:
            found = await self._manifests.many(listing.query(query), listing.sort, listing.limit)
            unfinished = [each for each in found if "pending_run" in each]
            if not unfinished:
                return listing.slice(found, documents.manifest_from)
            for each in unfinished:
                await self._run_writes.finish_accept(each)

    async def list_manifest_summaries(self, where: ManifestFilter, page: Page) -> Slice[ManifestSummary]:
        query = _manifest_query(where)
        listing = _manifest_listing(page)
        while True:
            found: list[Document] = []
            unfinished: list[Document] = []
            # Of each document only the summary is kept.
            async for each in self._manifests.each(listing.query(query), listing.sort, listing.limit):
                if "pending_run" in each:
                    unfinished.append({"_id": each["_id"]})
                key = {"ingested_at": each["ingested_at"], "batch_id": each["batch_id"]}
                found.append(key | {"summary": summary_of(documents.manifest_from(each))})
            if not unfinished:
                return listing.slice(found, lambda document: document["summary"])
            for each in unfinished:
                await self._manifest(each["_id"])

    async def get_run(self, run_id: str) -> Run | None:
        key = plain_text(run_id)
        found = await self._runs.one({"_id": key})
        if found is None and (manifest := await self._manifests.one({"pending_run.run_id": key})) is not None:
            await self._run_writes.finish_accept(manifest)
            found = await self._runs.one({"_id": key})
        return None if found is None else documents.run_from(found)

    async def get_runs(self, run_ids: tuple[str, ...]) -> tuple[Run, ...]:
        asked = {plain_text(run_id) for run_id in run_ids}
        found = {each["_id"]: documents.run_from(each) for each in await self._runs.many({"_id": {"$in": list(asked)}})}
        # The others may belong to a manifest whose `accept` is unfinished.
        rest = [await self.get_run(run_id) for run_id in asked - found.keys()]
        return (*found.values(), *(run for run in rest if run is not None))

    async def list_runs(self, where: RunFilter, page: Page) -> Slice[Run]:
        wanted = {"status": where.status, "batch_id": where.batch_id, "lane": where.lane}
        of_version = {"partition_key": where.dataset_id, "reserved_version": where.reserved_version}
        query = equal({**wanted, **of_version})
        listing = Listing("runs", (("created_at", datetime), ("run_id", str)), page)
        found = await self._runs.many(listing.query(query), listing.sort, listing.limit)
        return listing.slice(found, documents.run_from)

    async def list_due_runs(self, limit: int) -> tuple[Run, ...]:
        await self._finish_deletions()
        await self._finish_removals()
        await self._asset_writes.finish_all()
        await self._run_writes.finish_all()
        await self._outbox.finish_all(self._manifests, self._runs, self._lanes)
        await self.repair_all_slots()
        await self._totals.count_due()
        under_way = {"status": {"$in": [status.value for status in UNDER_WAY]}}
        return tuple(documents.run_from(each) for each in await self._runs.many(under_way, OLDEST_RUN, limit))

    async def change_run(self, run_id: str, guard: Guard, outbox: Outbox = NOTHING, **changes: Any) -> Run | None:
        changed, statuses = checked_change(guard, changes)
        moves_on = not changes.keys().isdisjoint({"status", "attempt"})
        # An unfinished commit is finished before the status changes, and an outbox before the next one is written.
        unfinished: list[Callable[[], Awaitable[object]]] = []
        mark = await self._outbox.mark(outbox, plain_text(run_id))

        def decide(document: Document) -> Document | None:
            if not _fits(document, guard, statuses):
                return None
            if moves_on and "pending_commit" in document:
                unfinished.append(lambda: self._asset_writes.finish_commit(document))
                return None
            if mark and PENDING in document:
                unfinished.append(lambda: self._outbox.finish(self._runs, document))
                return None
            new = documents.changed_run_document(document, changed, changes) | mark
            if "status" not in changes:
                return new
            release = {"turn_due": True} if changed.status.is_final and not document["blocked"] else {}
            return new | {"mirror_due": new["revision"]} | release

        while True:
            document = await self._runs.change(plain_text(run_id), decide)
            if document is not None:
                if "status" in changes:
                    await self._finish_status_change(document)
                await self._outbox.finish(self._runs, document if mark else {})
                return documents.run_from(document)
            if not unfinished:
                return None
            await unfinished.pop()()

    async def _finish_status_change(self, document: Document) -> None:
        """Write what follows from a new status of a run into other documents."""
        await self._run_writes.mirror(document)
        if "turn_due" in document:
            await self._dataset_queue.release(document)
        run = documents.run_from(document)
        if run.status not in UNDER_WAY:
            await self.release_slot(run)

    async def _manifest(self, batch_id: str) -> Document | None:
        found = await self._manifests.one({"_id": plain_text(batch_id)})
        return None if found is None else await self._run_writes.finish_accept(found)


def _manifest_query(where: ManifestFilter) -> Document:
    wanted = {"status": where.status, "intent": where.intent, "uploader": where.uploader, "project": where.project}
    query = equal({**wanted, "testing": where.testing, "object_key": where.object_key})
    if where.since is not None:
        query["sort_at"] = {"$gte": documents.milliseconds(where.since)}
    if where.status is None:
        query["status"] = {"$ne": ManifestStatus.REMOVED.value}
    return query


def _manifest_listing(page: Page) -> Listing:
    return Listing("manifests", (("ingested_at", datetime), ("batch_id", str)), page)


def _fits(run: Document, guard: Guard, statuses: tuple[RunStatus, ...]) -> bool:
    lease = run["lease"]
    if run["status"] not in statuses or guard.attempt not in (None, run["attempt"]):
        return False
    if guard.lease_owner is not None and (lease is None or lease["owner"] != plain_text(guard.lease_owner)):
        return False
    if guard.lease_expired_at is None:
        return True
    return lease is not None and bool(lease["expires_at"] < utc_milliseconds(guard.lease_expired_at))
