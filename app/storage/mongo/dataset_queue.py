"""The queue of writers of a dataset in MongoDB: one document for each dataset that has unfinished runs.

The document in `dataset_writers` names the writer: the one run that may write the dataset. A run is inserted `blocked`
and then enqueued: either `enqueue` inserts the document, whose unique id decides, and unblocks the run; or another run
is the writer. The change that ends the writer leaves `turn_due` in it, in the same write. To finish that, `release`
names the next writer in the document, unblocks it, and removes the mark last. Every step may be repeated. Besides:

No run is forgotten. A run is inserted before it is enqueued, and a process that finds no waiting run removes the
document and reads once more. So either this process sees the run, or the other one sees that the document is gone.

A run that is over does not stay the writer. A process that makes a run the writer unblocks it next; if the run has
ended meanwhile, the process releases the dataset in its place. A process that was suspended in `enqueue` may still
insert the document for a run that is over. No run waits then, and the next run to be enqueued finds it and releases the
dataset in its place.
"""

from __future__ import annotations

from app.models.runs.run import RunStatus
from app.storage.mongo.database import MongoDatabase
from app.storage.mongo.documents import Document, removing

OLDEST_RUN = (("sort_at", 1), ("run_id", 1))
_QUEUED = RunStatus.QUEUED.value


class DatasetQueue:
    """Adds runs to the queues of datasets and chooses the next writer; see the module."""

    def __init__(self, database: MongoDatabase) -> None:
        self.runs = database.collection("runs")
        self.writers = database.collection("dataset_writers")

    async def enqueue(self, dataset: str, run_id: str) -> None:
        """Make a run that was inserted the writer of its dataset, unless another run is.

        Args:
            dataset: key of its document.
            run_id: key of the run's document.
        """
        while (writer := await self.writers.one({"_id": dataset})) is None:
            await self.writers.add({"_id": dataset, "dataset_id": dataset, "run_id": run_id, "writes": 1})
        current = writer["run_id"]
        if current == run_id:
            is_writer = await self._unblock(run_id, revised=False)
        else:
            found = await self.runs.one({"_id": current})
            is_writer = found is not None and not _is_over(found)
        if not is_writer:
            await self._advance(dataset, current)

    async def release(self, run: Document) -> None:
        """Make the next run of the dataset the writer, in place of this run, which is over."""
        await self._advance(run["partition_key"], run["_id"])
        await self.runs.change(run["_id"], removing("turn_due"))

    async def _advance(self, dataset: str, over: str) -> None:
        """Replace the writer, a run that is over, by the oldest queued run; remove the document when there is none."""
        while True:
            writer = await self.writers.one({"_id": dataset})
            if writer is not None and writer["run_id"] != over:
                if await self._unblock(writer["run_id"], revised=True):
                    return
                over = writer["run_id"]
                continue
            first = await self.runs.one({"partition_key": dataset, "status": _QUEUED}, OLDEST_RUN)
            if writer is not None and first is None:
                await self.writers.remove({"_id": dataset, "run_id": over, "writes": writer["writes"]})
            elif writer is None and first is not None:
                new = {"_id": dataset, "dataset_id": dataset, "run_id": first["_id"], "writes": 1}
                await self.writers.add(new)
            elif writer is not None and first is not None:
                await self._set_writer(writer, first)
            else:
                return

    async def _set_writer(self, writer: Document, first: Document) -> None:
        def named(document: Document) -> Document | None:
            return document | {"run_id": first["_id"]} if document["writes"] == writer["writes"] else None

        await self.writers.change(writer["_id"], named)

    async def _unblock(self, run_id: str, *, revised: bool) -> bool:
        """Unblock the writer; False when it is over. revised: a reader may have seen it blocked."""

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
