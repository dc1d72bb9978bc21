"""What is half done in MongoDB: the marks of `app.storage.mongo_pairs` and its kin, looked at and left alone."""

from __future__ import annotations

from typing import Final

from app.ledger.unfinished import Kind, Unfinished
from app.storage.mongo_database import MongoDatabase

_MARKS: Final[tuple[tuple[str, str, Kind], ...]] = (
    ("manifests", "pending_run.run_id", "accept"),
    ("runs", "pending_commit.s3_key", "commit"),
    ("runs", "mirror_due", "mirror"),
    ("runs", "turn_due", "turn"),
    ("manifests", "pending_told.told_id", "told"),
    ("runs", "pending_told.told_id", "told"),
    ("lanes", "pending_told.told_id", "told"),
    ("assets", "pending_deletion.deletion_id", "deletion"),
    ("assets", "untold", "deletion"),
    ("manifests", "removing.run_ids", "removal"),
)


class MongoUnfinished:
    """`app.ledger.unfinished.UnfinishedLedger`."""

    _db: MongoDatabase

    async def list_unfinished(self, limit: int) -> tuple[Unfinished, ...]:
        found: list[Unfinished] = []
        for collection, mark, kind in _MARKS:
            marked = await self._db.collection(collection).many({mark: {"$exists": True}}, limit=limit)
            found += [Unfinished(kind, each["_id"]) for each in marked]
        return tuple(found[:limit])
