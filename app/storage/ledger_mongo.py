"""The ledger in MongoDB, on a replica set or a single server.

Every write is one document, most of them replaced by compare-and-set; what takes two is in `mongo_pairs`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Literal

from app.errors import NotFound
from app.ledger import (
    Accepted,
    AssetFilter,
    AssetTotal,
    BackendInfo,
    Guard,
    ManifestFilter,
    RunFilter,
    RunTotal,
    Totals,
)
from app.ledger.told import NOTHING, Line, Told
from app.models.activity import Activity
from app.models.asset import Asset
from app.models.delivery import Delivery, EventOutcome
from app.models.manifest import ManifestRecord, ManifestStatus
from app.models.page import Page, Slice
from app.models.run import Run, RunEvent, RunStatus
from app.storage import mongo_documents as documents
from app.storage.deletion_rules import LIVING
from app.storage.ledger_rules import (
    MAX_INTEGER,
    check_amounts,
    check_further_run,
    checked_change,
    name_without_run,
    plain_text,
    utc_milliseconds,
)
from app.storage.ledger_search import asset_listing
from app.storage.mongo_catalog import asset_query
from app.storage.mongo_database import MongoDatabase, open_database
from app.storage.mongo_documents import Document
from app.storage.mongo_election import MongoElection
from app.storage.mongo_keys import MongoKeys
from app.storage.mongo_lanes import CARRIED, MongoLanes
from app.storage.mongo_listing import Listing
from app.storage.mongo_migrate import known_versions, upgrade
from app.storage.mongo_pairs import Pairs
from app.storage.mongo_retention import MongoRetention
from app.storage.mongo_told import PENDING, Telling
from app.storage.mongo_turns import OLDEST_RUN
from app.storage.mongo_unfinished import MongoUnfinished

_PARENTS_PER_QUERY = 1000
_NEWEST_RUN = (("sort_at", -1), ("run_id", -1))


@asynccontextmanager
async def open_mongo_ledger(url: str) -> AsyncIterator[MongoLedger]:
    """Opens nothing until the first operation; closes every connection at the end.

    Raises LedgerUnavailable for a URL that names no database of MongoDB.
    """
    async with open_database(url, known_versions) as database:
        yield MongoLedger(database)


class MongoLedger(MongoElection, MongoLanes, MongoRetention, MongoUnfinished, MongoKeys):
    """`app.ledger.Ledger` in MongoDB; see there for what each method promises."""

    def __init__(self, database: MongoDatabase) -> None:
        self._db = database
        self._pairs = Pairs(database, self._finish_deletion)
        self._manifests, self._runs, self._assets = self._pairs.manifests, self._pairs.runs, self._pairs.assets
        self._events = database.collection("run_events")
        self._activity = database.collection("activity_logs")
        self._deliveries = database.collection("webhook_deliveries")
        self._metrics = database.collection("metrics")
        self._telling = Telling(database, self._events, self._activity)
        self._lanes, self._turns = database.collection("lanes"), self._pairs.turns
        # Tasks of one process wait for each other instead of taking each other's numbers.
        self._logging = asyncio.Lock()

    async def accept(self, manifest: ManifestRecord, run: Run, told: Told = NOTHING) -> Accepted:
        if run.batch_id != manifest.batch_id:
            raise ValueError(f"Run {run.run_id} is of batch {run.batch_id!r}, not {manifest.batch_id!r}.")
        pending = documents.waiting_run_document(run) | await self._telling.mark(told, run.run_id)
        document = documents.manifest_document(manifest, run) | {"pending_run": pending}
        while True:
            if await self._manifests.add(document):
                if (made := await self._pairs.finish_accept(document)) is None:
                    raise ValueError(f"The run id {run.run_id} is taken.")
                await self._telling.finish(self._runs, pending)
                now = await self._runs.one({"_id": pending["_id"]}) or pending
                accepted = documents.run_from(pending | {"blocked": now["blocked"]})
                return Accepted(documents.manifest_from(made), accepted, created=True)
            there = await self._manifest(manifest.batch_id)
            if there is None:  # withdrawn in between, so that the batch id is free again
                continue
            newest = await self._runs.one({"batch_id": document["_id"]}, sort=_NEWEST_RUN)
            if newest is None:
                raise name_without_run(documents.manifest_from(there))
            return Accepted(documents.manifest_from(there), documents.run_from(newest), created=False)

    async def add_run(self, run: Run, told: Told = NOTHING) -> Run | None:
        check_further_run(run)
        pending = documents.waiting_run_document(run) | await self._telling.mark(told, run.run_id)
        added = await self._pairs.add_run(run, pending)
        if added is not None:
            await self._telling.finish(self._runs, pending)
        return added

    async def reject_manifest(self, manifest: ManifestRecord, told: Told = NOTHING) -> ManifestRecord:
        document = documents.manifest_document(manifest) | await self._telling.mark(told)
        while not await self._manifests.add(document):
            if (there := await self._manifest(manifest.batch_id)) is not None:
                return documents.manifest_from(there)
        await self._telling.finish(self._manifests, document)
        return documents.manifest_from(document)

    async def get_manifest(self, batch_id: str) -> ManifestRecord | None:
        found = await self._manifest(batch_id)
        return None if found is None else documents.manifest_from(found)

    async def list_manifests(self, where: ManifestFilter, page: Page) -> Slice[ManifestRecord]:
        wanted = {"status": where.status, "intent": where.intent, "uploader": where.uploader, "project": where.project}
        query = _equal({**wanted, "testing": where.testing, "object_key": where.object_key})
        if where.since is not None:
            query["sort_at"] = {"$gte": documents.milliseconds(where.since)}
        if where.status is None:
            query["status"] = {"$ne": ManifestStatus.REMOVED.value}
        listing = Listing("manifests", (("ingested_at", datetime), ("batch_id", str)), page)
        while True:
            found = await self._manifests.many(listing.query(query), listing.sort, listing.limit)
            half = [each for each in found if "pending_run" in each]
            if not half:
                return listing.slice(found, documents.manifest_from)
            for each in half:
                await self._pairs.finish_accept(each)

    async def get_run(self, run_id: str) -> Run | None:
        key = plain_text(run_id)
        found = await self._runs.one({"_id": key})
        if found is None and (half := await self._manifests.one({"pending_run.run_id": key})) is not None:
            await self._pairs.finish_accept(half)
            found = await self._runs.one({"_id": key})
        return None if found is None else documents.run_from(found)

    async def get_runs(self, run_ids: tuple[str, ...]) -> tuple[Run, ...]:
        asked = {plain_text(run_id) for run_id in run_ids}
        found = {each["_id"]: documents.run_from(each) for each in await self._runs.many({"_id": {"$in": list(asked)}})}
        # Those that are not there may have been accepted by half.
        rest = [await self.get_run(run_id) for run_id in asked - found.keys()]
        return (*found.values(), *(run for run in rest if run is not None))

    async def list_runs(self, where: RunFilter, page: Page) -> Slice[Run]:
        wanted = {"status": where.status, "batch_id": where.batch_id, "lane": where.lane}
        of_version = {"partition_key": where.dataset_id, "reserved_version": where.reserved_version}
        query = _equal({**wanted, **of_version})
        listing = Listing("runs", (("created_at", datetime), ("run_id", str)), page)
        found = await self._runs.many(listing.query(query), listing.sort, listing.limit)
        return listing.slice(found, documents.run_from)

    async def list_due_runs(self, limit: int) -> tuple[Run, ...]:
        """Also finishes what anybody left half done."""
        await self._settle_deletions()
        await self._settle_removals()
        await self._pairs.settle()
        await self._telling.settle(self._manifests, self._runs, self._lanes)
        await self.settle_lanes()
        return tuple(documents.run_from(each) for each in await self._runs.many({"status": CARRIED}, OLDEST_RUN, limit))

    async def change_run(self, run_id: str, guard: Guard, told: Told = NOTHING, **changes: Any) -> Run | None:
        changed, statuses = checked_change(guard, changes)
        moves = not changes.keys().isdisjoint({"status", "attempt"})
        # Nothing moves past a commit that is half done, and nothing is told before what came before.
        unfinished: list[Callable[[], Awaitable[object]]] = []
        mark = await self._telling.mark(told, plain_text(run_id))

        def decide(document: Document) -> Document | None:
            if not _fits(document, guard, statuses):
                return None
            if moves and "pending_commit" in document:
                unfinished.append(lambda: self._pairs.finish_commit(document))
                return None
            if mark and PENDING in document:
                unfinished.append(lambda: self._telling.finish(self._runs, document))
                return None
            new = documents.changed_run_document(document, changed, changes) | mark
            if "status" not in changes:
                return new
            turn = {"turn_due": True} if changed.status.is_final and not document["blocked"] else {}
            return new | {"mirror_due": new["revision"]} | turn

        while True:
            document = await self._runs.change(plain_text(run_id), decide)
            if document is not None:
                if "status" in changes:
                    await self._moved(document)
                await self._telling.finish(self._runs, document if mark else {})
                return documents.run_from(document)
            if not unfinished:
                return None
            await unfinished.pop()()

    async def _moved(self, document: Document) -> None:
        """What follows from a new status of a run, in other documents."""
        await self._pairs.mirror(document)
        if "turn_due" in document:
            await self._turns.hand_over(document)
        run = documents.run_from(document)
        if run.status not in (RunStatus.RUNNING, RunStatus.CANCELING):
            await self.give_back_slot(run)

    async def reserve_version(self, run_id: str, attempt: int) -> int | None:
        return await self._pairs.reserve(run_id, attempt)

    async def commit_asset(self, asset: Asset, attempt: int) -> Asset | None:
        return await self._pairs.commit(asset, attempt)

    async def get_asset(self, dataset_id: str, version: int | None = None) -> Asset | None:
        if version is None:
            found = await self._newest(plain_text(dataset_id), {"state": LIVING})
        else:
            found = await self._assets.one({"_id": documents.version_key(dataset_id, version)})
        return None if found is None else documents.asset_from(found)

    async def list_assets(self, where: AssetFilter, page: Page) -> Slice[Asset]:
        query = asset_query(where)
        if where.run_id is not None:
            await self._finish_commits({"_id": plain_text(where.run_id), "pending_commit.s3_key": {"$exists": True}})
        key = (("created_at", datetime), ("dataset_id", str), ("version", int))
        listing = Listing(asset_listing(where), key, page)
        found = await self._assets.many(listing.query(query), listing.sort, listing.limit)
        if where.latest_only:
            found = await self._newest_only(found, query, listing, {} if where.deleted else {"state": LIVING})
        return listing.slice(found, documents.asset_from)

    async def _newest(self, dataset_id: str, counts: Document) -> Document | None:
        return await self._assets.one({"dataset_id": dataset_id, **counts}, sort=(("version", -1),))

    async def _newest_only(
        self, found: list[Document], query: Document, listing: Listing, counts: Document
    ) -> list[Document]:
        """Of `found` and what follows, the newest version of each dataset; as many as the listing wants.

        counts: which versions do.

        Batch by batch: a join or a grouping of all versions would cost as much on the first page as on the last.
        """
        newest: dict[str, int] = {}
        kept: list[Document] = []
        while True:
            for dataset_id in {each["dataset_id"] for each in found} - newest.keys():
                top = await self._newest(dataset_id, counts)
                newest[dataset_id] = top["version"] if top is not None else 0
            kept += [each for each in found if each["version"] == newest[each["dataset_id"]]]
            if len(found) < listing.limit or len(kept) >= listing.limit:
                return kept[: listing.limit]
            found = await self._assets.many(listing.query(query, found[-1]), listing.sort, listing.limit)

    async def get_asset_by_key(self, s3_key: str) -> Asset | None:
        key = plain_text(s3_key)
        found = await self._assets.one({"s3_key": key})
        if found is None:
            # Whoever asks may be about to delete an object that nobody owns.
            await self._finish_commits({"pending_commit.s3_key": key})
            found = await self._assets.one({"s3_key": key})
        return None if found is None else documents.asset_from(found)

    async def _finish_commits(self, query: Mapping[str, Any]) -> None:
        for run in await self._runs.many(query):
            await self._pairs.finish_commit(run)

    async def list_children(self, parents: tuple[tuple[str, int], ...]) -> tuple[Asset, ...]:
        wanted = sorted({documents.version_key(*parent) for parent in parents})
        found: dict[str, Asset] = {}
        for start in range(0, len(wanted), _PARENTS_PER_QUERY):
            some = {"parents": {"$in": wanted[start : start + _PARENTS_PER_QUERY]}}
            found |= {each["_id"]: documents.asset_from(each) for each in await self._assets.many(some)}
        return tuple(sorted(found.values(), key=lambda asset: (asset.created_at, asset.dataset_id, asset.version)))

    async def add_event(
        self,
        run_id: str,
        *,
        code: str,
        message: str,
        level: Literal["info", "warning", "error"] = "info",
        step: str | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> RunEvent:
        key = plain_text(run_id)
        if await self._runs.one({"_id": key}) is None:
            raise NotFound(f"There is no run {run_id!r}.", "Use the run_id that accepting the manifest gave.")
        line = Line(code, message, level, step, data or {})
        # The next number is the one after the last event, and its unique key decides who gets it: no counter that runs
        # ahead of its events, so neither a crash nor a slow writer leaves a gap that a reader could step over.
        async with self._logging:
            while True:
                last = await self._events.one({"run_id": key}, sort=(("seq", -1),))
                event = line.event(key, last["seq"] + 1 if last is not None else 1)
                document = documents.event_document(event)
                if await self._events.add(document):
                    return documents.event_from(document)

    async def list_events(self, run_id: str, after: int = 0, limit: int = 100) -> tuple[RunEvent, ...]:
        query = {"run_id": plain_text(run_id), "seq": {"$gt": max(0, min(after, MAX_INTEGER))}}
        return tuple(documents.event_from(each) for each in await self._events.many(query, (("seq", 1),), limit))

    async def add_activity(self, entry: Activity) -> None:
        # A counter that was restored from an older backup than the entries gives numbers that are taken.
        while not await self._activity.add(
            documents.activity_document(entry, await self._db.next_number("activity_logs"))
        ):
            pass

    async def list_activity(self, page: Page) -> Slice[Activity]:
        listing = Listing("activity_logs", (("timestamp", datetime), ("number", int)), page)
        found = await self._activity.many(listing.query({}), listing.sort, listing.limit)
        return listing.slice(found, documents.activity_from)

    async def add_delivery(self, delivery: Delivery) -> Delivery:
        document = documents.delivery_document(delivery)
        while not await self._deliveries.add(document):
            again = await self._deliveries.change(document["_id"], lambda old: old | {"repeats": old["repeats"] + 1})
            if again is not None:
                return documents.delivery_from(again)
        return documents.delivery_from(document)

    async def finish_delivery(
        self, delivery_id: str, outcomes: tuple[EventOutcome, ...], at: datetime
    ) -> Delivery | None:
        def finished(document: Document) -> Document | None:
            if document["status"] != "received":
                return None
            return documents.finished_delivery_document(document, outcomes, at)

        done = await self._deliveries.change(plain_text(delivery_id), finished)
        return None if done is None else documents.delivery_from(done)

    async def list_deliveries(self, status: Literal["received", "done"] | None, page: Page) -> Slice[Delivery]:
        listing = Listing("webhook_deliveries", (("received_at", datetime), ("delivery_id", str)), page)
        found = await self._deliveries.many(listing.query(_equal({"status": status})), listing.sort, listing.limit)
        return listing.slice(found, documents.delivery_from)

    async def totals(self) -> Totals:
        runs, fields = [], {"runs": {"$sum": 1}, "attempts": {"$sum": "$attempt"}, "oldest": {"$min": "$sort_at"}}
        # By one field at a time, which every server of the protocol can do.
        for lane in sorted(each["_id"] for each in await self._runs.grouped("lane", {})):
            for each in await self._runs.grouped("status", fields, {"lane": lane}):
                oldest = documents.moment(each["oldest"])
                runs.append(RunTotal(RunStatus(each["_id"]), lane, each["runs"], each["attempts"], oldest))
        assets = await self._assets.grouped(
            "kind", {"versions": {"$sum": 1}, "bytes": {"$sum": "$size"}}, {"state": LIVING}
        )
        return Totals(
            tuple(sorted(runs, key=lambda total: (total.status, total.lane))),
            tuple(
                AssetTotal(each["_id"], each["versions"], each["bytes"])
                for each in sorted(assets, key=lambda each: str(each["_id"]))
            ),
        )

    async def count(self, amounts: Mapping[str, int]) -> None:
        check_amounts(amounts)
        for name in sorted(amounts):
            await self._metrics.increase(plain_text(name), amounts[name])

    async def get_counts(self) -> Mapping[str, int]:
        return {each["_id"]: each["value"] for each in await self._metrics.many({})}

    async def migrate(self) -> tuple[str, ...]:
        return await upgrade(self._db)

    async def ping(self) -> BackendInfo:
        version = await self._db.server_version()
        await self._db.check_migrated(again=True)
        details = {"schema": known_versions()[-1], "location": self._db.shown}
        return BackendInfo(name="MongoDB", version=version, details=details)

    async def _manifest(self, batch_id: str) -> Document | None:
        found = await self._manifests.one({"_id": plain_text(batch_id)})
        return None if found is None else await self._pairs.finish_accept(found)


def _equal(wanted: Mapping[str, Any]) -> Document:
    return {
        name: plain_text(value) if isinstance(value, str) else value
        for name, value in wanted.items()
        if value is not None
    }


def _fits(run: Document, guard: Guard, statuses: tuple[RunStatus, ...]) -> bool:
    lease = run["lease"]
    if run["status"] not in statuses or guard.attempt not in (None, run["attempt"]):
        return False
    if guard.lease_owner is not None and (lease is None or lease["owner"] != plain_text(guard.lease_owner)):
        return False
    if guard.lease_expired_at is None:
        return True
    return lease is not None and bool(lease["expires_at"] < utc_milliseconds(guard.lease_expired_at))
