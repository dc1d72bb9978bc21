"""Writes over two documents that begin a run or change its status.

MongoDB has transactions on replica sets only, and the ledger also runs on a single server. So a write over two
documents is begun by ONE write, which decides it and leaves a mark that holds all that is needed to finish it. The rest
is idempotent and is done by what comes next: the caller, a reader that needs it, or the sweep through `finish_all`.
A crash between two writes therefore loses nothing. All reads see what a majority of the servers keeps, so nothing is
built on a write that a failover takes back. Runs and assets are never removed while they are used: `retention` only
removes what has been over for long.

**accept** inserts the manifest with its run inside (`pending_run`): the unique batch id decides. To finish: insert the
run under its own id, enqueue it for its dataset (`dataset_queue`), then remove the mark. A second finisher finds the
run and changes nothing. When the run id belongs to a run of another batch, the manifest is withdrawn. Readers of a
manifest finish it first, so they never see one without its run.

**add_run** writes the further run into the manifest (`pending_run`) if its newest run is over: compare-and-set of one
document, and a run that is over stays so. From that write on the manifest shows the new run. To finish: as above, but
when the run id belongs to a run of another batch, the manifest returns to what its newest run says.

**supersede** is `add_run` whose one write also puts the corrected manifest in the place of the stored one, which comes
back from `earlier` when the run id belongs to a run of another batch.

**A change of status** leaves `mirror_due` in the run, in the same write. To finish: copy the status into the manifest,
unless what it shows is newer by (created_at, run_id, revision) of the run, so that a late finisher cannot turn it back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from app.models.manifests.manifest import ManifestStatus
from app.models.runs.run import Run, RunStatus
from app.storage.mongo.database import MongoDatabase
from app.storage.mongo.dataset_queue import DatasetQueue
from app.storage.mongo.documents import (
    Document,
    manifest_from,
    mirrored_document,
    removing,
    run_from,
    superseding_document,
    with_newest_run,
    without,
)
from app.storage.shared.ledger_rules import check_younger, not_superseding

ManifestChange = Callable[[Document], Document | None]

# Between two reads of what another process has written and a majority has not confirmed yet.
_PAUSE_SECONDS = 0.005


def _unchanged(document: Document) -> Document | None:
    return document


class RunWrites:
    """Begins and finishes `accept`, `add_run` and changes of status; see the module."""

    def __init__(self, database: MongoDatabase, queue: DatasetQueue) -> None:
        self.manifests = database.collection("manifests")
        self.runs = database.collection("runs")
        self.queue = queue

    async def finish_all(self) -> None:
        """Finish every write that was interrupted."""
        for manifest in await self.manifests.many({"pending_run.run_id": {"$exists": True}}):
            await self.finish_accept(manifest)
        for run in await self.runs.many({"mirror_due": {"$exists": True}}):
            await self.mirror(run)
        for run in await self.runs.many({"turn_due": {"$exists": True}}):
            await self.queue.release(run)

    async def finish_accept(self, manifest: Document) -> Document | None:
        """Store the run that the manifest waits for, if any.

        Returns:
            The manifest as it is now; None when it was withdrawn because its run id belongs to another batch.
        """
        pending = manifest.get("pending_run")
        if pending is None:
            return manifest
        while not await self.runs.add(pending):
            stored = await self.runs.one({"_id": pending["_id"]})
            if stored is not None and stored["batch_id"] != pending["batch_id"]:
                return await self._withdraw(manifest)
            if stored is not None:
                break
            await asyncio.sleep(_PAUSE_SECONDS)
        await self.queue.enqueue(pending["partition_key"], pending["_id"])
        finished = await self.manifests.change(manifest["_id"], removing("pending_run", run_id=pending["run_id"]))
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
            before = not_superseding(manifest_from(document), run_from(newest))
            return with_newest_run(superseding_document(without(document, "pending_run"), before), run_from(newest))

        restored = await self.manifests.change(manifest["_id"], as_before)
        return restored or await self.manifests.one({"_id": manifest["_id"]})

    async def _newest_run(self, batch_key: str) -> Document | None:
        return await self.runs.one({"batch_id": batch_key}, sort=(("sort_at", -1), ("run_id", -1)))

    async def add_run(self, run: Run, pending: Document, change: ManifestChange = _unchanged) -> Run | None:
        """Begin and finish a further run; see `RunLedger.add_run`.

        Args:
            run: the further run.
            pending: its document.
            change: makes the manifest's document that of a superseding one, in the same write; None refuses.
        """
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
            if change(manifest) is None:
                return None
            if await self._begin_further_run(run, pending, newest, change):
                stored = await self.runs.one({"_id": pending["_id"]})
                if stored is None or stored["batch_id"] != key:
                    raise ValueError(f"The run id {run.run_id} is taken.")
                return run_from(pending | {"blocked": stored["blocked"]})

    async def _begin_further_run(self, run: Run, pending: Document, newest: Document, change: ManifestChange) -> bool:
        """False when the batch has changed since its newest run was read."""

        def further(document: Document) -> Document | None:
            shown = document["newest_run"]
            if "pending_run" in document or shown is None or shown["run_id"] != newest["_id"]:
                return None
            changed = change(document)
            return None if changed is None else with_newest_run(changed, run) | {"pending_run": pending}

        begun = await self.manifests.change(pending["batch_id"], further)
        if begun is None:
            return False
        await self.finish_accept(begun)
        return True

    async def mirror(self, run: Document) -> None:
        """Copy the status of a run that has `mirror_due` to its manifest, unless that shows something newer."""
        due, model = run["mirror_due"], run_from(run)
        await self.manifests.change(run["batch_id"], lambda document: mirrored_document(document, model))

        def done(document: Document) -> Document | None:
            return without(document, "mirror_due") if document.get("mirror_due") == due else None

        await self.runs.change(run["_id"], done)
