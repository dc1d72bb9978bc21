"""Whose turn it is to write a dataset, in MongoDB: one document for each dataset that has runs which are not over.

A run is inserted `blocked`, and then asks for the turn (`line_up`): it inserts the dataset's document, whose unique id
decides, and is unblocked; or somebody has the turn already. What ends the run that has the turn leaves `turn_due` in
it, in the same write; whoever finishes that (`hand_over`) names the next in the document, unblocks it, and removes the
mark last. No step needs to know whether it was done before. Two arguments are needed besides:

Nobody is forgotten. A run is inserted before it asks for the turn, and who finds nobody waiting removes the document
and looks once more: so either the one sees the run, or the other sees that the document is gone.

The turn does not stay with a run that is over. Who gives it to a run unblocks that next; if that run has ended
meanwhile, it hands over in its stead. A process that slept while it lined up may still insert the document for a run
that is over; nobody waits then, and the next that lines up meets it and hands over in its stead.
"""

from __future__ import annotations

from app.models.run import RunStatus
from app.storage.mongo_database import MongoDatabase
from app.storage.mongo_documents import Document

OLDEST_RUN = (("sort_at", 1), ("run_id", 1))
_QUEUED = RunStatus.QUEUED.value


class Turns:
    """See the module."""

    def __init__(self, database: MongoDatabase) -> None:
        self.runs = database.collection("runs")
        self.writers = database.collection("dataset_writers")

    async def line_up(self, dataset: str, run_id: str) -> None:
        """Give the turn to a run that was inserted, unless another one has it. Keys, not ids."""
        while (turn := await self.writers.one({"_id": dataset})) is None:
            await self.writers.add({"_id": dataset, "dataset_id": dataset, "run_id": run_id, "writes": 1})
        holder = turn["run_id"]
        if holder == run_id:
            holds = await self._unblock(run_id, revised=False)
        else:
            found = await self.runs.one({"_id": holder})
            holds = found is not None and not _is_over(found)
        if not holds:
            await self._pass_on(dataset, holder)

    async def hand_over(self, run: Document) -> None:
        """Give the turn of a run that is over to the next."""
        await self._pass_on(run["partition_key"], run["_id"])

        def done(document: Document) -> Document | None:
            if "turn_due" not in document:
                return None
            return {key: value for key, value in document.items() if key != "turn_due"}

        await self.runs.change(run["_id"], done)

    async def _pass_on(self, dataset: str, over: str) -> None:
        while True:
            turn = await self.writers.one({"_id": dataset})
            if turn is not None and turn["run_id"] != over:
                if await self._unblock(turn["run_id"], revised=True):
                    return
                over = turn["run_id"]
                continue
            first = await self.runs.one({"partition_key": dataset, "status": _QUEUED}, OLDEST_RUN)
            if turn is not None and first is None:
                await self.writers.remove({"_id": dataset, "run_id": over, "writes": turn["writes"]})
            elif turn is None and first is not None:
                mine = {"_id": dataset, "dataset_id": dataset, "run_id": first["_id"], "writes": 1}
                await self.writers.add(mine)
            elif turn is not None and first is not None:
                await self._name(turn, first)
            else:
                return

    async def _name(self, turn: Document, first: Document) -> None:
        def named(document: Document) -> Document | None:
            return document | {"run_id": first["_id"]} if document["writes"] == turn["writes"] else None

        await self.writers.change(turn["_id"], named)

    async def _unblock(self, run_id: str, *, revised: bool) -> bool:
        """Whether the run, which has the turn, is not over. revised: a reader may have seen it blocked."""

        def unblocked(document: Document) -> Document | None:
            if not document["blocked"] or document["status"] != _QUEUED:
                return None
            return document | {"blocked": False, "revision": document["revision"] + (1 if revised else 0)}

        if await self.runs.change(run_id, unblocked) is not None:
            return True
        run = await self.runs.one({"_id": run_id})
        return run is not None and not _is_over(run)


def _is_over(run: Document) -> bool:
    return RunStatus(run["status"]).is_final
