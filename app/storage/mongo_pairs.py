"""What the MongoDB ledger changes in two documents, without transactions: a standalone server has none.

Each of these is begun by ONE write, which decides it and leaves a mark that holds all that is needed to finish. The
rest is idempotent, and whoever comes next does it: the caller, a reader that needs it, or the sweep through `settle`.
A crash between two writes therefore loses nothing. All reads see what a majority keeps, so nothing is built on a write
that a failover takes back. Runs and assets are never deleted while they are used; the arguments below stand on that:
what `mongo_retention` removes has been over for long.

**accept** inserts the manifest with its run inside (`pending_run`): the unique batch id decides. Finished: the run is
inserted under its own id and lines up for its dataset (`mongo_turns`), then the mark goes. A second finisher meets the
run id and changes nothing. When the id belongs to a run of another batch, the manifest is withdrawn: neither. Readers
of a manifest finish it first, so nobody sees one without its run.

**add_run** writes the further run into the manifest (`pending_run`) if its newest run is over: compare-and-set of one
document, and what is over stays so. The manifest says what the new run says from that write on. Finished: as above, but
when the id belongs to a run of another batch, the manifest goes back to what its newest run says.

**A change of status** leaves `mirror_due` in the run, in the same write. Finished: the manifest takes over the status
if what it says is older by (created_at, run_id, revision) of the run, so a late finisher cannot turn it back.

**reserve_version** counts in one document for each dataset, which also names the run of the last number. Before anybody
counts on, that run gets its number; so all numbers but the last are in their runs, and none is lost. A run counts only
if it had no number *after* the counter was read, and the counter has not moved since; so none gets two.

**commit_asset** writes the asset into the run (`pending_commit`) if it runs at this attempt: compare-and-set of one
document, so there is no time between check and write. Where it has parents, these are read next, and the mark becomes
`checked`, or goes when one of them was deleted (how that meets a deletion: `mongo_deletion`). This is the commit
point. Finished: the asset is inserted, then the mark goes; where the version or key is another run's, only the mark
goes. No change of status or attempt passes a
mark: `change_run` finishes it first. So the insert that counts happens while the run runs at that attempt, and one that
comes late (its process slept) meets either its own asset or the one that was in its way, and changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from app.models.asset import Asset
from app.models.base import new_id
from app.models.manifest import ManifestStatus
from app.models.run import Run, RunStatus
from app.storage.deletion_rules import LIVING, parent_deleted
from app.storage.ledger_rules import check_younger, plain_text, version_taken
from app.storage.mongo_database import MongoDatabase
from app.storage.mongo_documents import (
    Document,
    asset_document,
    asset_from,
    mirrored_document,
    run_from,
    with_newest_run,
)
from app.storage.mongo_turns import Turns

# Between two looks at what another process has written but a majority has not confirmed yet.
_PAUSE_SECONDS = 0.005


class Pairs:
    """See the module. `settle` finishes everything that anybody left half done.

    finish_deletion: of `mongo_deletion`; what it is given has the mark of a deletion.
    """

    def __init__(self, database: MongoDatabase, finish_deletion: Callable[[Document], Awaitable[object]]) -> None:
        self._finish_deletion = finish_deletion
        self.manifests = database.collection("manifests")
        self.runs = database.collection("runs")
        self.assets = database.collection("assets")
        self.versions = database.collection("dataset_versions")
        self.turns = Turns(database)
        # Tasks of one process wait for each other instead of finding each other's writes.
        self._turn = asyncio.Lock()

    async def settle(self) -> None:
        for manifest in await self.manifests.many({"pending_run.run_id": {"$exists": True}}):
            await self.finish_accept(manifest)
        for run in await self.runs.many({"pending_commit.s3_key": {"$exists": True}}):
            await self.finish_commit(run)
        for run in await self.runs.many({"mirror_due": {"$exists": True}}):
            await self.mirror(run)
        for run in await self.runs.many({"turn_due": {"$exists": True}}):
            await self.turns.hand_over(run)

    async def finish_accept(self, manifest: Document) -> Document | None:
        """The manifest as it is now; None when it was withdrawn because its run id belongs to another batch."""
        pending = manifest.get("pending_run")
        if pending is None:
            return manifest
        while not await self.runs.add(pending):
            there = await self.runs.one({"_id": pending["_id"]})
            if there is not None and there["batch_id"] != pending["batch_id"]:
                return await self._withdraw(manifest)
            if there is not None:
                break
            await asyncio.sleep(_PAUSE_SECONDS)
        await self.turns.line_up(pending["partition_key"], pending["_id"])

        def done(document: Document) -> Document | None:
            mark = document.get("pending_run")
            return _without(document, "pending_run") if mark and mark["run_id"] == pending["run_id"] else None

        finished = await self.manifests.change(manifest["_id"], done)
        return finished or await self.manifests.one({"_id": manifest["_id"]})

    async def _withdraw(self, manifest: Document) -> Document | None:
        pending = manifest["pending_run"]
        if pending["retry_of"] is None:
            await self.manifests.remove({"_id": manifest["_id"], "pending_run.run_id": pending["run_id"]})
            return None
        newest = await self._newest_run(manifest["_id"])

        def as_before(document: Document) -> Document | None:
            mark = document.get("pending_run")
            if newest is None or mark is None or mark["run_id"] != pending["run_id"]:
                return None
            return with_newest_run(_without(document, "pending_run"), run_from(newest))

        restored = await self.manifests.change(manifest["_id"], as_before)
        return restored or await self.manifests.one({"_id": manifest["_id"]})

    async def _newest_run(self, batch_key: str) -> Document | None:
        return await self.runs.one({"batch_id": batch_key}, sort=(("sort_at", -1), ("run_id", -1)))

    async def add_run(self, run: Run, pending: Document) -> Run | None:
        """pending: its document."""
        key = pending["batch_id"]
        while True:
            manifest = await self.manifests.one({"_id": key})
            if manifest is not None and "pending_run" in manifest:
                await self.finish_accept(manifest)
                continue
            if manifest is not None and manifest["status"] == ManifestStatus.REMOVED.value:
                return None
            same = await self.runs.one({"_id": pending["_id"]})
            if same is not None and same["batch_id"] != key:
                raise ValueError(f"The run id {run.run_id} is taken.")
            newest = await self._newest_run(key)
            if same is not None or manifest is None or newest is None or not RunStatus(newest["status"]).is_final:
                return None
            check_younger(run, run_from(newest))
            if await self._begin_further_run(run, pending, newest):
                there = await self.runs.one({"_id": pending["_id"]})
                if there is None or there["batch_id"] != key:
                    raise ValueError(f"The run id {run.run_id} is taken.")
                return run_from(pending | {"blocked": there["blocked"]})

    async def _begin_further_run(self, run: Run, pending: Document, newest: Document) -> bool:
        """False when something has happened to the batch since its newest run was read."""

        def further(document: Document) -> Document | None:
            spoken = document["newest_run"]
            if "pending_run" in document or spoken is None or spoken["run_id"] != newest["_id"]:
                return None
            return with_newest_run(document, run) | {"pending_run": pending}

        begun = await self.manifests.change(pending["batch_id"], further)
        if begun is None:
            return False
        await self.finish_accept(begun)
        return True

    async def mirror(self, run: Document) -> None:
        """Let the manifest say what its newest run says."""
        due, model = run["mirror_due"], run_from(run)
        await self.manifests.change(run["batch_id"], lambda document: mirrored_document(document, model))

        def done(document: Document) -> Document | None:
            return _without(document, "mirror_due") if document.get("mirror_due") == due else None

        await self.runs.change(run["_id"], done)

    async def reserve(self, run_id: str, attempt: int) -> int | None:
        key = plain_text(run_id)
        async with self._turn:
            while True:
                run = await self.runs.one({"_id": key})
                if run is None:
                    return None
                counter = await self.versions.one({"_id": run["partition_key"]})
                if counter is None:
                    new = {"_id": run["partition_key"], "dataset_id": run["partition_key"], "writes": 1}
                    await self.versions.add(new | {"last_version": 0, "run_id": None})
                    continue
                await self._give_number(counter)
                # Read again: what it says must be newer than the counter.
                run = await self.runs.one({"_id": key})
                if run is None or not _runs_at(run, attempt):
                    return None
                if run["reserved_version"] is not None:
                    return int(run["reserved_version"])
                if (counted := await self._count(counter, key)) is not None:
                    await self._give_number(counted)

    async def _count(self, counter: Document, run_key: str) -> Document | None:
        """The next number for this run; None when the counter has moved.

        After a backup that caught assets later than their counter, the numbers of assets are passed over too.
        """
        newest = await self.assets.one({"dataset_id": counter["_id"]}, sort=(("version", -1),))
        registered = newest["version"] if newest is not None else 0

        def next_number(document: Document) -> Document | None:
            if document["writes"] != counter["writes"]:
                return None
            return document | {"last_version": max(document["last_version"], registered) + 1, "run_id": run_key}

        return await self.versions.change(counter["_id"], next_number)

    async def _give_number(self, counter: Document) -> None:
        """Write the last number into the run that it was counted for."""

        def given(document: Document) -> Document | None:
            if document["reserved_version"] is not None:
                return None
            return document | {"reserved_version": counter["last_version"], "revision": document["revision"] + 1}

        if counter["run_id"] is not None:
            await self.runs.change(counter["run_id"], given)

    async def commit(self, asset: Asset, attempt: int) -> Asset | None:
        """Raises VersionTaken when the version or the key is another run's, VersionDeleted for its parents."""
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
            if begun is not None and (registered := await self._end_commit(begun, asset)) is not None:
                return registered

    async def _end_commit(self, run: Document, asset: Asset) -> Asset | None:
        """None when it has to be begun again: a deletion refused it, and did not come to pass."""
        document: Document = run["pending_commit"]["asset"]
        owner = await self.finish_commit(run)
        if owner is None:
            if gone := await self._gone_parents(document):
                raise parent_deleted(gone)
            return None
        if owner["_id"] == document["_id"] and owner["run_id"] == run["_id"]:
            return asset_from(owner)
        raise version_taken(asset, asset_from(owner))

    async def finish_commit(self, run: Document) -> Document | None:
        """The registered asset: the run's own, or the one that was in its way; None when a parent was deleted."""
        checked = await self._check_parents(run)
        mark = (checked or run)["pending_commit"]
        asset: Document = mark["asset"]
        owner: Document | None = None
        if checked is None:
            # Decided by somebody else, if it was not refused.
            there = await self.assets.one({"_id": asset["_id"]})
            return there if there is not None and there["run_id"] == asset["run_id"] else None
        while owner is None:
            if await self.assets.add(asset):
                owner = asset
                break
            owner = await self.assets.one({"_id": asset["_id"]}) or await self.assets.one({"s3_key": asset["s3_key"]})
            if owner is None:
                await asyncio.sleep(_PAUSE_SECONDS)

        def done(document: Document) -> Document | None:
            there = document.get("pending_commit")
            return _without(document, "pending_commit") if there and there["commit_id"] == mark["commit_id"] else None

        await self.runs.change(run["_id"], done)
        return owner

    async def _check_parents(self, run: Document) -> Document | None:
        """The run with its commit checked; None when it was refused, or somebody else has finished it."""
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
        """Unless its parents have been checked, or it is over, meanwhile."""
        commit_id = run["pending_commit"]["commit_id"]

        def refused(document: Document) -> Document | None:
            mark = document.get("pending_commit")
            open_ = mark is not None and mark["commit_id"] == commit_id and not mark["checked"]
            return _without(document, "pending_commit") if open_ else None

        await self.runs.change(run["_id"], refused)

    async def pending_commits(self, parent: str) -> list[Document]:
        """The runs whose commit is half done and names that version as a parent."""
        found = await self.runs.many({"pending_commit.s3_key": {"$exists": True}})
        return [run for run in found if parent in run["pending_commit"]["asset"]["parents"]]

    async def _gone_parents(self, asset: Document) -> list[tuple[str, int]]:
        gone = []
        for key in asset["parents"]:
            there = await self.assets.one({"_id": key})
            if there is None or there["state"] != LIVING:
                dataset_id, _, version = key.rpartition("@")
                gone.append((dataset_id, int(version)))
        return gone


def _checked(commit_id: str) -> Callable[[Document], Document | None]:
    def checked(document: Document) -> Document | None:
        mark = document.get("pending_commit")
        if mark is None or mark["commit_id"] != commit_id or mark["checked"]:
            return None
        return document | {"pending_commit": mark | {"checked": True}}

    return checked


def _runs_at(run: Document, attempt: int) -> bool:
    return bool(run["status"] == RunStatus.RUNNING and run["attempt"] == attempt)


def _without(document: Document, name: str) -> Document:
    return {key: value for key, value in document.items() if key != name}
