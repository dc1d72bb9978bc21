"""The mark of the newest version of a dataset (`is_newest`) in MongoDB; `run_writes` explains why there are no locks.

It is at the newest version that is not deleted, and at the version with the highest number: most often the same one. A
version is inserted with its mark, so for a moment, or after a crash, older ones may still have it. **The newest one
always has it**: readers take those with the mark and leave out what is not the highest number among them.

That holds because a mark is removed only while a newer version lives that is not being deleted. A deletion leaves its
own mark (`pending_deletion`) in its version first, then marks what becomes the newest, then deletes. A process that
removes a mark reads in the opposite order: the version with the mark, then the newer one. If that one has no
`pending_deletion` yet, the deletion has still to write the version with the mark, and it does so after the mark was
removed, or else the compare-and-set of the removal fails.
"""

from __future__ import annotations

from app.storage.mongo.database import MongoDatabase
from app.storage.mongo.documents import Document
from app.storage.shared.deletion_rules import LIVING

_HIGHEST = (("version", -1),)
_NOT_BEING_DELETED = {"state": LIVING, "pending_deletion": {"$exists": False}}


class NewestMarks:
    """Sets and removes the marks of the versions of a dataset; see the module."""

    def __init__(self, database: MongoDatabase) -> None:
        self.assets = database.collection("assets")

    async def before_deletion(self, asset: Document) -> None:
        """Mark the version that becomes the newest when this one is deleted, which has `pending_deletion`."""
        dataset_id, version = asset["dataset_id"], asset["version"]
        newer = {"dataset_id": dataset_id, "version": {"$gt": version}, **_NOT_BEING_DELETED}
        if await self.assets.one(newer, _HIGHEST) is not None:
            return
        while True:
            older = {"dataset_id": dataset_id, "state": LIVING, "version": {"$lt": version}}
            below = await self.assets.one(older, _HIGHEST)
            if below is None:
                return
            made = await self.assets.change(below["_id"], _marked_while_living)
            if made is not None and "pending_deletion" not in made:
                return
            # It is being deleted too, or was.
            version = below["version"]

    async def settle(self, dataset_id: str) -> None:
        """Remove the marks of versions that are not the newest."""
        while True:
            marked = await self.assets.many({"dataset_id": dataset_id, "is_newest": True})
            # Read after those with the mark; see the module.
            top = await self.assets.one({"dataset_id": dataset_id, **_NOT_BEING_DELETED}, _HIGHEST)
            newest = 0 if top is None else top["version"]
            highest = max([newest, *(each["version"] for each in marked)])
            older = [each for each in marked if each["version"] < (newest if each["state"] == LIVING else highest)]
            done = [await self._unmark(each) for each in older]
            if all(done):
                return

    async def after_removal(self, dataset_id: str) -> None:
        """Mark the version with the highest number, after one that was deleted before was removed."""
        last = await self.assets.one({"dataset_id": dataset_id}, _HIGHEST)
        if last is not None and not last["is_newest"]:
            await self.assets.change(last["_id"], lambda document: document | {"is_newest": True})

    async def _unmark(self, asset: Document) -> bool:
        """False when the version was written since it was read."""

        def unmarked(document: Document) -> Document | None:
            return document | {"is_newest": False} if document["writes"] == asset["writes"] else None

        return await self.assets.change(asset["_id"], unmarked) is not None


def _marked_while_living(document: Document) -> Document | None:
    """Writes the version even if it has the mark: see the module."""
    return document | {"is_newest": True} if document["state"] == LIVING else None
