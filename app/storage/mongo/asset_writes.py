"""Writes over two documents that reserve a version number or register a version; see `run_writes` for the method.

**reserve_version** counts in one document for each dataset, which also names the run of the last number. Before the
next number is counted, that run gets its number; so all numbers but the last are in their runs, and none is lost. A run
counts only if it had no number *after* the counter was read, and the counter has not changed since; so no run gets two.

**commit_asset** writes the asset into the run (`pending_commit`) if it runs at this attempt: compare-and-set of one
document, so there is no time between check and write. If it has parents, these are read next, and the mark becomes
`checked`, or is removed when one of them was deleted (`deletion` says how this meets a deletion). This is the commit
point. To finish: insert the asset, settle which version is the newest (`newest`), then remove the mark; if another run
has the version or key, only remove the mark.
`change_run` finishes a mark before it changes status or attempt. So the insert that counts happens while the run runs
at that attempt, and a late one (of a process that was suspended) finds its own asset or the one of the other run, and
changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from app.models.asset import Asset
from app.models.base import new_id
from app.models.runs.run import RunStatus
from app.storage.mongo.database import MongoDatabase
from app.storage.mongo.documents import Document, asset_document, asset_from, removing
from app.storage.mongo.newest import NewestMarks
from app.storage.shared.deletion_rules import LIVING, parent_deleted
from app.storage.shared.ledger_rules import plain_text, version_taken

# Between two reads of what another process has written and a majority has not confirmed yet.
_PAUSE_SECONDS = 0.005


class AssetWrites:
    """Begins and finishes `reserve_version` and `commit_asset`; see the module."""

    def __init__(self, database: MongoDatabase, finish_deletion: Callable[[Document], Awaitable[object]]) -> None:
        self.runs = database.collection("runs")
        self.assets = database.collection("assets")
        self.versions = database.collection("dataset_versions")
        self.newest = NewestMarks(database)
        self._finish_deletion = finish_deletion
        # Tasks of one process wait for each other instead of competing for the next number.
        self._reserve_lock = asyncio.Lock()

    async def finish_all(self) -> None:
        """Finish every commit that was interrupted."""
        for run in await self.runs.many({"pending_commit.s3_key": {"$exists": True}}):
            await self.finish_commit(run)

    async def reserve(self, run_id: str, attempt: int) -> int | None:
        """Reserve a version number; see `AssetLedger.reserve_version`."""
        key = plain_text(run_id)
        async with self._reserve_lock:
            while True:
                run = await self.runs.one({"_id": key})
                if run is None:
                    return None
                counter = await self.versions.one({"_id": run["partition_key"]})
                if counter is None:
                    new = {"_id": run["partition_key"], "dataset_id": run["partition_key"], "writes": 1}
                    await self.versions.add(new | {"last_version": 0, "run_id": None})
                    continue
                await self._assign_number(counter)
                # Read again: the run must be read after the counter.
                run = await self.runs.one({"_id": key})
                if run is None or not _runs_at(run, attempt):
                    return None
                if run["reserved_version"] is not None:
                    return int(run["reserved_version"])
                if (counted := await self._next_number(counter, key)) is not None:
                    await self._assign_number(counted)

    async def _next_number(self, counter: Document, run_key: str) -> Document | None:
        """Count one number for this run; None when the counter has changed.

        Numbers of registered assets are skipped, because a restored backup may have a counter older than its assets.
        """
        newest = await self.assets.one({"dataset_id": counter["_id"]}, sort=(("version", -1),))
        registered = newest["version"] if newest is not None else 0

        def next_number(document: Document) -> Document | None:
            if document["writes"] != counter["writes"]:
                return None
            return document | {"last_version": max(document["last_version"], registered) + 1, "run_id": run_key}

        return await self.versions.change(counter["_id"], next_number)

    async def _assign_number(self, counter: Document) -> None:
        """Write the last number into the run for which it was counted."""

        def given(document: Document) -> Document | None:
            if document["reserved_version"] is not None:
                return None
            return document | {"reserved_version": counter["last_version"], "revision": document["revision"] + 1}

        if counter["run_id"] is not None:
            await self.runs.change(counter["run_id"], given)

    async def commit(self, asset: Asset, attempt: int) -> Asset | None:
        """Register a version; see `AssetLedger.commit_asset`."""
        document = asset_document(asset)
        key = plain_text(asset.run_id)
        mark = {"commit_id": new_id(), "s3_key": document["s3_key"], "asset": document}
        mark["checked"] = not document["parents"]

        def marked(run: Document) -> Document | None:
            free = _runs_at(run, attempt) and "pending_commit" not in run
            return run | {"pending_commit": mark} if free else None

        while True:
            run = await self.runs.one({"_id": key})
            if run is None or run["attempt"] != attempt:
                return None
            if "pending_commit" in run:
                await self.finish_commit(run)
                continue
            there = await self.assets.one({"_id": document["_id"]})
            if there is not None and there["run_id"] == key:
                return asset_from(there)
            if not _runs_at(run, attempt):
                return None
            begun = await self.runs.change(key, marked)
            if begun is not None and (registered := await self._finish_own_commit(begun, asset)) is not None:
                return registered

    async def _finish_own_commit(self, run: Document, asset: Asset) -> Asset | None:
        """Finish the commit of this call. None: begin again, because a deletion refused it and was itself refused."""
        document: Document = run["pending_commit"]["asset"]
        owner = await self.finish_commit(run)
        if owner is None:
            if deleted := await self._deleted_parents(document):
                raise parent_deleted(deleted)
            return None
        if owner["_id"] == document["_id"] and owner["run_id"] == run["_id"]:
            return asset_from(owner)
        raise version_taken(asset, asset_from(owner))

    async def finish_commit(self, run: Document) -> Document | None:
        """Register the asset in the mark of the run.

        Returns:
            The registered asset, or the one of another run that has its version or key. None: a parent was deleted.
        """
        checked = await self._check_parents(run)
        mark = (checked or run)["pending_commit"]
        asset: Document = mark["asset"]
        owner: Document | None = None
        if checked is None:
            # Refused, or finished by another process.
            there = await self.assets.one({"_id": asset["_id"]})
            return there if there is not None and there["run_id"] == asset["run_id"] else None
        while owner is None:
            if await self.assets.add(asset):
                owner = asset
                break
            owner = await self.assets.one({"_id": asset["_id"]}) or await self.assets.one({"s3_key": asset["s3_key"]})
            if owner is None:
                await asyncio.sleep(_PAUSE_SECONDS)
        await self.newest.settle(asset["dataset_id"])
        await self.runs.change(run["_id"], removing("pending_commit", commit_id=mark["commit_id"]))
        return owner

    async def _check_parents(self, run: Document) -> Document | None:
        """The run with its commit checked; None when it was refused, or finished by another process."""
        mark, current = run["pending_commit"], run
        while not current["pending_commit"]["checked"]:
            parents = [await self.assets.one({"_id": key}) for key in mark["asset"]["parents"]]
            for parent in parents:
                if parent is not None and "pending_deletion" in parent:
                    await self._finish_deletion(parent)
                    break
            else:
                if any(parent is None or parent["state"] != LIVING for parent in parents):
                    await self.refuse_commit(run)
                    return None
                await self.runs.change(run["_id"], _checked(mark["commit_id"]))
            there = await self.runs.one({"_id": run["_id"]})
            if there is None or there.get("pending_commit", {}).get("commit_id") != mark["commit_id"]:
                return None
            current = there
        return current

    async def refuse_commit(self, run: Document) -> None:
        """Remove the mark of a commit, unless its parents have been checked by now or it is finished."""
        commit_id = run["pending_commit"]["commit_id"]
        await self.runs.change(run["_id"], removing("pending_commit", commit_id=commit_id, checked=False))

    async def pending_commits(self, parent: str) -> list[Document]:
        """List the runs that have an unfinished commit with that version as a parent."""
        found = await self.runs.many({"pending_commit.s3_key": {"$exists": True}})
        return [run for run in found if parent in run["pending_commit"]["asset"]["parents"]]

    async def _deleted_parents(self, asset: Document) -> list[tuple[str, int]]:
        deleted = []
        for key in asset["parents"]:
            parent = await self.assets.one({"_id": key})
            if parent is None or parent["state"] != LIVING:
                dataset_id, _, version = key.rpartition("@")
                deleted.append((dataset_id, int(version)))
        return deleted


def _checked(commit_id: str) -> Callable[[Document], Document | None]:
    def checked(document: Document) -> Document | None:
        mark = document.get("pending_commit")
        if mark is None or mark["commit_id"] != commit_id or mark["checked"]:
            return None
        return document | {"pending_commit": mark | {"checked": True}}

    return checked


def _runs_at(run: Document, attempt: int) -> bool:
    return bool(run["status"] == RunStatus.RUNNING and run["attempt"] == attempt)
